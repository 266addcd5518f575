"""Near duplicates of a text: what datasketch's index over the whole corpus finds, by whatever way in."""

from __future__ import annotations

import datasketch
import polars as pl
import pytest

from plm_data.build import Build
from plm_data.dedup.minhash import SCHEME, signatures
from plm_data.errors import PlmError
from plm_data.inspect import tables
from plm_data.inspect.near import near
from tests.plm_data.inspect.conftest import DOCUMENTS, changed, text_of


def test_a_changed_copy_finds_the_document_and_its_cluster(notes: Build, ids: dict[str, str]) -> None:
    found = near(notes, changed(text_of(1), 70, "altered"))
    assert {each.name: (each.source, each.verdict, each.reason) for each in found} == {
        "outranked": ("low", "dropped", "dedup.near"),
        "outranking": ("high", "kept", None),
    }
    assert found[0].id == ids["outranked"]  # one word differs, not two
    assert found[0].jaccard > found[1].jaccard > 0.7
    # 112 permutations estimate 91/101 to within 0.1 nearly always, and this one text is the same each time.
    assert found[0].jaccard == pytest.approx(91 / 101, abs=0.1)


def test_the_text_is_brought_to_its_normal_form_and_case_does_not_count(notes: Build) -> None:
    text = DOCUMENTS["low"]["plain 4"]
    for spelled in (text, "\ufeff" + text.upper() + "  \r\n\r\n", text.replace(" ", "\x07 ")):
        (found,) = near(notes, spelled)
        assert (found.name, found.jaccard) == ("plain 4", 1.0)


def test_nothing_is_near_a_text_of_other_words_and_a_text_without_words_is_refused(notes: Build) -> None:
    assert near(notes, "nothing like it is in any of these documents at all") == []
    with pytest.raises(PlmError, match="no words"):
        near(notes, "... --- …")


@pytest.mark.parametrize("corpus, clusters", [("notes", True), ("small_build", False)])
def test_the_answer_is_that_of_an_index_of_the_whole_corpus(
    corpus: str, clusters: bool, request: pytest.FixtureRequest
) -> None:
    build: Build = request.getfixturevalue(corpus)
    dedup = build.recipe.curate.dedup
    index = datasketch.MinHashLSH(params=build.banding, num_perm=dedup.permutations)
    texts: dict[str, str] = {}
    for source in build.recipe.sources:
        for ids, values in tables.signature_batches(build, source):
            for identity, value in zip(ids, values, strict=True):
                index.insert(identity, datasketch.MinHash(hashvalues=value, scheme=SCHEME))
            texts |= tables.texts(build, source, ids.to_list())
    sizes = []
    for text in sorted(texts.values())[:: 1 if clusters else 5]:
        query = signatures(pl.Series([text]), dedup.permutations, dedup.shingle_words)[0]
        expected = index.query(datasketch.MinHash(hashvalues=query, scheme=SCHEME))
        found = near(build, text)
        assert {each.id for each in found} == set(expected)
        assert [each.jaccard for each in found] == sorted((each.jaccard for each in found), reverse=True)
        sizes.append(len(found))
    assert min(sizes) >= 1 and (max(sizes) > 1 or not clusters)
