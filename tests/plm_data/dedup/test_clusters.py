"""Clusters: the same for any order and layout, one survivor each."""

from __future__ import annotations

from pathlib import Path

import networkx
import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from plm_data.decide import EXACT, NEAR, find_duplicates
from plm_data.dedup.clusters import Cluster, Sign
from plm_data.dedup.components import Components
from plm_data.engine import run_steps
from plm_data.store import Counts, Output, Store
from plm_data.tables import part_file, write_parquet


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(0, 6), min_size=12, max_size=12), min_size=1, max_size=4))
def test_components_are_those_of_the_graph(bands: list[list[int]]) -> None:
    components, graph = Components(12), networkx.Graph()
    graph.add_nodes_from(range(12))
    members = np.arange(12)
    for band in bands:
        components.join_equal(np.array(band, dtype=np.uint64), members)
        graph.add_edges_from((i, j) for i in range(12) for j in range(i) if band[i] == band[j])
    expected = {node: min(group) for group in networkx.connected_components(graph) for node in group}
    assert components.labels().tolist() == [expected[i] for i in range(12)]


BASE = "The old harbour lies quiet in the morning and the boats come in one by one with their nets full of fish " * 4
TEXTS = {
    "aa": BASE + "today", "ab": BASE + "tonight", "ac": BASE, "ba": "Something else that nobody has written before at all",
    "bb": "...", "bc": "!!!", "ca": "x y z", "cb": "x y z",
}  # fmt: skip


def clusters_of(home: Path, layout: list[list[str]]) -> dict[str, str]:
    folder = home / "documents"
    folder.mkdir(parents=True)
    for i, ids in enumerate(layout):
        write_parquet(
            pl.DataFrame({"id": ids, "text": [TEXTS[x] for x in ids]}, schema={"id": pl.String, "text": pl.String}),
            part_file(folder, i),
        )
    documents = Output("normalise", str(layout), folder, Counts(len(TEXTS), len(TEXTS)), False)
    store = Store(home / "store")
    signed = run_steps(store, [Sign(documents=documents, permutations=112, shingle_words=5)], "sign")[0]
    found = run_steps(store, [Cluster(signatures={"s": signed}, bands=14, rows=8)], "cluster")[0]
    return dict(pl.read_parquet(found.parts()).select("id", "near_cluster").iter_rows())


def test_clusters_do_not_depend_on_order_or_layout(tmp_path: Path) -> None:
    ids = list(TEXTS)
    one = clusters_of(tmp_path / "one", [ids])
    two = clusters_of(tmp_path / "two", [ids[5:][::-1], [], ids[:5][::-1]])
    assert one == two
    assert one["aa"] == one["ab"] == one["ac"] == "aa" and one["ca"] == one["cb"] == "ca"
    # Texts without a word are no copies of each other for it, and a text alone is its own cluster.
    assert (one["bb"], one["bc"], one["ba"]) == ("bb", "bc", "ba")


def row(identity: str, priority: int, chars: int, content: str, cluster: str | None) -> dict:
    return {
        "id": identity, "source": f"s{priority}", "priority": priority, "chars": chars, "content_hash": content,
        "near_cluster": cluster,
    }  # fmt: skip


def decide(rows: list[dict]) -> dict[str, tuple[str, str]]:
    schema = {"id": pl.String, "source": pl.String, "priority": pl.Int64, "chars": pl.Int64, "content_hash": pl.String,
              "near_cluster": pl.String}  # fmt: skip
    found = find_duplicates(pl.DataFrame(rows, schema=schema))
    return {i: (rule, winner) for i, rule, winner in found.select("id", "rule", "winner").iter_rows()}


def test_winners_by_priority_then_length_then_id() -> None:
    assert decide([row("a", 1, 99, "h", "k"), row("b", 2, 9, "g", "k")]) == {"a": (NEAR, "b")}
    assert decide([row("a", 1, 9, "h", "k"), row("b", 1, 10, "g", "k")]) == {"a": (NEAR, "b")}
    assert decide([row("b", 1, 9, "h", "k"), row("a", 1, 9, "g", "k")]) == {"b": (NEAR, "a")}
    assert decide([row("a", 1, 9, "h", "k"), row("b", 1, 9, "h", "k")]) == {"b": (EXACT, "a")}


def test_near_duplicates_of_a_source_that_keeps_them_stay_but_exact_ones_go() -> None:
    assert decide([row("a", 1, 9, "h", None), row("b", 1, 9, "g", None)]) == {}
    assert decide([row("a", 1, 9, "h", None), row("b", 1, 9, "h", None)]) == {"b": (EXACT, "a")}


def test_an_exact_copys_winner_is_the_document_that_stays_in_the_end() -> None:
    rows = [row("a", 1, 9, "h", "k"), row("b", 1, 9, "h", "k"), row("c", 5, 9, "g", "k")]
    assert decide(rows) == {"a": (NEAR, "c"), "b": (EXACT, "c")}


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 3), st.sampled_from("xyz"), st.sampled_from("kl")),
        min_size=1, max_size=12,
    ),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_exactly_one_survivor_a_cluster_whatever_the_order(rows: list[tuple], random: object) -> None:
    # An exact copy is in its copies' near cluster, as signatures of equal texts are equal.
    of_content = {"x": "k", "y": "k", "z": "l"}
    made = [row(f"{i:02d}", p, c, h, of_content[h]) for i, (p, c, h, _) in enumerate(rows)]
    losers = decide(made)
    shuffled = made.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert decide(shuffled) == losers
    for cluster in {r["near_cluster"] for r in made}:
        members = [r["id"] for r in made if r["near_cluster"] == cluster]
        survivors = [m for m in members if m not in losers]
        assert len(survivors) == 1
        assert all(losers[m][1] == survivors[0] for m in members if m in losers)
