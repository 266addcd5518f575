"""A collection keeps every chain with its decision, goes on where it was, and tells a changed file."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainer.alignment.chains import Policy
from trainer.alignment.collection import Judges, collect_stage
from trainer.alignment.config import AlignConfig
from trainer.alignment.ledger import Pairs, read_chains, read_manifest
from trainer.chat import ChatML, Turn
from trainer.config import PhaseData
from trainer.errors import TrainerError
from trainer.inference import Completion, Sampling
from trainer.pretrained import load_pretrained
from trainer.shards import Phase, read_phase

CONFIG = AlignConfig(rounds=1, prompts_per_round=8, learning_rate=1e-3, batch_size=4, collect_size=3, select="check")
Write = Callable[..., PhaseData]


def answering(chat: ChatML, answers: Sequence[str]) -> Callable[..., list[Completion]]:
    """A decoder that gives these answers in turn."""
    left = iter(answers)

    def generate(model: Any, tokenizer: Any, prompts: Sequence[Any], *_: Any, progress: Any = None) -> list[Completion]:
        return [Completion(chat.encode(text), text, "end", 0) for text in (next(left) for _ in prompts)]

    return generate


@pytest.fixture
def phase(tmp_path: Path, write_prompts: Write) -> Phase:
    rows = [{"question": f"q{n}", "answer": str(n), "check": "number", "reference": f"it is {n}"} for n in range(8)]
    rows[6] |= {"answer": None, "check": None}
    return read_phase(write_prompts(tmp_path / "preferences", rows), "prompts")


@pytest.fixture
def policy(toy_model: Path, chat: ChatML) -> Policy:
    return Policy(load_pretrained(toy_model), chat, Sampling(12), "z")


def collect(folder: Path, policy: Policy, phase: Phase, texts: Sequence[str], config: AlignConfig = CONFIG, stage: str = "round-1", judges: Judges | None = None, numbers: Sequence[int] = range(8)) -> list[dict[str, Any]]:  # fmt: skip
    decoder = replace(policy, generate=answering(policy.chat, texts))
    collect_stage(folder, stage, decoder, phase, list(numbers), config, judges or Judges())
    return list(read_chains(folder))


def test_every_chain_is_kept_with_its_decision(tmp_path: Path, policy: Policy, phase: Phase) -> None:
    # pieces of three prompts: their first answers, then their refinements
    texts = ["0", "no", "5", "1", "1", "2", "3", "x", "5", "3", "4", "5", "a", "7", "b", "8"]
    rows = collect(tmp_path / "round-1", policy, phase, texts)
    assert [row["id"] for row in rows] == [f"preferences-{n}" for n in range(8)]
    assert [[answer["text"] for answer in row["answers"]] for row in rows] == [
        ["0", "1"], ["no", "1"], ["5", "2"], ["3", "3"], ["x", "4"], ["5", "5"], ["a", "b"], ["7", "8"],
    ]  # fmt: skip
    assert [(row["reason"], row["chosen"], row["rejected"]) for row in rows] == [
        ("pair", 0, 1), ("pair", 1, 0), ("pair", 1, 0), ("all-right", None, None), ("pair", 1, 0),
        ("all-right", None, None), ("no-check", None, None), ("pair", 0, 1),
    ]  # fmt: skip
    assert [answer["right"] for answer in rows[6]["answers"]] == [None, None]
    manifest = read_manifest(tmp_path / "round-1")
    assert manifest["reasons"] == {"all-right": 2, "no-check": 1, "pair": 5}
    assert (manifest["chains"], manifest["answers"], manifest["pairs"]) == (8, 16, 5)
    assert [shard["rows"] for shard in manifest["shards"]] == [3, 3, 2]
    pairs = Pairs(tmp_path / "round-1")
    assert [(pair.chosen.text, pair.rejected.text) for pair in pairs] == [
        ("0", "1"),
        ("1", "no"),
        ("2", "5"),
        ("4", "x"),
        ("7", "8"),
    ]
    assert pairs[1].prompt == tuple(policy.chat.prompt([Turn("user", "q1")]))
    assert pairs[1].chosen.tokens == tuple(policy.chat.encode("1"))
    assert (len(pairs), pairs[1:3], pairs[4:9]) == (5, [pairs[1], pairs[2]], [pairs[4]])
    with pytest.raises(IndexError):
        pairs[5]


def test_what_is_collected_stays(tmp_path: Path, policy: Policy, phase: Phase) -> None:
    texts = [str(n) for n in range(16)]
    whole = collect(tmp_path / "whole", policy, phase, texts)
    folder = tmp_path / "cut"
    with pytest.raises((StopIteration, RuntimeError)):  # it breaks off within the second piece
        collect(folder, policy, phase, texts[:8])
    assert sorted(path.name for path in folder.iterdir()) == ["chains-00000.parquet"]
    with pytest.raises(TrainerError, match="manifest.json: not found"):
        read_manifest(folder)
    assert collect(folder, policy, phase, texts[6:]) == whole  # the first piece's six answers are not drawn again
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_a_changed_ledger_is_told(tmp_path: Path, policy: Policy, phase: Phase) -> None:
    folder = tmp_path / "round-1"
    collect(folder, policy, phase, [str(n) for n in range(16)])
    path = folder / "chains-00001.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(TrainerError, match="chains-00001.parquet: found sha256"):
        list(read_chains(folder))


def test_the_activation_pairs_the_references_with_poorer_answers(
    tmp_path: Path, policy: Policy, write_prompts: Write
) -> None:
    rows: list[dict[str, str | None]] = [
        {"question": "a", "answer": "1", "check": "number", "reference": "it is 1"},
        {"question": "b", "answer": "2", "check": "number", "reference": "it is 2"},
        {"question": "c", "reference": "good"},
        {"question": "d"},
        {"question": "e", "chosen": "better", "rejected": "worse", "reference": "unused"},
    ]
    phase = read_phase(write_prompts(tmp_path / "preferences", rows), "prompts")
    config = replace(CONFIG, collect_size=10)
    found = collect(
        tmp_path / "activation", policy, phase, ["0", "2", "bad", "x"], config, "activation", numbers=range(5)
    )
    assert [row["reason"] for row in found] == ["pair", "not-poorer", "pair", "no-reference", "pair"]
    assert [(pair.rejected.text, pair.chosen.text) for pair in Pairs(tmp_path / "activation")] == [
        ("0", "it is 1"),
        ("bad", "good"),
        ("worse", "better"),
    ]
    assert [[answer["given"] for answer in row["answers"]] for row in found] == [[False, True]] * 3 + [
        [False],
        [True, True],
    ]


def test_code_needs_an_executor(tmp_path: Path, policy: Policy, write_prompts: Write) -> None:
    rows = [{"question": "f", "answer": "assert f() == 1", "check": "python"}]
    phase = read_phase(write_prompts(tmp_path / "preferences", rows, shards=1), "prompts")
    (row,) = collect(tmp_path / "without", policy, phase, ["1", "2"], numbers=[0])
    assert row["reason"] == "unjudged"
    judges = Judges(executor=lambda test, completion: completion == "2")
    (row,) = collect(tmp_path / "with", policy, phase, ["1", "2"], judges=judges, numbers=[0])
    assert (row["reason"], row["chosen"], row["rejected"]) == ("pair", 1, 0)


class Lengths:
    """Scores an answer by its length, and not at all one of more than three characters."""

    name = "lengths"

    def __init__(self) -> None:
        self.seen: list[list[Turn]] = []

    def score(self, conversations: Sequence[Sequence[Turn]]) -> list[float | None]:
        self.seen += [list(turns) for turns in conversations]
        return [None if len(turns[-1].text) > 3 else float(len(turns[-1].text)) for turns in conversations]


def test_a_reward_model_scores_every_answer(tmp_path: Path, policy: Policy, phase: Phase) -> None:
    config, reward = replace(CONFIG, select="reward", refinements=2, collect_size=10), Lengths()
    rows = collect(
        tmp_path / "r",
        policy,
        phase,
        ["aa", "x", "long", "b", "y", "cc", "ccc", "z", "d"],
        config,
        judges=Judges(reward),
        numbers=[0, 1, 2],
    )
    assert [(row["reason"], row["chosen"], row["rejected"]) for row in rows] == [
        ("pair", 2, 1),
        ("tie", None, None),
        ("pair", 1, 2),
    ]
    assert [answer["score"] for answer in rows[2]["answers"]] == [None, 2.0, 1.0]
    assert reward.seen[0] == [Turn("user", "q0"), Turn("assistant", "aa")]


@pytest.mark.parametrize(("length", "reason"), [(11, "pair"), (12, "too-long")])
def test_a_pair_that_does_not_fit_is_refused(
    tmp_path: Path, policy: Policy, write_prompts: Write, length: int, reason: str
) -> None:
    """64 positions hold the prompt's 20, an answer, the 22 of the request to refine it, and that answer again."""
    rows = [{"question": "q", "answer": "1", "check": "number"}]
    phase = read_phase(write_prompts(tmp_path / "preferences", rows, shards=1), "prompts")
    small = replace(policy, sampling=Sampling(2))
    (row,) = collect(tmp_path / "aries", small, phase, ["0" * length, "1"], numbers=[0])
    assert row["reason"] == reason
    config = replace(CONFIG, method="dpo", lambda_=0.0)  # which refines nothing
    (row,) = collect(tmp_path / "dpo", small, phase, ["0" * length, "1"], config, numbers=[0])
    assert row["reason"] == "pair"


def test_the_manifest_says_what_it_is_of(tmp_path: Path, policy: Policy, phase: Phase) -> None:
    collect(tmp_path / "round-1", policy, phase, [str(n) for n in range(16)])
    manifest = json.loads((tmp_path / "round-1" / "manifest.json").read_text())
    wanted = {"format": 1, "kind": "chains", "stage": "round-1", "method": "aries", "select": "check", "seed": 0}
    assert wanted.items() <= manifest.items()
