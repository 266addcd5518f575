"""A whole evaluation: its facts and page, what it reuses, and what it says of what was not run."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from tests.plm_data.report.browser import opened
from tests.trainer.report.test_page import needs_chromium
from trainer.chat import ChatML, Turn
from trainer.config import PhaseData
from trainer.errors import TrainerError
from trainer.evaluation import paper, run
from trainer.evaluation.asked import Asked, command
from trainer.evaluation.page import render
from trainer.evaluation.parts import Parts, weights_digest
from trainer.evaluation.run import FACTS, PAGE, answer_tokens, evaluate
from trainer.evaluation.sandbox import Outcome
from trainer.evaluation.suite import ANSWERS, HubUnreachable
from trainer.files import sha256
from trainer.model import PLM
from trainer.pretrained import save_pretrained

HOSTILE = "</td><script>alert(1)</script>\u202e{{ 7 * 7 }}"
PUBLISHED = (("arc_easy", 78.18), ("gsm8k", 60.73), ("piqa", 76.01))


@pytest.fixture
def asked(
    tmp_path: Path, model: PLM, tokenizer: Tokenizer, tokenizer_folder: Path, rows_writer: Callable[..., PhaseData]
) -> Asked:
    save_pretrained(tmp_path / "final", model, tokenizer_folder)
    digest = sha256(tokenizer_folder / "tokenizer.json")
    texts = [{"text": f"document {n} " + HOSTILE, "source": "s" if n % 2 else HOSTILE} for n in range(6)]
    rows_writer(tmp_path / "held-out", texts, tokenizer_sha256=digest)
    chat = ChatML(tokenizer)
    tasks = [
        {"text": q, "tokens": chat.prompt([Turn("user", q)]), "question": q, "reference": None, "answer": "4",
         "check": "number", "chosen": None, "rejected": None}
        for q in ("1+3", "q<b>")
    ]  # fmt: skip
    rows_writer(tmp_path / "tasks", tasks, name="tasks", kind="prompts", tokenizer_sha256=digest)
    return Asked(
        checkpoint=tmp_path / "final", out=tmp_path / "out", held_out=tmp_path / "held-out", tasks=tmp_path / "tasks",
        published=PUBLISHED, refine=1, max_tokens=4, progress=False,
    )  # fmt: skip


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that are made anew, in turn; suite tasks give half marks, or what their name says."""
    done: list[str] = []

    def run_task(lm: Any, name: str, **settings: Any) -> tuple[dict[str, Any], Any]:
        done.append(name)
        if name in ("piqa", "boolq"):
            raise HubUnreachable(f"task {name}: its data set could not be fetched from the Hugging Face hub")
        result = {"task": name, "metric": "acc", "share": 0.5, "interval": (0.4, 0.6), "questions": 100, "shots": [0]}
        return result, ANSWERS.empty_table()

    for name in ("bits_per_byte", "answer"):
        original = getattr(run, name)
        monkeypatch.setattr(run, name, lambda *a, _n=name, _o=original, **k: done.append(_n) or _o(*a, **k))
    monkeypatch.setattr(paper, "run_task", run_task)
    return done


def test_all_parts_are_made_once_and_reused(asked: Asked, worked: list[str]) -> None:
    facts = evaluate(asked)
    assert worked == ["bits_per_byte", "answer", "answer"]
    assert facts["bits"]["total"]["documents"] == 6 and [t["turn"] for t in facts["tasks"]["turns"]] == [0, 1]
    assert (asked.out / facts["tasks"]["turns"][1]["answers"]).is_file()
    assert [(row["task"], row["published"], row["reason"]) for row in facts["suite"]] == [
        (task, figure, "not asked for") for task, figure in PUBLISHED
    ]
    assert facts["average"]["published"] == pytest.approx(71.64) and facts["average"]["ours"] is None
    written = (asked.out / FACTS).read_bytes()
    assert json.loads(written) == json.loads(json.dumps(facts))
    page = (asked.out / PAGE).read_bytes()
    worked.clear()
    evaluate(asked)
    assert worked == []
    assert ((asked.out / FACTS).read_bytes(), (asked.out / PAGE).read_bytes()) == (written, page)


