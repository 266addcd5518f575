"""The folder of an alignment run: whose it is, its checkpoints, and where it goes on."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch.optim import AdamW

from trainer.alignment.config import AlignConfig
from trainer.alignment.log import cut_lines
from trainer.checkpoint import Position, load_checkpoint, newest_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.errors import TrainerError
from trainer.files import read_json, sha256, write_json
from trainer.metrics import METRICS
from trainer.model import PLM
from trainer.optimizer import build_optimizer
from trainer.pretrained import CONFIG, RUN, TOKENIZER, WEIGHTS, trained_length

# Settings that the weights do not depend on. How a collection is cut into pieces is none of them: a batch's other
# prompts may change the last bits of its logits.
_HARMLESS = ("checkpoint_interval_steps", "keep_checkpoints")


@dataclass(frozen=True)
class Run:
    """A run in its folder."""

    out: Path
    config: AlignConfig
    fingerprint: str
    settings: dict[str, Any]  # as run.json holds them

    @classmethod
    def claim(cls, out: Path, config: AlignConfig, start: Path, manifest: bytes, reward: str | None) -> "Run":
        """Make `out` this run's folder, or see that it is.

        Args:
            out: the folder.
            config: of the run.
            start: folder of the model that it begins with, of whose files the digests count.
            manifest: of the phase of prompts, which holds the shards' digests.
            reward: name of the reward model, if there is one.

        Raises:
            TrainerError: the folder holds a run with other settings, data or model.
        """
        weights = {name: sha256(start / name) for name in (CONFIG, WEIGHTS, TOKENIZER)}
        model = read_json(start / CONFIG, "a model's configuration")
        align = asdict(config)
        settings = {"align": align, "model": model, "start": weights, "reward": reward}
        counting = {key: value for key, value in align.items() if key not in _HARMLESS}
        digest = hashlib.sha256(json.dumps({**settings, "align": counting}, sort_keys=True).encode())
        digest.update(hashlib.sha256(manifest).digest())
        run = cls(out, config, digest.hexdigest(), settings)
        if (out / RUN).exists():
            run._check(out / RUN, read_json(out / RUN, "a run's settings").get("fingerprint"))
        else:
            out.mkdir(parents=True, exist_ok=True)
            train = {"sequence_length": trained_length(start)}  # so that a measurement goes no further either
            write_json(out / RUN, {"fingerprint": run.fingerprint, **settings, "train": train})
        return run

    def _check(self, path: Path, found: object) -> None:
        if found != self.fingerprint:
            raise TrainerError(
                f"{path}: fingerprint: found {found}, expected {self.fingerprint}: the folder holds a run with other "
                "settings, data or model; choose another folder, or remove this one to align anew"
            )

    def optimizer(self, model: PLM) -> AdamW:
        """Return a fresh optimiser, as each stage begins with."""
        config = self.config
        train = TrainConfig(
            sequence_length=model.config.max_position_embeddings,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            final_learning_rate=config.learning_rate,
            warmup_tokens=0,
            weight_decay=config.weight_decay,
            betas=config.betas,
        )
        return build_optimizer(model, train)

    def resume(self, model: PLM) -> tuple[Position, AdamW]:
        """Load the newest intact checkpoint, if there is one, and cut the log to it."""
        optimizer, position = self.optimizer(model), Position()
        if found := newest_checkpoint(self.out):
            path, state = found
            self._check(path, state["fingerprint"])
            position = load_checkpoint(path, state, model, optimizer)
        cut_lines(self.out / METRICS, position.step)
        return position, optimizer

    def save(self, model: PLM, optimizer: AdamW, position: Position) -> None:
        """Write a checkpoint."""
        save_checkpoint(
            self.out,
            model,
            optimizer,
            position,
            fingerprint=self.fingerprint,
            config=self.settings,
            keep=self.config.keep_checkpoints,
        )
