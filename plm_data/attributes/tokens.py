"""The recipe's tokenizer: trained on its corpus, then run once over every document."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from plm_data.attributes.measure import Measure
from plm_data.attributes.web import c4
from plm_data.engine import Step
from plm_data.recipe import TokenizerSpec
from plm_data.store import Counts, Output, write_json
from plm_data.tables import read_slices, runs
from plm_data.text.hashing import nodes, rank_hash
from plm_data.text.words import utf8

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)

_ENCODED_BYTES = 1_000_000

# The word pattern of Qwen2's tokenizer, so that GGUF readers know it as "qwen2".
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class TrainTokenizer(Step):
    """A byte-level BPE tokenizer of Qwen2's form, trained on a sample of the documents.

    The sample is drawn by content hash, from each source its share of the recipe's mix, before any document is
    judged: so thresholds can change without every text being tokenised again. ``shares``: source → share.
    """

    name: ClassVar[str] = "tokenizer"
    spec: TokenizerSpec
    seed: int
    shares: dict[str, float]
    documents: dict[str, Output]

    @property
    def partitions(self) -> int:
        return 1

    def run(self, partition: int, out: Path) -> Counts:
        texts, read = [], 0
        for source in sorted(self.documents):
            output = self.documents[source]
            read += output.counts.kept
            texts += self._sample(output, int(self.spec.train_bytes * self.shares.get(source, 0.0)))
        tokenizer = train_bpe(texts, self.spec.vocab_size)
        save_tokenizer(tokenizer, out)
        return Counts(read=read, kept=len(texts), dropped=read - len(texts))

    def _sample(self, documents: Output, budget: int) -> list[str]:
        """Texts of about ``budget`` bytes; the first of the seeded order, so that a larger budget only adds."""
        total = int(pl.scan_parquet(documents.parts()).select(pl.col("bytes").sum()).collect().item())
        # Twice the share that should do, so that a small part of a large corpus is held; else a larger one.
        share = 2 * budget / max(total, 1)
        while True:
            order = self._first_ranks(documents, min(share, 1.0))
            if share >= 1 or int(order["bytes"].sum()) >= budget:
                break
            share *= 4
        order = order.filter(pl.col("bytes").cum_sum() - pl.col("bytes") < budget)
        ranks = dict(order.select("node", "rank").iter_rows())
        chosen = order["node"].to_numpy()
        texts: list[tuple[int, str]] = []
        for part in documents.parts():
            for batch in read_slices(part, ["id", "text"]):
                own = nodes(batch["id"])
                # As Python's strings: a column of a few of a batch's texts would hold all of them in memory.
                for row in np.flatnonzero(np.isin(own, chosen)).tolist():
                    texts.append((ranks[int(own[row])], batch["text"][row]))
        return [text for _, text in sorted(texts)]

    def _first_ranks(self, documents: Output, share: float) -> pl.DataFrame:
        """``node, bytes, rank`` of the documents in the first ``share`` of the seeded order, by rank, a text once."""
        limit = min(int(share * 2**64), 2**64 - 1)
        frames = []
        for part in documents.parts():
            for index in read_slices(part, ["id", "content_hash", "bytes"]):
                ranks = [rank_hash(self.seed, "tokenizer", value) for value in index["content_hash"]]
                numbers = index.select(
                    "bytes", node=pl.Series(nodes(index["id"]), dtype=pl.UInt64), rank=pl.Series(ranks, dtype=pl.UInt64)
                )
                frames.append(numbers.filter(pl.col("rank") <= limit))
        return pl.concat(frames).sort("rank", "node").unique("rank", keep="first", maintain_order=True)


def train_bpe(texts: list[str], vocab_size: int) -> Tokenizer:
    """Train on ``texts``; the special tokens come last, as in Qwen2, and count towards ``vocab_size``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the Hugging Face form: ``AutoTokenizer.from_pretrained(folder)`` loads it."""
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 4096, "bos_token": None,
        "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT, "clean_up_tokenization_spaces": False,
        "additional_special_tokens": [TURN_START, TURN_END], "chat_template": _CHAT_TEMPLATE,
    })  # fmt: skip
    write_json(folder / "special_tokens_map.json", {
        "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT, "additional_special_tokens": [TURN_START, TURN_END],
    })  # fmt: skip
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True) + "\n", encoding="utf-8")


@lru_cache(maxsize=2)
def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer for documents: a special token that stands in a text is encoded as plain text."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return tokenizer


@dataclass(frozen=True)
class Tokenise(Measure):
    """Each document's token ids, the end-of-text token last, and their number.

    The ids are little-endian int32 in a binary column (``token_lists``), which Parquet reads many times faster than
    lists.

    ``edit_lines``: of its text as C4's line rules edit it (``terminal``: with their terminal punctuation rule).
    """

    name: ClassVar[str] = "tokens"
    tokenizer: Output
    edit_lines: bool = False
    terminal: bool = False

    def measure(self, texts: pl.Series) -> pl.DataFrame:
        if self.edit_lines:
            texts = c4(*utf8(texts), self.terminal)["c4_text"].fill_null(texts)
        tokenizer = load_tokenizer(self.tokenizer.path)
        end = tokenizer.token_to_id(END_OF_TEXT)
        counts, tokens = list[int](), list[bytes]()
        # An encoding takes some hundred bytes a token until its ids are taken out of it.
        for start, length in runs(texts, _ENCODED_BYTES):
            for encoding in tokenizer.encode_batch_fast(texts.slice(start, length).to_list()):
                ids = np.array([*encoding.ids, end], dtype="<i4")
                counts.append(len(ids))
                tokens.append(ids.tobytes())
        return pl.DataFrame(
            {"token_count": counts, "tokens": tokens}, schema={"token_count": pl.Int64, "tokens": pl.Binary}
        )


def token_lists(column: pa.ChunkedArray) -> pa.Array:
    """The ``tokens`` of ``Tokenise`` as lists of int32, without a copy of the ids."""
    column = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1] // 4
    values = pa.Array.from_buffers(pa.int32(), int(bounds[-1]), [None, data])
    return pa.ListArray.from_arrays(pa.array(bounds), values)
