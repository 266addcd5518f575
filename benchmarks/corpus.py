"""A seeded corpus of any size by mutation of real text, with planted duplicates whose truth is known.

A document recombines paragraphs from the neighbourhood of one base document and changes a tenth of its plain
words, so two documents share few shingles unless one is a planted copy: exact copies are the original's bytes,
near copies differ by a few words (Jaccard of 5-word shingles >= 0.9 of the original's). Junk documents make every
rule fire. The same seed, size and base texts give the same bytes; memory is bounded by a row group and a
reservoir of originals. Ids ascend in a file and belong to its partition, as in the store, so that a corpus can
stand for the output of a step.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.base_texts import Family, families, real_texts
from benchmarks.junk import Junk
from plm_data.store import digest, file_sha256, locked, write_json
from plm_data.text.normalise import content_hash

HOME = Path(__file__).parents[1] / "build" / "benchmarks"
# Part of a corpus's name: raise it when the same seed would give other bytes.
VERSION = 3
EXACT_SHARE, NEAR_SHARE, JUNK_SHARE, CHANGED_WORDS = 0.08, 0.08, 0.04, 0.10
# One space and a word of letters, in any script that puts spaces between words.
_PLAIN = r"^ [\p{L}&&[^\p{Han}\p{Hiragana}\p{Katakana}]]+$"
_GROUP_BYTES = 8_000_000
_FILE_BYTES = 64_000_000
_GIANT_EVERY = 64_000_000
_REAL_FILES = 4
# Paragraphs of a document are drawn this far around its centre, so that a document keeps to one subject.
_NEIGHBOURS = 200
_RESERVOIR, _RENEWED = 4096, 256
# Paragraphs of a document: log-normal, at least and at most so many.
_LOG_MEAN, _LOG_SIGMA, _FEWEST, _MOST = 2.3, 0.8, 3, 150
# A near copy has at most one edit for so many plain words: each changes 5 of the shingles on both sides.
_WORDS_PER_EDIT, _MOST_EDITS = 120, 20


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk. ``size``: bytes asked for; ``bytes``: bytes of text in it, a few per cent off.

    ``truth``: id, kind (new, exact, near, junk), cluster (the original's id; its own where it is no copy), edits.
    """

    folder: Path
    seed: int
    size: int
    bytes: int
    documents: int

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder / "files").glob("part-*.parquet"))

    @property
    def megabytes(self) -> float:
        return self.bytes / 1e6

    def truth(self) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "truth.parquet")

    def texts(self, max_bytes: int | None = None) -> pl.Series:
        """The texts in order, whole documents, until ``max_bytes`` are reached."""
        found, total = [], 0
        for file in self.files:
            with pq.ParquetFile(file) as reader:
                for group in range(reader.num_row_groups):
                    texts = pl.Series("text", reader.read_row_group(group, columns=["text"])["text"])
                    sizes = texts.str.len_bytes().cum_sum() + total
                    if max_bytes is not None and sizes[-1] >= max_bytes:
                        found.append(texts.head(int(sizes.search_sorted(max_bytes)) + 1))
                        return pl.concat(found)
                    found.append(texts)
                    total = int(sizes[-1])
        return pl.concat(found)


def corpus(size: int, seed: int = 1, home: Path = HOME) -> Corpus:
    """The corpus of a size and seed: made where it is not there yet, else reused."""
    base = digest({"families": [f.digest for f in families()], "version": VERSION})
    folder = home / f"corpus-{size}-{seed}-{base[:8]}"
    with locked(home / f"{folder.name}.lock"):
        record = folder / "corpus.json"
        if not record.is_file():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            (partial / "files").mkdir(parents=True)
            made = _write(partial, size, seed)
            sums = {file.name: file_sha256(file) for file in made.files}
            write_json(partial / "corpus.json", {**asdict(made), "folder": folder.name, "sha256": sums})
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(partial, folder)
    return opened(folder)


