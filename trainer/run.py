"""The folder of a training run: whose it is, where it goes on, and what it holds at the end."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from trainer.checkpoint import Position, load_checkpoint, newest_checkpoint
from trainer.config import ModelConfig, TrainConfig
from trainer.distributed import Ranks, parallelise
from trainer.errors import TrainerError
from trainer.files import read_json, write_json
from trainer.loop import Work, run_steps
from trainer.metrics import (
    HELD_OUT_METRICS,
    METRICS,
    cut_held_out,
    cut_metrics,
    phase_summaries,
    read_held_out,
    read_metrics,
)
from trainer.model import PLM
from trainer.optimizer import build_optimizer
from trainer.plot import plot_loss
from trainer.precision import is_bf16
from trainer.pretrained import RUN, copy_tokenizer, save_pretrained
from trainer.report.page import write_training_report
from trainer.shards import Phase

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Run:
    """A run in its folder."""

    out: Path
    train_config: TrainConfig
    data: Sequence[Phase]
    fingerprint: str
    settings: dict[str, Any]  # as run.json and the checkpoints hold them

    @classmethod
    def claim(
        cls, out: Path, model: ModelConfig, train: TrainConfig, data: Sequence[Phase], fingerprint: str, ranks: Ranks
    ) -> "Run":
        """Make `out` this run's folder, or see that it is.

        Raises:
            TrainerError: the folder holds a run with other settings or data, or the device lacks what they ask for.
        """
        if train.attention == "flex" and ranks.device.type != "cuda":
            raise TrainerError(
                "train.attention: found flex, which has no gradient on a CPU, expected sdpa or auto; correct the recipe"
            )
        phases = [{"name": each.data.name, "segment": each.data.segment, "tokens": each.tokens} for each in data]
        settings = {"model": asdict(model), "train": asdict(train), "phases": phases}
        path = out / RUN
        if path.exists():
            found = read_json(path, "a run's settings").get("fingerprint")
            if found != fingerprint:
                raise TrainerError(
                    f"{path}: fingerprint: found {found}, expected {fingerprint}: the folder holds a run with other "
                    "settings or data; choose another folder, or remove this one to train anew"
                )
        ranks.wait()  # before the first rank writes what the others look for
        if ranks.first:
            out.mkdir(parents=True, exist_ok=True)
            write_json(path, {"fingerprint": fingerprint, "device": _device(ranks), **settings})
        ranks.wait()
        return cls(out, train, data, fingerprint, settings)

    def train(
        self,
        plm: PLM,
        work: Work,
        tokenizer: Path,
        ranks: Ranks,
        progress: bool,
        say: Callable[[str], None],
    ) -> dict[str, Any]:
        """Take the work's steps, from the newest intact checkpoint if there is one, and return the summary.

        Args:
            plm: the model as the run begins with it, the same on every rank.
            work: what to train on.
            tokenizer: folder in Hugging Face form.
            ranks: of the run; all call this together.
            progress, say: as in `run_steps`.
        """
        out, train = self.out, self.train_config
        if ranks.first:
            copy_tokenizer(tokenizer, out / "tokenizer")
        set_up(plm, train, ranks)
        loss = parallelise(plm, ranks, train.parallel, is_bf16(train, ranks.device))
        optimizer = build_optimizer(plm, train)
        found = ranks.agreed(newest_checkpoint(out) if ranks.first else None)
        position, checkpoint = Position(), None
        if found:
            checkpoint, state = found
            if state["fingerprint"] != self.fingerprint:
                raise TrainerError(f"{checkpoint}: belongs to another run; train in an empty folder")
            position = load_checkpoint(checkpoint, state, plm, optimizer)
        if ranks.first:
            cut_metrics(out / METRICS, position.step)
            cut_held_out(out / HELD_OUT_METRICS, position.step)
        ranks.wait()
        try:
            position = run_steps(
                work,
                plm,
                loss,
                optimizer,
                train,
                position,
                out,
                ranks,
                fingerprint=self.fingerprint,
                config=self.settings,
                checkpoint=checkpoint,
                progress=progress,
                say=say,
            )
        except TrainerError:  # the page tells how far the run came, and why it ended
            if ranks.first and read_metrics(out / METRICS):
                write_training_report(out)
            raise
        summary = self._finish(plm, position, tokenizer, ranks)
        ranks.wait()
        return summary

    def _finish(self, plm: PLM, position: Position, tokenizer: Path, ranks: Ranks) -> dict[str, Any]:
        """Write the final model, the figures and, last, the summary that marks the run as finished."""
        save_pretrained(self.out / "final", plm, tokenizer, ranks)
        steps, losses = read_metrics(self.out / METRICS), {}
        for measured in read_held_out(self.out / HELD_OUT_METRICS):
            losses[measured.phase] = measured.loss  # the last of a phase is at its end
        summary = {
            "fingerprint": self.fingerprint,
            "parameters": sum(parameter.numel() for parameter in plm.parameters()),
            "tokens": position.tokens,
            "steps": position.step,
            "seconds": round(position.seconds, 3),
            "tokens_per_second": round(position.tokens / position.seconds, 1),
            "phases": [
                {**phase, "held_out_loss": losses.get(phase["name"])}
                for phase in phase_summaries(steps, self.data, plm.config.vocab_size)
            ],
        }
        if ranks.first:
            plot_loss(self.out / "loss.png", steps, self.data)
            write_json(self.out / SUMMARY, summary)
            write_training_report(self.out)
        return {**summary, "reused": False}


def set_up(plm: PLM, train: TrainConfig, ranks: Ranks) -> None:
    """Move a model to its device, and choose how it computes."""
    plm.to(ranks.device)
    cuda = ranks.device.type == "cuda"
    if cuda:
        plm.model.attention = "flex" if train.attention == "auto" else train.attention
    else:  # compiled, attention document by document would be compiled for every batch
        plm.model.attention = "mask" if train.compile else "sdpa"
    plm.model.recompute = train.activation_checkpointing
    if train.compile:
        for layer in plm.model.layers:  # one graph, compiled once for all of them
            layer.compile()


def _device(ranks: Ranks) -> str:
    name = (
        torch.cuda.get_device_name(ranks.device)
        if ranks.device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    return name if ranks.world == 1 else f"{ranks.world} × {name}"
