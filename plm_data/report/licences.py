"""The licences of documents rolled up into a few classes, by their SPDX expressions.

Categories are those of AboutCode's licence database, as the package ``license-expression`` bundles it, with three
classes of our own for licences of data and works: attribution, share-alike, and non-commercial or no derivatives.

What is guessed: a name without its version (``BSD``, ``GPL``, ``CC-BY``) stands for the class that all usual versions
share; ``LicenseRef-BSD`` is this project's own name for the classifier ``BSD License``. Names are recognised as a
whole or not at all, so ``not MIT`` is unknown and no kind of MIT.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from license_expression import (
    AND,
    OR,
    LicenseSymbol,
    LicenseWithExceptionSymbol,
    Licensing,
    get_license_index,
    get_spdx_licensing,
)

from plm_data.sources.licences import CLASSIFIERS, SHORT_NAMES, UNKNOWN_LICENSE

PUBLIC_DOMAIN = "public domain"
PERMISSIVE = "permissive"
ATTRIBUTION = "attribution"
WEAK_COPYLEFT = "weak copyleft"
SHARE_ALIKE = "share-alike"
COPYLEFT = "copyleft"
RESTRICTED = "non-commercial or no derivatives"
PROPRIETARY = "proprietary or other"
UNKNOWN = "unknown"
# From the freest to the most restrictive; what is unknown may be anything, so it comes last.
CLASSES = (
    PUBLIC_DOMAIN, PERMISSIVE, ATTRIBUTION, WEAK_COPYLEFT, SHARE_ALIKE, COPYLEFT, RESTRICTED, PROPRIETARY, UNKNOWN,
)  # fmt: skip

# The database's other categories (commercial, source-available, free with restrictions …) are PROPRIETARY.
_CATEGORIES = {
    "Public Domain": PUBLIC_DOMAIN,
    "Permissive": PERMISSIVE,
    "Copyleft Limited": WEAK_COPYLEFT,
    "Copyleft": COPYLEFT,
    "Unstated License": UNKNOWN,
}
# Families of identifiers, in which the database's categories, made for code, do not say what matters of data.
_ATTRIBUTION_FAMILIES = ("ODC-By-", "CDLA-Permissive-", "OGL-", "etalab-")
_SHARE_ALIKE_FAMILIES = ("ODbL-", "CDLA-Sharing-", "GFDL-", "LAL-")
# Names that leave their version open, in lower case.
_FAMILIES = {
    "licenseref-bsd": PERMISSIVE,
    "bsd": PERMISSIVE,
    "public domain": PUBLIC_DOMAIN,
    "cc0": PUBLIC_DOMAIN,
    "cc-by": ATTRIBUTION,
    "cc by": ATTRIBUTION,
    "odc-by": ATTRIBUTION,
    "cc-by-sa": SHARE_ALIKE,
    "cc by-sa": SHARE_ALIKE,
    "cc-by-nc": RESTRICTED,
    "cc-by-nd": RESTRICTED,
    "cc-by-nc-sa": RESTRICTED,
    "cc-by-nc-nd": RESTRICTED,
    "lgpl": WEAK_COPYLEFT,
    "gpl": COPYLEFT,
    "gnu gpl": COPYLEFT,
    "gplv2": COPYLEFT,
    "gplv3": COPYLEFT,
    "agpl": COPYLEFT,
}
# Names of one licence, in lower case, beside those that package metadata use.
_NAMES = {
    **{name.casefold(): spdx for name, spdx in CLASSIFIERS.items()},
    **SHORT_NAMES,
    "the mit license": "MIT",
    "the mit license (mit)": "MIT",
    "mit licence": "MIT",
    "mit/apache-2.0": "MIT OR Apache-2.0",  # Cargo's older spelling of OR
    "apache license": "Apache-2.0",
    "new bsd": "BSD-3-Clause",
    "new bsd license": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "2-clause bsd license": "BSD-2-Clause",
    "isc license": "ISC",
    "pddl": "PDDL-1.0",
    "odbl": "ODbL-1.0",
}
_CC_URL = re.compile(
    r"(?:https?://)?(?:www\.)?creativecommons\.org/"
    r"(?:licenses/(by(?:-nc)?(?:-nd|-sa)?)/(\d\.\d)|publicdomain/(zero|mark)/(1\.0))(?:/(?:deed(?:\.\w+)?|legalcode)?)?"
)
# No expression that a person wrote is longer; a licence's whole text is no expression, and nesting costs the stack.
_MOST_CHARS = 1000


def roll_up(rows: Sequence[tuple[str, int, int]]) -> list[dict[str, Any]]:
    """One row a licence class that occurs, from the freest to the most restrictive, unknown last.

    ``rows``: licence of documents (SPDX expression or the usual names), documents, tokens. Each result has ``class``,
    ``documents``, ``tokens`` and ``licences``: the licences as stated, with their documents and tokens, by tokens.
    No licence text raises.
    """
    totals: dict[str, tuple[int, int]] = {}
    for stated, documents, tokens in rows:
        name = stated if stated.strip() else UNKNOWN_LICENSE
        so_far = totals.get(name, (0, 0))
        totals[name] = (so_far[0] + documents, so_far[1] + tokens)
    members: dict[str, list[dict[str, Any]]] = {}
    for name, (documents, tokens) in sorted(totals.items(), key=lambda item: (-item[1][1], -item[1][0], item[0])):
        row = {"licence": name, "documents": documents, "tokens": tokens}
        members.setdefault(licence_class(name), []).append(row)
    return [
        {
            "class": kind,
            "documents": sum(row["documents"] for row in members[kind]),
            "tokens": sum(row["tokens"] for row in members[kind]),
            "licences": members[kind],
        }
        for kind in CLASSES
        if kind in members
    ]


def licence_class(stated: str) -> str:
    """The class of a stated licence: of OR the freest branch, of AND the most restrictive."""
    plain = _plain(stated)
    if plain in _FAMILIES:
        return _FAMILIES[plain]
    parsed = _parse(plain)
    return UNKNOWN if parsed is None else _class_of(parsed)


def spdx_identifier(stated: str) -> str | None:
    """The one SPDX licence that a text states, or None: for no, several or unknown licences, and exceptions."""
    parsed = _parse(_plain(stated))
    known = isinstance(parsed, LicenseSymbol) and parsed.key in _categories() and not parsed.is_exception
    return str(parsed.key) if known else None


def _plain(stated: str) -> str:
    """A stated licence in lower case with single spaces; nothing if it is too long to be a name or an expression."""
    return " ".join(stated.split()).casefold() if len(stated) <= _MOST_CHARS else ""


def _parse(plain: str) -> Any:
    """The expression that a text in lower case states, or None if it is none."""
    if (match := _CC_URL.fullmatch(plain)) is not None:
        by, version, dedication, dedication_version = match.groups()
        plain = f"cc-{by}-{version}" if by else {"zero": "cc0-", "mark": "cc-pdm-"}[dedication] + dedication_version
    try:
        return _licensing().parse(_NAMES.get(plain, plain))
    except Exception:
        # The parser has errors of its own for most of what is no expression, and Python's for the rest ("()").
        return None


def _class_of(node: Any) -> str:
    if isinstance(node, AND | OR):
        choose = max if isinstance(node, AND) else min
        return choose((_class_of(branch) for branch in node.args), key=CLASSES.index)
    if isinstance(node, LicenseWithExceptionSymbol):
        licence, exception = _class_of(node.license_symbol), _categories().get(node.exception_symbol.key)
        if exception is None or not node.exception_symbol.is_exception:
            return UNKNOWN
        # An exception grants more; what it grants beside a copyleft is linking, or the like.
        freed = licence == COPYLEFT and exception in (WEAK_COPYLEFT, PERMISSIVE)
        return WEAK_COPYLEFT if freed else licence
    if not isinstance(node, LicenseSymbol) or node.is_exception:
        return UNKNOWN
    return _FAMILIES.get(node.key.casefold()) or _categories().get(node.key, UNKNOWN)


@lru_cache(maxsize=1)
def _licensing() -> Licensing:
    return get_spdx_licensing()


@lru_cache(maxsize=1)
def _categories() -> dict[str, str]:
    """SPDX identifier → class, for the database's licences and exceptions."""
    return {
        key: _data_class(key) or _CATEGORIES.get(entry["category"], PROPRIETARY)
        for entry in get_license_index()
        if (key := entry.get("spdx_license_key"))
    }


def _data_class(key: str) -> str | None:
    """The class of an identifier of a Creative Commons or data licence; None for any other."""
    terms = set(key.split("-")) if key.startswith("CC-") else set()
    if terms & {"NC", "ND"}:
        return RESTRICTED
    if "SA" in terms or key.startswith(_SHARE_ALIKE_FAMILIES):
        return SHARE_ALIKE
    return ATTRIBUTION if "BY" in terms or key.startswith(_ATTRIBUTION_FAMILIES) else None
