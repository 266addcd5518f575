"""The readers of sets: the same conversations from every format and place, in however many pieces."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from plm_data.chat.conversation import Conversation
from plm_data.chat.sets import make_set_reader
from plm_data.errors import SourceError
from plm_data.recipe_conversations import ConversationSet
from plm_data.sources.base import Raw, Reader, Rejected
from tests.plm_data.sources.hub_server import REVISION, HubServer

ROWS = [
    {"id": f"t{i}", "messages": [{"role": "user", "content": f"Why {i}?"}, {"role": "assistant", "content": "é" * (i + 1)}]}
    for i in range(40)
]  # fmt: skip


def lines() -> bytes:
    return b"\n".join(json.dumps(row, ensure_ascii=False).encode() for row in ROWS)


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), out, row_group_size=7)
    return out.getvalue()


FORMATS = {
    "a.jsonl": lines(), "a.json": lines(), "b.json": json.dumps(ROWS, indent=2).encode(), "a.jsonl.gz": gzip.compress(lines()),
    "b.json.gz": gzip.compress(json.dumps(ROWS).encode()), "a.parquet": parquet(),
}  # fmt: skip


def reader(**keys: Any) -> Reader:
    spec: Any = TypeAdapter(ConversationSet).validate_python({"license": "MIT", **keys})
    return make_set_reader("sft.sft1.sources.talks", "talks", spec, "train")


def read(made: Reader, pieces: int) -> list[Raw]:
    items = [item for piece in range(pieces) for item in made.read(piece, pieces)]
    assert all(isinstance(item, Raw) for item in items), items
    return sorted((item for item in items if isinstance(item, Raw)), key=lambda item: int(item.name[1:]))


def check(found: list[Raw]) -> None:
    assert [item.name for item in found] == [row["id"] for row in ROWS]
    for item, row in zip(found, ROWS, strict=True):
        turns = Conversation.from_json(item.text).turns
        assert [{"role": role, "content": text} for role, text in turns] == row["messages"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("pieces", [1, 3])
def test_every_format_gives_the_same_here_and_on_the_hub(
    hub: HubServer, tmp_path: Path, name: str, pieces: int
) -> None:
    (tmp_path / name).write_bytes(FORMATS[name])
    check(read(reader(reader="files", paths=[str(tmp_path)]), pieces))
    hub.add("a/talks", {f"data/{name}": FORMATS[name]})
    made = reader(path="a/talks", revision=REVISION, files=["data/*"], form="messages")
    check(read(made, pieces))
    assert [*made.contents()] == [f"data/{name}"]


def test_a_bad_row_is_named_by_its_place(tmp_path: Path) -> None:
    rows = [*ROWS[:2], {"id": "x", "messages": []}, ROWS[2]]
    for name, data in (("a.jsonl", "\n".join(map(json.dumps, rows))), ("a.json", json.dumps(rows))):
        (tmp_path / name).write_text(data, "utf-8")
        items = list(reader(reader="files", paths=[str(tmp_path / name)]).read(0, 1))
        (bad,) = [item for item in items if isinstance(item, Rejected)]
        assert (bad.name, bad.verdict, bad.reason) == (f"{tmp_path / name}:3", "quarantined", "no-turns")
        assert len(items) == 4


def test_a_broken_list_and_a_column_that_is_missing_stop_with_the_place_in_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(FORMATS["b.json"][:-40])
    with pytest.raises(SourceError, match=r"sft.sft1.sources.talks: .*a.json:row 40 is broken: its list of rows"):
        list(reader(reader="files", paths=[str(tmp_path / "a.json")]).read(0, 1))
    (tmp_path / "a.parquet").write_bytes(FORMATS["a.parquet"])
    wrong = reader(reader="files", paths=[str(tmp_path / "a.parquet")], form="alpaca")
    with pytest.raises(SourceError, match=r"sft.sft1.sources.talks.form: .*a.parquet has no column 'instruction'"):
        list(wrong.read(0, 1))


def test_worked_maths_are_the_same_in_any_pieces() -> None:
    made = reader(reader="worked-maths", examples=50)
    whole, parts = ([*read_any(made, pieces)] for pieces in (1, 4))
    assert len(whole) == 50 and sorted(whole) == sorted(parts)
    found = Conversation.from_json(dict(whole)[next(name for name, _ in whole if name.startswith("addition"))])
    assert found.turns[1][1].endswith(f"\n\nAnswer: {found.answer}") and found.check == "number"
    division = Conversation.from_json(dict(whole)[next(name for name, _ in whole if name.startswith("division"))])
    assert division.check is None and division.answer is None
    assert reader(reader="worked-maths", examples=50, seed=1).fingerprint() != made.fingerprint()


def test_several_problems_in_one_conversation_are_those_that_come_alone() -> None:
    alone = {
        name: Conversation.from_json(text) for name, text in read_any(reader(reader="worked-maths", examples=48), 1)
    }
    made = reader(reader="worked-maths", examples=16, problems=3)
    whole, parts = ([*read_any(made, pieces)] for pieces in (1, 4))
    assert len(whole) == 16 and sorted(whole) == sorted(parts)
    together = [Conversation.from_json(text) for _, text in whole]
    assert sorted(name for each in together for name in each.origins) == sorted(alone)
    for each in together:
        assert each.turns == tuple(turn for name in each.origins for turn in alone[name].turns)
        assert (each.answer, each.check) == (alone[each.origins[-1]].answer, alone[each.origins[-1]].check)
    assert made.fingerprint() != reader(reader="worked-maths", examples=16).fingerprint()


def read_any(made: Reader, pieces: int) -> list[tuple[str, str]]:
    return [
        (item.name, item.text) for piece in range(pieces) for item in made.read(piece, pieces) if isinstance(item, Raw)
    ]


def test_python_tasks_come_from_files_with_their_licence() -> None:
    made = reader(reader="python-tasks", packages=["jinja2"], max_characters=500)
    items = [item for piece in range(3) for item in made.read(piece, 3)]
    found = [item for item in items if isinstance(item, Raw)]
    dropped = {item.reason for item in items if isinstance(item, Rejected)}
    assert len(found) > 10 and dropped == {"long-function"} and {item.license for item in found} != {"MIT"}
    for item in found:
        talk = Conversation.from_json(item.text)
        assert talk.origins == (item.name.rsplit(":", 1)[0],) and talk.turns[1][1].startswith("```python\ndef ")
        assert item.name.rsplit(":", 1)[1] in talk.turns[0][1]
    fewer = reader(reader="python-tasks", packages=["jinja2"], max_characters=500, max_bytes="50K")
    assert 0 < len(read_any(fewer, 1)) < len(found) and fewer.fingerprint() != made.fingerprint()
