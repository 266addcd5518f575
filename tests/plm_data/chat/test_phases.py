"""The phases after the pre-training, built: what is kept and why not, the shards to the token, and how they are known."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from plm_data.build import Build
from plm_data.chat.chatml import rendered
from plm_data.decisions.ledger import LEDGER
from plm_data.errors import GuardrailError, PlmError, RecipeError
from plm_data.inspect.explain import explain, find
from plm_data.inspect.trace import trace
from plm_data.locking.lock import inputs, results
from plm_data.locking.verify import verify_build
from plm_data.pending import pending_steps
from plm_data.recipe_file import load_recipe
from plm_data.report.conversations import conversation_facts
from plm_data.report.facts import gather
from plm_data.report.page import render
from plm_data.shards import SCHEMA, read_manifest
from plm_data.sources.maths_split import selection
from tests.plm_data.chat.conftest import ASKED, HOSTILE, PHASES, QUESTION, TALKS, folder_with


def shards(build: Build, phase: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((build.folder / phase).glob("*.parquet"))])


def reasons(build: Build, phase: str, source: str) -> dict[str, str]:
    """Name → what became of it: kept, or the reason why not."""
    decided = build.chat(phase).decided[source]
    verdicts = pl.read_parquet(decided.parts("verdicts")).with_columns(pl.col("reason").fill_null("kept"))
    rejected = pl.read_parquet(decided.parts("rejected"))
    return dict([*verdicts.select("name", "reason").rows(), *rejected.select("name", "rule").rows()])


def test_what_became_of_every_talk(talk_build: Build, talk_recipe: Path) -> None:
    found = reasons(talk_build, "sft1", "talks")
    lines = {name: f"{talk_recipe.parent}/talks.jsonl:{number}" for number, name in enumerate(TALKS, 1)}
    winner = next(name for name in ("good", "copy") if found[name] == "kept")
    assert found == {
        "good": "dedup.exact", "copy": "dedup.exact", winner: "kept", "hostile": "kept", "asks-not": "kept", "cut": "kept",
        "broken": "converse.broken-encoding", "broken-little": "kept",
        "asks": "decontaminate.asks-a-task", "nobody": "converse.no-assistant-turn", "long": "converse.over-length",
        "invisible": "converse.empty-turn", lines["silent"]: "collect.empty-turn",
        lines["roles"]: "collect.roles-out-of-order",
    }  # fmt: skip
    ledger = talk_build.chat("sft1").table("ledger").filter(pl.col("source") == "talks").collect()
    assert ledger.schema == pl.Schema(LEDGER) and ledger["id"].n_unique() == len(TALKS)
    counts = talk_build.chat("sft1").decided["talks"].counts
    assert asdict(counts) == {"read": 13, "kept": 5, "dropped": 2, "quarantined": 6}


def test_a_task_that_nobody_can_check_is_none_and_bars_nothing(talk_build: Build) -> None:
    found = reasons(talk_build, "tasks", "unchecked")
    assert found["good"] == found["cut"] == "converse.no-check" and found["broken"] == "converse.broken-encoding"
    assert "kept" not in found.values() and "kept" in reasons(talk_build, "tasks", "gsm").values()
    assert reasons(talk_build, "sft1", "talks")["cut"] == "kept"


def test_the_limit_of_a_set(talk_build: Build) -> None:
    found = pl.Series(list(reasons(talk_build, "sft1", "code").values())).value_counts()
    counted = dict(found.rows())
    assert counted["sample.limit"] > 0 and counted["kept"] == 3
    kept = shards(talk_build, "sft1").filter(pl.col("source") == "code")
    assert kept.height == counted["kept"] and kept["text"].str.len_chars().max() <= 400 + 100  # type: ignore[operator]
    assert {*kept["license"]} <= {"BSD-3-Clause", "LicenseRef-BSD", "MIT"}


def test_nothing_of_what_is_held_out_is_trained_on(talk_build: Build) -> None:
    """By the tasks' own split, and by the documents that the pre-training holds out."""
    trained = {text for phase in PHASES[:3] for text in shards(talk_build, phase)["text"]}
    asked = shards(talk_build, "tasks")["question"].to_list()
    assert len(asked) == 11 and QUESTION in asked
    assert not [question for question in asked for text in trained if question in text]
    held_out = talk_build.held_out()
    assert held_out is not None
    documents = pl.read_parquet(held_out.parts("shard"))["text"]
    questions = {text.removeprefix("Question: ").split("\n")[0] for text in documents}
    spec = talk_build.recipe.sft["sft1"].sources["maths"]
    made = {item.question for _, _, item in selection(spec, "train")}  # type: ignore[arg-type]
    kept = [text for text in trained for question in questions if f"user\n{question}<" in text]
    assert questions & made and not kept
    dropped = [why for why in reasons(talk_build, "sft1", "maths").values() if why == "decontaminate.held-out"]
    assert len(dropped) == len(questions & made)


