"""Phase shards: the format, the manifest, and who can read them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import datasets
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plm_data.attributes.tokens import END_OF_TEXT, load_tokenizer
from plm_data.build import Build
from plm_data.errors import StoreError
from plm_data.mix.weights import quotas, shares
from plm_data.recipe_file import load_recipe
from plm_data.shards import SCHEMA, _counted, shard_file, shard_writer
from plm_data.store import Counts, Output, file_sha256, write_json
from tests.conftest import SMALL


@pytest.fixture(scope="module", params=["phase1", "phase2"])
def phase(request: pytest.FixtureRequest, small_build: Build) -> Path:
    return small_build.folder / request.param


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_the_columns_and_sizes_are_those_of_the_format(phase: Path, small_build: Build) -> None:
    for path in sorted(phase.glob("*.parquet")):
        file = pq.ParquetFile(path)
        assert [str(f.type) for f in file.schema_arrow] == ["string"] * 6 + ["list<element: int32>"]
        assert file.schema_arrow.names == ["id", "text", "source", "domain", "language", "license", "tokens"]
        assert file.metadata.num_rows <= small_build.recipe.shards.rows_per_shard
        assert file.metadata.row_group(0).num_rows <= small_build.recipe.shards.rows_per_group
        assert file.metadata.row_group(0).column(1).compression == "ZSTD"


def test_the_manifest_is_what_lies_in_the_shards(phase: Path, small_build: Build) -> None:
    facts = manifest(phase)
    frame = pl.read_parquet(sorted(phase.glob("*.parquet")))
    assert facts["rows"] == frame.height == sum(shard["rows"] for shard in facts["shards"])
    assert facts["tokens"] == frame["tokens"].list.len().sum() == sum(shard["tokens"] for shard in facts["shards"])
    for shard in facts["shards"]:
        assert shard["sha256"] == file_sha256(phase / shard["file"])
        assert shard["bytes"] == (phase / shard["file"]).stat().st_size
    spec = small_build.recipe.phases[phase.name]
    planned = quotas(shares(spec.mix, spec.tokens, {}), spec.tokens)
    for source, numbers in facts["sources"].items():
        mine = frame.filter(pl.col("source") == source)
        assert numbers["documents"] == mine.height and numbers["tokens"] == mine["tokens"].list.len().sum()
        assert numbers["planned_tokens"] == planned[source]
        assert abs(numbers["tokens"] - planned[source]) <= small_build.ranked[source].largest


def test_the_folder_of_a_phase_is_a_real_one_of_the_outputs_own_files(phase: Path, small_build: Build) -> None:
    assert phase.is_dir() and not phase.is_symlink() and not list(phase.glob("*.json.*"))
    output = small_build.shards(phase.name)
    assert (phase / "manifest.json").samefile(output.path / "manifest.json")
    assert {path.name for path in phase.glob("*.parquet")} == {path.name for path in output.path.glob("*.parquet")}
    # What was fetched for the shards is gone once they are there.
    assert not list(small_build.home.glob("store/fetch/*"))


def test_a_phases_folder_is_made_anew_when_its_files_change(small_build: Build, tmp_path: Path) -> None:
    build = Build(small_build.recipe, tmp_path, workers=1)
    for name, text in (("one", "1"), ("two", "2")):
        out = tmp_path / name
        out.mkdir()
        (out / "manifest.json").write_text(text, encoding="utf-8")
        (out / "_step.json").write_text("{}", encoding="utf-8")
        output = Output(name, name, out, Counts(), False, name)
        for _ in range(2):
            build.show_files(output, "phase1")
        assert (build.folder / "phase1" / "manifest.json").read_text(encoding="utf-8") == text
        assert [path.name for path in build.folder.iterdir()] == ["phase1"]
        assert [path.name for path in (build.folder / "phase1").iterdir()] == ["manifest.json"]


@pytest.fixture(scope="module")
def cut(small_build: Build, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The small recipe with its phases cut to the token, the first one in two stages; in the finished build's home."""
    path = tmp_path_factory.mktemp("cut") / "small.yaml"
    text = SMALL.replace(
        "tokens: 40K, mix",
        "tokens: 40K, cut_last: true, context: [{length: 64, share: 0.75}, {length: 128, share: 0.25}], mix",
    )
    path.write_text(text.replace("tokens: 20K, mix", "tokens: 20K, cut_last: true, mix"), encoding="utf-8")
    build = Build(load_recipe(path), tmp_path_factory.mktemp("cut-home"), workers=1)
    build.store = small_build.store
    return build


@pytest.mark.parametrize("name, tokens", [("phase1", 40_000), ("phase2", 20_000)])
def test_a_phase_whose_last_documents_are_cut_has_its_plan_to_the_token(cut: Build, name: str, tokens: int) -> None:
    facts = manifest(cut.shards(name).path)
    assert facts["tokens"] == tokens
    assert all(source["tokens"] == source["planned_tokens"] for source in facts["sources"].values())


