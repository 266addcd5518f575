"""How a run's model computes: which kernels it takes, what is compiled, and that all agree."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from trainer import attention
from trainer.attention import see_documents
from trainer.config import ModelConfig, TrainConfig
from trainer.data import Batch
from trainer.distributed import ALONE, Loss
from trainer.model import PLM
from trainer.run import set_up
from trainer.sparsity import share_of_zeros

Tiny = Callable[..., ModelConfig]


@pytest.fixture
def fresh_compiler() -> Any:
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.reset()
    attention._compiled_blocks.cache_clear()
    yield
    torch._dynamo.config.recompile_limit = limit
    torch._dynamo.reset()
    attention._compiled_blocks.cache_clear()


def cut_into_documents(batch: int, length: int, seed: int) -> torch.Tensor:
    drawn = torch.rand(batch, length, generator=torch.Generator().manual_seed(seed))
    return (drawn < 0.005).long().cumsum(1)


@torch.no_grad()
def test_every_kernel_gives_the_same_logits(tiny: Tiny) -> None:
    torch.manual_seed(0)
    model = PLM(tiny(max_position_embeddings=512))
    ids, documents = torch.randint(256, (2, 512)), cut_into_documents(2, 512, 1)
    assert see_documents(documents, "sdpa").lengths  # document by document
    assert see_documents(documents, "mask").mask is not None
    assert see_documents(documents, "flex").blocks is not None
    logits = {}
    for backend in ("sdpa", "mask", "flex"):
        model.model.attention = backend
        logits[backend] = model(ids, documents)
    torch.testing.assert_close(logits["mask"], logits["sdpa"], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits["flex"], logits["sdpa"], atol=1e-5, rtol=0)


def test_the_mask_has_the_type_of_the_products() -> None:
    documents = cut_into_documents(1, 8, 0)
    for enabled, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            mask = see_documents(documents, "mask").mask
        assert mask is not None and mask.dtype == dtype


def test_a_compiled_model_is_compiled_once_for_all_batches(tiny: Tiny, fresh_compiler: None) -> None:
    torch.manual_seed(0)
    model, counter = PLM(tiny(max_position_embeddings=512)), CompileCounter()
    plain = PLM(tiny(max_position_embeddings=512))
    plain.load_state_dict(model.state_dict())
    set_up(model, TrainConfig(64, 2, 1e-2, 1e-3, 0, compile=True), ALONE)
    for layer in model.model.layers:
        layer.compile(backend=counter)
    for seed in range(4):
        ids, documents = torch.randint(256, (2, 512)), cut_into_documents(2, 512, seed)
        loss = model.loss(ids, ids, documents)
        loss.backward()
        torch.testing.assert_close(loss, plain.loss(ids, ids, documents))
    assert counter.frame_count == 1


def test_batches_of_many_sizes_have_a_compiled_kernel_each(
    monkeypatch: pytest.MonkeyPatch, fresh_compiler: None
) -> None:
    torch._dynamo.config.recompile_limit = 2
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    make = attention._compiled_blocks()
    for batch in range(1, 5):
        make(lambda row, head, query, key: query >= key, batch, None, 16, 16, device="cpu")
    assert counter.frame_count == 4


def test_zeros_are_counted_without_flex_attention(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("unfused, it would hold every score")

    monkeypatch.setattr(attention, "flex_attention", refuse)
    model = PLM(tiny())
    model.model.attention = "flex"
    ids = torch.randint(256, (2, 64))
    batch = Batch(ids, ids, cut_into_documents(2, 64, 0), 128, 2, 128)
    assert len(share_of_zeros(model, Loss(model), batch, torch.device("cpu"))) == 2
    assert model.model.attention == "flex"
