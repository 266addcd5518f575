"""What each chart of the training report says, in a sentence: its caption, and what a screen reader says instead."""

from page_assets import percent, short
from trainer.report.facts import Facts


def findings(facts: Facts) -> dict[str, str]:
    """Return a sentence for each chart, by its name."""
    return {
        "loss": _loss(facts),
        "held_out": _held_out(facts),
        "rate": _rate(facts),
        "norm": _norm(facts),
        "speed": _speed(facts),
        "mfu": _mfu(facts),
        "zeros": _zeros(facts),
    }


def _loss(facts: Facts) -> str:
    rows = facts["rows"]
    if not rows:
        return "No step has been taken yet."
    faint = "each step" if facts["series"]["whole"] else "the least and the greatest of each stretch of steps"
    return (
        f"From {_figure(rows[0]['loss'])} at the first step to {_figure(facts['loss'])} over the last steps of "
        f"{rows[-1]['phase']}; a uniform guess has {facts['uniform_loss']:.3f}. Faint: {faint}; "
        f"strong: the mean of {facts['series']['smooth_width']:,} steps around."
        + (" Dashed: spikes." if facts["marks"] else "")
    )


def _held_out(facts: Facts) -> str:
    rows = facts["held_out"]
    if not rows:
        return "Nothing has been measured on held-out text yet."
    said = f"All held-out text: {_figure(rows[-1]['loss'])} at {short(rows[-1]['tokens'])} tokens"
    if len(rows) > 1:
        said += f", from {_figure(rows[0]['loss'])} at {short(rows[0]['tokens'])}"
    if sources := facts["sources"]:
        hard, easy = sources[0], sources[-1]
        said += f". Hardest is {hard['name']} ({hard['last']:.3f})"
        said += f", easiest {easy['name']} ({easy['last']:.3f})" if len(sources) > 1 else ""
    return said + "."


def _rate(facts: Facts) -> str:
    train = facts["train"]
    kind = {"wsdc": "WSDC", "wsd": "WSD", "cosine": "Cosine"}[train.get("schedule", "wsdc")]
    return (
        f"{kind}: warm-up over {short(train['warmup_tokens'])} tokens to {train['learning_rate']:.3g}, "
        f"floor {train['final_learning_rate']:.3g}. Dashed: the plan, a function of the tokens; solid: as applied."
    )


def _norm(facts: Facts) -> str:
    if facts["clipped"] is None:
        return "No step has been taken yet."
    limit = f"{facts['train']['gradient_clip']:g}"
    return f"{percent(facts['clipped'])} of the steps were clipped to a norm of {limit}, the dashed line."


def _speed(facts: Facts) -> str:
    named = [f"{phase['name']} {phase['speed']:,.0f}" for phase in facts["phases"] if phase["speed"]]
    return f"Median tokens a second: {', '.join(named)}." if named else "No step has been taken yet."


def _mfu(facts: Facts) -> str:
    named = [f"{phase['name']} {phase['mfu']:.1%}" for phase in facts["phases"] if phase["mfu"] is not None]
    said = f"Median by phase: {', '.join(named)}. " if named else ""
    return said + "Model FLOPs utilisation: the model's own operations, of what the device could do."


def _zeros(facts: Facts) -> str:
    zeros = facts["zeros"]
    if zeros is None:
        return "The zeros of the squared ReLU have not been measured."
    last = zeros["last"]
    least, most = min(range(len(last)), key=last.__getitem__), max(range(len(last)), key=last.__getitem__)
    said = f"Last measured: {percent(sum(last) / len(last))} of the activations are exactly zero"
    if percent(last[least]) == percent(last[most]):
        return f"{said}, in every layer."
    return f"{said}, from {percent(last[least])} in layer {least} to {percent(last[most])} in layer {most}."


def _figure(loss: float | None) -> str:
    return "no finite loss" if loss is None else f"{loss:.3f}"