def test_a_cut_documents_text_is_what_its_tokens_spell(cut: Build) -> None:
    tokenizer = load_tokenizer(cut.tokenizer.path)
    frame = pl.read_parquet(sorted(cut.shards("phase1").path.glob("*.parquet")))
    cuts = {take.cut[0]: take.cut[1] for take in cut.plan["phase1"].values() if take.cut}
    assert cuts
    end = tokenizer.token_to_id(END_OF_TEXT)
    for row in frame.iter_rows(named=True):
        whole = cut.documents[row["source"]]
        text = pl.scan_parquet(whole.parts()).filter(pl.col("id") == row["id"]).select("text").collect().item()
        if row["id"] in cuts:
            assert len(row["tokens"]) == cuts[row["id"]]
            assert text.startswith(row["text"]) and len(row["text"]) < len(text)
            assert row["tokens"] == [*tokenizer.encode(text).ids, end][: len(row["tokens"])]
            spelt = tokenizer.decode(row["tokens"], skip_special_tokens=False)
            assert spelt.startswith(row["text"]) and len(spelt) - len(row["text"]) <= 1
        else:
            assert row["text"] == text and row["tokens"][-1] == end


def test_the_stages_end_where_a_document_does_and_hold_the_phase(cut: Build) -> None:
    facts = manifest(cut.shards("phase1").path)
    assert [stage["sequence_length"] for stage in facts["stages"]] == [64, 128]
    first, second = (stage["tokens"] for stage in facts["stages"])
    assert first + second == 40_000
    sizes = pl.read_parquet(sorted(cut.shards("phase1").path.glob("*.parquet")))["tokens"].list.len()
    ends = sizes.cum_sum().to_list()
    # The first end at or after three quarters of the tokens.
    assert first == min(end for end in ends if end >= 30_000)
    assert manifest(cut.shards("phase2").path)["stages"] == []


def test_shards_that_are_not_what_was_selected_are_refused(cut: Build, tmp_path: Path) -> None:
    step = cut._shards_step("phase1", *cut.selection("phase1"))
    source, (rows, documents, tokens, epochs) = next(iter(step.selected.items()))
    wrong = replace(step, selected={**step.selected, source: (rows, documents, tokens + 1, epochs)})
    for number in range(step.partitions):
        shard = shard_file(cut.shards("phase1").path, number)
        write_json(tmp_path / f"{number:05d}.count.done.json", _counted(shard, pq.read_table(shard)))
    with pytest.raises(StoreError, match="were selected. This is a defect"):
        wrong.finish(tmp_path)
    assert not (tmp_path / "manifest.json").exists()
    with pytest.raises(StoreError, match="are not fetched"):
        step.run(0, tmp_path)


def written(path: Path, sources: list[str], tokens: list[list[int]]) -> pa.Table:
    """Rows, and the file that they were written to in groups of two."""
    columns = {name: sources for name in SCHEMA.names[:-1]} | {"tokens": tokens}
    rows = pa.table(columns, schema=SCHEMA)
    with shard_writer(path, SCHEMA) as writer:
        writer.write_table(rows, row_group_size=2)
    return rows


def test_a_shard_is_counted_as_it_was_written_lists_without_tokens_too(tmp_path: Path) -> None:
    path = tmp_path / "shard.parquet"
    found = _counted(path, written(path, ["a", "b", "a"], [[1, 2], [], [3]]))
    assert (found["rows"], found["tokens"], found["sources"]) == (3, 3, {"a": [2, 3], "b": [1, 0]})
    assert (found["bytes"], found["sha256"]) == (path.stat().st_size, file_sha256(path))


@pytest.mark.parametrize(
    ("sources", "tokens"),
    [
        pytest.param(["a", "b"], [[1, 2], [3]], id="a row less"),
        pytest.param(["a", "b", "a"], [[1, 2], [3], [4, 5]], id="a token more"),
        pytest.param(["a", "a", "b"], [[1, 2], [3], [4]], id="other sources"),
    ],
)  # fmt: skip
def test_a_shard_that_does_not_hold_what_was_written_is_refused(
    tmp_path: Path, sources: list[str], tokens: list[list[int]]
) -> None:
    path = tmp_path / "shard.parquet"
    written(path, sources, tokens)
    rows = written(tmp_path / "meant.parquet", ["a", "b", "a"], [[1, 2], [3], [4]])
    with pytest.raises(StoreError, match=r"shard\.parquet: expected .*Check the disk"):
        _counted(path, rows)


def test_no_document_is_in_two_phases_while_its_source_lasts(small_build: Build) -> None:
    one, two = (set(pl.read_parquet(small_build.folder / p / "*.parquet")["id"]) for p in ("phase1", "phase2"))
    assert one and two and not one & two


def test_sources_are_shuffled_over_the_whole_phase(small_build: Build) -> None:
    sources = pl.read_parquet(small_build.folder / "phase1" / "*.parquet")["source"].to_list()
    half = len(sources) // 2
    for source in (name for name in set(sources) if sources.count(name) >= 20):
        first = sources[:half].count(source) / sources.count(source)
        assert 0.2 < first < 0.8, source


def test_rows_carry_what_the_recipe_says_and_the_documents_own_licence(small_build: Build) -> None:
    frame = pl.read_parquet(small_build.folder / "phase1" / "*.parquet")
    code = frame.filter(pl.col("source") == "python-code")
    assert set(code["language"]) == {"python"} and set(code["domain"]) == {"code"}
    assert set(code["license"]) <= {"BSD-3-Clause", "LicenseRef-BSD", "MPL-2.0 AND MIT"}
    assert set(frame.filter(pl.col("source") == "worked-maths")["license"]) == {"Apache-2.0"}


def test_datasets_loads_a_phase_as_it_lies(phase: Path, tmp_path: Path) -> None:
    files = sorted(str(path) for path in phase.glob("*.parquet"))
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert loaded.num_rows == manifest(phase)["rows"]
    assert loaded[0]["tokens"] == pl.read_parquet(files)["tokens"][0].to_list()
