"""The README's own recipe builds, and its commands exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines import cli
from plm_data.recipe_sources import PythonSource
from plm_data.sources.base import Raw
from plm_data.sources.python_files import PythonFilesReader

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_recipe_in_the_readme_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    # Its budget is for more text than a test has.
    Path("mine.yaml").write_text(text.replace("5M", "2K") + "tokenizer: {vocab_size: 600}\n", encoding="utf-8")
    Path("data").mkdir()
    spec = {
        "reader": "python-docs",
        "domain": "docs",
        "language": "en",
        "license": "x",
        "priority": 1,
        "packages": ["stdlib"],
        "max_bytes": 2_000_000,
    }
    found = PythonFilesReader("docs", PythonSource.model_validate(spec)).read(0, 1)
    rows = [json.dumps({"url": raw.name, "content": raw.text}) + "\n" for raw in found if isinstance(raw, Raw)]
    Path("data/rows.jsonl").write_text("".join(rows), encoding="utf-8")
    result = CliRunner().invoke(cli.cli, ["build", "mine.yaml", "--workers", "1"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "build/mine/phase1/manifest.json").is_file()


def test_every_plm_command_in_the_readme_exists() -> None:
    named = set(re.findall(r"^    plm (\w[\w-]*)", README, re.MULTILINE))
    assert named == set(cli.cli.commands)
