"""The licence of each file of a source tree: by its own head, or by the nearest folder that states one."""

from __future__ import annotations

from pathlib import PurePosixPath

from plm_data.sources.licences import (
    MANIFESTS,
    UNKNOWN_LICENSE,
    header_license,
    is_license_file,
    manifest_license,
    recognised_license,
)

# A licence's text and a manifest are short; the end of a longer one is not looked at.
MOST_BYTES = 200_000
_HEAD_CHARS = 4096


def states_license(name: str) -> bool:
    """Whether a file is one that ``TreeLicences`` wants to know."""
    last = PurePosixPath(name).name
    return last in MANIFESTS or is_license_file(last)


class TreeLicences:
    """What the licence files and manifests of a tree say; ``add`` them all before asking."""

    def __init__(self) -> None:
        self._files: dict[str, set[str]] = {}
        self._manifests: dict[str, dict[str, str]] = {}

    def add(self, name: str, data: bytes) -> None:
        """A licence file or manifest, by its name in the tree."""
        path, text = PurePosixPath(name), data[:MOST_BYTES].decode("utf-8", "replace")
        folder = str(path.parent)
        if path.name in MANIFESTS:
            if stated := manifest_license(path.name, text):
                self._manifests.setdefault(folder, {})[path.name] = stated
        else:
            found = recognised_license(text)
            self._files.setdefault(folder, set()).update(found.split(" AND ") if found else ())

    def of(self, name: str, text: str) -> str:
        """The licence of a file with this text; ``NOASSERTION`` where nothing is stated that is understood.

        A licence file that is not understood is still the word of its folder: nothing above it is asked.
        """
        if own := header_license(text[:_HEAD_CHARS]):
            return own
        for folder in map(str, PurePosixPath(name).parents):
            if folder in self._files or folder in self._manifests:
                return self._stated(folder)
        return UNKNOWN_LICENSE

    def _stated(self, folder: str) -> str:
        files, manifests = self._files.get(folder, set()), self._manifests.get(folder, {})
        # The LGPL comes as an addition to the GPL, whose text lies beside it.
        if any(name.startswith("LGPL-") for name in files):
            files = {name for name in files if not name.startswith("GPL-")}
        # Several texts may be a choice or not; a manifest knows.
        if len(files) != 1 and manifests:
            return manifests[min(manifests)]
        return " AND ".join(sorted(files)) or UNKNOWN_LICENSE
