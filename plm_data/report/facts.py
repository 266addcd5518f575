"""The facts of a build, as they are in ``report.json``; the page and the terminal table are views of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from plm_data.build import Build
from plm_data.recipe import Recipe
from plm_data.report import decided
from plm_data.report.conversations import conversation_facts
from plm_data.report.duplicates import duplicate_facts
from plm_data.report.groups import groups as groups_of
from plm_data.report.licences import roll_up
from plm_data.report.measured import attribute_facts, fertility_facts, language_facts, length_facts
from plm_data.report.phases import phase_facts
from plm_data.report.rules import rule_facts, wanted_samples
from plm_data.report.samples import Shown
from plm_data.report.survey import survey
from plm_data.store import Output, digest, library_versions

Json = dict[str, Any]


def gather(build: Build) -> Json:
    """Everything the report says, from stored outputs alone; rows are counted anew from the shards' manifests.

    Tables are scanned and summed; the measures are read partition by partition; of the texts those of some hundred
    documents are looked up. Names and texts stand as the corpus has them: a view escapes them.
    """
    built = build.built_phases()
    phases = [phase_facts(build, name, built[name][2] if name in built else None) for name in build.recipe.phases]
    sources = decided.source_facts(build)
    groups = groups_of({source["name"]: source["tokens"] for source in sources})
    lengths = length_facts(build)
    found = survey(build, groups, max((row["longest"] for row in lengths["by_source"]), default=1))
    duplicates = duplicate_facts(build, groups)
    shown = Shown(build, [*wanted_samples(found), *((row["source"], row["id"]) for row in duplicates["largest"])])
    for row in duplicates["largest"]:
        row["shown"] = shown.document(row["source"], row["id"])
    languages = language_facts(found)
    licenses = decided.license_facts(build)
    after = conversation_facts(build)
    steps = [*_conservation(build, built), *(row for phase in after for row in phase.pop("conservation", ()))]
    return {
        "recipe": build.recipe.name,
        "description": build.recipe.description,
        "seed": build.recipe.seed,
        "recipe_digest": recipe_digest(build.recipe),
        "fingerprint": digest([build.decided[name].content for name in sorted(build.decided)]),
        "reproduce": {"command": f"plm reproduce {build.recipe.name}", "libraries": library_versions()},
        "phases": phases,
        "sources": sources,
        "groups": groups,
        "flow": decided.flow_facts(build, groups),
        "rules": rule_facts(decided.rule_hits(build), found, shown),
        "duplicates": duplicates,
        "languages": languages,
        "lengths": {**lengths, "distribution": found.lengths.facts()},
        "fertility": fertility_facts(languages),
        "attributes": attribute_facts(build, found),
        "rejected": decided.rejected_facts(build),
        "conversations": after,
        "held_out": {"share": build.recipe.held_out, "tokens": sum(build.held_out_tokens().values())},
        "licenses": licenses,
        "licences": roll_up([(row["license"], row["documents"], row["tokens"]) for row in licenses]),
        "conservation": steps,
        "problems": list(_problems(phases, steps, build)),
        "notes": [
            f"{phase['name']} is not built yet: plm build {build.recipe.name} --phase {phase['name']}"
            for phase in [*phases, *after]
            if not phase["built"]
        ],
    }


def recipe_digest(recipe: Recipe) -> str:
    """Hash of a recipe's content, to tell whether a report is of the recipe as it stands."""
    return digest(recipe.model_dump(mode="json"))


def _conservation(build: Build, built: dict[str, tuple[Output, Output, Output]]) -> Iterable[Json]:
    """Every step's rows: in = kept + dropped + quarantined, as the engine asserted when the step ran."""

    def line(step: str, source: str, output: Output) -> Json:
        counts = asdict(output.counts.check(f"step {step} of {source}"))
        return {"step": step, "source": source, **counts}

    for source, output in build.collected.items():
        yield line("collect", source, output)
    for source, output in build.normalised.items():
        yield line("normalise", source, output)
    for source, output in build.sampled.items():
        yield line("sample", source, output)
    yield line("tokenizer", "all", build.tokenizer)
    for source, outputs in build.attributes.items():
        for step, output in outputs.items():
            yield line(step, source, output)
    for source, output in build.decided.items():
        yield line("decide", source, output)
    for source, axis in build.ranked.items():
        yield line("rank", source, axis.output)
    for phase, (selection, placed, shards) in built.items():
        yield line("select", phase, selection)
        yield line("place", phase, placed)
        yield line("shards", phase, shards)


def _problems(phases: list[Json], steps: list[Json], build: Build) -> Iterable[str]:
    for phase in phases:
        for name, source in phase["sources"].items() if phase["built"] else ():
            # A source is within one document of its plan, or exact if it is cut; more than that is a defect.
            most = 0 if build.recipe.phases[phase["name"]].cut_last else source["largest_document"]
            if abs(source["tokens"] - source["planned_tokens"]) > most:
                yield (
                    f"{phase['name']} holds {source['tokens']:,} tokens of {name}, planned were "
                    f"{source['planned_tokens']:,}: " + ("more than one document apart" if most else "not the same")
                )
    for source in build.recipe.sources:
        if build.recipe.held_out_of(source) < 1 and not any(source in phase["sources"] for phase in phases):
            yield f"the source {source} is in no phase's mix"
    quarantined = sum(step["quarantined"] for step in steps if step["step"] in ("collect", "normalise", "converse"))
    if quarantined:
        yield f"{quarantined} documents are quarantined; see below"
