"""What the running Python environment holds: its standard library and its installed packages.

Names are made of the package and the path inside it, never of where the environment lies.
"""

from __future__ import annotations

import csv
import os
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from plm_data.sources.licences import CLASSIFIERS, UNKNOWN_LICENSE, stated_license

# This project itself, whose version and files change as it is worked on.
_OWN_DISTRIBUTION = "plm"
STDLIB = "stdlib"

_TEST_PART = re.compile(r"^(tests?|testing|_tests?|idle_test|test_.*|.*_tests?)$")
# Written by the build of the interpreter, with that machine's paths in it.
_MACHINE_FILE = re.compile(r"^_sysconfigdata_.*\.py$")


@dataclass(frozen=True)
class PythonFile:
    """A source file: ``name`` is ``package/path/inside.py``; ``size`` in bytes."""

    name: str
    path: str
    package: str
    license: str
    size: int


@lru_cache(maxsize=1)
def distributions() -> dict[str, metadata.Distribution]:
    """Installed distributions by normalised name, this project left out; the first on the path counts."""
    found: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        name = normal_name(distribution.metadata["Name"] or "")
        if name and name != _OWN_DISTRIBUTION:
            found.setdefault(name, distribution)
    return dict(sorted(found.items()))


def normal_name(name: str) -> str:
    """PEP 503: case and separators of a distribution's name do not count."""
    return re.sub(r"[-_.]+", "-", name).lower()


def license_of(distribution: metadata.Distribution) -> str:
    """The SPDX expression of a distribution's metadata, as far as it names one, else ``NOASSERTION``."""
    fields = distribution.metadata
    if expression := _first(fields, "License-Expression"):
        return expression
    from_classifiers = sorted(
        {
            spdx
            for classifier in fields.get_all("Classifier", [])
            if classifier.startswith("License ::") and (spdx := CLASSIFIERS.get(classifier.split(" :: ")[-1]))
        }
    )
    stated = stated_license(_first(fields, "License"))
    # A stated licence is more exact than a family of licences.
    if stated and (not from_classifiers or not stated.startswith("LicenseRef-")):
        return stated
    return " OR ".join(from_classifiers) or UNKNOWN_LICENSE


def _first(fields: metadata.PackageMetadata, name: str) -> str:
    return str((fields.get_all(name) or [""])[0])


def is_test(path: str) -> bool:
    """Whether a path inside a package is of its tests."""
    parts = path.removesuffix(".py").split("/")
    return any(_TEST_PART.match(part) for part in parts) or parts[-1] == "conftest"


@lru_cache(maxsize=4)
def python_files(packages: str | tuple[str, ...], exclude: tuple[str, ...]) -> tuple[PythonFile, ...]:
    """The ``.py`` files of the standard library and of installed packages, tests left out, by name."""
    wanted = None if packages == "all" else {normal_name(name) for name in packages}
    barred = {normal_name(name) for name in exclude}

    def taken(package: str) -> bool:
        return package not in barred and (wanted is None or package in wanted)

    files = [*_stdlib_files()] if taken(STDLIB) else []
    for package, distribution in distributions().items():
        if taken(package):
            files += _distribution_files(package, distribution)
    return tuple(sorted(files, key=lambda file: file.name))


def _stdlib_files() -> Iterator[PythonFile]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in ("site-packages", "dist-packages", "__pycache__")]
        for name in names:
            path = Path(folder, name)
            inside = path.relative_to(root).as_posix()
            if name.endswith(".py") and not is_test(inside) and not _MACHINE_FILE.match(name) and path.is_file():
                yield PythonFile(f"{STDLIB}/{inside}", str(path), STDLIB, "PSF-2.0", path.stat().st_size)


def _distribution_files(package: str, distribution: metadata.Distribution) -> Iterator[PythonFile]:
    license_name = license_of(distribution)
    # RECORD itself, because metadata's own list of files makes a slow object of each line.
    for row in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        inside = row[0] if row else ""
        # ".." leads out of the package (scripts); an editable install's finder holds this machine's paths.
        if not inside.endswith(".py") or inside.startswith(("..", "/", "__editable__")) or is_test(inside):
            continue
        path = str(distribution.locate_file(inside))
        if os.path.isfile(path):
            yield PythonFile(f"{package}/{inside}", path, package, license_name, os.path.getsize(path))
