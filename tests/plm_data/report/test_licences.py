"""Licences in classes: each class's own, and its nearest neighbour; and no text that raises."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.report.licences import CLASSES, licence_class, roll_up, spdx_identifier
from plm_data.sources.licences import CLASSIFIERS, SHORT_NAMES


@pytest.mark.parametrize(
    "kind, caught, neighbour",
    [
        ("public domain", "CC0-1.0", "MIT-0"),
        ("permissive", "BSD-3-Clause", "BSD-3-Clause-No-Nuclear-License"),
        ("attribution", "CC-BY-4.0", "CC-BY-SA-4.0"),
        ("attribution", "ODC-By-1.0", "ODbL-1.0"),
        ("weak copyleft", "LGPL-3.0-or-later", "GPL-3.0-or-later"),
        ("weak copyleft", "MPL-2.0", "MS-PL"),
        ("share-alike", "CC-BY-SA-2.0-UK", "CC-BY-NC-SA-2.0-UK"),
        ("share-alike", "GFDL-1.3-only", "LGPL-3.0-only"),
        ("copyleft", "AGPL-3.0-only", "LGPL-2.1-only"),
        ("non-commercial or no derivatives", "CC-BY-ND-4.0", "CC-BY-4.0"),
        ("non-commercial or no derivatives", "CC-BY-NC-3.0", "CC-BY-3.0"),
        ("proprietary or other", "BUSL-1.1", "BSL-1.0"),
        ("unknown", "NOASSERTION", "MIT"),
        ("unknown", "NONE", "0BSD"),
        ("unknown", "LicenseRef-Somebody", "LicenseRef-BSD"),
    ],
)
def test_each_class_and_its_nearest_neighbour(kind: str, caught: str, neighbour: str) -> None:
    assert licence_class(caught) == kind
    assert licence_class(neighbour) in CLASSES and licence_class(neighbour) != kind


@pytest.mark.parametrize(
    "stated, kind",
    [
        ("MIT OR GPL-3.0-only", "permissive"),
        ("MIT AND GPL-3.0-only", "copyleft"),
        ("MPL-2.0 AND (Apache-2.0 OR GPL-2.0-only)", "weak copyleft"),
        ("CC0-1.0 OR LicenseRef-Somebody", "public domain"),
        ("CC0-1.0 AND LicenseRef-Somebody", "unknown"),
        ("MIT AND NOASSERTION", "unknown"),
        ("GPL-2.0-or-later WITH Classpath-exception-2.0", "weak copyleft"),
        ("Apache-2.0 WITH LLVM-exception", "permissive"),
        ("GPL-2.0-only WITH Asterisk-exception", "copyleft"),  # grants links to Asterisk alone
        ("GPL-2.0-only WITH Nobodys-exception", "unknown"),
        ("MIT WITH MIT", "unknown"),
        ("Classpath-exception-2.0", "unknown"),
        ("GPL-2.0+", "copyleft"),
    ],
)
def test_expressions(stated: str, kind: str) -> None:
    assert licence_class(stated) == kind


@pytest.mark.parametrize(
    "stated, kind",
    [
        ("MIT License", "permissive"),
        ("  the  MIT\nLicense ", "permissive"),
        ("not MIT", "unknown"),
        ("MIT License, but not for commerce", "unknown"),
        ("Apache 2.0", "permissive"),
        ("Apache 3.0", "unknown"),
        ("BSD", "permissive"),
        ("Apache-2.0 OR LicenseRef-BSD", "permissive"),
        ("mit/apache-2.0", "permissive"),
        ("MIT/GPL", "unknown"),
        ("cc-by-sa", "share-alike"),
        ("cc-by-nc-sa-4.0", "non-commercial or no derivatives"),
        ("https://creativecommons.org/licenses/by/4.0/", "attribution"),
        ("https://creativecommons.org/licenses/by-nc/4.0/deed.en", "non-commercial or no derivatives"),
        ("http://creativecommons.org/publicdomain/zero/1.0/legalcode", "public domain"),
        ("https://creativecommons.org.example/licenses/by/4.0/", "unknown"),
        ("GPLv3", "copyleft"),
        ("Dual License", "unknown"),
        ("", "unknown"),
        (" \n", "unknown"),
        ("MIT OR", "unknown"),
        ("(MIT", "unknown"),
        ("()", "unknown"),
    ],
)
def test_spellings_are_recognised_whole_or_not_at_all(stated: str, kind: str) -> None:
    assert licence_class(stated) == kind


def test_every_name_that_the_sources_give_is_known() -> None:
    for name in {*CLASSIFIERS, *CLASSIFIERS.values(), *SHORT_NAMES, *SHORT_NAMES.values()}:
        assert licence_class(name) != "unknown", name


def test_the_roll_up_names_licences_by_tokens_and_adds_up() -> None:
    rows = [("MIT", 3, 10), ("NOASSERTION", 1, 5), ("Apache-2.0", 2, 90), ("  ", 1, 2), ("MIT", 1, 1), ("?", 1, 7)]
    found = roll_up(rows)
    assert found == [
        {
            "class": "permissive",
            "documents": 6,
            "tokens": 101,
            "licences": [
                {"licence": "Apache-2.0", "documents": 2, "tokens": 90},
                {"licence": "MIT", "documents": 4, "tokens": 11},
            ],
        },
        {
            "class": "unknown",
            "documents": 3,
            "tokens": 14,
            "licences": [
                {"licence": "NOASSERTION", "documents": 2, "tokens": 7},
                {"licence": "?", "documents": 1, "tokens": 7},
            ],
        },
    ]
    assert roll_up([]) == []


_PIECES = st.sampled_from(
    [
        "MIT",
        "GPL-3.0-only",
        "CC-BY-4.0",
        "LLVM-exception",
        "AND",
        "OR",
        "WITH",
        "and",
        "(",
        ")",
        "+",
        "/",
        "~",
        "\x00",
        "é",
    ]
)


@given(st.one_of(st.text(), st.lists(_PIECES, max_size=30).map(" ".join)))
def test_no_text_whatsoever_raises(stated: str) -> None:
    assert licence_class(stated) in CLASSES
    assert roll_up([(stated, 1, 2)])[0]["documents"] == 1
    identifier = spdx_identifier(stated)
    assert identifier is None or licence_class(identifier) == licence_class(stated)


@pytest.mark.parametrize(
    "stated", ["(" * 10_000, "(" * 400 + "MIT" + ")" * 400, "MIT AND " * 5_000 + "MIT", "MIT" * 100_000]
)
def test_nor_does_a_long_or_nested_one(stated: str) -> None:
    assert licence_class(stated) in CLASSES


@given(
    st.lists(st.tuples(st.sampled_from(["MIT", "ISC", "GPL-3.0-only", "x"]), st.integers(0, 9), st.integers(0, 99))),
    st.randoms(),
)
def test_the_order_of_the_rows_does_not_matter(rows: list[tuple[str, int, int]], chance: random.Random) -> None:
    shuffled = rows.copy()
    chance.shuffle(shuffled)
    found = roll_up(rows)
    assert roll_up(shuffled) == found
    assert sum(row["tokens"] for row in found) == sum(tokens for _, _, tokens in rows)
    assert [row["class"] for row in found] == sorted((row["class"] for row in found), key=CLASSES.index)


@pytest.mark.parametrize(
    "stated, identifier",
    [
        ("mit", "MIT"),
        ("Apache 2.0", "Apache-2.0"),
        ("MIT OR ISC", None),
        ("LicenseRef-BSD", None),
        ("", None),
        ("LLVM-exception", None),
    ],
)
def test_one_licence_has_an_identifier(stated: str, identifier: str | None) -> None:
    assert spdx_identifier(stated) == identifier
