"""A corpus that attacks its own report, from its files to the browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plm_data.build import Build
from plm_data.recipe_file import load_recipe
from plm_data.report.page import write_report
from tests.planted import plant
from tests.plm_data.report.browser import opened
from tests.plm_data.report.test_page import needs_chromium

ATTACKS = [
    "<script>document.title='owned';alert(1)</script>",
    "</script><script>document.title='owned'</script>",
    "</style><style>body{display:none}</style>",
    "</pre></details></section></main><h1>owned</h1>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>",
    '" onmouseover="document.title=\'owned\'" x="',
    "' autofocus onfocus='alert(1)",
    "<iframe src=https://example.org/></iframe><link rel=stylesheet href=https://example.org/x.css>",
    "<!-- <meta http-equiv=refresh content='0;url=https://example.org/'> ]]> -->",
    "{{ 7 * 7 }} {% for x in y %} ${7*7} <%= 7 %>",
    "\u202e\u2066gnp.exe\u2069 \u200b\u200c\u200d\ufeff zero width \u00ad\u2028\u2029 \x1b[31m \x00 \x07",
    "Z\u0351\u0346a\u0300\u0301\u0302l" * 20,
    "W" * 3000,
    "\U000e0041\U000e0042 tags, \ue000 private use, \ufffe no character",
]
RECIPE = """\
name: attacked
description: "</title><script>document.title='owned'</script> <b>bold</b>"
seed: 3
partitions: 2
tokenizer: {vocab_size: 600, train_bytes: 50KB}
sources:
  rows: {reader: files, paths: ["rows"], license_column: license, domain: web, language: en,
         license: "<b onclick=alert(1)>", priority: 2}
  texts: {reader: files, paths: ["texts"], domain: docs, language: en, license: CC0-1.0, priority: 1}
curate:
  gopher: {min_words: 20, min_alpha_words: 0.5, min_stop_words: 0, max_mean_word_length: 60}
  repetition: null
  c4: {min_sentences: null}
  fineweb: {min_punctuated_lines: null, max_short_lines: null}
  language: null
  guardrails: {max_quarantined: 0.9}
phases:
  phase1: {segment: stable, tokens: 2K, mix: {rows: 0.5, texts: 0.5}}
"""


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a build whose texts, names and licences are attacks."""
    folder = tmp_path_factory.mktemp("attacked")
    words = list(plant(2, 40, 0, 0).texts.values())
    rows = []
    for i, attack in enumerate(ATTACKS):
        # Long enough to be kept, short enough to be dropped, twice to be duplicates, and empty to be refused.
        long = f"{attack} {words[i]}"
        rows += [
            {"id": f"{attack} long {i}", "text": long, "license": attack},
            {"id": f"{attack} short {i}", "text": f"{attack} few words {i}", "license": attack},
            {"id": f"{attack} again {i}", "text": long, "license": attack},
            {"id": f"{attack} empty {i}", "text": " \n", "license": attack},
        ]
    (folder / "rows").mkdir()
    (folder / "texts").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows" / "rows.jsonl").write_text(lines, encoding="utf-8")
    for i, text in enumerate(words[20:]):
        name = f"{i} <img src=x onerror=alert(1)> \u202e '\".txt"
        (folder / "texts" / name).write_text(f"{ATTACKS[i % len(ATTACKS)]}\n{text}", encoding="utf-8")
    recipe = folder / "attacked.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build = Build(load_recipe(recipe), folder / "home", workers=1)
        build.shards("phase1")
        path, facts = write_report(build)
    shown = [
        *(sample for rule in facts["rules"] if rule["samples"] for side in ("dropped", "kept") for sample in rule["samples"][side]),
        *(row["shown"] for row in facts["duplicates"]["largest"]),
    ]  # fmt: skip
    for text in (str(shown), str(facts["licenses"]), str(facts["rejected"])):
        assert "onerror" in text or "onmouseover" in text, "the attacks have reached the report"
    return path


@needs_chromium
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_of_the_corpus_runs_asks_or_breaks_the_page(attacked: Path, width: int) -> None:
    with opened(attacked, width) as found:
        page = found.page
        found.see_everything()
        # Under the pointer a chart makes a tooltip of what it draws.
        for box in page.locator(".chart").all():
            box.scroll_into_view_if_needed()
            place = box.bounding_box()
            assert place is not None
            for across in (0.15, 0.4, 0.7):
                page.mouse.move(place["x"] + across * place["width"], place["y"] + place["height"] / 2)
        page.wait_for_timeout(200)
        assert page.title() == "attacked: mixture report"
        assert page.locator("h1").all_inner_texts() == ["attacked"]
        assert page.locator("img, iframe, object, embed, base").count() == 0
        assert page.locator("link").count() == 1 and page.locator("meta[http-equiv]").count() == 1
        assert page.locator("script").count() == 7 and page.locator("style").count() == 1
        events = "[...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames()).filter((a) => a.startsWith('on'))"
        assert page.evaluate(events) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # Every section is a child of the one main: no markup of the corpus has closed anything.
        assert page.evaluate(
            "[...document.querySelectorAll('section')].every((s) => s.parentElement === document.querySelector('body > main'))"
        )
        shown = page.evaluate("document.body.innerText")
        assert "<script>document.title='owned'" in shown and "\\u202e" in shown
        hidden = "\u202e\u2066\u2069\u200b\ufeff\u2028\u2029\x1b\x07\U000e0041"
        assert not set(hidden) & set(page.content())
    assert found.said == [] and found.requests == []
