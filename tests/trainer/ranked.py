"""A run as torchrun starts it: `torchrun -m tests.trainer.ranked SETTINGS.json`."""

import json
import sys
from pathlib import Path

import torch

from trainer.config import ModelConfig, PhaseData, TrainConfig
from trainer.errors import TrainingStopped
from trainer.pretrain import pretrain


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    phases = [PhaseData(name, segment, Path(folder)) for name, segment, folder in settings["phases"]]
    held_out = PhaseData("held-out", "held-out", Path(settings["held_out"]))
    try:
        pretrain(
            ModelConfig(**settings["model"]), TrainConfig(**settings["train"]), phases, Path(settings["tokenizer"]),
            Path(settings["out"]), progress=False, held_out=held_out,
        )  # fmt: skip
    except TrainingStopped as stopped:
        sys.exit(stopped.exit_code)


if __name__ == "__main__":
    main()
