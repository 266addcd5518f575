"""The commands that tell why: of one document, of one rule, of a text, and of what two corpora share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from plm_data.dedup.against import Overlap
    from plm_data.dedup.corpora import Corpus
    from plm_data.inspect.tables import Built

_TOP = 10

_home = click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), default=None,
    help="Folder of the builds.  [default: $PLM_HOME, or build]",
)  # fmt: skip
_recipe = click.option(
    "--recipe", "-r", default=None, help="A recipe that is built.  [default: the only one built in the home]"
)


def _built(recipe: str | None, home: Path | None) -> Built:
    from plm_data.build import default_home
    from plm_data.inspect.tables import open_built

    home = home or default_home()
    return open_built(recipe or _only_recipe(home), home)


def _only_recipe(home: Path) -> str:
    """The name of the only recipe with a report in a home; raises ``PlmError`` if it is not plain which is meant."""
    from plm_data.errors import PlmError, RecipeError
    from plm_data.recipe_file import find_recipe

    names = sorted(report.parent.name for report in home.glob("*/report.json"))
    if not names:
        raise PlmError(f"{home}: nothing is built here; run `plm build RECIPE` first, or name the home with --home.")
    if len(names) > 1:
        raise PlmError(
            f"{home} has {len(names)} recipes: {', '.join(names)}; say which is meant, such as with `-r {names[0]}`."
        )
    try:
        find_recipe(names[0])
    except RecipeError as error:
        raise PlmError(
            f"{home} has {names[0]}, whose recipe is not in recipes/; name its file with `-r FILE.yaml`."
        ) from error
    return names[0]


@click.command(epilog="Example: plm explain --grep 'All rights reserved'")
@click.argument("document", metavar="[ID]", required=False)
@click.option("--grep", default=None, metavar="TEXT", help="Find documents by a piece of their text; case counts.")
@click.option("-n", "most", type=click.IntRange(min=1), default=20, show_default=True, help="Matches to list.")
@_recipe
@_home
def explain(document: str | None, grep: str | None, most: int, recipe: str | None, home: Path | None) -> None:
    """Tell why a document was kept or dropped.

    ID is a document's id, the beginning of one, or the document's name in its source. With --grep the documents that
    hold a text are listed; if there is only one, its story is told.
    """
    from plm_data.inspect import explain as story
    from plm_data.text.printable import clip, quote

    if (document is None) == (grep is None) or grep == "":
        raise click.UsageError("give either an ID, or --grep with a TEXT.")
    built = _built(recipe, home)
    if grep is None:
        click.echo(story.explain(built, document or ""))
        return
    found = story.find(built, grep, most + 1)
    if len(found) == 1:
        click.echo(story.explain(built, found[0].id))
        return
    if not found:
        click.echo(f"no document of {built.recipe.name} holds {quote(grep, 80)}")
        sys.exit(1)
    for match in found[:most]:
        verdict = match.verdict if match.reason is None else f"{match.verdict} by {match.reason}"
        click.echo(f"{match.id}  {match.source}  {clip(match.name, 80)}  {verdict}\n    {match.excerpt}")
    click.echo("and more; make the text longer, or raise -n" if len(found) > most else f"{len(found)} documents")
    click.echo("plm explain ID tells the story of one")


@click.command(epilog="Example: plm samples gopher.min_words --source python-docs -n 3")
@click.argument("rule", metavar="RULE")
@click.option("--source", default=None, help="Only documents of this source.")
@click.option("-n", "count", type=click.IntRange(min=1, max=1000), default=5, show_default=True, help="Each side.")
@_recipe
@_home
def samples(rule: str, source: str | None, count: int, recipe: str | None, home: Path | None) -> None:
    """Show the documents nearest to a rule's threshold: those it just dropped, and those it just left.

    RULE is named as in the report, such as gopher.min_words, or dedup.near or dedup.exact for pairs of duplicates.
    """
    from plm_data.decisions.ledger import EXACT, NEAR
    from plm_data.inspect import samples as sampling

    name = sampling.check_rule(rule)
    built = _built(recipe, home)
    if name in (EXACT, NEAR):
        lines = sampling.tell_pairs(name, sampling.duplicate_pairs(built, name, source, count))
    else:
        lines = sampling.tell_samples(name, sampling.samples(built, name, source, count))
    for line in lines:
        click.echo(line)


@click.command(epilog="Example: plm near 'Return the sum of two numbers, as a float.'")
@click.argument("text", metavar="TEXT|FILE")
@click.option("-n", "most", type=click.IntRange(min=1), default=20, show_default=True, help="Documents to list.")
@_recipe
@_home
def near(text: str, most: int, recipe: str | None, home: Path | None) -> None:
    """Find what in a built corpus is a near duplicate of a text, by the recipe's own MinHash bands.

    The text is given as it is, as a file, or as - for standard input.
    """
    from plm_data.inspect.near import near as find_near
    from plm_data.text.printable import clip

    given = _text_of(text)
    built = _built(recipe, home)
    found = find_near(built, given)
    bands, rows = built.banding
    half = (1 / bands) ** (1 / rows)
    click.echo(f"{len(given.split()):,} words; documents of {built.recipe.name} near it: {len(found):,}")
    for each in found[:most]:
        verdict = each.verdict if each.reason is None else f"{each.verdict} by {each.reason}"
        click.echo(f"  ~{each.jaccard:.2f}  {each.id}  {each.source}  {clip(each.name, 80)}  {verdict}")
    if len(found) > most:
        click.echo(f"  and {len(found) - most:,} more")
    click.echo(
        f"(Jaccard as estimated; near: one of {bands} bands of {rows} in common, as every other pair at {half:.2f} has)"
    )


def _text_of(given: str) -> str:
    from plm_data.errors import PlmError

    try:
        if given == "-":
            data = sys.stdin.buffer.read()
        elif os.path.isfile(given):
            data = Path(given).read_bytes()
        elif os.path.isdir(given):
            raise PlmError(f"{given} is a folder; expected a text, or a file of one.")
        else:
            return given.encode("utf-8", "replace").decode("utf-8")
    except OSError as error:
        raise PlmError(f"{given}: cannot be read: {error.strerror}.") from error
    return data.decode("utf-8", "replace")


@click.command(epilog="Example: plm dedup mine.jsonl --against build/nano/phase1 --out shared.parquet")
@click.argument("corpus", metavar="B")
@click.option("--against", required=True, metavar="A", help="The corpus that is looked up in.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write every match to this Parquet file.")
@click.option(
    "--min-jaccard", type=click.FloatRange(0, 1, min_open=True), default=0.7, show_default=True,
    help="Least similarity of a near match.",
)  # fmt: skip
@click.option("--shingle-words", type=click.IntRange(1, 50), default=5, show_default=True, help="Words of a shingle.")
@click.option("--text-column", default="text", show_default=True, help="Column of the text in B.")
@click.option("--id-column", default=None, help="Column of the id in B.  [default: id; without one its row]")
@click.option("--against-text-column", default="text", show_default=True, help="The same in A.")
@click.option("--against-id-column", default=None, help="The same in A.")
@_home
def dedup(
    corpus: str, against: str, out: Path | None, min_jaccard: float, shingle_words: int, text_column: str,
    id_column: str | None, against_text_column: str, against_id_column: str | None, home: Path | None,
) -> None:  # fmt: skip
    """Tell which documents of B are in A too, and which ones they are there.

    A and B are each a file that `reader: files` reads (Parquet, JSON Lines, texts), a folder of them (such as
    build/nano/phase1; where it has Parquet files, only these), or a recipe that is built, whose kept documents count.
    A match is exact if the texts are the same in their normal form, else near, with the exact Jaccard similarity of
    the word shingles; of each document of B the best match is named.
    """
    from plm_data.dedup.against import against as compare
    from plm_data.dedup.against import banding_for
    from plm_data.errors import PlmError
    from plm_data.tables import write_parquet

    if out is not None and not out.absolute().parent.is_dir():
        raise PlmError(f"{out}: there is no folder {out.parent}; make it first.")
    b = _corpus(corpus, text_column, id_column, home)
    a = _corpus(against, against_text_column, against_id_column, home)
    permutations = 112
    bands, rows = banding_for(min_jaccard, permutations)
    overlap = compare(
        b, a, bands=bands, rows=rows, permutations=permutations, shingle_words=shingle_words, min_jaccard=min_jaccard
    )
    _print_overlap(overlap, corpus, against, min_jaccard)
    if out is not None:
        write_parquet(overlap.matches, out)
        click.echo(f"matches: {out}")


def _corpus(given: str, text: str, identity: str | None, home: Path | None) -> Corpus:
    from plm_data.build import default_home
    from plm_data.dedup.corpora import Corpus, corpus_files
    from plm_data.errors import PlmError, RecipeError
    from plm_data.inspect.tables import kept_corpus, open_built

    path = Path(given)
    if os.path.exists(given) and path.suffix not in (".yaml", ".yml"):
        return Corpus(corpus_files(path), text, identity)
    try:
        built = open_built(given, home or default_home())
    except RecipeError as error:
        if path.suffix in (".yaml", ".yml") and path.is_file():
            raise
        raise PlmError(
            f"{given}: no such file or folder, and no recipe of this name; expected a file of documents, a folder of "
            f"them, or a recipe that is built."
        ) from error
    return kept_corpus(built)


def _print_overlap(overlap: Overlap, b: str, a: str, min_jaccard: float) -> None:
    import polars as pl

    from plm_data.text.printable import clip

    matches = overlap.matches
    exact = matches.filter(pl.col("kind") == "exact").height
    click.echo(f"B: {b}, {overlap.documents:,} documents")
    click.echo(f"A: {a}, {overlap.against:,} documents")
    for name, refused in (("B", overlap.refused), ("A", overlap.against_refused)):
        if refused:
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in refused.most_common())
            click.echo(f"{refused.total():,} rows of {name} could not be read ({reasons})")
    for what, n, said in (
        ("of B in A", matches.height, ""),
        ("  exact", exact, "  the same text in its normal form"),
        ("  near", matches.height - exact, f"  Jaccard at least {min_jaccard:g}"),
    ):
        click.echo(f"{what:<9}  {n:>10,}  {n / max(overlap.documents, 1):>7.2%}{said}")
    if matches.height:
        click.echo("the most similar:")
    for row in matches.head(_TOP).iter_rows(named=True):
        click.echo(f"  {row['jaccard']:.3f}  {row['kind']:<5}  {clip(row['b_id'], 60)}  {_shorter(row['b_file'])}")
        click.echo(f"  {'in A':>12}  {clip(row['a_id'], 60)}  {_shorter(row['a_file'])}")


def _shorter(file: str) -> str:
    from pipelines.stages import relative
    from plm_data.text.printable import clip

    return clip(relative(Path(file)), 90)
