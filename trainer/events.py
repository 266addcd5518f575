"""A run's curves as TensorBoard event files, in the folder `events/` of the run: `tensorboard --logdir RUN`."""

from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from trainer.metrics import HeldOut, StepMetrics

EVENTS = "events"


class Events:
    """Writes what the logs hold to event files; use it as a context, so that the last events are on disk.

    Tags: `train/loss`, `train/learning_rate`, `train/gradient_norm`, `train/tokens_per_second`, `train/mfu`,
    `zeros/layer_NN`, `held_out/all` and `held_out/by_source/NAME`, all by step.

    Args:
        folder: the run's folder.
        first_step: the first step that will be written. Readers drop what an earlier sitting wrote of it and later
            ones, so a resumed run has no point twice.
    """

    def __init__(self, folder: Path, first_step: int = 1) -> None:
        self._writer = SummaryWriter(str(folder / EVENTS), purge_step=first_step)

    def __enter__(self) -> "Events":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def step(self, metrics: StepMetrics) -> None:
        """Add one optimiser step; what was not measured has no point."""
        for name in ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "mfu"):
            value = getattr(metrics, name)
            if value is not None:
                self._add(f"train/{name}", value, metrics.step)
        for layer, share in enumerate(metrics.zeros or ()):
            self._add(f"zeros/layer_{layer:02d}", share, metrics.step)

    def held_out(self, measured: HeldOut) -> None:
        """Add one measurement on held-out text."""
        self._add("held_out/all", measured.loss, measured.step)
        for source, loss in measured.by_source.items():
            self._add(f"held_out/by_source/{source}", loss, measured.step)

    def _add(self, tag: str, value: float, step: int) -> None:
        # in the old form (float32): not all readers purge the new one
        self._writer.add_scalar(tag, value, step)
