"""The licence that a web page gives itself: marked with ``rel=license``, or a Creative Commons link in its footer.

A Creative Commons link anywhere else says nothing of the page: most such links are credits of a picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from license_expression import get_license_index

_CREATIVE_COMMONS = re.compile(
    r"^(?:https?:)?//(?:www\.)?creativecommons\.org/"
    r"(?:licen[sc]es/(?P<terms>[a-z]+(?:-[a-z]+)*)/(?P<version>\d\.\d)(?:/(?P<port>[a-z]{2,3}))?"
    r"|publicdomain/(?P<dedication>zero|mark)/1\.0)(?![\w.])",
    re.IGNORECASE,
)
_DEDICATIONS = {"zero": "CC0-1.0", "mark": "CC-PDM-1.0"}
# The first versions named no derivatives before non-commercial.
_ORDER = {"by-nd-nc": "by-nc-nd"}


def page_licence(marked: Iterable[str], in_footer: Iterable[str]) -> str | None:
    """SPDX expression of the licence; None if the page gives none that is known.

    ``marked``: addresses of the links that say ``rel=license``; ``in_footer``: of all links in a footer. Of several
    licences all hold (``AND``): nobody can say which part of the text each is for.
    """
    for addresses in (marked, in_footer):
        if found := {name for address in addresses if (name := creative_commons(address))}:
            return " AND ".join(sorted(found))
    return None


def creative_commons(address: str) -> str | None:
    """SPDX identifier of the licence at an address of Creative Commons; None for any other address.

    A port to a country's law that SPDX does not list goes by the licence that it is a port of.
    """
    found = _CREATIVE_COMMONS.match(address.strip())
    if found is None:
        return None
    if dedication := found["dedication"]:
        return _DEDICATIONS[dedication.lower()]
    terms = found["terms"].lower()
    name = f"CC-{_ORDER.get(terms, terms)}-{found['version']}".upper()
    port = f"{name}-{(found['port'] or '').upper()}"
    return next((each for each in (port, name) if each in _spdx()), None)


@lru_cache(maxsize=1)
def _spdx() -> frozenset[str]:
    return frozenset(key for entry in get_license_index() if (key := entry.get("spdx_license_key")))
