"""The characters of a page: what says the encoding, in which order, and what is said wrongly."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plm_data.sources.charset import decode

GERMAN = "Über größere Häuser – „schöner“ als früher, für 20 € im Café. " * 3
JAPANESE = "これは日本語の文章です。①㈱髙文字コードを調べるための例。" * 3
CHINESE = "这是一个中文的句子，用来检查编码。龍龜镕" * 3
RUSSIAN = "Это русский текст, по которому узнаётся кодировка страницы. " * 3


def page(text: str, encoding: str, meta: str = "") -> bytes:
    return f"<html><head>{meta}<title>x</title></head><body><p>{text}</p></body></html>".encode(encoding)


@pytest.mark.parametrize(
    "text, encoding, label",
    [
        (GERMAN, "cp1252", "windows-1252"),
        # Browsers take the smaller sets for the larger ones that hold them.
        (GERMAN, "cp1252", "ISO-8859-1"),
        (JAPANESE, "cp932", "Shift_JIS"),
        (JAPANESE, "cp932", "x-sjis"),
        (JAPANESE.replace("①㈱髙", ""), "euc_jp", "EUC-JP"),
        (JAPANESE.replace("①㈱髙", ""), "iso2022_jp", "iso-2022-jp"),
        (CHINESE, "gb18030", "gb18030"),
        (CHINESE, "gb18030", "GB2312"),
        ("這是中文。" * 5, "big5", "Big5"),
        ("안녕하세요 똠방각하 " * 5, "cp949", "euc-kr"),
        (RUSSIAN, "cp1251", "windows-1251"),
        (RUSSIAN, "koi8_r", "koi8-r"),
        (GERMAN, "utf-8", "utf8"),
    ],
)
def test_what_the_header_or_the_page_says_is_read(text: str, encoding: str, label: str) -> None:
    for header, meta in (
        (label, ""),
        (f' "{label}"', ""),
        (None, f'<meta charset="{label}">'),
        (None, f"<META http-equiv=Content-Type content='text/html; charset={label}'>"),
        # The header goes before the page.
        (label, '<meta charset="windows-1253">'),
        # A name that nobody knows says nothing.
        ("no-such-charset", f'<meta charset="{label}">'),
    ):
        found, read_as = decode(page(text, encoding, meta), header)
        assert text in found, (header, meta, read_as)


@pytest.mark.parametrize("wrong", ["iso-8859-1", "windows-1252", "shift_jis", "gb18030", "us-ascii", "utf-16", None])
@pytest.mark.parametrize("text", [GERMAN, JAPANESE, CHINESE, "one — dash"])
def test_utf8_is_read_as_such_whatever_is_said_of_it(text: str, wrong: str | None) -> None:
    meta = f'<meta charset="{wrong}">' if wrong else ""
    assert text in decode(page(text, "utf-8", meta), wrong)[0]


def test_two_bytes_of_gb18030_that_are_utf8_by_chance_are_gb18030() -> None:
    """The nearest case that must not be taken for UTF-8, though every byte of it fits."""
    data = page("目录", "gb18030")
    data.decode("utf-8")
    assert "目录" in decode(data, "gb2312")[0]


def test_a_header_that_is_wrong_gives_way_to_a_page_that_is_right() -> None:
    data = page(RUSSIAN, "cp1251", '<meta charset="windows-1251">')
    assert RUSSIAN in decode(data, "utf-8")[0]
    data = page(GERMAN, "cp1252", '<meta charset="utf-8">')
    assert GERMAN in decode(data, "utf-8")[0]


@pytest.mark.parametrize(
    "text, encoding",
    [
        (GERMAN, "cp1252"),
        (JAPANESE, "cp932"),
        (CHINESE, "gb18030"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (GERMAN, "utf-8"),
    ],
)
def test_a_page_of_which_nothing_is_said_is_read_by_its_looks(text: str, encoding: str) -> None:
    assert text in decode(page(text * 3, encoding), None)[0]


@pytest.mark.parametrize("encoding, mark", [("utf-8-sig", b""), ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")])
def test_a_byte_order_mark_decides(encoding: str, mark: bytes) -> None:
    data = mark + page(GERMAN, encoding, '<meta charset="koi8-r">')
    found, _ = decode(data, "windows-1251")
    assert found.startswith("<html") and GERMAN in found


def test_utf16_without_a_mark_is_read_if_the_header_says_so() -> None:
    assert GERMAN in decode(page(GERMAN, "utf-16-le"), "utf-16le")[0]


def test_a_page_that_is_said_to_be_utf16_and_has_no_zeros_is_not() -> None:
    """Read so, any bytes make some sort of text."""
    data = page(GERMAN, "cp1252", '<meta charset="windows-1252">')
    data += b" " * (len(data) % 2)
    assert GERMAN in decode(data, "utf-16")[0]


def test_a_charset_in_a_comment_or_far_below_says_nothing() -> None:
    comment = '<!-- <meta charset="koi8-r"> -->'
    assert RUSSIAN in decode(page(RUSSIAN * 3, "cp1251", comment), None)[0]
    far = "<p>" + "a " * 10_000 + '</p><meta charset="koi8-r">'
    assert RUSSIAN in decode(page(RUSSIAN * 3, "cp1251", far), None)[0]


def test_bytes_that_fit_nothing_are_replaced() -> None:
    found, encoding = decode(b"<p>caf\xc3\xa9 \xff\xfe</p>", "utf-8")
    assert encoding in ("utf-8", "cp1252") and "caf" in found


@settings(max_examples=50)
@given(
    st.binary(max_size=200),
    st.one_of(st.none(), st.text(max_size=12), st.sampled_from(["utf-16", "big5", "hz-gb-2312"])),
)
def test_any_bytes_become_a_text_that_can_be_encoded_in_the_encoding_that_is_told(
    data: bytes, header: str | None
) -> None:
    text, encoding = decode(data, header)
    assert text.encode("utf-8").decode("utf-8") == text
    assert codecs.lookup(encoding)
