"""Web archives made for a test: records, and HTTP responses as their blocks."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

ENGLISH = (
    "The river rises in the hills above the town and runs for forty miles before it meets the sea. "
    "Along its banks the old mills still stand, and some of them have been made into houses and shops. "
    "In spring the water is high and cold, and the fields on both sides of it lie under a thin sheet of silver. "
)
SECOND = (
    "Where the valley opens, the path leaves the bank and crosses a bridge that was built for carts. "
    "From there it is an hour on foot to the station, past gardens and a school that has been closed for years."
)


def record(block: bytes, kind: str = "response", url: str | None = "http://example.org/", date: str = "2024-05-06T07:08:09Z",
           content_type: str = "application/http; msgtype=response", length: int | None = None, **fields: str) -> bytes:  # fmt: skip
    """A record as it stands in a file, its closing line ends with it."""
    lines = {
        "WARC-Type": kind, "WARC-Date": date, "WARC-Target-URI": url, "Content-Type": content_type,
        "Content-Length": str(len(block) if length is None else length),
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }  # fmt: skip
    header = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return b"WARC/1.0\r\n" + header.encode() + b"\r\n" + block + b"\r\n\r\n"


def response(
    body: bytes, content_type: str | None = "text/html", status: str = "200 OK", version: str = "1.1", **fields: str
) -> bytes:
    """An HTTP response with its body as it is given."""
    lines = [f"HTTP/{version} {status}", *([f"Content-Type: {content_type}"] if content_type else [])]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def html(text: str = ENGLISH, title: str = "A river", head: str = "", foot: str = "") -> str:
    """A page with navigation around an article of some paragraphs."""
    links = "".join(f'<li><a href="/{i}">Menu entry {i}</a></li>' for i in range(8))
    return (
        f'<!DOCTYPE html><html lang="en-GB"><head>{head}<title>{title}</title></head><body><nav><ul>{links}</ul></nav>'
        f"<article><h1>{title}</h1><p>{text}</p><p>{SECOND}</p></article><footer>Imprint {foot}</footer></body></html>"
    )


def page(url: str, text: str = ENGLISH, **options: str) -> bytes:
    return record(response(html(text, **options).encode(), "text/html; charset=utf-8"), url=url)


def write_gzip(path: Path, records: Iterable[bytes]) -> Path:
    """A member a record, as archives are."""
    path.write_bytes(b"".join(gzip.compress(each, mtime=0) for each in records))
    return path
