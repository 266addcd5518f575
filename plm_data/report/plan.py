"""The plan of a recipe for a terminal: what each phase takes of each source, and how often it has then been seen."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from plm_data.mix.plan import Plan
from plm_data.recipe import Recipe


def plan_table(recipe: Recipe, plan: Plan, supply: Mapping[str, tuple[int, str]]) -> Table:
    """``supply``: source → tokens of one epoch, and how they are known; a source that is missing is unknown."""
    table = Table(title=f"{recipe.name}: the plan, in tokens", title_justify="left")
    for name in ("phase", "source", "domain"):
        table.add_column(name, no_wrap=True)
    for name in ("share", "tokens", "epochs", "so far", "most", "one epoch has"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for name, takes in plan.items():
        for i, (source, take) in enumerate(takes.items()):
            tokens, how = supply.get(source, (None, "unknown"))
            known = tokens is not None
            table.add_row(
                f"{name} ({recipe.phases[name].segment})" if i == 0 else "",
                source,
                recipe.sources[source].domain,
                f"{float(take.share):.2%}",
                f"{take.quota:,}",
                f"{take.epochs:.3f}" if known else "",
                f"{take.epochs_so_far:.3f}" if known else "",
                f"{recipe.max_epochs_of(source):g}",
                f"{tokens:,}" if known else "",
                how,
            )
        table.add_row("", f"all of {name}", "", "", f"{sum(take.quota for take in takes.values()):,}", *[""] * 5)
        table.add_section()
    return table
