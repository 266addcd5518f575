"""Recipes: what is wrong is said with file, line and key, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pipelines import cli
from plm_data.errors import RecipeError
from plm_data.recipe import thresholds
from plm_data.recipe_file import find_recipe, load_recipe
from plm_data.recipe_keys import parse_count
from plm_data.rules import RULE_SETS
from tests.conftest import SMALL


def broken(tmp_path: Path, old: str, new: str) -> Path:
    assert old in SMALL
    path = tmp_path / "broken.yaml"
    path.write_text(SMALL.replace(old, new, 1), encoding="utf-8")
    return path


CASES = {
    "unknown key": ("partitions: 3", "partition: 3", ["broken.yaml:3", "unknown key 'partition'", "partitions"]),
    "unknown nested key": (
        "train_bytes: 200KB", "train_byte: 200KB", ["broken.yaml:5", "'tokenizer.train_byte'", "train_bytes"],
    ),
    "unknown rule": (
        "c4: {max_curly_brackets: null}", "c4: {max_curly: 1}", ["curate.c4.max_curly", "max_curly_brackets"],
    ),
    "weights": ("python-docs: 0.2, worked-maths: 0.2}}", "python-docs: 0.3, worked-maths: 0.2}}", ["sum to 1.1", "phases.phase1.mix"]),
    "weights just off": ("python-docs: 0.2, worked-maths: 0.2}}", "python-docs: 0.2000001, worked-maths: 0.2}}", ["expected 1"]),
    "missing source": ("mix: {python-code: 0.6, python-docs: 0.2", "mix: {python-code: 0.6, docs: 0.2", ["'docs'", "python-docs", "broken.yaml:"]),
    "missing key": ("seed: 7\n", "", ["'seed' is missing"]),
    "repeated key": ("seed: 7\n", "seed: 7\nseed: 8\n", ["broken.yaml:3", "'seed' stands twice"]),
    "segments": ("segment: decay", "segment: stable, max: 1", ["unknown key", "phases.phase2.max"]),
    "reserved phase": ("  phase2: {segment", "  model: {segment", ["a phase cannot be called 'model'"]),
    "segment order": ("segment: stable", "segment: constant", ["stable first"]),
    "unknown reader": ("reader: package-readmes", "reader: readmes", ["sources.package-readmes.reader: no reader 'readmes'; expected", "files, hub"]),
    "no reader": ("reader: package-readmes, ", "", ["the key 'sources.package-readmes.reader' is missing"]),
    "unknown key of a source": ("documents: 300,", "documents: 300, document: 3,", ["unknown key 'sources.worked-maths.document'; known here: domain,", "documents, seed"]),
    "negative budget": ("tokens: 40K", "tokens: -40", ["phases.phase1.tokens"]),
    "not yaml": ("seed: 7", "seed: [7", ["not valid YAML", "broken.yaml:"]),
    "a tag": ("seed: 7", "seed: !!python/object:os.system 7", ["broken.yaml:2", "a recipe is plain data"]),
    "a list as key": ("seed: 7", "? [a]\n: 7\nseed: 7", ["broken.yaml:2", "expected a name as the key"]),
    "nothing": ("phases:\n", "phases: null\nx:\n", ["phases", "unknown key 'x'"]),
    "no such day": ("seed: 7", "seed: 7\ndescription: 2020-13-45", ["month must be in 1..12"]),
    "itself": ("seed: 7", "seed: 7\ndescription: &a [*a]", ["a recipe is plain data"]),
    "no number": ("min_words: 20", "min_words: .nan", ["finite number"]),
    "infinite": ("seed: 7", "seed: 7\nmax_epochs: .inf", ["max_epochs", "finite number"]),
    "reserved name": ("name: small", "name: store", ["broken.yaml:1", "'store'"]),
    "override of nothing": ("    docs: {repetition", "    dox: {repetition", ["curate.domains", "'dox'"]),
    "override of no language": ("  guardrails:", "  languages: {fr: {gopher: null}}\n  guardrails:", ["broken.yaml:2", "curate.languages", "'fr'", "en, python"]),
    "no such measure": ("  guardrails:", "  dedup: {quality: -beauty}\n  guardrails:", ["curate.dedup", "no measure 'beauty'", "alpha_words"]),
    "no similarity": ("  guardrails:", "  dedup: {min_jaccard: 1.1}\n  guardrails:", ["curate.dedup.min_jaccard", "(found 1.1)"]),
    "no such lines": ("documents: 300, dedup: exact", "documents: 300, lines: c5", ["sources.worked-maths.lines", "'c4'"]),
    "no stop words": ("  guardrails:", "  languages: {en: {stop_words: []}}\n  guardrails:", ["curate.languages.en.stop_words"]),
    "banding": ("  guardrails:", "  dedup: {bands: 20}\n  guardrails:", ["bands and rows go together"]),
}  # fmt: skip


@pytest.mark.parametrize("old, new, parts", CASES.values(), ids=CASES.keys())
def test_a_wrong_recipe_is_refused_with_its_line(tmp_path: Path, old: str, new: str, parts: list[str]) -> None:
    path = broken(tmp_path, old, new)
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    for part in parts:
        assert part in str(error.value)


def test_a_stop_word_of_two_words_is_refused(tmp_path: Path) -> None:
    path = broken(tmp_path, "  guardrails:", '  languages: {en: {stop_words: ["of the"]}}\n  guardrails:')
    with pytest.raises(RecipeError, match="curate.languages.en.stop_words.*'of the'"):
        load_recipe(path)


@pytest.mark.parametrize(
    "old, new, part",
    [
        ("partitions: 3", "partition: 3", "unknown key"),
        ("python-docs: 0.2, worked-maths: 0.2}}", "python-docs: 0.3, worked-maths: 0.2}}", "sum to 1.1"),
        ("mix: {python-code: 0.6, python-docs: 0.2", "mix: {python-code: 0.6, docs: 0.2", "'docs'"),
        ("tokens: 40K", "tokens: 40M", "largest feasible budget"),
        ("  guardrails:", "  dedup: {permutations: 64}\n  guardrails:", "need 112 permutations"),
        ("  guardrails:", "  dedup: {threshold: 0.99}\n  guardrails:", "no banding of 112 permutations"),
        ("packages: [click, tqdm, jinja2]}\n  python-docs", "packages: [no-such-thing]}\n  python-docs", "not installed"),
    ],
)  # fmt: skip
def test_the_command_says_it_in_one_message_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], old: str, new: str, part: str
) -> None:
    path, home = broken(tmp_path, old, new), tmp_path / "home"
    monkeypatch.setattr("sys.argv", ["plm", "build", str(path), "--home", str(home)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert part in said.err and said.err.startswith("plm: ") and "Traceback" not in said.err
    assert said.out == ""
    assert not home.exists()


def test_the_small_recipe_and_all_shipped_ones_load(small_recipe: Path) -> None:
    shipped = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
    assert [path.stem for path in shipped] and all(load_recipe(path).name == path.stem for path in shipped)
    assert load_recipe(small_recipe).name == "small"


def test_a_bare_name_finds_the_shipped_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe("nano").name == "nano.yaml"
    with pytest.raises(RecipeError, match="known here: .*nano"):
        find_recipe("nanoo")
    with pytest.raises(RecipeError, match="no such recipe"):
        find_recipe("recipes/none.yaml")


@pytest.mark.parametrize(
    "text, number", [("1.5M", 1_500_000), ("20MB", 20_000_000), ("1_000", 1000), ("2T", 2 * 10**12), ("3k", 3000)]
)
def test_counts_may_have_suffixes(text: str, number: int) -> None:
    assert parse_count(text) == number


@pytest.mark.parametrize("text", ["1.23456K", "M", "12 apples", "-3M", "1e6"])
def test_what_is_no_count_is_left_for_the_schema_to_refuse(text: str) -> None:
    assert parse_count(text) == text


@given(st.integers(min_value=1, max_value=10**15))
def test_a_count_written_out_is_itself(number: int) -> None:
    assert parse_count(f"{number:_}") == number


def test_thresholds_come_from_source_over_domain_over_language_over_recipe(tmp_path: Path) -> None:
    path = tmp_path / "layers.yaml"
    extra = (
        "  sources:\n    python-code: {gopher: {min_words: 5}}\n"
        "  languages:\n    python: {gopher: {min_words: 6, min_alpha_words: 0.1, max_words: 7000}}\n"
        "    en: {gopher: {min_stop_words: 1}, fineweb: {max_short_lines: 0.9}}\n  guardrails:"
    )
    path.write_text(SMALL.replace("  guardrails:", extra, 1), encoding="utf-8")
    recipe = load_recipe(path)
    code, readmes, maths = (thresholds(recipe, name) for name in ("python-code", "package-readmes", "worked-maths"))
    assert code["gopher.min_words"] == 5  # the source's own
    assert code["gopher.min_alpha_words"] == 0.5  # its domain's
    assert code["gopher.max_words"] == 7000  # its language's
    assert code["gopher.max_symbol_ratio"] == 0.1  # the paper's
    assert code["gopher.min_stop_words"] is None  # turned off by the domain
    assert code["c4.min_sentences"] is None  # a whole set turned off
    assert readmes["gopher.min_words"] == 50 and readmes["c4.max_curly_brackets"] is None
    assert readmes["gopher.min_stop_words"] == 1 and maths["gopher.min_stop_words"] is None
    # A set that the recipe turns off is on for a language that names one of its rules, and for that rule alone.
    assert readmes["fineweb.max_short_lines"] == 0.9 and readmes["fineweb.max_newlines_per_word"] is None
    assert set(code) == {f"{s.name}.{r.key}" for s in RULE_SETS for r in s.rules}


PHASE1 = "mix: {python-code: 0.6, python-docs: 0.2, worked-maths: 0.2}}"
MIXES = {
    "no share": ("mix: 0.5}", ["phases.phase1.mix: expected a share of each source, or of a domain"]),
    "a strategy without a name": ("mix: {strategy: best}}", ["strategy: temperature, temperature: T"]),
    "a strategy in place of a share": ("mix: {code: {strategy: unimax}}}", ["phases.phase1.mix.code: expected a share"]),
    "an unknown key of a strategy": ("mix: {strategy: unimax, epoch: 2}}", ["unknown key 'phases.phase1.mix.epoch'"]),
    "a source that is not there": ("mix: {strategy: unimax, sources: [books]}}", ["'books'", "its sources are: python-code"]),
    "a domain that is not there": ("mix: {law: {weight: 1.0, sources: {python-code: 1.0}}}}", ["no source has the domain 'law'", "code, docs"]),
    "another domain's source": ("mix: {code: {weight: 1.0, sources: {python-docs: 1.0}}}}", ["'python-docs' has the domain 'docs'", "are: python-code"]),
    "an inner sum": ("mix: {code: {weight: 1.0, sources: {python-code: 0.9}}}}", ["phases.phase1.mix.code.sources sum to 0.9"]),
    "an outer sum": ("mix: {code: {weight: 0.4, sources: {python-code: 1.0}}, python-docs: 0.5}}", ["phases.phase1.mix sum to 0.9"]),
    "a source twice": ("mix: {code: {weight: 0.5, sources: {python-code: 1.0}}, python-code: 0.5}}", ["'python-code' 2 times"]),
    "a domain's strategy without its sources": ("mix: {code: {weight: 1.0, sources: {strategy: unimax}}}}", ["lists its sources", "python-code"]),
    "an unknown measure": (PHASE1.replace("}}", "}, order: {by: beauty}}"), ["no measure 'beauty'", "token_count"]),
    "stages": (PHASE1.replace("}}", "}, context: [{length: 64, share: 0.5}]}"), ["phases.phase1.context sum to 0.5"]),
    "a stage too long": (PHASE1.replace("}}", "}, context: [{length: 512, share: 1.0}]}"), ["512 tokens is longer", "= 128"]),
    "seen or not": (PHASE1.replace("}}", "}, documents: fresh}"), ["phases.phase1.documents", "'any', 'unseen' or 'seen'"]),
}  # fmt: skip


@pytest.mark.parametrize("new, parts", MIXES.values(), ids=MIXES.keys())
def test_a_wrong_mix_is_refused_with_its_line(tmp_path: Path, new: str, parts: list[str]) -> None:
    path = broken(tmp_path, PHASE1, new)
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "phase1:" in text)
    assert f"{path}:{line}: " in str(error.value)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    "mix",
    [
        "mix: {code: {weight: 0.6, sources: {python-code: 1.0}}, python-docs: 0.4}}",
        "mix: {strategy: temperature, temperature: 3, sources: [python-code, python-docs]}}",
        "mix: {docs: {weight: 1.0, sources: {strategy: unimax, epochs: 2, sources: [python-docs]}}}}",
        PHASE1.replace(
            "}}",
            "}, documents: unseen, cut_last: true, order: {by: token_count}, context: [{length: 128, share: 1.0}]}",
        ),
    ],
)
def test_a_right_mix_is_taken(tmp_path: Path, mix: str) -> None:
    assert load_recipe(broken(tmp_path, PHASE1, mix)).phases["phase1"].tokens == 40_000


def test_a_source_that_is_all_held_out_is_in_no_mix(tmp_path: Path) -> None:
    old = "priority: 10}"
    path = broken(tmp_path, old, "priority: 10, held_out: 1.0}")
    with pytest.raises(RecipeError, match="'package-readmes', all of which is held out"):
        load_recipe(path)
    recipe = load_recipe(broken(tmp_path, old, "priority: 10, held_out: 0.5, max_epochs: 3}"))
    assert (recipe.held_out_of("package-readmes"), recipe.held_out_of("python-code")) == (0.5, 0.03)
    assert (recipe.max_epochs_of("package-readmes"), recipe.max_epochs_of("python-code")) == (3, 1)


def test_help_has_an_example_for_every_command() -> None:
    runner = CliRunner()
    for name in ("build", "mix", "report", "trace", "train", "sample", "reproduce", "serve"):
        result = runner.invoke(cli.cli, [name, "--help"])
        assert result.exit_code == 0 and f"Example: plm {name}" in result.output
