"""The GPU's benchmark at a tiny size on the CPU: its kernels agree, its step learns, and it needs PyTorch alone."""

import subprocess
import sys
import weakref
from typing import Any

import pytest
import torch

from benchmarks import train_gpu
from benchmarks.train_gpu import document_ids, kernels, step_line
from trainer.config import ModelConfig
from trainer.model import PLM

TINY = ModelConfig(128, 32, 64, 2, 2, 16, 16, 8, 16, 64)
CPU = torch.device("cpu")


def test_documents_fill_a_row() -> None:
    ids = document_ids(2, 5000, CPU)
    assert ids.shape == (2, 5000) and int(ids[0, 0]) == 0 and int(ids[0, 1499]) == 0 and int(ids[0, 1500]) == 1
    assert int(ids[1, 4096]) == 5


def test_a_kernel_is_measured_or_says_why_not() -> None:
    lines = list(kernels(TINY, 1, 48, CPU))
    assert len(lines) == 6
    measured = [line["measure"] for line in lines if "ours" in line]
    assert any("flash" in name for name in measured)
    assert all(line["error"] < 1e-4 for line in lines if "ours" in line)
    assert all(line["refused"] for line in lines if "ours" not in line)


def test_the_head_is_measured_in_chunks() -> None:
    lines = list(train_gpu.heads(TINY, 40, CPU))
    assert len({line["measure"] for line in lines}) == 3
    for line in lines:
        assert line["ours"] > 0 and line["loss"] == pytest.approx(line["peer_loss"], rel=1e-5)


def test_a_step_is_timed_and_learns() -> None:
    line = step_line(TINY, 2, 48, CPU, 2, "sdpa", True)
    assert line["ours"] > 0 and line["mfu"] is None and line["loss"][1] < line["loss"][0]


def test_a_size_that_does_not_fit_leaves_nothing_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[Any]] = []

    def step(config: ModelConfig, batch: int, *_: Any) -> dict[str, Any]:
        assert not [each for each in held if each() is not None]
        model = PLM(config)
        held.append(weakref.ref(model))
        model.__dict__["step"] = model.forward  # a cycle, as compiling makes one
        if batch > 2:
            raise torch.OutOfMemoryError("full")
        return {"batch": batch}

    monkeypatch.setattr(train_gpu, "step_line", step)
    assert train_gpu.largest_step(TINY, 48, CPU, 1, "flex", False) == {"batch": 2}
    assert len(held) == 3


def test_it_imports_nothing_but_the_repository_and_pytorch() -> None:
    code = (
        "import sys, benchmarks.train_gpu\n"
        "print(sorted({'numba', 'pyarrow', 'polars', 'tensorboard', 'tokenizers', 'safetensors', 'rich', 'pydantic'}"
        " & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
