"""What if: the same answer as building with the changed recipe, and nothing written."""

from __future__ import annotations

import polars as pl
import pytest

from plm_data.build import Build
from plm_data.errors import RecipeError
from plm_data.whatif import changed_recipe, what_if
from tests.planted import open_planted, plant, write_rows


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Two sources with copies within and across them."""
    folder = tmp_path_factory.mktemp("whatif")
    corpus = plant(seed=3, originals=120, exact=60, near=60)
    names = list(corpus.texts)
    for source, mine in (("web", names[::2]), ("docs", names[1::2])):
        texts = {name: corpus.texts[name] + " #" * (len(name) % 3) for name in mine}
        write_rows(folder / source / "rows.jsonl", texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build = open_planted(folder, {"web": 1, "docs": 2}, curate=", gopher: {min_words: 120}")
        assert build.decided
        return build


def kept(build: Build) -> dict[str, dict[str, int]]:
    """Source → id → tokens of what is kept."""
    verdicts = build.table("verdicts").filter(pl.col("verdict") == "kept").collect()
    found: dict[str, dict[str, int]] = {source: {} for source in build.recipe.sources}
    for source, identity, tokens in verdicts.select("source", "id", "token_count").iter_rows():
        found[source][identity] = tokens
    return found


@pytest.mark.parametrize(
    "settings",
    [
        ["curate.gopher.min_words=150"],
        ["curate.gopher.min_words=100"],
        ["curate.gopher.min_words=null"],
        ["curate.gopher=null"],
        ["curate.sources.docs.gopher.min_words=100000"],
        ["curate.domains.web.gopher.max_symbol_ratio=0.001"],
        ["sources.web.priority=9"],
        ["curate.dedup.quality=-words"],
        ["sources.web.priority=2", "curate.dedup.quality=symbol_ratio", "curate.gopher.min_words=110"],
        ["curate.gopher.max_words=99999"],
    ],
    ids=" ".join,
)
def test_the_answer_is_that_of_building_so(
    planted: Build, monkeypatch: pytest.MonkeyPatch, settings: list[str]
) -> None:
    before = set(planted.home.rglob("*"))
    told = {row.pop("source"): row for row in what_if(planted, settings).to_dicts()}
    assert set(planted.home.rglob("*")) == before
    recipe = changed_recipe(planted.recipe, settings)
    lenient = recipe.curate.guardrails.model_copy(update={"max_source_loss": 1.0})
    recipe = recipe.model_copy(update={"curate": recipe.curate.model_copy(update={"guardrails": lenient})})
    monkeypatch.chdir(planted.home.parent)
    now, then = kept(planted), kept(Build(recipe, planted.home, workers=1))
    for source in planted.recipe.sources:
        gained = {i: n for i, n in then[source].items() if i not in now[source]}
        lost = {i: n for i, n in now[source].items() if i not in then[source]}
        expected = {
            f"{prefix}{name}": count
            for prefix, documents in (("", now[source]), ("new_", then[source]), ("gained_", gained), ("lost_", lost))
            for name, count in (("documents", len(documents)), ("tokens", sum(documents.values())))
        }
        assert told[source] == expected


def test_the_settings_here_change_something(planted: Build) -> None:
    for setting in ("curate.gopher.min_words=150", "sources.web.priority=9", "curate.dedup.quality=-words"):
        assert (
            what_if(planted, [setting]).select(pl.sum("gained_documents", "lost_documents")).sum_horizontal().item() > 0
        )


def test_a_set_that_is_off_is_turned_on_for_the_named_rule_alone(planted: Build) -> None:
    changed = changed_recipe(planted.recipe, ["curate.c4.max_curly_brackets=3"])
    assert changed.curate.c4.max_curly_brackets == 3 and changed.curate.c4.min_sentences is None


@pytest.mark.parametrize(
    "setting, message",
    [
        ("curate.gopher.min_words", "expected KEY=VALUE"),
        ("curate.gopher.min_words=", "expected KEY=VALUE"),
        ("curate.gopher.min_word=3", "unknown key.*Known in gopher: min_words"),
        ("curate.gopher.min_words=many", "min_words"),
        ("curate.gopher.min_words=[1", "is no YAML value"),
        ("curate.dedup.bands=3", "can change thresholds"),
        ("sources.nowhere.priority=3", "no source 'nowhere'; known: web, docs"),
        ("curate.sources.nowhere.gopher.min_words=3", "no source has 'nowhere'; known: docs, web"),
        ("phases.phase1.tokens=3", "change the recipe and build"),
        ("curate.dedup.quality=beauty", "no measure 'beauty'"),
    ],
)
def test_what_cannot_be_decided_from_columns_is_refused(planted: Build, setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        what_if(planted, [setting])
