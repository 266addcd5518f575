"""The characters of a page from its bytes: by its byte-order mark, what it is said to be in, or how it looks.

Encodings go by the names that browsers know (WHATWG's labels), with their meaning there: ``iso-8859-1`` is
windows-1252, ``gb2312`` is gb18030, ``shift_jis`` is Microsoft's.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# What browsers decode under these names, as Python calls it.
_WIDER = {
    "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "big5hkscs", "iso8859-11": "cp874",
}  # fmt: skip
# Two bytes of these may be one character of UTF-8 by chance.
_OF_SEVERAL_BYTES = frozenset({"gb18030", "cp932", "cp949", "big5hkscs", "euc_jp", "iso2022_jp"})
# HTML asks for it in the first 1,024 bytes; many pages have it later.
_HEAD = 8192
_META = re.compile(
    rb"<meta\b[^>]{0,512}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})|<\?xml\b[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{2,40})",
    re.IGNORECASE,
)
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_THREE_BYTES = re.compile(rb"[\xe0-\xf4][\x80-\xbf]{2}")


def decode(data: bytes, header: str | None) -> tuple[str, str]:
    """The text and the encoding that it was read in. ``header``: the charset that came with the page, if any.

    A byte-order mark decides. Else bytes that are UTF-8 are read as such, whatever is said of them: hardly any text in
    another encoding is. Else the first of what the header says, what the page says and what it looks like that fits
    every byte; if none does, the first of them, with U+FFFD for what does not fit.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace"), encoding
    first = None
    for encoding in _candidates(data, header):
        first = first or encoding
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return data.decode(first or "utf-8", "replace"), first or "utf-8"


def _candidates(data: bytes, header: str | None) -> Iterator[str]:
    said = [encoding for encoding in (_codec(header), _declared(data)) if encoding]
    if b"\0" not in data[:_HEAD]:
        # Markup in UTF-16 has a zero in every second byte; read so, any other bytes would make some sort of text.
        said = [encoding for encoding in said if not encoding.startswith("utf-16")]
    if not data.isascii() and (not said or said[0] not in _OF_SEVERAL_BYTES or _THREE_BYTES.search(data)):
        try:
            data.decode("utf-8")
            yield "utf-8"
        except UnicodeDecodeError:
            pass
    yield from said
    found = detect_encoding(data) or "utf-8"
    yield _WIDER.get(found, found)


def _declared(data: bytes) -> str | None:
    """What the page says of itself near its beginning."""
    found = _META.search(_COMMENT.sub(b"", data[:_HEAD]))
    return _codec((found[1] or found[2]).decode("ascii")) if found else None


def _codec(label: str | None) -> str | None:
    """Python's codec for a label of the web; None for one that is not known."""
    if not label:
        return None
    encoding = map_encoding_to_html5(label.strip(" \"'"), fallback_utf8=False)
    return _WIDER.get(encoding, encoding) if encoding else None
