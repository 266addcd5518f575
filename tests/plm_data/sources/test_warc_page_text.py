"""The main text of a page, what it says of itself, and the licence that it gives itself."""

from __future__ import annotations

import pytest
from license_expression import get_spdx_licensing

from plm_data.sources.page_licence import creative_commons, page_licence
from plm_data.sources.page_text import Extract, page_text
from tests.plm_data.sources.web_archives import ENGLISH, html

MODES: tuple[Extract, ...] = ("precise", "balanced", "fast")
BY = "https://creativecommons.org/licenses/by/4.0/"


@pytest.mark.parametrize("mode", MODES)
def test_the_article_is_kept_and_what_stands_around_it_is_not(mode: Extract) -> None:
    found = page_text(mode, None, html(title="Ein Fluß", head='<meta charset="iso-8859-1">').encode("cp1252"))
    assert "The river rises in the hills" in found["text"] and "past gardens and a school" in found["text"]
    assert "Menu entry" not in found["text"]
    assert found["facts"] == {"title": "Ein Fluß", "language": "en-GB", "encoding": "cp1252"}
    assert found["license"] is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("body", [b"", b" ", b"<html></html>", b"<html><body><nav><a href=x>y</a></nav></body></html>"])
def test_a_page_without_text_gives_none(mode: Extract, body: bytes) -> None:
    found = page_text(mode, None, body)
    assert found["text"].strip() in ("", "y") and found["license"] is None


def test_xhtml_with_an_encoding_declaration_is_read() -> None:
    body = '<?xml version="1.0" encoding="ISO-8859-1"?>' + html(ENGLISH + "Übung.")
    assert "Übung" in page_text("balanced", None, body.encode("latin-1"))["text"]


def test_facts_are_short_and_on_one_line() -> None:
    facts = page_text("fast", None, html(title="a\n\t b" + "c" * 2000).encode())["facts"]
    assert facts["title"].startswith("a bc") and len(facts["title"]) == 500


@pytest.mark.parametrize(
    "head, foot, expected",
    [
        (f'<link rel="license" href="{BY}">', "", "CC-BY-4.0"),
        ("", f'<a rel="nofollow LICENSE" href="{BY}">terms</a>', "CC-BY-4.0"),
        ("", f'<a href="{BY}">CC BY</a>', "CC-BY-4.0"),
        ("", '<a href="https://CreativeCommons.org/licenses/by/4.0/">CC BY</a>', "CC-BY-4.0"),
        # What is marked goes before what only stands in the footer; of several, all hold.
        (f'<link rel="license" href="{BY}">', '<a href="//creativecommons.org/publicdomain/zero/1.0/">x</a>', "CC-BY-4.0"),
        ("", f'<a href="{BY}">x</a> <a href="http://creativecommons.org/licenses/by-nc/2.0/">y</a>', "CC-BY-4.0 AND CC-BY-NC-2.0"),
        # What a page calls its licence, but nobody can read, says nothing.
        ('<link rel="license" href="/terms">', "", None),
        ('<link rel="license-of-something" href="https://creativecommons.org/licenses/by/4.0/">', "", None),
        (f"<!-- <a rel=license href={BY}> -->", "", None),
    ],
)  # fmt: skip
def test_a_page_gives_its_licence(head: str, foot: str, expected: str | None) -> None:
    assert page_text("fast", None, html(head=head, foot=foot).encode())["license"] == expected


def test_the_credit_of_a_picture_is_no_licence_of_the_page() -> None:
    credit = f'{ENGLISH}<img src="a.jpg"><a href="{BY}">Photo: CC BY</a>'
    assert page_text("balanced", None, html(credit).encode())["license"] is None


@pytest.mark.parametrize(
    "address, expected",
    [
        ("http://creativecommons.org/licenses/by-nc-sa/3.0/", "CC-BY-NC-SA-3.0"),
        ("https://www.creativecommons.org/licenses/by-sa/4.0/deed.de", "CC-BY-SA-4.0"),
        ("//creativecommons.org/licences/by/2.5", "CC-BY-2.5"),
        ("https://creativecommons.org/licenses/by/3.0/us/", "CC-BY-3.0-US"),
        ("https://creativecommons.org/licenses/by/3.0/it/deed.it", "CC-BY-3.0"),
        ("https://creativecommons.org/licenses/by-nd-nc/1.0/", "CC-BY-NC-ND-1.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        (" HTTPS://CreativeCommons.org/Licenses/BY/4.0/ ", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/", None),
        ("https://creativecommons.org/licenses/by/9.9/", None),
        ("https://creativecommons.org/licenses/by/4.01/", None),
        ("https://creativecommons.org/about", None),
        ("https://example.org/?u=https://creativecommons.org/licenses/by/4.0/", None),
        ("https://creativecommons.org.example.org/licenses/by/4.0/", None),
    ],
)
def test_addresses_of_creative_commons(address: str, expected: str | None) -> None:
    assert creative_commons(address) == expected


def test_every_licence_that_is_given_is_spdx() -> None:
    terms = ["by", "by-nc", "by-nc-nd", "by-nc-sa", "by-nd", "by-sa", "by-nd-nc", "sa", "nc-sampling+", "x-y"]
    addresses = [
        f"https://creativecommons.org/licenses/{each}/{version}/{port}"
        for each in terms
        for version in ("1.0", "2.0", "2.1", "2.5", "3.0", "4.0")
        for port in ("", "de/", "jp/", "zz/")
    ]
    expression = page_licence(addresses, ())
    assert expression is not None
    get_spdx_licensing().validate(expression, strict=True)
    assert not get_spdx_licensing().validate(expression, strict=True).errors
