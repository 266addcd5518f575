"""The Prefect flows. Every step of a build is a task; the library finds what is made already and makes the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE

from pipelines import errors
from pipelines.after import after_steps, after_table, run_after
from pipelines.stages import open_build, sample_texts, write_views
from pipelines.training import train as train_model
from plm_data.build import Build
from plm_data.errors import SourceError

errors.install()


def _may_pass(_task: Any, _run: Any, state: Any) -> bool:
    """Retry what may pass by itself (a dropped connection, a full disk), not what a person must mend."""
    try:
        state.result()
    except Exception as error:
        return isinstance(error, (OSError, SourceError)) or isinstance(error.__cause__, OSError)
    return False


@task(
    task_run_name="{name}", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=_may_pass,
    cache_policy=NO_CACHE, persist_result=False,
)  # fmt: skip
def step(name: str, work: Callable[[], Any]) -> Any:
    """One step of a build, retried where a retry may help."""
    return work()


class _Progress:
    """The share of steps done, on the run's page."""

    def __init__(self, key: str, steps: int):
        self.done, self.steps = 0, steps
        made = create_progress_artifact(progress=0.0, key=key, description="Steps done")
        assert isinstance(made, UUID)
        self.artifact = made

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        result = step(name, work)
        self.done += 1
        update_progress_artifact(self.artifact, progress=100.0 * self.done / self.steps)
        return result


def _opened(recipe: str, home: str | None, workers: int | None, training: bool = False) -> Build:
    logger = get_run_logger()
    return open_build(recipe, Path(home) if home else None, workers, progress=False, say=logger.info, training=training)


def _curate(build: Build, progress: _Progress) -> None:
    """Everything that the phases share, from the sources to the decisions."""
    progress.run(f"collect {len(build.recipe.sources)} sources", lambda: build.collected)
    progress.run("normalise", lambda: build.documents)
    progress.run("train tokenizer", lambda: build.tokenizer)
    progress.run("measure attributes", lambda: build.attributes)
    progress.run("cluster duplicates", lambda: build.near)
    progress.run("decide", lambda: build.decided)


_CURATE_STEPS = 6


def _phase(build: Build, phase: str, progress: _Progress) -> None:
    if phase in build.recipe.after:
        after = build.chat(phase)
        progress.run(f"collect {phase}", lambda: after.documents)
        progress.run(f"decide {phase}", lambda: after.decided)
    progress.run(f"mix {phase}", lambda: build.selection(phase))
    progress.run(f"write shards of {phase}", lambda: build.shards(phase))


def _phase_steps(build: Build, phase: str) -> int:
    return 4 if phase in build.recipe.after else 2


def _report(build: Build, progress: _Progress) -> Path:
    path, facts = progress.run("write report", lambda: write_views(build))
    rows = [
        {
            "phase": phase["name"],
            "source": name,
            "domain": source["domain"],
            "planned tokens": source["planned_tokens"],
            "realised tokens": source["tokens"],
            "documents": source["documents"],
        }
        for phase in facts["phases"]
        if phase["built"]
        for name, source in phase["sources"].items()
    ]
    create_table_artifact(rows, key=f"{_key(build)}-mix", description=f"The mix of {build.recipe.name}")
    # Browsers refuse links from a page to a file, so the path stands beside the link.
    create_link_artifact(path.resolve().as_uri(), link_text="mixture report", key=f"{_key(build)}-report")
    create_markdown_artifact(
        f"Mixture report: `{path.resolve()}`", key=f"{_key(build)}-report-path", description="Where the report lies"
    )
    return Path(path)


def _key(build: Build) -> str:
    """A recipe's name as an artifact key, which may hold lower-case letters, digits and dashes."""
    return "".join(c if c.isalnum() else "-" for c in build.recipe.name)


@flow(name="build-phase", flow_run_name="{recipe}-{phase}")
def build_phase(
    recipe: str = "nano", phase: str = "phase1", home: str | None = None, workers: int | None = None
) -> str:
    """Build one phase of a recipe, of the pre-training or after it, from its sources to its shards, and the report."""
    build = _opened(recipe, home, workers)
    build.check(phase)
    progress = _Progress(f"{_key(build)}-{phase}-progress", _CURATE_STEPS + _phase_steps(build, phase) + 1)
    _curate(build, progress)
    _phase(build, phase, progress)
    path = _report(build, progress)
    get_run_logger().info("shards: %s", (build.folder / phase).resolve())
    get_run_logger().info("report: %s", path.resolve())
    return str(path)


@flow(name="train", flow_run_name="{recipe}-train")
def train(recipe: str = "nano", home: str | None = None, workers: int | None = None) -> dict[str, Any]:
    """Build what is missing of a recipe's phases and train its model through them."""
    build = _opened(recipe, home, workers, training=True)
    progress = _Progress(f"{_key(build)}-train-progress", _CURATE_STEPS + 2 * len(build.recipe.phases) + 2)
    return _train(build, progress)


def _train(build: Build, progress: _Progress) -> dict[str, Any]:
    _curate(build, progress)
    for phase in build.recipe.phases:
        _phase(build, phase, progress)
    _report(build, progress)
    summary: dict[str, Any] = progress.run(
        "train model", lambda: train_model(build, progress=False, say=get_run_logger().info)
    )
    rows = [
        {key: phase[key] for key in ("name", "segment", "tokens", "loss_start", "loss_end", "held_out_loss")}
        for phase in summary["phases"]
    ]
    create_table_artifact(rows, key=f"{_key(build)}-losses", description="Loss at the start and end of each phase")
    return summary


@flow(name="reproduce", flow_run_name="{recipe}-reproduce")
def reproduce(recipe: str = "nano", home: str | None = None, workers: int | None = None) -> dict[str, Any]:
    """All of a recipe: every phase, the report, the model, its fine-tuning, alignment and evaluation, and samples."""
    build = _opened(recipe, home, workers, training=True)
    steps = _CURATE_STEPS + 2 * len(build.recipe.phases) + 3 + after_steps(build)
    progress = _Progress(f"{_key(build)}-reproduce-progress", steps)
    summary = _train(build, progress)
    if after_steps(build):
        rows = run_after(build, False, get_run_logger().info, progress.run)
        create_table_artifact(
            after_table(rows), key=f"{_key(build)}-evaluation", description="Held-out text and tasks, by model"
        )
    texts = progress.run("sample", lambda: sample_texts(build))
    create_markdown_artifact(
        "\n\n".join(_fenced(text) for text in texts), key=f"{_key(build)}-samples", description="Text of the model"
    )
    return summary


def _fenced(text: str) -> str:
    """Text as an indented block, which no text can break out of."""
    return "\n".join("    " + line for line in text.splitlines())
