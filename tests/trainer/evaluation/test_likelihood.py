"""Log-probabilities in batches are those of each sequence alone."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.errors import TrainerError
from trainer.evaluation import likelihood
from trainer.evaluation.likelihood import score
from trainer.model import PLM


def plain(model: PLM, sequence: Sequence[int], start: int) -> tuple[list[float], bool]:
    """One sequence by itself, through the logits of the whole of it."""
    with torch.no_grad():
        logits = model(torch.tensor([sequence]))[0].double().log_softmax(-1)
    values = [logits[at - 1, sequence[at]].item() for at in range(start, len(sequence))]
    return values, all(logits[at - 1].argmax() == sequence[at] for at in range(start, len(sequence)))


sequences = st.lists(
    st.lists(st.integers(0, 4) | st.integers(0, 258), min_size=2, max_size=30).flatmap(
        lambda ids: st.tuples(st.just(ids), st.integers(1, len(ids) - 1))
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40)
@given(drawn=sequences, batch_tokens=st.sampled_from([1, 40, 8192]))
def test_each_is_as_by_itself_and_in_its_place(
    model: PLM, drawn: list[tuple[list[int], int]], batch_tokens: int
) -> None:
    counted: list[int] = []
    found = score(
        model, [ids for ids, _ in drawn], [at for _, at in drawn], batch_tokens=batch_tokens, progress=counted.append
    )
    for (ids, start), scored in zip(drawn, found, strict=True):
        values, greedy = plain(model, ids, start)
        np.testing.assert_allclose(scored.log_probs, values, atol=2e-5)
        assert scored.greedy == greedy
    assert sum(counted) == len(drawn)


def test_greedy_is_said_of_the_likeliest_tokens_alone(model: PLM) -> None:
    ids = [5, 6, 7]
    with torch.no_grad():
        for _ in range(4):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    other = [*ids[:-1], (ids[-1] + 1) % 259]
    found = score(model, [ids, other, ids], [3, 3, 1])
    assert [scored.greedy for scored in found] == [True, False, False]


def test_choices_of_one_question_share_a_row(model: PLM, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    forward = model.model.forward
    monkeypatch.setattr(
        model.model, "forward", lambda ids, documents: shapes.append(tuple(ids.shape)) or forward(ids, documents)
    )
    found = score(model, [[1, 2, 3, choice] for choice in (4, 5, 6)] + [[1, 2, 3, 4, 5]], [3, 3, 3, 3])
    assert shapes == [(2, 4)]
    assert len({scored.log_probs[0] for scored in found[:3]}) == 3
    assert found[0].log_probs[0] == pytest.approx(found[3].log_probs[0], abs=1e-5)


def test_logits_are_taken_in_chunks(model: PLM, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [list(range(start, start + 30)) for start in range(0, 200, 20)]
    whole = score(model, drawn, [1] * len(drawn))
    monkeypatch.setattr(likelihood, "LOSS_CHUNK", 7)
    chunked = score(model, drawn, [1] * len(drawn))
    for one, other in zip(whole, chunked, strict=True):
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-5)


def test_what_cannot_be_scored_is_an_error(model: PLM) -> None:
    most = model.config.max_position_embeddings
    assert len(score(model, [[1] * (most + 1)], [1])[0].log_probs) == most
    for ids, start in (([1] * (most + 2), 1), ([1, 2], 0), ([1, 2], 2), ([1], 1)):
        with pytest.raises(TrainerError, match="sequence 0"):
            score(model, [ids], [start])
    assert score(model, [], []) == []
