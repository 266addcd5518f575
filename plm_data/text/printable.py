"""Text of a corpus as a terminal may show it. It is anybody's text, and may hold what a terminal obeys."""

from __future__ import annotations

import unicodedata

# Controls, bidirectional and other format characters, surrogates, private use, line and paragraph separators.
_ESCAPED = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
# Joiners shape letters and emoji, and steer nothing.
_HARMLESS = ("\u200c", "\u200d")
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def printable(text: str, keep: str = "") -> str:
    """The text with everything that steers a terminal, or hides in one, written out (``\\x1b``); ``keep`` stays."""
    return "".join(
        character
        if character in keep
        or character in _HARMLESS
        or unicodedata.category(character) not in _ESCAPED
        else _NAMED.get(character) or _escape(ord(character))
        for character in text
    )  # fmt: skip


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def clip(text: str, chars: int) -> str:
    """The text on one line, printable, at most ``chars`` long."""
    # What is cut anyway need not be escaped.
    shown = printable(text[: chars + 1])
    return shown if len(shown) <= chars and len(text) <= chars else shown[: chars - 1] + "…"


def quote(text: str, chars: int) -> str:
    """The text as a quotation of at most ``chars``."""
    return f"“{clip(text, chars - 2)}”"


def excerpt(text: str, chars: int = 280, indent: str = "    ") -> str:
    """The start of a text, its lines indented."""
    shown = printable(text[:chars], keep="\n") + ("…" if len(text) > chars else "")
    return "\n".join(indent + line for line in shown.split("\n"))
