"""The loss on held-out data: in forward passes no larger than training's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.test_pretrain import TRAIN
from trainer.config import PhaseData
from trainer.distributed import Ranks
from trainer.evaluation.held_out import held_out_losses
from trainer.shards import read_phase


@dataclass(frozen=True)
class Silent(Ranks):
    """A rank that hears nothing of the others."""

    def sums(self, values: Sequence[float]) -> list[float]:
        return list(values)


class Constant(nn.Module):
    """A loss of two nats a token, which notes how many sequences it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, input_ids: Tensor, labels: Tensor, document_ids: Tensor, by_token: bool) -> Tensor:
        self.sizes.append(len(input_ids))
        return torch.full(input_ids.shape, 2.0)


@pytest.mark.parametrize(("world", "expected"), [(1, 4), (2, 2), (3, 2)])
def test_a_rank_is_given_its_share_of_a_batch(
    tmp_path: Path, write_phase: Callable[..., PhaseData], random_documents: Callable[..., list], world: int,
    expected: int,
) -> None:  # fmt: skip
    phase = write_phase(tmp_path / "held", random_documents(60), "held-out", "held-out")
    loss = Constant()
    every, by_source = held_out_losses(loss, read_phase(phase), TRAIN, Silent(0, world, torch.device("cpu")))
    assert max(loss.sizes) == expected
    assert every == pytest.approx(2.0) and by_source == {"x": pytest.approx(2.0)}
