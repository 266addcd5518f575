"""Locations in a recipe: URLs without secrets pass, those with one are refused, and none is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from plm_data.errors import RecipeError, SourceError
from plm_data.locations import is_remote, redacted
from plm_data.recipe_file import load_recipe
from plm_data.sources import make_reader, remote

RECIPE = """\
name: tiny
seed: 1
sources:
  notes:
    {source}
    domain: web
    language: en
    license: CC0-1.0
    priority: 1
phases:
  phase1: {{segment: stable, tokens: 20, mix: {{notes: 1.0}}}}
"""
FILES = 'reader: files\n    paths: ["{}"]'
TREE = 'reader: source-tree\n    path: "{}"'
WARC = 'reader: warc\n    paths: ["{}"]'
DATASETS = 'reader: huggingface\n    path: json\n    data_files: ["{}"]'
CANARY = "canary-Xy7"


def load(folder: Path, source: str):
    (folder / "tiny.yaml").write_text(RECIPE.format(source=source))
    return load_recipe(folder / "tiny.yaml").sources["notes"]


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/a.xyz?code={}", "http://127.0.0.1:1/*.txt?code={}", "nope://x/y.jsonl?code={}",
     "http://127.0.0.1:1/?code={}"],
)  # fmt: skip
@pytest.mark.parametrize("form", [FILES, TREE, WARC])
def test_no_error_shows_a_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, url: str) -> None:
    monkeypatch.setattr(remote, "_PAUSE", 0.0)
    with pytest.raises((RecipeError, SourceError)) as raised:
        make_reader("notes", load(tmp_path, form.format(url.format(CANARY)))).fingerprint()
    assert url.partition("?")[0].rpartition("/")[0] in str(raised.value) and CANARY not in str(raised.value)


@pytest.mark.parametrize("form", [FILES, TREE, WARC, DATASETS])
@pytest.mark.parametrize(
    "url, what",
    [
        (f"https://me:{CANARY}@example.org/a.jsonl", "carries a user or password"),
        (f"s3://{CANARY}@bucket/a.jsonl", "carries a user or password"),
        (f"https://b.example.org/a.jsonl?X-Amz-Signature={CANARY}&x=1", r"carries a credential \(X-Amz-Signature\)"),
        (f"https://b.example.org/a.jsonl?sv=1&sig={CANARY}", r"carries a credential \(sig\)"),
        (f"https://b.example.org/a.jsonl?access_token={CANARY}", r"carries a credential \(access_token\)"),
        (f"https://b.example.org/a.jsonl?a=1&AWSAccessKeyId={CANARY}", "carries a credential"),
        ("simplecache::https://b.example.org/a.jsonl", "chained URLs"),
        ("zip://a.txt::https://b.example.org/b.zip", "chained URLs"),
    ],
)
def test_a_url_with_a_secret_is_refused_without_showing_it(
    tmp_path: Path, form: str, url: str, what: str | None
) -> None:
    with pytest.raises(RecipeError, match=rf"tiny\.yaml:\d+: sources\.notes\.(path|data_files).*{what}") as raised:
        load(tmp_path, form.format(url))
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a b/c@d.jsonl", "https://example.org/a.jsonl?download=1&page=2", "data/me@home.jsonl",
        "https://example.org/@user/a.jsonl", "gs://bucket/*.parquet", "https://example.org/a.jsonl?keyword=x&design=1",
    ],
)  # fmt: skip
def test_a_url_without_one_passes(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, FILES.format(url)).paths == (url,)


def test_a_list_that_is_none_shows_no_secret_either(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"sources\.notes\.paths: ") as raised:
        load(tmp_path, f'reader: files\n    paths: "https://me:{CANARY}@example.org/a?sig={CANARY}"')
    assert CANARY not in str(raised.value)


def test_what_is_shown_has_no_user_and_no_query() -> None:
    assert redacted("GET 'https://u:p@h/a?b=c' (see http://h/x?y)") == "GET 'https://…@h/a?…' (see http://h/x?…)"
    assert redacted("is a@b a question? yes: s3://bucket/key") == "is a@b a question? yes: s3://bucket/key"


def test_what_lies_elsewhere() -> None:
    assert [is_remote(x) for x in ("s3://b/a", "https://h/a", "file:///a", "a/b://c", "a.jsonl", "./s3:/x")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
