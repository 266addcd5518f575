"""A web page as text: the main part of it, without navigation, advertisements and what else stands around it."""

from __future__ import annotations

from typing import Any, Literal

import trafilatura
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from plm_data.sources.charset import decode
from plm_data.sources.page_licence import page_licence

_LONGEST_FACT = 500

Extract = Literal["precise", "balanced", "fast"]


def page_text(mode: Extract, charset: str | None, body: bytes) -> dict[str, Any]:
    """``text``: the main text, empty if there is none; ``license``: SPDX, or None; ``facts``: what the page says of
    itself and how it was read. ``charset``: the one that came with the page."""
    html, encoding = decode(body, charset)
    tree = HTMLTree.parse(html)
    facts = {"title": tree.title, "language": _language(tree), "encoding": encoding}
    return {
        "text": _main_text(mode, html, tree),
        "license": _licence(html, tree),
        "facts": {name: " ".join(value.split())[:_LONGEST_FACT] for name, value in facts.items() if value},
    }


def _main_text(mode: Extract, html: str, tree: HTMLTree) -> str:
    if mode == "fast":
        return extract_plain_text(tree, main_content=True, alt_texts=False, comments=False, post_meta=False)
    # ``precise`` asks Trafilatura's other extractors too, and takes the most careful of what they find.
    precise = mode == "precise"
    return trafilatura.extract(html, fast=not precise, favor_precision=precise, include_comments=False) or ""


def _language(tree: HTMLTree) -> str | None:
    root = tree.document.query_selector("html") if tree.document else None
    return root.get_attribute("lang") if root else None


def _licence(html: str, tree: HTMLTree) -> str | None:
    # Few pages name it, and to search a tree takes longer than to search a text.
    if "creativecommons.org" not in html.lower():
        return None
    marked = _addresses(tree, "a[rel~='license' i], link[rel~='license' i]")
    return page_licence(marked, _addresses(tree, "footer a"))


def _addresses(tree: HTMLTree, selector: str) -> list[str]:
    links = tree.document.query_selector_all(selector) if tree.document else ()
    return [address for link in links if (address := link.get_attribute("href"))]
