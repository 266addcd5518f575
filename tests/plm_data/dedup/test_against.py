"""What of one corpus another has: against all pairs compared one by one, whatever files they come in."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plm_data.dedup import corpora
from plm_data.dedup.against import EXACT, NEAR, Overlap, against, banding_for, similarity
from plm_data.dedup.corpora import Corpus, corpus_files, hash_ids
from plm_data.errors import PlmError
from tests.plm_data.sources.local_files import lines as json_lines
from tests.plm_data.sources.local_files import zstd

WORDS = ["".join(letters) for letters in np.random.default_rng(3).choice(list("bcdfghklmnprst"), size=(400, 5))]


def document(seed: int, words: int = 120) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, size=words)) + "."


def changed(text: str, every: int) -> str:
    words = text.split()
    words[every // 2 :: every] = ["other"] * len(words[every // 2 :: every])
    return " ".join(words)


ALONE = [document(seed) for seed in range(40)]
BASE = [document(seed) for seed in range(100, 140)]
# Rising damage: the first are near copies, the last share hardly a shingle.
COPIES = [changed(text, 60 - i) for i, text in enumerate(BASE)]


def parquet(path: Path, texts: list[str], prefix: str, **names: str) -> Path:
    frame = pl.DataFrame({"id": [f"{prefix}{i}" for i in range(len(texts))], "text": texts}).rename(names)
    frame.write_parquet(path, row_group_size=7)
    return path


def compare(b: Corpus, a: Corpus, min_jaccard: float = 0.7) -> Overlap:
    bands, rows = banding_for(min_jaccard, 112)
    return against(b, a, bands=bands, rows=rows, permutations=112, shingle_words=5, min_jaccard=min_jaccard)


def test_every_pair_at_or_above_the_similarity_is_found_and_no_other(tmp_path: Path) -> None:
    a = Corpus([parquet(tmp_path / "a.parquet", BASE + ALONE[:5], "a")])
    b = Corpus(
        [
            parquet(tmp_path / "b1.parquet", COPIES[:20], "b"),
            parquet(tmp_path / "b2.parquet", COPIES[20:] + ALONE[5:], "c"),
        ]
    )
    found = compare(b, a)
    truth = {
        (name, f"a{i}"): similarity(copy, text, 5)
        for name, copy in [(f"b{i}", c) for i, c in enumerate(COPIES[:20])]
        + [(f"c{i}", c) for i, c in enumerate(COPIES[20:])]
        for i, text in enumerate(BASE)
    }
    expected = {pair: value for pair, value in truth.items() if value >= 0.7}
    assert 10 < len(expected) < 35
    assert {(m["b_id"], m["a_id"]): m["jaccard"] for m in found.matches.to_dicts()} == expected
    assert set(found.matches["kind"]) == {NEAR}
    assert (found.documents, found.against) == (40 + 35, 45)
    assert found.matches["jaccard"].is_sorted(descending=True)
    assert {Path(f).name for f in found.matches.filter(pl.col("b_id").str.starts_with("c"))["b_file"]} == {"b2.parquet"}


def test_the_same_text_in_its_normal_form_is_exact_and_beats_a_near_copy(tmp_path: Path) -> None:
    text = document(1)
    a = Corpus([parquet(tmp_path / "a.parquet", [text.upper(), text, text], "a")])
    b = Corpus([parquet(tmp_path / "b.parquet", [text + "  \r\n", text.title(), "…", ""], "b")])
    rows = compare(b, a).matches.select("b_id", "a_id", "kind", "jaccard").rows()
    # Case does not count in a shingle, but it makes another text.
    assert rows == [("b0", "a1", EXACT, 1.0), ("b1", "a0", NEAR, 1.0)]


def test_a_text_without_words_matches_only_itself(tmp_path: Path) -> None:
    a = Corpus([parquet(tmp_path / "a.parquet", ["…", "!!!"], "a")])
    b = Corpus([parquet(tmp_path / "b.parquet", ["!!!", "???"], "b")])
    assert compare(b, a).matches.select("b_id", "a_id", "kind").rows() == [("b0", "a1", EXACT)]


def test_json_lines_columns_of_other_names_and_rows_without_ids(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"content": text, "n": i}) + "\n" for i, text in enumerate(BASE[:3]))
    (tmp_path / "a.jsonl").write_text(lines + "\n", encoding="utf-8")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("{\n\n" + lines.splitlines(keepends=True)[2])
    a = Corpus([tmp_path / "a.jsonl"], text="content", id="n")
    b = Corpus([tmp_path / "b.jsonl.gz"], text="content")
    # The line that cannot be read is a row, the blank one is none.
    assert compare(b, a).matches.select("b_id", "a_id", "kind").rows() == [("row 2", "2", EXACT)]
    c = Corpus([parquet(tmp_path / "c.parquet", BASE[2:3], "c", text="body", id="key")], text="body", id="key")
    assert compare(c, a).matches.select("b_id", "a_id", "kind").rows() == [("c0", "2", EXACT)]


def test_a_document_without_an_id_is_found_by_its_file_and_its_row(tmp_path: Path) -> None:
    pl.DataFrame({"text": BASE[:9]}).write_parquet(tmp_path / "a.parquet", row_group_size=4)
    rows = [{"text": BASE[9], "id": "named"}, {"text": BASE[10], "id": None}, {"text": BASE[11]}]
    (tmp_path / "b.jsonl").write_bytes(json_lines(rows))
    corpus = Corpus([tmp_path / "a.parquet", tmp_path / "b.jsonl"])
    found = compare(corpus, corpus).matches.sort("b_file", "b_id")
    ids = [*(f"row {i}" for i in range(1, 10)), "named", "row 2", "row 3"]
    assert found["b_id"].to_list() == ids and found["a_id"].to_list() == ids
    assert [Path(file).name for file in found["b_file"]] == ["a.parquet"] * 9 + ["b.jsonl"] * 3


@pytest.mark.parametrize("name", ["x.txt", "x.md", "x.TXT.gz", "x.jsonl.zst", "x.ndjson.gz", "x.json"])
def test_every_format_of_the_reader_of_files_is_one_here(tmp_path: Path, name: str) -> None:
    pack = {"gz": gzip.compress, "zst": zstd}.get(name.rpartition(".")[2], bytes)
    whole = name.lower().startswith(("x.txt", "x.md"))
    content = BASE[0].encode() if whole else json_lines([{"id": "x", "text": BASE[0]}])
    (tmp_path / name).write_bytes(pack(b"\xef\xbb\xbf" + content))
    a = Corpus([parquet(tmp_path / "a.parquet", BASE[:3], "a")])
    (match,) = compare(Corpus(corpus_files(tmp_path / name)), a).matches.to_dicts()
    file = str(tmp_path / name)
    assert match == {
        "b_id": file if whole else "x", "b_file": file,
        "a_id": "a0", "a_file": str(tmp_path / "a.parquet"), "kind": EXACT, "jaccard": 1.0,
    }  # fmt: skip


def test_rows_that_cannot_be_read_are_counted_by_their_reasons(tmp_path: Path) -> None:
    bad = b'{\n[1]\n{"id": 1}\n{"id": "\\ud800", "text": "a"}\n{"id": 0.5, "text": "a"}\n\xff\n'
    (tmp_path / "b.jsonl").write_bytes(bad + json_lines([{"id": 7, "text": BASE[1]}]) + b"}\n")
    (tmp_path / "c.txt").write_bytes(b"\xff")
    pl.DataFrame({"id": ["a0", "a1", "a2"], "text": [None, BASE[1], " "]}).write_parquet(tmp_path / "a.parquet")
    found = compare(Corpus([tmp_path / "b.jsonl", tmp_path / "c.txt"]), Corpus([tmp_path / "a.parquet"]))
    assert found.matches.select("b_id", "a_id").rows() == [("7", "a1")]
    assert found.refused == Counter({"not-json": 2, "not-an-object": 1, "no-text": 1, "invalid-utf8": 3, "bad-id": 1})
    # A text without anything in it is no document, but it could be read.
    assert (found.documents, found.against, found.against_refused) == (1, 1, Counter({"no-text": 1}))


def test_rows_have_the_same_numbers_in_every_pass_however_they_are_batched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [parquet(tmp_path / f"{i}.parquet", BASE[i : i + 9], f"{i}-") for i in range(3)]
    (tmp_path / "3.jsonl").write_bytes(b"{\n" + json_lines([{"text": text} for text in BASE[:9]]) + b"\n{\n")
    corpus = Corpus([*files, tmp_path / "3.jsonl", files[0]], kept=None)
    whole = pl.concat(corpora.batches(corpus))
    assert whole["row"].to_list() == [*range(1, 28), *range(29, 38), *range(39, 48)]
    assert whole["line"].to_list() == [*range(1, 10)] * 3 + [*range(2, 11)] + [*range(1, 10)]
    monkeypatch.setattr(corpora, "_BATCH_ROWS", 4)
    assert [batch.height for batch in corpora.batches(corpus)] == [4] * 11 + [1]
    assert pl.concat(corpora.batches(corpus)).equals(whole)
    monkeypatch.setattr(corpora, "_BATCH_CHARACTERS", 1)
    assert [batch.height for batch in corpora.batches(corpus)] == [1] * 45
    assert pl.concat(corpora.batches(corpus)).equals(whole)


def test_long_texts_are_held_a_few_at_a_time(tmp_path: Path) -> None:
    with (tmp_path / "x.jsonl").open("wb") as file:
        for i in range(100):
            file.write(json_lines([{"id": i, "text": f"{i} " * 300_000}]))
    tracemalloc.start()
    assert sum(batch.height for batch in corpora.batches(Corpus([tmp_path / "x.jsonl"]))) == 100
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6 < (tmp_path / "x.jsonl").stat().st_size


def test_only_the_kept_documents_count_on_either_side(tmp_path: Path) -> None:
    file = parquet(tmp_path / "a.parquet", BASE[:4], "a")
    some = Corpus([file], kept=np.sort(hash_ids(pl.Series(["a1", "a3"]))))
    assert compare(Corpus([file]), some).matches["a_id"].sort().to_list() == ["a1", "a3"]
    found = compare(some, Corpus([file]))
    assert found.matches["b_id"].sort().to_list() == ["a1", "a3"] and found.documents == 2


def test_an_empty_corpus_has_nothing(tmp_path: Path) -> None:
    none = Corpus([parquet(tmp_path / "none.parquet", [], "n")])
    full = Corpus([parquet(tmp_path / "full.parquet", BASE[:2], "f")])
    blank = Corpus([parquet(tmp_path / "blank.parquet", ["", " \n"], "b")])
    unwanted = Corpus(full.files, kept=np.zeros(0, dtype=np.uint64))
    for b, a in ((none, full), (full, none), (none, none), (blank, full), (full, blank), (unwanted, full)):
        assert compare(b, a).matches.height == 0


def test_many_copies_of_one_text_do_not_hide_the_best_match(tmp_path: Path) -> None:
    text = BASE[0]
    copies = [changed(text, 40 + i % 3) for i in range(600)]
    a = Corpus([parquet(tmp_path / "a.parquet", [*copies, changed(text, 110)], "a")])
    b = Corpus([parquet(tmp_path / "b.parquet", [text], "b")])
    (match,) = compare(b, a).matches.to_dicts()
    assert match["a_id"] == "a600" and match["jaccard"] == similarity(text, changed(text, 110), 5)


def test_a_banding_finds_what_it_promises() -> None:
    for wanted in (0.5, 0.7, 0.9):
        bands, rows = banding_for(wanted, 112)
        assert bands * rows <= 112 and 1 - (1 - wanted**rows) ** bands >= 0.99
        # One row more a band would miss more than that.
        assert 1 - (1 - wanted ** (rows + 1)) ** (112 // (rows + 1)) < 0.99
    assert banding_for(0.01, 112) == (112, 1)


@pytest.mark.parametrize(
    "name, content, message",
    [
        (
            "x.jsonl",
            b'{"id": 1}\n',
            "x.jsonl:1: no-text .*no other row tried can be read either; expected texts in 'text'",
        ),
        ("x.jsonl", b'\n{"id": 1, "text": 3}\n[1]\n', "x.jsonl:2: no-text .*a number"),
        ("x.jsonl", b"{\n", "x.jsonl:1: not-json"),
        ("x.jsonl", b"\xff\xfe\n", "x.jsonl:1: invalid-utf8"),
        ("x.txt", b"\xff", "x.txt: invalid-utf8"),
        ("x.jsonl.gz", gzip.compress(b'{"id": 1, "text": "a"}\n' * 9, mtime=0)[:-9], "^/.*x.jsonl.gz is broken: "),
        ("x.parquet", b"not parquet", "^/.*x.parquet is broken: .*Mend it, or take it away"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PlmError, match=message):
        compare(Corpus([tmp_path / name]), Corpus([tmp_path / name]))


def test_a_column_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"id": ["a"], "text": [1]}).write_parquet(tmp_path / "x.parquet")
    good = Corpus([parquet(tmp_path / "y.parquet", BASE, "y")])
    with pytest.raises(PlmError, match=r"x.parquet:row 1: no-text \(column 'text': a number\)"):
        compare(Corpus([tmp_path / "x.parquet"]), good)
    with pytest.raises(PlmError, match="^/.*x.parquet has no column 'body'; its columns are id, text"):
        compare(Corpus([tmp_path / "x.parquet"], text="body"), good)
    with pytest.raises(PlmError, match="y.parquet: no document has an id in 'key'"):
        compare(Corpus(good.files, id="key"), good)


def test_one_good_row_is_enough_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"{\n" * 3000)
    (tmp_path / "y.jsonl").write_bytes(json_lines([{"text": BASE[0]}, {"text": BASE[1], "key": 5}]))
    corpus = Corpus([tmp_path / "x.jsonl", tmp_path / "y.jsonl"], id="key")
    found = compare(corpus, corpus)
    assert found.matches["b_id"].sort().to_list() == ["5", "row 1"] and found.refused == Counter({"not-json": 3000})


def test_the_files_of_a_corpus(tmp_path: Path) -> None:
    with pytest.raises(PlmError, match="^/.* leads to no file that can be read"):
        corpus_files(tmp_path)
    (tmp_path / "x.csv").touch()
    with pytest.raises(PlmError, match=r"^/.*x.csv has a suffix that .*expected .parquet; .jsonl"):
        corpus_files(tmp_path / "x.csv")
    (tmp_path / "deep").mkdir()
    lines, text = tmp_path / "[b].jsonl", tmp_path / "deep" / "README.md"
    lines.touch()
    text.touch()
    assert corpus_files(tmp_path) == [lines, text] and corpus_files(lines) == [lines]
    # A manifest or a read-me beside Parquet files is about them.
    deep = parquet(tmp_path / "deep" / "x.parquet", [], "x")
    assert corpus_files(tmp_path) == [deep] == corpus_files(tmp_path / "deep")


def test_a_file_may_have_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl"))
    odd.write_bytes(json_lines([{"text": BASE[0]}]))
    (match,) = compare(Corpus(corpus_files(odd)), Corpus(corpus_files(tmp_path))).matches.to_dicts()
    assert match["b_file"] == str(tmp_path / r"\udcff.jsonl")
