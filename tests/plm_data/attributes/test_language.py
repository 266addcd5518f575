"""Language identification by the real lid.176 model."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from plm_data.attributes.language import identify, language, model_path
from plm_data.errors import PlmError

SENTENCES = {
    "en": "The weather has been fine all week, and we are going for a walk along the river.",
    "de": "Das Wetter war die ganze Woche schön, und wir gehen am Fluss spazieren.",
    "fr": "Il a fait beau toute la semaine et nous allons nous promener au bord de la rivière.",
    "zh": "整个星期天气都很好，我们要去河边散步。",
    "ru": "Всю неделю стояла хорошая погода, и мы идём гулять вдоль реки.",
}


@pytest.mark.parametrize("label", SENTENCES)
def test_plain_sentences_are_recognised(label: str) -> None:
    best, score, second, second_score = identify(SENTENCES[label])
    assert best == label and score > 0.8
    assert second != label and second_score < score <= 1


def test_text_without_language() -> None:
    assert identify("  \n ") == ("und", 0.0, "und", 0.0)


def test_line_breaks_do_not_change_the_language() -> None:
    assert identify(SENTENCES["de"].replace(" ", "\n")) == identify(SENTENCES["de"])


def test_match_is_the_probability_of_the_declared_language() -> None:
    frame = language(pl.Series([SENTENCES["en"], SENTENCES["fr"]]), "en")
    assert frame["language_match"][0] == frame["language_score"][0] > 0.65
    assert frame["language_match"][1] < 0.65
    assert frame.columns == ["language", "language_score", "runner_up", "runner_up_score", "language_match"]


def test_a_missing_model_is_said_plainly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLM_LID_MODEL", str(tmp_path / "none.ftz"))
    with pytest.raises(PlmError, match=r"none\.ftz: no such file"):
        model_path()