def real_corpus(home: Path = HOME) -> Corpus | None:
    """The real corpora as they are, many of their texts short, as a corpus without planted truth; None without them."""
    texts = real_texts()
    if texts is None:
        return None
    folder = home / f"real-{digest(content_hash(texts).to_list())[:8]}"
    with locked(home / f"{folder.name}.lock"):
        if not (folder / "corpus.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "files").mkdir(parents=True)
            # In the order of their contents' hashes, so that a file has of every kind; ids as in `_Maker`.
            frame = pl.DataFrame({"text": texts, "hash": content_hash(texts)}).sort("hash").drop("hash")
            for file in range(_REAL_FILES):
                part = frame.gather_every(_REAL_FILES, file).with_row_index("row")
                ids = [f"{row * _REAL_FILES + file:08x}{row:024x}" for row in part["row"]]
                rows = part.select(pl.Series("id", ids), "text").to_arrow().cast(_FILE_SCHEMA)
                pq.write_table(
                    rows, folder / "files" / f"part-{file:05d}.parquet", compression="zstd", compression_level=3,
                    row_group_size=max(1, len(ids) // 4), store_schema=False,
                )  # fmt: skip
            size = int(texts.str.len_bytes().sum())
            facts = Corpus(folder, 0, size, size, len(texts))
            write_json(folder / "corpus.json", {**asdict(facts), "folder": folder.name})
    return opened(folder)


def opened(folder: str | Path) -> Corpus:
    """The corpus in a folder, without a look at the base texts, whose memory no contender should have to carry."""
    found = json.loads((Path(folder) / "corpus.json").read_text(encoding="utf-8"))
    return Corpus(Path(folder), found["seed"], found["size"], found["bytes"], found["documents"])


@dataclass(frozen=True)
class _Base:
    """Base paragraphs as codes of tokens. A token is a word with the white space before it.

    ``codes``: int32, all paragraphs one after another; ``starts``: int64 ``[paragraphs + 1]``; ``ranges``: the
    paragraphs of each family; ``plain``: which tokens are one space and letters, so that one may stand for another.
    """

    tokens: pa.Array
    plain: np.ndarray
    codes: np.ndarray
    starts: np.ndarray
    ranges: np.ndarray
    weights: np.ndarray
    plain_codes: np.ndarray
    paragraph_bytes: float
    paragraph_break: int


@lru_cache(maxsize=1)
def _base() -> _Base:
    frames = [_paragraphs(family).with_columns(family=pl.lit(i)) for i, family in enumerate(families())]
    frame = pl.concat(frames)
    lists = frame["text"].str.extract_all(r"\s*\S+")
    flat = lists.explode()
    tokens = pl.concat([flat.unique().sort(), pl.Series(["\n\n"])])
    codes = flat.replace_strict(tokens, np.arange(len(tokens), dtype=np.int32), return_dtype=pl.Int32).to_numpy()
    starts = np.concatenate([[0], np.cumsum(lists.list.len().to_numpy())]).astype(np.int64)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(frame["family"].to_numpy()))])
    plain = tokens.str.contains(_PLAIN).to_numpy()
    sizes = frame.group_by("family").agg(pl.col("text").str.len_bytes().mean()).sort("family")["text"].to_numpy()
    weights = np.array([family.weight for family in families()])
    weights = weights / weights.sum()
    # Weights are shares of the bytes, so families of short paragraphs have more documents.
    by_document = weights / sizes / (weights / sizes).sum()
    return _Base(
        tokens=tokens.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.large_string()),
        plain=plain,
        codes=codes,
        starts=starts,
        ranges=np.stack([bounds[:-1], bounds[1:]], axis=1),
        weights=by_document,
        plain_codes=codes[plain[codes]],
        paragraph_bytes=float((by_document * (sizes + 2)).sum()),
        paragraph_break=len(tokens) - 1,
    )


def _paragraphs(family: Family) -> pl.DataFrame:
    """Paragraphs of at least 20 and at most 3,000 bytes, in their order."""
    split = family.texts.str.replace_all(r"\n{2,}", "\n\n").str.split("\n\n").explode().drop_nulls()
    sizes = split.str.len_bytes()
    return pl.DataFrame({"text": split.filter((sizes >= 20) & (sizes <= 3000) & split.str.contains(r"\S"))})