def test_what_changed_is_made_anew_and_nothing_else(
    asked: Asked, worked: list[str], model: PLM, tokenizer_folder: Path
) -> None:
    evaluate(asked)
    worked.clear()
    evaluate(replace(asked, refine=2))
    assert worked == ["answer"]
    worked.clear()
    evaluate(replace(asked, window=32))
    assert worked == ["bits_per_byte"]
    worked.clear()
    (asked.out / "evaluation" / "tasks-0.parquet").unlink()
    (asked.out / "evaluation" / "bits.json").write_text("{")
    evaluate(replace(asked, window=32, refine=0))
    assert worked == ["bits_per_byte", "answer"]
    other = PLM(model.config)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.model.norm.weight[0] += 1
    save_pretrained(asked.checkpoint, other, tokenizer_folder)
    worked.clear()
    evaluate(replace(asked, window=32, refine=0))
    assert worked == ["bits_per_byte", "answer"]


def test_a_part_that_fails_is_not_there_afterwards(tmp_path: Path) -> None:
    parts = Parts(tmp_path, {"weights": "w"})
    assert parts.make("a", {"n": 1}, lambda: 1) == (1, False)
    assert parts.make("a", {"n": 1}, lambda: 2) == (1, True)

    def fails() -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parts.make("a", {"n": 2}, fails)
    assert parts.find("a") is None
    assert parts.make("a", {"n": 1}, lambda: 3) == (3, False)
    assert Parts(tmp_path, {"weights": "other"}).find("a") is None


def test_the_weights_digest_is_of_the_weights_alone(model: PLM, tiny: Callable[..., Any]) -> None:
    other = PLM(model.config)
    assert weights_digest(other) != weights_digest(model)
    other.load_state_dict(model.state_dict())
    assert weights_digest(other) == weights_digest(model)
    assert weights_digest(other.to(torch.bfloat16)) != weights_digest(model)


def test_suite_results_add_up_over_runs_and_a_failure_stops_no_other(asked: Asked, worked: list[str]) -> None:
    asked = replace(asked, held_out=None, tasks=None)
    facts = evaluate(replace(asked, suite=("piqa", "arc_easy", "boolq", "gsm8k-local")))
    assert worked == ["piqa", "gsm8k-local"]  # after the first the hub is not waited for again
    rows = {row["task"]: row for row in facts["suite"]}
    assert list(rows) == ["arc_easy", "gsm8k", "piqa", "boolq"] and rows["boolq"]["published"] is None
    assert rows["gsm8k"]["result"]["share"] == 0.5 and "--suite gsm8k-local" in rows["gsm8k"]["command"]
    assert "could not be fetched" in rows["piqa"]["reason"]
    assert "not tried" in rows["arc_easy"]["reason"] and "not tried" in rows["boolq"]["reason"]
    facts = evaluate(replace(asked, suite=("arc_easy",), limit=5))
    rows = {row["task"]: row for row in facts["suite"]}
    assert rows["gsm8k"]["result"]["limit"] is None and rows["arc_easy"]["result"]["limit"] == 5
    assert "--limit 5" in rows["arc_easy"]["command"] and "--limit" not in rows["gsm8k"]["command"]
    assert facts["average"] == {"published": pytest.approx(71.64), "ours": None, "whole": 1, "of": 3}


