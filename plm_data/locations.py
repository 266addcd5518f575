"""Where data may lie: paths of this machine, and URLs that carry no secret."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
# Names of query parameters that sign a URL, or that give the one who asks a right.
_SIGNED = re.compile(
    r"^(x-(amz|goog|ms|oss)-.*|aws-?access-?key-?id|google-?access-?id|key-?pair-?id|(.*[_-])?(signature|credentials?"
    r"|token|secret|password|passwd)|(api|access)[_-]?key|key|sig|auth|authorization|policy)$",
    re.IGNORECASE,
)
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'\"]*@")
_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s'\"?]*)\?[^\s'\")\]>,]*")


def is_remote(location: str) -> bool:
    """Whether a location is a URL of anything but this machine's own file system."""
    return bool(_SCHEME.match(location)) and not location.lower().startswith("file://")


def redacted(text: str) -> str:
    """A text in which no URL has its user, password or query any more, so that it can be shown."""
    return _QUERY.sub(r"\1?…", _USER.sub(r"\1…@", text))


def _plain(location: str) -> str:
    if "://" not in location:
        return location
    if "::" in location:
        raise ValueError("chained URLs (::) are not read; name the file itself, archives are opened as they lie")
    parts = urlsplit(location)
    if "@" in parts.netloc:
        raise ValueError(
            "the URL carries a user or password; give credentials in the environment (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY for s3://, or the store's own configuration), never in a recipe"
        )
    signed = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if _SIGNED.match(name)]
    if signed:
        raise ValueError(
            f"the URL's query carries a credential ({', '.join(signed)}); a signed URL is a secret and expires: name "
            f"the file by its plain location, and give credentials in the environment"
        )
    return location


Location = Annotated[str, Field(min_length=1), AfterValidator(_plain)]
"""A recipe's value: a local path, or a URL without credentials."""