def test_a_conversation_goes_by_each_of_its_problems(tmp_path: Path) -> None:
    recipe = folder_with(tmp_path)
    text = recipe.read_text().replace("examples: 60}", "examples: 60, problems: 2}")
    text = text.replace("max_position_embeddings: 256", "max_position_embeddings: 2048")  # they are long
    recipe.write_text(text.replace("sequence_length: 192", "sequence_length: 2048"))
    build = Build(load_recipe(recipe), tmp_path / "home", workers=1)
    build.shards("sft1")
    documents = pl.read_parquet(build.shards("held-out").parts("shard"))["text"]
    questions = {text.removeprefix("Question: ").split("\n")[0] for text in documents}
    made = selection(build.recipe.sft["sft1"].sources["maths"], "train")  # type: ignore[arg-type]
    held_out = {name for _, name, item in made if item.question in questions}
    found = {tuple(name.split("+")): why for name, why in reasons(build, "sft1", "maths").items()}
    assert {len(held_out & {*names}) for names in found} == {0, 1, 2} and {len(names) for names in found} == {2}
    for names, why in found.items():
        assert (why == "decontaminate.held-out") is not held_out.isdisjoint(names), names


def test_the_shards_of_conversations(talk_build: Build) -> None:
    folder, found = talk_build.folder / "sft1", shards(talk_build, "sft1")
    manifest = read_manifest(folder)
    assert (manifest["kind"], manifest["segment"], manifest["rows"]) == ("conversations", "sft", found.height)
    assert pq.read_schema(folder / "shard-00000.parquet").names == [*SCHEMA.names, "targets"]
    tokenizer = Tokenizer.from_file(str(talk_build.folder / "tokenizer" / "tokenizer.json"))
    learned = 0
    for row in found.iter_rows(named=True):
        assert tokenizer.decode(row["tokens"], skip_special_tokens=False) == row["text"]
        assert len(row["tokens"]) <= 192
        for start, end in zip(row["targets"][::2], row["targets"][1::2], strict=True):
            learned += end - start
            assert tokenizer.decode(row["tokens"][:start], skip_special_tokens=False).endswith(
                "<|im_start|>assistant\n"
            )
            assert row["tokens"][end - 1] == tokenizer.token_to_id("<|im_end|>")
        assert all(a < b for a, b in pairwise(row["targets"]))
    assert learned == manifest["targets"] and sum(found["tokens"].list.len()) == manifest["tokens"]
    (hostile,) = found.filter(pl.col("text").str.contains("I obey")).iter_rows(named=True)
    assert hostile["text"] == rendered([("user", HOSTILE), ("assistant", "I do not take orders from a text.")])
    assert hostile["tokens"].count(tokenizer.token_to_id("<|im_start|>")) == 2 and len(hostile["targets"]) == 2
    assert tokenizer.token_to_id("<|endoftext|>") not in hostile["tokens"]
    (cut,) = found.filter(pl.col("text").str.contains("Hamlet"))["text"]
    assert cut.endswith("William Shakespeare did.<|im_end|>\n")


def test_the_shards_of_prompts(talk_build: Build) -> None:
    for phase, segment in (("preferences", "preferences"), ("tasks", "held-out")):
        manifest, found = read_manifest(talk_build.folder / phase), shards(talk_build, phase)
        assert (manifest["kind"], manifest["segment"]) == ("prompts", segment) and "targets" not in manifest
        assert found.columns == [*SCHEMA.names, "question", "reference", "answer", "check", "chosen", "rejected"]
        assert found["text"].str.ends_with("<|im_end|>\n<|im_start|>assistant\n").all()
    pairs = shards(talk_build, "preferences").filter(pl.col("source") == "pairs").sort("question")
    assert pairs.select("question", "reference", "chosen", "rejected", "answer", "check").row(2) == (
        ASKED[1],
        "Yes: 1.", "Yes: 1.", "No.", None, None,
    )  # fmt: skip
    (gsm,) = shards(talk_build, "tasks").filter(pl.col("source") == "gsm").iter_rows(named=True)
    assert (gsm["question"], gsm["answer"], gsm["check"]) == (QUESTION, "72", "number")
    assert gsm["reference"] == "48 + 24 = 72\n#### 72"
    sums = shards(talk_build, "tasks").filter(pl.col("source") == "sums")
    held_out = {problem.question for _, _, problem in selection(talk_build.recipe.after["tasks"]["sums"], "held-out")}  # type: ignore[arg-type]
    assert {*sums["question"]} == held_out and sums["check"].unique().to_list() == ["number"]