def test_a_harness_that_is_not_installed_is_said(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("trainer.evaluation.harness", "lm_eval.api.model"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(TrainerError, match=r"pip install 'plm\[evaluation\]'"):
        evaluate(replace(asked, held_out=None, tasks=None, suite=("arc_easy",)))


def test_an_average_is_over_all_of_the_papers_tasks_or_none(asked: Asked, worked: list[str]) -> None:
    asked = replace(asked, held_out=None, tasks=None, published=PUBLISHED[:2], suite=("paper",))
    facts = evaluate(asked)
    assert worked == ["arc_easy", "gsm8k-local"] and facts["average"]["ours"] == 50.0
    assert facts["average"]["published"] == pytest.approx(69.455)


def test_the_page_says_what_was_not_run(asked: Asked, worked: list[str]) -> None:
    facts = evaluate(replace(asked, held_out=None, tasks=None))
    page = (asked.out / PAGE).read_text()
    assert page.count("Not run: ") == 2 and page.count("<td>not run</td>") == 3
    assert "no folder of held-out documents was found" in page
    for row in facts["suite"]:
        assert f"plm evaluate {asked.checkpoint} --suite" in row["command"]


def test_the_page_says_what_generated_code_was_confined_by(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = replace(asked, held_out=None, tasks=None)
    assert evaluate(asked)["sandbox"] is None and "Code that the model wrote" not in (asked.out / PAGE).read_text()
    said: list[str] = []
    monkeypatch.setattr(run, "run_tests", lambda *_: Outcome(True, "passed", ("limits", "syscalls", "namespaces")))
    facts = evaluate(replace(asked, run_code=True, say=said.append))
    assert facts["sandbox"] == {"held": ["limits", "syscalls", "namespaces"], "missing": ["files"]}
    assert "this system lacks files" in (asked.out / PAGE).read_text() and "lacks files" in said[0]


def test_the_page_escapes_what_the_model_says_and_loads_nothing(asked: Asked) -> None:
    facts = evaluate(asked)
    for each in facts["tasks"]["examples"]:
        each["completion"] = each["prompt"] = each["extracted"] = HOSTILE
    facts["suite"][0]["reason"] = HOSTILE
    facts["model"]["checkpoint"] = HOSTILE
    page = render(facts)
    assert "<script" not in page and "alert(1)" in page and "\u202e" not in page and "{{ 7 * 7 }}" in page
    assert "q&lt;b&gt;" not in page and HOSTILE not in page
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", page) and "@import" not in page and "url(" not in page
    assert "prefers-color-scheme: dark" in page and "default-src 'none'" in page


@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_shows_the_page_quietly(asked: Asked, width: int, scheme: str) -> None:
    facts = evaluate(asked)
    facts["tasks"]["examples"][0]["completion"] = HOSTILE
    (asked.out / PAGE).write_text(render(facts))
    with opened(asked.out / PAGE, width, scheme) as found:
        found.see_everything()
        assert "alert(1)" in found.page.inner_text("#tasks")
        assert found.page.evaluate("document.documentElement.scrollWidth") <= width
        assert (found.said, found.requests) == ([], [])


def test_the_window_is_that_of_training(asked: Asked) -> None:
    assert evaluate(asked)["window"] == 64
    (asked.checkpoint.parent / "run.json").write_text('{"train": {"sequence_length": 48}}')
    assert evaluate(asked)["window"] == 48
    assert evaluate(replace(asked, window=20))["window"] == 20
    with pytest.raises(TrainerError, match="window: found 65"):
        evaluate(replace(asked, window=65))


def test_an_answer_is_short_enough_for_another_beside_it(asked: Asked, model: PLM) -> None:
    assert [answer_tokens(n, model) for n in (None, 5)] == [16, 5]
    assert "--max-tokens 16" in evaluate(replace(asked, max_tokens=None))["tasks"]["command"]


def test_folders_of_the_wrong_kind_are_errors(asked: Asked, tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="found 'prompts', expected 'documents'"):
        evaluate(replace(asked, held_out=asked.tasks))
    with pytest.raises(TrainerError, match="found 'documents', expected 'prompts'"):
        evaluate(replace(asked, tasks=asked.held_out))
    with pytest.raises(TrainerError, match="expected a trained model"):
        evaluate(replace(asked, checkpoint=tmp_path / "tasks"))


def test_tokens_of_another_tokenizer_are_an_error(asked: Asked, rows_writer: Callable[..., PhaseData]) -> None:
    assert asked.held_out is not None
    rows_writer(asked.held_out, [{"text": "a"}])
    with pytest.raises(TrainerError, match=r"tokenizer.sha256: found 0{64}, expected that of .*tokenizer.json"):
        evaluate(asked)


def test_commands_are_ready_for_a_shell(asked: Asked) -> None:
    shown = command(replace(asked, checkpoint=Path("a b/$(final)"), limit=3), "--suite", "x;y")
    assert shown == "plm evaluate 'a b/$(final)' --suite 'x;y' --limit 3"
