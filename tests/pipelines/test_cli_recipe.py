"""plm new, plm check and plm schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines import cli
from pipelines.new_recipe import recipe_text
from plm_data.recipe_file import load_recipe
from plm_data.recipe_schema import schema_text
from plm_data.recipe_sources import PythonSource
from plm_data.sources.base import Raw
from plm_data.sources.python_files import PythonFilesReader
from tests.conftest import SMALL


def plm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:  # fmt: skip
    """Exit code, what is said, and what is said of errors."""
    monkeypatch.setattr("sys.argv", ["plm", *arguments])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("reader", ["python", "files"])
def test_a_new_recipe_passes_its_check_and_builds(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reader: str
) -> None:
    code, said, _ = plm(monkeypatch, capsys, "new", "first", "--reader", reader)
    assert code == 0 and "first.yaml: written" in said
    if reader == "files":
        (here / "data").mkdir()
        keys = {"reader": "python-docs", "domain": "docs", "language": "en", "license": "x", "priority": 1}
        spec = PythonSource.model_validate({**keys, "packages": ["stdlib"], "max_bytes": 2_000_000})
        found = PythonFilesReader("docs", spec).read(0, 1)
        rows = [json.dumps({"text": raw.text}) + "\n" for raw in found if isinstance(raw, Raw)]
        (here / "data" / "rows.jsonl").write_text("".join(rows), encoding="utf-8")
    code, said, err = plm(monkeypatch, capsys, "check", "first.yaml")
    assert (code, err) == (0, "") and "ok: first.yaml" in said and "feasible by what is known" in said
    code, said, err = plm(monkeypatch, capsys, "build", "first.yaml", "--workers", "1")
    assert code == 0, err
    for phase in ("phase1", "phase2", "phase3"):
        assert (here / "build" / "first" / phase / "manifest.json").is_file()


def test_a_new_recipe_of_the_hub_is_planned(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plm(monkeypatch, capsys, "new", "--reader", "hub")[0] == 0
    code, said, err = plm(monkeypatch, capsys, "check", "mine.yaml")
    assert (code, err) == (0, "") and "web (hub, web, en)" in said
    assert plm(monkeypatch, capsys, "plan", "mine.yaml", "--rate", "1")[0] == 0


def test_a_new_recipe_is_never_written_over_a_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine.yaml").write_text("precious", encoding="utf-8")
    code, _, err = plm(monkeypatch, capsys, "new")
    assert code == 2 and "mine.yaml: is there already" in err
    assert (here / "mine.yaml").read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize("name", ["Mine", "../mine", "a b"])
def test_a_name_that_no_recipe_can_have_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code, _, err = plm(monkeypatch, capsys, "new", name)
    assert code == 2 and "cannot be a recipe's name" in err
    assert list(here.iterdir()) == [] and list(here.parent.glob("mine.yaml")) == []


@pytest.mark.parametrize("reader", ["python", "files", "hub"])
def test_every_line_of_a_new_recipe_is_within_the_width_and_loads(here: Path, reader: str) -> None:
    text = recipe_text("mine", reader)
    assert max(map(len, text.splitlines())) <= 120 and text.count("#") > 20
    (here / "mine.yaml").write_text(text, encoding="utf-8")
    assert load_recipe("mine.yaml").name == "mine"


def check(
    here: Path, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    (here / "r.yaml").write_text(text, encoding="utf-8")
    code, said, err = plm(monkeypatch, capsys, "check", "r.yaml")
    assert bool(said) != bool(err)
    return code, said or err


def test_check_says_the_facts_on_one_screen(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = check(here, SMALL, monkeypatch, capsys)
    assert code == 0 and len(said.splitlines()) < 24
    for part in ("ok: r.yaml: recipe small", "phase2: decay, 20,000 tokens", "60,000 tokens, feasible", "parameters"):
        assert part in said
    strategy = SMALL.replace(
        "mix: {python-code: 0.6, python-docs: 0.2, worked-maths: 0.2}}", "mix: {strategy: unimax}}"
    )
    code, said = check(here, strategy, monkeypatch, capsys)
    assert code == 0 and "to be planned by counted tokens" in said


def test_check_says_everything_that_is_wrong_at_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = SMALL.replace("seed: 7", "seed: seven").replace("partitions: 3", "partition: 3")
    code, err = check(here, keys, monkeypatch, capsys)
    assert code == 2 and "r.yaml:2: seed: " in err and "r.yaml:3: unknown key 'partition'" in err
    names = SMALL.replace("python-docs: 0.2,", "dox: 0.3,").replace("package-readmes: 0.4", "package-readmes: 0.5")
    code, err = check(here, names, monkeypatch, capsys)
    assert code == 2
    for part in ("names the source 'dox'", "phases.phase1.mix sum to 1.1", "phases.phase2.mix sum to 1.1"):
        assert part in err
    work = SMALL.replace("tokens: 40K", "tokens: 40M").replace("qk_rope_head_dim: 8", "qk_rope_head_dim: 7")
    code, err = check(here, work, monkeypatch, capsys)
    lines = work.splitlines()
    phase, model = (
        next(i for i, line in enumerate(lines, 1) if key in line) for key in ("phase1:", "qk_rope_head_dim")
    )
    assert code == 2 and f"r.yaml:{phase}: phase1 asks" in err and "largest feasible budget" in err
    assert f"r.yaml:{model}: model.qk_rope_head_dim: found 7" in err


@pytest.mark.parametrize(
    "old, new, part",
    [
        ("warmup_tokens: 5K", "warmup_tokens: 50K", "train.warmup_tokens: found 50000"),
        ("final_learning_rate: 0.001", "final_learning_rate: 0.1", "train.final_learning_rate: found 0.1"),
        ("sequence_length: 128", "sequence_length: 256", "train.sequence_length is 256"),
        ("packages: [click, tqdm, jinja2]}\n  python-docs", "packages: [no-such]}\n  python-docs", "not installed"),
        ("max_position_embeddings: 128}", "max_position_embeddings: 128, vocab_size: 600}", "model.vocab_size is 600"),
    ],
)
def test_check_says_what_the_trainer_would_refuse(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], old: str, new: str, part: str
) -> None:
    text = SMALL.replace(old, new)
    code, err = check(here, text, monkeypatch, capsys)
    line = next(i for i, line in enumerate(text.splitlines(), 1) if new.splitlines()[0] in line)
    assert code == 2 and f"r.yaml:{line}: " in err and part in err


def test_an_embedding_may_be_padded_but_not_too_small(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    padded = SMALL.replace("max_position_embeddings: 128}", "max_position_embeddings: 128, vocab_size: 768}")
    plain, wide = (check(here, text, monkeypatch, capsys)[1] for text in (SMALL, padded))
    (before,), (after,) = ([line for line in said.splitlines() if "parameters" in line] for said in (plain, wide))
    count = [int(line.split()[1].replace(",", "")) for line in (before, after)]
    assert count[1] - count[0] == (768 - 700) * 32


def test_schema_prints_the_published_schema() -> None:
    result = CliRunner().invoke(cli.cli, ["schema"])
    assert result.output == schema_text() and json.loads(result.output)["$schema"].endswith("2020-12/schema")


def test_help_has_an_example_for_every_command() -> None:
    for name in ("plan", "new", "check", "schema"):
        result = CliRunner().invoke(cli.cli, [name, "--help"])
        assert result.exit_code == 0 and f"Example: plm {name}" in result.output