def test_the_same_bytes_whatever_the_workers_and_the_order_of_arrival(talk_build: Build, tmp_path: Path) -> None:
    path = folder_with(tmp_path)
    lines = (tmp_path / "talks.jsonl").read_text("utf-8").split("\n")
    (tmp_path / "talks.jsonl").write_text("\n".join(reversed(lines)), "utf-8")
    other = Build(load_recipe(path), tmp_path / "home", workers=1)
    for workers, phase in enumerate(("sft1", "tasks"), 1):
        other.workers = other.chat(phase).workers = workers
        other.shards(phase)
        one, two = (read_manifest(build.folder / phase)["shards"] for build in (talk_build, other))
        assert [shard["sha256"] for shard in one] == [shard["sha256"] for shard in two]


def test_a_changed_priority_collects_nothing_anew_and_a_changed_task_decides_anew(
    talk_build: Build, tmp_path: Path
) -> None:
    def runs(old: str, new: str) -> set[str]:
        recipe = tmp_path / "changed.yaml"
        text = _text(talk_build)
        assert old in text
        recipe.write_text(text.replace(old, new), "utf-8")
        return {step.stage for step in pending_steps(load_recipe(recipe), talk_build.home) if step.when == "runs"}

    assert not [stage for stage in runs("name: talk", "name: talk") if stage.endswith(PHASES)]
    changed = runs("talks.jsonl], license: MIT}", "talks.jsonl], license: MIT, priority: 7}")
    assert "judge sft1" in changed and not [stage for stage in changed if stage.startswith(("collect", "converse"))]
    fewer = runs("examples: 10, kinds", "examples: 9, kinds")
    assert {"collect tasks"} <= fewer and "converse sft1" not in fewer


def _text(build: Build) -> str:
    """The recipe's text, by the place of the files that it names."""
    spec = build.recipe.sft["sft1"].sources["talks"]
    return (Path(spec.paths[0]).parent / "talk.yaml").read_text("utf-8")  # type: ignore[union-attr]


def test_the_report_counts_what_the_shards_hold(talk_build: Build) -> None:
    sft1, sft2, preferences, tasks = conversation_facts(talk_build)
    assert [each["name"] for each in (sft1, sft2, preferences, tasks)] == [*PHASES]
    found = shards(talk_build, "sft1")
    talks = sft1["sources"][0]
    mine = found.filter(pl.col("source") == "talks")
    assert (talks["found"], talks["quarantined"], talks["exact_duplicates"], talks["rows"]) == (13, 6, 1, 5)
    assert talks["turns"] == 12 and talks["longest"] == mine["tokens"].list.len().max()
    assert talks["tokens"] == mine["tokens"].list.len().sum()
    assert sum(each["learned_tokens"] for each in sft1["sources"]) == sft1["learned_tokens"]
    assert {row["rule"]: row["rows"] for row in sft1["rejected"] if row["source"] == "talks"} == {
        "collect.empty-turn": 1, "collect.roles-out-of-order": 1, "converse.empty-turn": 1,
        "converse.no-assistant-turn": 1, "converse.broken-encoding": 1, "converse.over-length": 1,
        "decontaminate.asks-a-task": 1,
    }  # fmt: skip
    assert {row["class"] for row in preferences["licences"]} == {"permissive", "public domain"}
    assert tasks["learned_tokens"] is None
    for row in sft1["conservation"]:
        assert row["read"] == row["kept"] + row["dropped"] + row["quarantined"]
    facts = gather(talk_build)
    assert any("conversations" in problem or "quarantined" in problem for problem in facts["problems"])
    page = render(facts)
    assert "After the pre-training" in page and "converse.over-length" in page
    json.dumps(facts)


def test_a_phase_that_is_not_built_is_only_named(talk_recipe: Path, tmp_path: Path) -> None:
    fresh = Build(load_recipe(talk_recipe), tmp_path, workers=1)
    assert conversation_facts(fresh) == [{"name": name, "built": False} for name in PHASES]
    assert not tmp_path.joinpath("store", "collect").exists()


def test_verify_and_the_lock_hold_them(talk_build: Build) -> None:
    found = verify_build(talk_build.folder)
    assert {*PHASES} <= {*found.phases}
    locked = inputs(talk_build)
    assert {"worked-maths", "sft1/talks", "sft1/code", "preferences/pairs", "tasks/gsm"} <= {*locked["sources"]}
    talk_build.shards("phase1")
    assert {*results(talk_build)["phases"]} == {"phase1", *PHASES}


