"""The commands that tell why: what a person sees, and that bad input is one message and never a traceback."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from pipelines.cli import cli
from plm_data.build import Build
from plm_data.errors import PlmError

COMMANDS = ("explain", "samples", "near", "dedup")


@pytest.fixture
def ask(small_build: Build, small_recipe: Path):  # type: ignore[no-untyped-def]
    """Run a command on the small build; an error of the user's is raised, as ``main`` would print it."""

    def run(*arguments: str, recipe: bool = True, home: Path | None = None, input: bytes | None = None) -> Result:
        options = ["--home", str(home or small_build.home), *(["-r", str(small_recipe)] if recipe else [])]
        result = CliRunner().invoke(cli, [*arguments, *options], input=input)
        if isinstance(result.exception, PlmError):
            raise result.exception
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.fixture
def first(small_build: Build) -> dict:
    """A document that one rule dropped."""
    ledger = small_build.table("ledger").filter(pl.col("rule") == "gopher.min_words").collect().sort("id")
    return ledger.row(0, named=True)


def test_explain_tells_a_documents_story(ask, first: dict) -> None:  # type: ignore[no-untyped-def]
    result = ask("explain", first["id"])
    assert result.exit_code == 0
    assert f"id        {first['id']}" in result.output
    assert f"    {first['value']:.0f} is below the minimum of {first['threshold']:.0f}\n" in result.output
    assert ask("explain", first["id"][:14]).output == result.output


def test_explain_grep_tells_the_story_of_the_only_match_and_lists_several(ask, small_build: Build, first: dict) -> None:  # type: ignore[no-untyped-def]
    texts = pl.read_parquet(small_build.documents[first["source"]].parts()).filter(pl.col("id") == first["id"])
    text = texts["text"][0]
    assert ask("explain", "--grep", text).output == ask("explain", first["id"]).output
    several = ask("explain", "--grep", "Question: ", "-n", "3").output.splitlines()
    assert len([line for line in several if re.match(r"[0-9a-f]{32}  worked-maths  ", line)]) == 3
    assert several[-2:] == ["and more; make the text longer, or raise -n", "plm explain ID tells the story of one"]
    none = ask("explain", "--grep", "nowhere \x1b in it")
    assert none.exit_code == 1 and none.output == "no document of small holds “nowhere \\x1b in it”\n"


def test_explain_wants_either_an_id_or_a_text(ask) -> None:  # type: ignore[no-untyped-def]
    for arguments in (["explain"], ["explain", "a", "--grep", "b"], ["explain", "--grep", ""]):
        result = ask(*arguments)
        assert result.exit_code == 2 and "give either an ID, or --grep with a TEXT" in result.output


def test_samples_shows_both_sides_of_a_threshold(ask) -> None:  # type: ignore[no-untyped-def]
    output = ask("samples", "gopher.min_words", "-n", "2").output
    beyond, within = output.split("Just within it:")
    values = [float(value) for value in re.findall(r"^  ([\d.]+) \(minimum", beyond, re.MULTILINE)]
    limits = [float(value) for value in re.findall(r"\(minimum ([\d.]+)\)", beyond)]
    assert len(values) == 2 and all(value < limit for value, limit in zip(values, limits, strict=True))
    values = [float(value) for value in re.findall(r"^  ([\d.]+) \(minimum", within, re.MULTILINE)]
    assert len(values) == 2 and min(values) >= 20
    assert "dropped by gopher.min_words" in beyond and "      | " in beyond
    with pytest.raises(PlmError, match="did you mean gopher.min_words"):
        ask("samples", "gopher.minwords")
    # A wrong rule is told before the home is looked at.
    with pytest.raises(PlmError, match="no rule"):
        ask("samples", "nothing", recipe=False, home=Path("/nonexistent"))


def test_samples_of_duplicates_are_pairs(ask, small_build: Build) -> None:  # type: ignore[no-untyped-def]
    fired = small_build.table("ledger").filter(pl.col("rule") == "dedup.near").collect()
    output = ask("samples", "dedup.near").output
    if fired.height:
        assert f"It fired on {fired.height:,} document" in output and "Jaccard" in output
    else:
        assert output == "dedup.near\nIt fired nowhere.\n"


