"""Draws a run's loss and learning rate over the tokens seen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from trainer.metrics import StepMetrics
from trainer.shards import Phase

_SHADES = {"stable": "#dbe9f6", "decay": "#fde8d0", "constant": "#dff0dc", "sft": "#f4e3ee"}


def plot_loss(path: Path, steps: Sequence[StepMetrics], phases: Sequence[Phase]) -> None:
    """Write a PNG: the loss and its running mean on the left axis, the learning rate on the right, phases shaded."""
    tokens = np.array([step.tokens for step in steps])
    loss = np.array([step.loss for step in steps])
    figure = Figure(figsize=(9, 5), dpi=150, layout="constrained")  # a Figure of its own draws with Agg
    axis = figure.add_subplot()
    start = 0
    for phase in phases:
        axis.axvspan(start, start + phase.tokens, color=_SHADES[phase.data.segment], linewidth=0)
        axis.annotate(
            f"{phase.data.name}\n{phase.data.segment}",
            ((start + phase.tokens / 2), 0.98),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="top",
            fontsize=9,
            color="#444444",
        )
        start += phase.tokens
    width = max(1, len(steps) // 50)
    smooth = np.convolve(np.pad(loss, (width - 1, 0), mode="edge"), np.ones(width) / width, mode="valid")
    axis.plot(tokens, loss, color="#1f4e79", alpha=0.3, linewidth=0.8)
    loss_line = axis.plot(tokens, smooth, color="#1f4e79", linewidth=1.8, label=f"loss, mean of {width} steps")
    axis.set(title="Training loss", xlabel="tokens seen", ylabel="cross-entropy (nats a token)", xlim=(0, start))
    axis.margins(y=0.15)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.grid(alpha=0.3)
    right = axis.twinx()
    rate_line = right.plot(
        tokens, [step.learning_rate for step in steps], color="#c55a11", linewidth=1.2, label="learning rate"
    )
    right.set_ylabel("learning rate")
    right.set_ylim(0, 1.25 * max(step.learning_rate for step in steps))  # clear of the phases' names
    right.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    axis.legend(handles=[*loss_line, *rate_line], loc="upper right", bbox_to_anchor=(1, 0.9), framealpha=0.9)
    figure.savefig(path)