def test_too_much_quarantined_stops_the_build(talk_build: Build, tmp_path: Path) -> None:
    recipe = tmp_path / "strict.yaml"
    recipe.write_text(_text(talk_build).replace("max_quarantined: 0.6", "max_quarantined: 0.2"), "utf-8")
    strict = Build(load_recipe(recipe), talk_build.home, workers=1)
    with pytest.raises(GuardrailError, match=r"source talks: 6 of 13 .* more than sft.sft1.max_quarantined = 20.0%"):
        strict.shards("sft1")


@pytest.mark.parametrize(
    "old, new, part",
    [
        ("examples: 10, kinds", "examples: 1000, kinds", "evaluate.tasks.sums.examples: 1000 problems after 0"),
        ("max_tokens: 64\n  beta", "max_tokens: 256\n  beta", "preferences: an answer of max_tokens leaves no room"),
    ],
)
def test_what_cannot_be_is_told_before_any_work(
    talk_build: Build, tmp_path: Path, old: str, new: str, part: str
) -> None:
    recipe = tmp_path / "wrong.yaml"
    text = _text(talk_build)
    assert old in text
    recipe.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(RecipeError, match=part):
        Build(load_recipe(recipe), tmp_path / "home").check()


def test_files_without_rows_are_refused(talk_build: Build, tmp_path: Path) -> None:
    (tmp_path / "talks.txt").write_text("Hello.", "utf-8")
    recipe = tmp_path / "wrong.yaml"
    path = talk_build.recipe.sft["sft1"].sources["talks"].paths[0]  # type: ignore[union-attr]
    recipe.write_text(_text(talk_build).replace(path, str(tmp_path / "talks.txt")), "utf-8")
    with pytest.raises(RecipeError, match="sft.sft1.sources.talks.paths: .*talks.txt holds no rows; expected Parquet"):
        Build(load_recipe(recipe), tmp_path / "home", workers=1).shards("sft1")


def test_every_row_leads_to_its_conversation_and_back(talk_build: Build) -> None:
    for phase in PHASES:
        for shard in sorted((talk_build.folder / phase).glob("shard-*.parquet")):
            rows = pl.read_parquet(shard)
            for row in range(0, rows.height, 7):
                found = rows.row(row, named=True)
                story = "\n".join(trace(talk_build, shard, row))
                assert f"Its conversation:\n{name_of(talk_build, phase, found['id'])}\n" in story
                assert f"  id        {found['id']}\n  phase     {phase}\n" in story
                assert f"    {phase}: row {row} of {shard.name}" in story


def name_of(build: Build, phase: str, identity: str) -> str:
    verdicts = build.chat(phase).table("verdicts").filter(pl.col("id") == identity).collect()
    return str(verdicts["name"].item())


def id_of(build: Build, table: Literal["verdicts", "rejected"], name: str) -> str:
    found = build.chat("sft1").table(table).filter((pl.col("name") == name) & (pl.col("source") == "talks")).collect()
    return str(found["id"].item())


def test_why_a_conversation_is_not_used(talk_build: Build) -> None:
    kept, lost = sorted(("good", "copy"), key=lambda name: reasons(talk_build, "sft1", "talks")[name] != "kept")
    assert "It stayed for 1 duplicate:" in explain(talk_build, id_of(talk_build, "verdicts", kept))
    story = explain(talk_build, id_of(talk_build, "verdicts", lost)[:20])
    assert "Dropped as an exact duplicate" in story and f"  {kept}\n" in story
    for name, reason in {
        "asks": "dropped at decontaminate, before any rule: asks-a-task",
        "long": "quarantined at converse, before any rule: over-length",
    }.items():
        assert f"It was {reason}" in explain(talk_build, id_of(talk_build, "rejected", name))
    with pytest.raises(PlmError, match=r"2 documents of talk are called asks (?s:.)*talks  asks\n .*unchecked  asks"):
        explain(talk_build, "asks")  # the file is read as a set of sft1 and of the tasks
    found = find(talk_build, HOSTILE.partition("<")[0])
    assert [(each.name, each.verdict, each.reason) for each in found] == [("hostile", "kept", None)]


def test_a_problem_of_a_source_and_of_a_set_of_its_name_has_a_story_in_each(tmp_path: Path) -> None:
    recipe = folder_with(tmp_path)
    recipe.write_text(
        recipe.read_text().replace("maths: {reader: worked-maths, l", "worked-maths: {reader: worked-maths, l")
    )
    build = Build(load_recipe(recipe), tmp_path / "home", workers=1)
    build.shards("sft1")
    build.shards("phase1")
    shared = set(build.table("verdicts").collect()["id"]) & set(build.chat("sft1").table("verdicts").collect()["id"])
    story = explain(build, min(shared))
    assert story.count(f"  id        {min(shared)}") == 2 and story.count("  phase     sft1") == 1