def test_near_takes_a_text_a_file_or_standard_input(ask, small_build: Build, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    row = pl.read_parquet(small_build.documents["python-code"].parts()).sort("bytes").row(-1, named=True)
    file = tmp_path / "text.txt"
    file.write_text(row["text"].upper() + "\nand a line more", encoding="utf-8")
    output = ask("near", str(file)).output
    assert re.search(rf"  ~(0\.9\d|1\.00)  {row['id']}  python-code  ", output)
    assert f"{len(file.read_text().split()):,} words; " in output
    assert ask("near", "-", input=file.read_bytes()).output == output
    assert "documents of small near it: 0\n" in ask("near", "x" * 5000 + " and \x00 so on").output
    with pytest.raises(PlmError, match="no words"):
        ask("near", "…")
    with pytest.raises(PlmError, match="is a folder"):
        ask("near", str(tmp_path))


def test_dedup_names_what_a_corpus_has_of_another(small_build: Build, small_recipe: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    phase = pl.read_parquet(sorted((small_build.folder / "phase1").glob("*.parquet"))).sort("tokens")
    long = phase.filter(pl.col("source") == "python-code").row(-1, named=True)
    kept = phase.filter(pl.col("source") == "worked-maths").row(0, named=True)
    rows = pl.DataFrame(
        {
            "url": ["same", "near", "new"],
            "body": [kept["text"] + "\n\n", long["text"] + " and more", "nothing of this kind is there"],
        }
    )
    rows.write_ndjson(mine)
    with mine.open("a", encoding="utf-8") as file:
        file.write('{"url": "cut off\n{}\n[\n')
    found = tmp_path / "found.parquet"

    def run(against: str, *options: str) -> str:
        command = ["dedup", str(mine), "--against", against, "--text-column", "body", "--id-column", "url", *options]
        result = CliRunner().invoke(cli, [*command, "--home", str(small_build.home)])
        assert result.exit_code == 0, result.output
        return result.output

    output = run(str(small_build.folder / "phase1"), "--out", str(found))
    assert re.search(r"of B in A +2 +66\.67%\n  exact +1 +33\.33%.*\n  near +1 +33\.33%", output)
    assert f"B: {mine}, 3 documents" in output and f"phase1, {phase.height} documents" in output
    assert "3 rows of B could not be read (not-json 2, no-text 1)\n" in output and "rows of A" not in output
    matches = pl.read_parquet(found)
    assert matches.select("b_id", "a_id", "kind").rows() == [
        ("same", kept["id"], "exact"),
        ("near", long["id"], "near"),
    ]
    assert matches["jaccard"][0] == 1.0 and 0.95 < matches["jaccard"][1] < 1
    assert matches.columns == ["b_id", "b_file", "a_id", "a_file", "kind", "jaccard"]
    # The recipe's kept documents are more than a phase's.
    documents = small_build.table("verdicts").filter(pl.col("verdict") == "kept").collect().height
    assert f"A: {small_recipe}, {documents:,} documents" in run(str(small_recipe))


def test_dedup_tells_what_it_cannot_read(ask, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    def dedup(b: str, *options: str) -> Result:
        return ask("dedup", b, "--against", str(tmp_path), *options, recipe=False)

    (tmp_path / "a.jsonl").write_text('{"key": 1}\n', encoding="utf-8")
    with pytest.raises(PlmError, match="nowhere: no such file or folder, and no recipe of this name"):
        dedup("nowhere")
    with pytest.raises(PlmError, match=r"a.jsonl:1: no-text \(column 'text': missing\)"):
        dedup(str(tmp_path))
    with pytest.raises(PlmError, match="there is no folder"):
        dedup(str(tmp_path), "--out", str(tmp_path / "no" / "x.parquet"))
    other = tmp_path / "b.csv"
    other.touch()
    with pytest.raises(PlmError, match=r"b.csv has a suffix that the reader 'files' does not know"):
        dedup(str(other))


def test_the_recipe_is_the_only_one_built_in_the_home(
    ask, small_build: Build, small_recipe: Path, first: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    home = tmp_path / "home"
    with pytest.raises(PlmError, match="nothing is built here; run `plm build RECIPE` first"):
        ask("explain", first["id"], recipe=False, home=home)
    (home / "small").mkdir(parents=True)
    (home / "store").symlink_to(small_build.home / "store")
    (home / "small" / "report.json").touch()
    with pytest.raises(PlmError, match=r"small, whose recipe is not in recipes/; name its file with `-r FILE.yaml`"):
        ask("explain", first["id"], recipe=False, home=home)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "small.yaml").write_bytes(small_recipe.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert "is below the minimum" in ask("explain", first["id"], recipe=False, home=home).output
    (home / "other").mkdir()
    (home / "other" / "report.json").touch()
    with pytest.raises(PlmError, match="has 2 recipes: other, small; say which is meant, such as with `-r other`"):
        ask("explain", first["id"], recipe=False, home=home)


def test_a_recipe_that_is_not_built_is_not_built_by_asking(ask, first: dict, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for command in (["explain", first["id"]], ["samples", "gopher.min_words"], ["near", "some words"]):
        with pytest.raises(PlmError, match="not built from the recipe.*run `plm build small`"):
            ask(*command, home=tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_and_its_help_imports_nothing_heavy(command: str) -> None:
    result = CliRunner().invoke(cli, [command, "--help"])
    assert f"Example: plm {command} " in result.output and "--home" in result.output
    code = f"import sys; from pipelines.cli import cli; cli(['{command}', '--help'], standalone_mode=False); sys.exit('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
