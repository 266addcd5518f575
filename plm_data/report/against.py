"""Two builds compared by the facts of their reports: what was set otherwise, and what moved, by phase, source and rule.

Of a pair of figures ``a`` is the build in question, ``b`` the one that it is held against, and ``change`` is a − b.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plm_data.errors import PlmError

Json = dict[str, Any]
Figures = dict[str, float | None]

BOTH, NEW, GONE = "both", "new", "gone"
_SOURCE_SETTINGS = ("domain", "language", "license", "priority")
_SOURCE_FIGURES = ("found", "documents", "kept_documents", "kept_tokens")
_DUPLICATES = {
    "exact": "exact duplicates",
    "near": "near duplicates",
    "clusters": "clusters of near duplicates",
    "largest_cluster": "documents in the largest cluster",
}


@dataclass(frozen=True)
class _Side:
    """What is compared of one build; each table by the names of its rows."""

    about: Json
    settings: dict[str, str]
    totals: Figures
    phases: dict[str, Figures]
    mixes: dict[str, dict[str, Figures]]
    sources: dict[str, Figures]
    rules: dict[str, Figures]
    rules_by_source: dict[str, dict[str, Figures]]
    duplicates: dict[str, Figures]
    licences: dict[str, Figures]
    refused: dict[str, Figures]


def compare(a: Json, b: Json) -> Json:
    """All that differs between the facts of two reports (``report.json``), and what does not, for context.

    Each table is a list of rows: ``name``, ``status`` (both, new: in ``a`` alone, gone: in ``b`` alone), pairs of
    figures, ``moved`` and ``size``, by which the rows are sorted. What is not built has no figures (None).
    Raises ``PlmError`` for facts that lack what is compared, as those of another version may.
    """
    one, two = _side(a), _side(b)
    tables: Json = {
        "phases": _rows(one.phases, two.phases, ["tokens", "planned"], by_size=False),
        "sources": _rows(one.sources, two.sources, ["kept_tokens"]),
        "rules": _rows(one.rules, two.rules, ["tokens"]),
        "duplicates": _rows(one.duplicates, two.duplicates, ["count"]),
        "licences": _rows(one.licences, two.licences, ["tokens"]),
        "refused": _rows(one.refused, two.refused, ["documents"]),
    }
    for phase in tables["phases"]:
        mixes = one.mixes.get(phase["name"], {}), two.mixes.get(phase["name"], {})
        phase["sources"] = _rows(*mixes, ["tokens", "planned"])
        phase["moved"] |= any(row["moved"] for row in phase["sources"])
    for rule in tables["rules"]:
        hits = one.rules_by_source.get(rule["name"], {}), two.rules_by_source.get(rule["name"], {})
        rule["sources"] = _rows(*hits, ["tokens"])
        rule["moved"] |= any(row["moved"] for row in rule["sources"])
    settings = [
        {"name": name, "a": one.settings.get(name), "b": two.settings.get(name)}
        for name in sorted({*one.settings, *two.settings})
        # A setting of what one build alone has is no change of it; the tables say that it is new or gone.
        if name in one.settings and name in two.settings and one.settings[name] != two.settings[name]
    ]
    return {
        "a": one.about,
        "b": two.about,
        "same_decisions": one.about["fingerprint"] == two.about["fingerprint"],
        "moved": any(row["moved"] for table in tables.values() for row in table),
        "settings": settings,
        "totals": {name: _pair(one.totals[name], two.totals[name]) for name in one.totals},
        **tables,
    }


def names(comparison: Json) -> tuple[str, str]:
    """What the two builds are called beside each other: by their recipes, or where these are one, this and other."""
    a, b = comparison["a"]["recipe"], comparison["b"]["recipe"]
    return (a, b) if a != b else ("this", "other")


def verdict(comparison: Json) -> str:
    """What it comes to, in a sentence."""
    if comparison["moved"]:
        return "Figures moved."
    if comparison["same_decisions"]:
        return "Nothing moved: both builds decided the same of the same documents."
    return "Nothing moved in number, but the decisions are not the same: the fingerprints differ."


def signed(change: float | None) -> str:
    """A change of a count with its sign, or nothing where there is none."""
    return f"{change:+,}".replace("-", "−") if change else ""


def relative(pair: Json) -> str:
    """A change in per cent of what it was, or nothing where that is not a number."""
    return f"{pair['change'] / pair['b']:+.1%}".replace("-", "−") if pair["change"] and pair["b"] else ""


def points(pair: Json) -> str:
    """A change of a share in percentage points, or nothing where it rounds to none."""
    change = round(100 * pair["change"], 1)
    return f"{change:+.1f} pp".replace("-", "−") if change else ""


def _pair(a: float | None, b: float | None) -> Json:
    return {"a": a, "b": b, "change": None if a is None or b is None else a - b}


def _rows(
    a: Mapping[str, Figures], b: Mapping[str, Figures], measures: Sequence[str], by_size: bool = True
) -> list[Json]:
    """The rows of two tables side by side; what one of them lacks counts as nothing. By size of movement, then name."""
    rows = []
    for name in dict.fromkeys([*a, *b]):
        columns = a.get(name) or b[name]
        nothing: Figures = dict.fromkeys(columns, 0)
        figures = {key: _pair(a.get(name, nothing)[key], b.get(name, nothing)[key]) for key in columns}
        status = BOTH if name in a and name in b else NEW if name in a else GONE
        # What is built on one side alone has moved, though nobody can say how far; a share moves with others' figures.
        moved = status != BOTH or any(pair["a"] != pair["b"] for key, pair in figures.items() if key != "share")
        changes = [figures[key]["change"] for key in measures]
        size = next((abs(change) for change in changes if change is not None), 0)
        rows.append({"name": name, "status": status, **figures, "moved": moved, "size": size})
    return sorted(rows, key=lambda row: (-row["size"], not row["moved"], row["name"])) if by_size else rows


def _side(facts: Json) -> _Side:
    try:
        return _read(facts)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        name = facts.get("recipe", "?") if isinstance(facts, dict) else "?"
        raise PlmError(
            f"the report of {name} is not of this version ({error!r}); run `plm report {name}` again, then compare."
        ) from error


def _read(facts: Json) -> _Side:
    phases = {phase["name"]: phase for phase in facts["phases"]}
    sources = {source["name"]: source for source in facts["sources"]}
    rules = {rule["rule"]: rule for rule in facts["rules"]}
    built = [phase for phase in phases.values() if phase["built"]]
    return _Side(
        about={key: str(facts[key]) for key in ("recipe", "description", "seed", "recipe_digest", "fingerprint")},
        settings=dict(_settings(facts)),
        totals={
            "tokens in phases": sum(phase["tokens"] for phase in built),
            "documents in phases": sum(phase["documents"] for phase in built),
            "kept documents": sum(source["kept_documents"] for source in sources.values()),
            "kept tokens": sum(source["kept_tokens"] for source in sources.values()),
            "held-out tokens": _number(facts["held_out"]["tokens"]),
        },
        phases={
            name: {
                "planned": _number(phase["planned_tokens"]),
                "tokens": _number(phase["tokens"]) if phase["built"] else None,
                "documents": _number(phase["documents"]) if phase["built"] else None,
            }
            for name, phase in phases.items()
        },
        mixes={
            name: {source: _mixed(phase, found) for source, found in phase["sources"].items()}
            for name, phase in phases.items()
        },
        sources={name: {key: _number(source[key]) for key in _SOURCE_FIGURES} for name, source in sources.items()},
        rules={name: {key: _number(rule[key]) for key in ("documents", "tokens")} for name, rule in rules.items()},
        rules_by_source={
            name: {
                source: {key: _number(hit[key]) for key in ("documents", "tokens")}
                for source, hit in rule["by_source"].items()
            }
            for name, rule in rules.items()
        },
        duplicates={name: {"count": _number(facts["duplicates"][key])} for key, name in _DUPLICATES.items()},
        licences={row["class"]: {"documents": row["documents"], "tokens": row["tokens"]} for row in facts["licences"]},
        refused=_summed(
            (f"{row['source']}: {row['rule']}", {"documents": _number(row["documents"])}) for row in facts["rejected"]
        ),
    )


def _settings(facts: Json) -> Iterable[tuple[str, str]]:
    """What the recipe sets, as far as its report tells, by a name that a person understands."""
    yield "seed", str(facts["seed"])
    yield "held out", f"{facts['held_out']['share']:.2%} of the kept documents"
    for phase in facts["phases"]:
        yield f"{phase['name']}: segment", str(phase["segment"])
    for source in facts["sources"]:
        for key in _SOURCE_SETTINGS:
            yield f"{source['name']}: {key}", str(source[key])
    for rule in facts["rules"]:
        for source in facts["sources"]:
            limit = rule["thresholds"].get(source["name"])
            yield f"{source['name']}: {rule['rule']}", "off" if limit is None else f"{limit:,.10g}"


def _mixed(phase: Json, found: Json) -> Figures:
    """A source in a phase. ``share``: of the phase's tokens, or of the planned ones where it is not built."""
    built = phase["built"]
    part, whole = (found["tokens"], phase["tokens"]) if built else (found["planned_tokens"], phase["planned_tokens"])
    return {
        "planned": _number(found["planned_tokens"]),
        "tokens": _number(found["tokens"]) if built else None,
        "documents": _number(found["documents"]) if built else None,
        "share": part / whole if whole else 0.0,
    }


def _summed(rows: Iterable[tuple[str, Figures]]) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    for name, figures in rows:
        so_far = found.get(name, {})
        found[name] = {key: (value or 0) + (so_far.get(key) or 0) for key, value in figures.items()}
    return found


def _number(value: Any) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"expected a number, found {value!r}")
    return value
