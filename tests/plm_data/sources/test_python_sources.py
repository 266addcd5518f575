"""The local Python environment as a source."""

from __future__ import annotations

import ast
from importlib import metadata
from pathlib import Path

import pytest

from plm_data.errors import RecipeError
from plm_data.recipe_sources import PythonSource, ReadmeSource
from plm_data.sources import python_files as module
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.package_readmes import ReadmeReader
from plm_data.sources.python_env import PythonFile, distributions, is_test, license_of, python_files
from plm_data.sources.python_files import PythonFilesReader, documentation


def spec(reader: str = "python-code", **options: object) -> PythonSource:
    common = {"reader": reader, "domain": "code", "language": "python", "license": "x", "priority": 1}
    return PythonSource.model_validate(common | options)


@pytest.mark.parametrize(
    "path", ["pkg/tests/a.py", "pkg/test_a.py", "pkg/a_test.py", "pkg/conftest.py", "test/a.py", "pkg/testing/x.py"]
)
def test_tests_are_left_out(path: str) -> None:
    assert is_test(path)


@pytest.mark.parametrize("path", ["pkg/attest.py", "pkg/contest.py", "pkg/latest/a.py", "pkg/tester.py", "doctest.py"])
def test_what_only_looks_like_a_test_stays(path: str) -> None:
    assert not is_test(path)


def test_names_are_of_the_package_and_never_of_the_machine() -> None:
    files = python_files(("click", "stdlib"), ())
    names = {file.name for file in files}
    assert "click/click/core.py" in names and "stdlib/json/decoder.py" in names
    assert not any(name.startswith("/") or ".." in name or "site-packages" in name for name in names)
    assert {file.license for file in files if file.package == "stdlib"} == {"PSF-2.0"}
    assert "plm" not in distributions()


def test_all_packages_but_those_excluded() -> None:
    packages = {file.package for file in python_files("all", ("pip", "Torch"))}
    assert "click" in packages and "stdlib" in packages and not packages & {"pip", "torch"}


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(RecipeError, match=r"sources\.code\.packages names 'no-such'"):
        PythonFilesReader("code", spec(packages=["click", "no-such"])).size_bound()


def test_max_bytes_takes_a_sample_that_a_larger_one_holds() -> None:
    def names(limit: int) -> set[str]:
        reader = PythonFilesReader("code", spec(packages=["click", "jinja2"], max_bytes=limit))
        bound = reader.size_bound()
        found = {item.name for p in range(2) for item in reader.read(p, 2)}
        assert 0 < bound <= limit
        return found

    assert names(150_000) < names(500_000)


def test_the_fingerprint_follows_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.py"

    def fingerprint(text: str, folder: Path = tmp_path) -> str:
        path = folder / "a.py"
        path.write_text(text)
        files = (PythonFile("pkg/a.py", str(path), "pkg", "MIT", len(text)),)
        monkeypatch.setattr(module, "python_files", lambda *_: files)
        return PythonFilesReader("code", spec()).fingerprint()

    one = fingerprint("x = 1\n")
    (tmp_path / "elsewhere").mkdir()
    assert fingerprint("x = 1\n", tmp_path / "elsewhere") == one
    assert fingerprint("x = 2\n") != one
    assert file.exists()


@pytest.mark.parametrize(
    "data, reason",
    [(b"def f(:\n", "does-not-parse"), (b"x = '\xff'\n", "does-not-parse"), (b"# coding: nonsense\n", "does-not-parse"),
     (b"x = 1\0\n", "does-not-parse"), (b"  \n", "empty-file")],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, reason: str
) -> None:
    (tmp_path / "a.py").write_bytes(data)
    files = (PythonFile("pkg/a.py", str(tmp_path / "a.py"), "pkg", "MIT", len(data)),)
    monkeypatch.setattr(module, "python_files", lambda *_: files)
    (item,) = PythonFilesReader("code", spec()).read(0, 1)
    assert isinstance(item, Rejected) and item.reason == reason
    assert item.verdict == ("dropped" if reason == "empty-file" else "quarantined")


def test_a_latin_1_file_that_says_so_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_bytes("# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"))
    files = (PythonFile("pkg/a.py", str(tmp_path / "a.py"), "pkg", "MIT", 1),)
    monkeypatch.setattr(module, "python_files", lambda *_: files)
    (item,) = PythonFilesReader("code", spec()).read(0, 1)
    assert isinstance(item, Raw) and "é" in item.text


SOURCE = '''"""The module's documentation, which is long enough to be of use to somebody who reads it."""

class Box:
    """A box that holds things. It is documented at some length, so that it counts as prose."""

    def open(self, key, *, gently=True, **options):
        """Open the box with a key, gently unless told otherwise; raises an error if it does not fit."""

    def _hidden(self):
        """This one is private, however long its documentation may be, and so it is left out of the prose."""

    def short(self):
        """Too short."""
'''


def test_documentation_is_docstrings_under_their_names() -> None:
    text = documentation(ast.parse(SOURCE), "pkg.box")
    assert text.startswith("pkg.box\n\nThe module's documentation")
    assert "\n\npkg.box.Box\n\nA box that holds things." in text
    assert "\n\npkg.box.Box.open(key, gently, **options)\n\nOpen the box" in text
    assert "private" not in text and "Too short" not in text


def test_docs_of_a_real_package_are_prose_with_its_licence() -> None:
    items = list(PythonFilesReader("docs", spec("python-docs", packages=["click"])).read(0, 1))
    raws = {item.name: item for item in items if isinstance(item, Raw)}
    refused = [item for item in items if isinstance(item, Rejected)]
    assert "click.core.Command" in raws["click/click/core.py"].text
    assert raws["click/click/core.py"].license == "BSD-3-Clause"
    assert all(item.reason == "little-documentation" and item.verdict == "dropped" for item in refused)


def test_readmes_are_the_descriptions_of_the_packages() -> None:
    source = ReadmeSource(
        reader="package-readmes", domain="web", language="en", license="x", priority=1, exclude=("click",)
    )
    items = {item.name: item for p in range(3) for item in ReadmeReader("readmes", source).read(p, 3)}
    assert isinstance(items["jinja2"], Raw) and "template" in items["jinja2"].text
    assert "click" not in items and "plm" not in items
    assert set(items) | {"click"} == set(distributions())


@pytest.mark.parametrize(
    "headers, expected",
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: GPL", "MIT OR Apache-2.0"),
        ("License: Apache 2.0 License", "Apache-2.0"),
        ("Classifier: License :: OSI Approved :: MIT License", "MIT"),
        ("License: BSD-2-Clause\nClassifier: License :: OSI Approved :: BSD License", "BSD-2-Clause"),
        ("License: BSD\nClassifier: License :: OSI Approved :: MIT License", "MIT"),
        ("License: a long text of its own", "NOASSERTION"),
        ("Summary: nothing", "NOASSERTION"),
    ],
)
def test_licences_as_the_metadata_names_them(tmp_path: Path, headers: str, expected: str) -> None:
    folder = tmp_path / "a-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: a\nVersion: 1\n{headers}\n")
    assert license_of(metadata.Distribution.at(folder)) == expected
