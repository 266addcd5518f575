"""Licences as packages, files and trees state them, in SPDX's words."""

from __future__ import annotations

import json
import re
import tomllib

from license_expression import get_spdx_licensing

UNKNOWN_LICENSE = "NOASSERTION"

# Trove classifiers that name one SPDX licence; those that do not ("BSD License") are kept as LicenseRef.
CLASSIFIERS = {
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Apache Software License": "Apache-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Historical Permission Notice and Disclaimer (HPND)": "HPND",
    "BSD License": "LicenseRef-BSD",
}
# How the licence field spells those licences, in lower case.
SHORT_NAMES = {
    "mit": "MIT",
    "mit license": "MIT",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "LicenseRef-BSD",
    "bsd license": "LicenseRef-BSD",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd-2-clause": "BSD-2-Clause",
    "isc": "ISC",
    "mpl-2.0": "MPL-2.0",
    "mpl 2.0": "MPL-2.0",
    "psf-2.0": "PSF-2.0",
    "unlicense": "Unlicense",
}


def stated_license(written: str) -> str | None:
    """The SPDX expression that a metadata field states, by identifier or by a name in use for one; else None."""
    written = written.strip()
    return written if _is_expression(written) else SHORT_NAMES.get(written.lower())


def _is_expression(text: str) -> bool:
    """Whether a licence field holds an SPDX expression of licences that package metadata name."""
    known = {*CLASSIFIERS.values(), *SHORT_NAMES.values(), "AND", "OR"}
    return bool(text) and all(word in known for word in re.sub(r"[()]", " ", text).split())


# No expression that a person wrote is longer, and nesting costs the parser the stack.
_MOST_CHARS = 300


def spdx_expression(text: str) -> str | None:
    """An SPDX expression of known identifiers in its usual spelling, else None. Cargo's older ``A/B`` means A OR B."""
    text = " ".join(text.replace("/", " OR ").split())
    if not text or len(text) > _MOST_CHARS:
        return None
    try:
        return str(get_spdx_licensing().parse(text, validate=True, strict=True))
    except Exception:  # the parser has errors of its own for most of what is no expression, and Python's for the rest
        return None


_HEADER = re.compile(r"SPDX-License-Identifier:[ \t]*([^\r\n]+)")
# What may close a comment after an expression.
_COMMENT_END = re.compile(r"\s*(\*+/|-->|#\}|%>|\?>|\*\)|-\}|\]\]|\*+|\"+|'+)\s*$")


def header_license(text: str) -> str | None:
    """The expression of a file's ``SPDX-License-Identifier`` (https://spdx.dev/ids), or None."""
    found = _HEADER.search(text)
    return spdx_expression(_COMMENT_END.sub("", found[1])) if found else None


# Each licence by words of its own that no other has, in lower case with single spaces. A licence's text does not say
# whether a later version would do as well, so none is granted: the GNU licences are "only".
_BSD = "redistribution and use in source and binary forms, with or without modification, are permitted provided that"
_WORDINGS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    # licence, what its text has, what it has not
    ("MIT", ("permission is hereby granted, free of charge, to any person obtaining a copy",
             "the above copyright notice and this permission notice"), ()),
    ("MIT-0", ("permission is hereby granted, free of charge, to any person obtaining a copy",),
     ("the above copyright notice and this permission notice",)),
    ("ISC", ("with or without fee is hereby granted, provided that the above copyright notice and this permission "
             "notice appear in all copies", "modify, and"), ()),
    ("0BSD", ("with or without fee is hereby granted.",), ()),
    ("Apache-2.0", ("apache license version 2.0, january 2004",), ()),
    ("Apache-2.0", ("licensed under the apache license, version 2.0",), ("apache license version 2.0, january 2004",)),
    ("BSD-4-Clause", (_BSD, "all advertising materials mentioning features"), ()),
    ("BSD-3-Clause", (_BSD, "to endorse or promote products derived from this software"),
     ("all advertising materials mentioning features",)),
    ("BSD-2-Clause", (_BSD, "redistributions in binary form must reproduce"),
     ("to endorse or promote products derived from this software", "all advertising materials mentioning features")),
    ("GPL-2.0-only", ("gnu general public license version 2, june 1991",), ()),
    ("GPL-3.0-only", ("gnu general public license version 3, 29 june 2007",), ()),
    ("AGPL-3.0-only", ("gnu affero general public license version 3, 19 november 2007",), ()),
    ("LGPL-2.0-only", ("gnu library general public license version 2, june 1991",), ()),
    ("LGPL-2.1-only", ("gnu lesser general public license version 2.1, february 1999",), ()),
    ("LGPL-3.0-only", ("gnu lesser general public license version 3, 29 june 2007",), ()),
    ("MPL-2.0", ("mozilla public license version 2.0",), ()),
    ("MPL-2.0", ("mozilla public license, version 2.0",), ()),
    ("MPL-2.0", ("mozilla public license, v. 2.0",), ()),
    ("PSF-2.0", ("python software foundation license version 2",), ()),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",), ()),
    ("CC0-1.0", ("cc0 1.0 universal",), ()),
)  # fmt: skip


# Conditions that are written around or before the text of a known licence, and take away what it grants.
_RESTRICTIONS = ("commons clause", "business source license", "server side public license", "elastic license")


def recognised_license(text: str) -> str | None:
    """The licences whose own wording a licence file has, joined by AND; None if there is none that is known."""
    plain = " ".join(re.sub(r"[*#=>_`\"“”]+", " ", text).lower().replace("licence", "license").split())
    if any(words in plain for words in _RESTRICTIONS):
        return None
    found = {
        name
        for name, has, has_not in _WORDINGS
        if all(words in plain for words in has) and not any(words in plain for words in has_not)
    }
    return " AND ".join(sorted(found)) or None


def manifest_license(name: str, text: str) -> str | None:
    """The licence that a ``pyproject.toml``, ``Cargo.toml`` or ``package.json`` states, or None."""
    try:
        data = json.loads(text) if name == "package.json" else tomllib.loads(text)
    except (ValueError, RecursionError):
        return None
    section = {"pyproject.toml": "project", "Cargo.toml": "package"}.get(name)
    for key in (section,) if section else ():
        data = data.get(key) if isinstance(data, dict) else None
    stated = data.get("license") if isinstance(data, dict) else None
    if isinstance(stated, dict):  # {text: ...} of older Python projects, {type: ...} of older npm packages
        stated = stated.get("text") or stated.get("type")
    if not isinstance(stated, str):
        return None
    return spdx_expression(stated) or stated_license(stated) or recognised_license(stated)


MANIFESTS = ("pyproject.toml", "Cargo.toml", "package.json")
_LICENSE_FILE = re.compile(r"^(un)?licen[cs]e([-._].+)?$|^copying([-._].+)?$|^licen[cs]es\.(txt|md)$", re.IGNORECASE)


def is_license_file(name: str) -> bool:
    """Whether a file's name, without its folder, is one that licences are kept under."""
    return _LICENSE_FILE.match(name) is not None and not name.lower().endswith((".py", ".go", ".rs", ".js", ".ts"))
