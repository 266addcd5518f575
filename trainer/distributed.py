"""Several processes as one run: `torchrun` starts them, and each trains on its share of every batch."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from trainer.config import Parallel
from trainer.errors import TrainerError
from trainer.model import PLM

# How long ranks wait while the first one hashes shards or writes a checkpoint; an exchange of gradients that hangs ends
# after PyTorch's own ten minutes.
_PATIENCE = timedelta(days=1)
LARGE = 1_000_000_000  # parameters from which a model is sharded over the ranks instead of copied to each


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run."""

    rank: int
    world: int
    device: torch.device
    patient: dist.ProcessGroup | None = None  # all ranks, where they wait for the first one's work

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    def sums(self, values: Sequence[float]) -> list[float]:
        """Return the sum of each value over the ranks."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def most(self, value: int) -> int:
        """Return the largest of the ranks' values."""
        if self.world == 1:
            return value
        found = torch.tensor(value, device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def agreed(self, value: Any) -> Any:
        """Return the first rank's value on every rank."""
        if self.world == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0, group=self.patient)
        return held[0]

    def wait(self) -> None:
        """Return when every rank has come here."""
        if self.world > 1:
            dist.barrier(self.patient)


ALONE = Ranks(0, 1, torch.device("cpu"))


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that torchrun started (NCCL on CUDA, Gloo on a CPU); alone without it.

    Raises:
        TrainerError: more processes of one machine than it has GPUs.
    """
    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    here = max(local + 1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))  # every process of a machine finds the same
    cuda = torch.cuda.is_available()
    if cuda and here > torch.cuda.device_count():
        raise TrainerError(
            f"--nproc-per-node: found {here} processes on this machine, expected at most one for each of its "
            f"{torch.cuda.device_count()} GPUs; start fewer"
        )
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if world == 1:
        yield Ranks(0, 1, device)
        return
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        patient = dist.new_group(backend="gloo", timeout=_PATIENCE)
        yield Ranks(dist.get_rank(), world, device, patient)
    finally:
        dist.destroy_process_group()


class Loss(nn.Module):
    """A model whose forward pass is its loss, which is what the wrappers of several ranks watch."""

    def __init__(self, plm: PLM) -> None:
        super().__init__()
        self.plm = plm

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor,
        document_ids: Tensor,
        count: int | None = None,
        by_token: bool = False,
    ) -> Tensor:
        """Return `PLM.loss`, or with `by_token` `PLM.token_losses`."""
        if by_token:
            return self.plm.token_losses(input_ids, labels, document_ids)
        return self.plm.loss(input_ids, labels, document_ids, count)


def parallelise(plm: PLM, ranks: Ranks, parallel: Parallel, bf16: bool) -> nn.Module:
    """Return the model's loss as a module whose gradients are the ranks' mean.

    DDP copies the model to each rank. FSDP2 shards the parameters, and so the gradients and the optimiser's state, a
    block at a time; build the optimiser after this.
    """
    loss = Loss(plm)
    if ranks.world == 1:
        return loss
    size = sum(parameter.numel() for parameter in plm.parameters())
    if parallel == "ddp" or (parallel == "auto" and size < LARGE):
        return DistributedDataParallel(loss, device_ids=[ranks.device] if ranks.device.type == "cuda" else None)
    policy = MixedPrecisionPolicy()
    if bf16:  # inputs stay as they are: the rotation's cosines are no numbers to round, and products cast by themselves
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for layer in plm.model.layers:
        fully_shard(layer, mp_policy=policy)
    fully_shard(loss, mp_policy=policy)
    return loss


def accumulating(loss: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """Return a context in which a backward pass exchanges gradients only if it is the `last` of its step."""
    if isinstance(loss, FSDPModule):
        loss.set_requires_gradient_sync(last)
    elif isinstance(loss, DistributedDataParallel) and not last:
        return loss.no_sync()
    return nullcontext()


@contextmanager
def measuring(loss: nn.Module) -> Iterator[None]:
    """Run forward passes that no backward pass follows."""
    with torch.no_grad():
        yield
    if isinstance(loss, FSDPModule):
        loss.reshard()  # what a backward pass would have done: else the parameters stay whole, and others than before


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor as one process would hold it. Of a sharded one: a call of all ranks together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: dict[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Return the tensors whole and on the CPU, one after another; on all but the first rank nothing is kept."""
    found = {}
    for name, tensor in tensors.items():
        gathered = whole(tensor.detach())
        if ranks.first:
            found[name] = gathered.cpu()
    return found


def like(tensor: Tensor, value: Tensor) -> Tensor:
    """Return a whole `value`, which every rank has, laid out as `tensor` is."""
    value = value.to(tensor.device)
    if isinstance(tensor, DTensor):
        return distribute_tensor(value, tensor.device_mesh, tensor.placements)
    return value
