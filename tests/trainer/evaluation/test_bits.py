"""Bits per byte against a plain computation, token by token."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trainer.conftest import END_OF_TEXT
from trainer.config import PhaseData
from trainer.errors import TrainerError
from trainer.evaluation.bits import bits_per_byte, windows
from trainer.model import PLM
from trainer.shards import read_phase

Writer = Callable[..., PhaseData]


def plain_nats(model: PLM, tokens: list[int], window: int) -> list[float]:
    """Score each token by a forward pass of its own, over the context that the rule gives it."""
    whole, found = [END_OF_TEXT, *tokens], []
    for at in range(1, len(whole)):
        start = 0
        while start + window < at:  # not within this window: the next is half a window on
            start += window // 2
        with torch.no_grad():
            logits = model(torch.tensor([whole[start:at]]))[0, -1].double().log_softmax(-1)
        found.append(-logits[whole[at]].item())
    return found


texts = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.text(min_size=1, max_size=30)), min_size=1, max_size=6
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=texts, window=st.sampled_from([8, 16, 64]), seed=st.integers(0, 99))
def test_bits_per_byte_is_the_plain_computation(
    tmp_path: Path, model: PLM, rows_writer: Writer, drawn: list[tuple[str, str, str]], window: int, seed: int
) -> None:
    folder = tmp_path / str(np.random.default_rng([seed, len(drawn)]).integers(1 << 60))
    rows = [{"source": source, "domain": domain, "text": text} for source, domain, text in drawn]
    found = bits_per_byte(model, read_phase(rows_writer(folder, rows, shards=1)), END_OF_TEXT, window)
    nats = [plain_nats(model, list(text.encode()), window) for *_, text in drawn]
    for key, names in (("sources", [s for s, *_ in drawn]), ("domains", [d for _, d, _ in drawn])):
        assert [entry["name"] for entry in found[key]] == sorted(set(names))
        for entry in found[key]:
            mine = [index for index, name in enumerate(names) if name == entry["name"]]
            size = sum(len(drawn[index][2].encode()) for index in mine)
            assert (entry["documents"], entry["bytes"], entry["tokens"]) == (len(mine), size, size)
            total = sum(sum(nats[index]) for index in mine) / math.log(2) / size
            assert entry["bits_per_byte"] == pytest.approx(total, abs=1e-4)
            first = sum(nats[index][0] for index in mine) / math.log(2) / size
            assert entry["first_tokens"] == pytest.approx(first, abs=1e-4)
    everything = sum(map(sum, nats)) / math.log(2) / sum(len(text.encode()) for *_, text in drawn)
    assert found["total"]["bits_per_byte"] == pytest.approx(everything, abs=1e-4)


@given(tokens=st.integers(0, 500), window=st.integers(1, 70))
def test_windows_score_every_token_once_with_half_a_window_before_it(tokens: int, window: int) -> None:
    expected = 1
    for start, scored, end in windows(tokens, window):
        assert scored == expected and end - 1 - start <= window
        assert start == 0 or scored - start > window // 2
        expected = end
    assert expected == tokens + 1


def test_bytes_are_counted_not_characters_and_the_closing_token_is_not_scored(
    tmp_path: Path, model: PLM, rows_writer: Writer
) -> None:
    closed = bits_per_byte(model, read_phase(rows_writer(tmp_path / "a", [{"text": "é中"}] * 2)), END_OF_TEXT, 64)
    assert (closed["total"]["bytes"], closed["total"]["tokens"]) == (10, 10)
    open_rows = [{"text": "é中", "tokens": list("é中".encode())}] * 2
    assert bits_per_byte(model, read_phase(rows_writer(tmp_path / "b", open_rows)), END_OF_TEXT, 64) == closed


def test_a_limit_takes_the_first_documents(tmp_path: Path, model: PLM, rows_writer: Writer) -> None:
    rows = [{"text": str(number)} for number in range(9)]
    phase = read_phase(rows_writer(tmp_path, rows, shards=1))
    counted: list[int] = []
    found = bits_per_byte(model, phase, END_OF_TEXT, 64, limit=4, progress=counted.append)
    assert found["total"]["documents"] == 4 == sum(counted)
    assert bits_per_byte(model, phase, END_OF_TEXT, 64, limit=99)["total"]["documents"] == 9


def test_a_single_document_has_no_interval(tmp_path: Path, model: PLM, rows_writer: Writer) -> None:
    assert (
        bits_per_byte(model, read_phase(rows_writer(tmp_path, [{"text": "a"}], shards=1)), END_OF_TEXT, 64)["total"][
            "interval"
        ]
        is None
    )


def test_changed_or_empty_shards_are_errors(tmp_path: Path, model: PLM, rows_writer: Writer) -> None:
    with pytest.raises(TrainerError, match="no text"):
        bits_per_byte(model, read_phase(rows_writer(tmp_path / "a", [{"text": ""}])), END_OF_TEXT, 64)
    with pytest.raises(TrainerError, match=r"row 0 of row group 0: found a null, or a token outside"):
        bits_per_byte(model, read_phase(rows_writer(tmp_path / "b", [{"text": "a", "tokens": [259]}])), END_OF_TEXT, 64)
    data = rows_writer(tmp_path / "c", [{"text": "a"}])
    (tmp_path / "c" / "shard-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(TrainerError, match="sha256"):
        bits_per_byte(model, read_phase(data), END_OF_TEXT, 64)