def _write(folder: Path, size: int, seed: int) -> Corpus:
    files = max(4, math.ceil(size / _FILE_BYTES))
    groups = max(1, math.ceil(size / files / _GROUP_BYTES))
    maker = _Maker(seed, size / files / groups, files)
    total = 0
    schema = _FILE_SCHEMA
    with pq.ParquetWriter(folder / "truth.parquet", _TRUTH, compression="zstd") as truth:
        for file in range(files):
            path = folder / "files" / f"part-{file:05d}.parquet"
            with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3, store_schema=False) as writer:
                for group in range(groups):
                    ids, texts, facts = maker.group(file, first=group == 0)
                    total += int(pc.sum(pc.binary_length(texts)).as_py())
                    table = pa.table([ids, texts], schema=schema)
                    writer.write_table(table, row_group_size=table.num_rows)
                    truth.write_table(facts)
    return Corpus(folder, seed, size, total, maker.documents)


_FILE_SCHEMA = pa.schema([("id", pa.string()), ("text", pa.large_string())])
_TRUTH = pa.schema([("id", pa.string()), ("kind", pa.string()), ("cluster", pa.string()), ("edits", pa.int32())])


class _Maker:
    """Makes one row group after another; ``documents`` counts them."""

    def __init__(self, seed: int, group_bytes: float, files: int):
        self._base, self._group_bytes, self._files = _base(), group_bytes, files
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._vocabulary = np.unique(self._base.plain_codes)
        # Drawn evenly from the base's words, so common words are common.
        common = self._base.plain_codes[:: max(1, len(self._base.plain_codes) // 20_000)]
        self._junk = Junk([word[1:] for word in self._base.tokens.take(pa.array(common)).to_pylist()], self._random)
        self._reservoir: list[tuple[str, np.ndarray]] = []
        self._giant_bytes, self._junk_kinds, self._last_id = 0.0, 0, 0
        self.documents = 0

    def group(self, file: int, first: bool) -> tuple[pa.Array, pa.Array, pa.Table]:
        """Ids, texts and truth of the next row group, which is of a file and maybe its first."""
        random, n = self._random, self._count()
        kinds = np.zeros(n, dtype=np.int8)
        counts = [round(n * share) for share in (EXACT_SHARE, NEAR_SHARE, JUNK_SHARE)]
        kinds[: sum(counts)] = np.repeat([1, 2, 3], counts)
        random.shuffle(kinds)
        ids = self._ids(n, file, first)
        new = np.flatnonzero(kinds == 0).tolist()
        originals = [(ids[i], codes) for i, codes in zip(new, self._new(len(new)), strict=True)]
        pool = self._reservoir + originals
        roomy = [one for one in pool if self._base.plain[one[1]].sum() >= 2 * _WORDS_PER_EDIT]
        if not roomy:
            kinds[kinds == 2] = 1
        fresh, documents, extra = iter(originals), [], list[str]()
        cluster, edits = list(ids), np.zeros(n, dtype=np.int32)
        for i, kind in enumerate(kinds.tolist()):
            if kind == 3:
                codes = np.array([len(self._base.tokens) + len(extra)])
                extra.append(self._junk_document())
            elif kind == 0:
                _, codes = next(fresh)
            else:
                among = pool if kind == 1 else roomy
                cluster[i], codes = among[int(random.integers(len(among)))]
                if kind == 2:
                    codes, edits[i] = self._edited(codes)
            documents.append(codes)
        self._keep(originals)
        self.documents += n
        texts = _join(pa.concat_arrays([self._base.tokens, pa.array(extra, pa.large_string())]), documents)
        names = np.array(["new", "exact", "near", "junk"], dtype=object)[kinds]
        return pa.array(ids), texts, pa.table([ids, names, cluster, edits], schema=_TRUTH)

    def _ids(self, n: int, file: int, first: bool) -> list[str]:
        """Ascending ids of 32 hex digits whose first 8 are ``file`` modulo the number of files."""
        start = 0 if first else self._last_id
        numbers = start + np.cumsum(self._random.integers(1, 200, size=n))
        self._last_id = int(numbers[-1])
        low = self._random.integers(0, 1 << 32, size=n).tolist()
        pairs = zip((numbers * self._files + file).tolist(), low, strict=True)
        return [f"{high:08x}{other:08x}{self.documents + i:016x}" for i, (high, other) in enumerate(pairs)]

    def _count(self) -> int:
        return max(8, round(self._group_bytes / (self._base.paragraph_bytes * _mean_paragraphs())))

    def _new(self, n: int) -> list[np.ndarray]:
        """Codes of ``n`` new documents: paragraphs around a centre, a share of the plain words changed."""
        base, random = self._base, self._random
        family = random.choice(len(base.weights), size=n, p=base.weights)
        low, high = base.ranges[family].T
        centre = low + (random.random(n) * (high - low)).astype(np.int64)
        sizes = np.clip(random.lognormal(_LOG_MEAN, _LOG_SIGMA, size=n).round().astype(np.int64), _FEWEST, _MOST)
        chosen = np.repeat(centre, sizes) + random.integers(-_NEIGHBOURS, _NEIGHBOURS + 1, size=int(sizes.sum()))
        # Past an end of the family it goes on from there inwards.
        low, high = np.repeat(low, sizes), np.repeat(high, sizes)
        chosen = np.where(chosen < low, 2 * low - chosen, chosen)
        chosen = np.where(chosen >= high, 2 * high - 1 - chosen, chosen).clip(low, high - 1)
        lengths = base.starts[chosen + 1] - base.starts[chosen]
        # Every paragraph is followed by a break, which the document's last one loses.
        ends = np.cumsum(lengths + 1)
        codes = np.full(int(ends[-1]), base.paragraph_break, dtype=np.int32)
        place = np.ones(len(codes), dtype=bool)
        place[ends - 1] = False
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        codes[place] = base.codes[np.repeat(base.starts[chosen], lengths) + within]
        changed = np.flatnonzero(base.plain[codes] & (random.random(len(codes), dtype=np.float32) < CHANGED_WORDS))
        codes[changed] = base.plain_codes[random.integers(len(base.plain_codes), size=len(changed))]
        documents = np.split(codes, ends[np.cumsum(sizes) - 1][:-1])
        return [document[:-1] for document in documents]

    def _edited(self, codes: np.ndarray) -> tuple[np.ndarray, int]:
        """A near copy and its edits: most replace a plain word, some insert or delete one."""
        random = self._random
        plain = np.flatnonzero(self._base.plain[codes])
        edits = int(random.integers(1, min(_MOST_EDITS, len(plain) // _WORDS_PER_EDIT) + 1))
        while True:
            places = random.choice(plain, size=edits, replace=False)
            words, how = self._vocabulary[random.integers(len(self._vocabulary), size=edits)], random.random(edits)
            copy = codes.copy()
            copy[places] = np.where(how < 0.15, -1, words)
            inserted = how > 0.85
            copy[places[inserted]] = codes[places[inserted]]
            copy = np.insert(copy, places[inserted], words[inserted])
            copy = copy[copy >= 0]
            # An edit may undo another, or put the word that stood there.
            if not np.array_equal(copy, codes):
                return copy, edits

    def _junk_document(self) -> str:
        if self.documents and self._giant_bytes >= _GIANT_EVERY:
            self._giant_bytes = 0
            return self._junk.giant()
        self._junk_kinds += 1
        return self._junk.make(self._junk_kinds)

    def _keep(self, originals: list[tuple[str, np.ndarray]]) -> None:
        """Let some originals into the reservoir, in place of others once it is full."""
        free = _RESERVOIR - len(self._reservoir)
        self._reservoir += originals[:free]
        if free <= 0:
            for place in self._random.integers(_RESERVOIR, size=min(_RENEWED, len(originals))).tolist():
                self._reservoir[place] = originals[int(self._random.integers(len(originals)))]
        self._giant_bytes += self._group_bytes


def _mean_paragraphs() -> float:
    """Of the clipped log-normal, over a fixed sample of it."""
    sample = np.random.Generator(np.random.PCG64(0)).lognormal(_LOG_MEAN, _LOG_SIGMA, size=100_000)
    return float(np.clip(sample.round(), _FEWEST, _MOST).mean())


def _join(tokens: pa.Array, documents: list[np.ndarray]) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([len(document) for document in documents])])
    flat = tokens.take(pa.array(np.concatenate(documents)))
    return pc.binary_join(pa.LargeListArray.from_arrays(pa.array(offsets), flat), pa.scalar("", pa.large_string()))
