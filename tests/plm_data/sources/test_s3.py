"""S3: a real server process on loopback, connections that break, and a whole build without a secret in what it writes."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.config import conf

from plm_data.build import Build
from plm_data.errors import RecipeError, SourceError
from plm_data.recipe_file import load_recipe
from plm_data.report.page import write_report
from plm_data.sources import remote as module
from plm_data.sources.files import FilesReader
from tests.planted import STOP_WORDS
from tests.plm_data.sources.local_files import documents, lines, read, spec, zstd
from tests.plm_data.sources.servers import Proxy, proxy, s3_client, s3_process

KEY, SECRET = "CANARYACCESSKEY", "canary-secret-Zq8vW3"
WORDS = ["river", "stone", "letter", "quiet", "garden", "north", "evening", "paper", "winter"]
ROWS = [
    {"id": f"d{i}", "text": " ".join(random.Random(i).choices(STOP_WORDS + WORDS, k=60)), "other": "x" * 300}
    for i in range(600)
]
NAMED = sorted((row["id"], row["text"]) for row in ROWS)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_process(KEY, SECRET) as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[object, Proxy]]:
    """A client, and the proxy that the environment names as the endpoint; the bucket is called ``corpus``."""
    client = s3_client(s3, KEY, SECRET)
    client.create_bucket(Bucket="corpus")
    data = lines(ROWS)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer, row_group_size=200, compression="none")
    for name, body in (
        ("in/a.jsonl", data), ("in/deep/b.jsonl.zst", zstd(data)), ("in/c.parquet", buffer.getvalue()),
        ("in/.hidden/d.jsonl", data), ("in/e.csv", b"e"),
    ):  # fmt: skip
        client.put_object(Bucket="corpus", Key=name, Body=body)
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    monkeypatch.setattr(module, "BLOCK", 50_000)
    with proxy(s3) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", between.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield client, between


def test_folders_globs_and_files_of_a_bucket(bucket: tuple[object, Proxy]) -> None:
    def found(*paths: str) -> list[str]:
        return [file.label.removeprefix("s3://corpus/") for file in FilesReader("web", spec(*paths)).files]

    everything = ["in/a.jsonl", "in/c.parquet", "in/deep/b.jsonl.zst"]
    assert found("s3://corpus") == everything == found("s3://corpus/in/", "s3://corpus/in/a.jsonl")
    assert found("s3://corpus/in/*.jsonl") == ["in/a.jsonl"]
    assert found("s3://corpus/**/*.jsonl*") == ["in/a.jsonl", "in/deep/b.jsonl.zst"]
    for missing in ("s3://corpus/nope", "s3://corpus/in/z.jsonl", "s3://corpus/in/z*"):
        with pytest.raises(RecipeError, match="leads to no file that can be read; expected"):
            found(missing)
    with pytest.raises(RecipeError, match=r"sources\.web\.paths: s3://nobucket"):
        found("s3://nobucket/*.jsonl")


def test_every_format_is_read_in_pieces_while_connections_break(bucket: tuple[object, Proxy]) -> None:
    _, between = bucket
    for name in ("a.jsonl", "deep/b.jsonl.zst", "c.parquet"):
        reader = FilesReader("web", spec(f"s3://corpus/in/{name}"))
        assert reader.size_bound() is None or reader.size_bound() > 0
        between.breaks, between.broken = 2, 0
        found = [item for piece in range(3) for item in reader.read(piece, 3)]
        assert sorted(documents(found)) == NAMED and between.broken == 2 - between.breaks > 0


def test_an_object_that_is_replaced_while_it_is_read_is_an_error_and_moves_the_fingerprint(
    bucket: tuple[object, Proxy],
) -> None:
    client, _ = bucket
    reader = FilesReader("web", spec("s3://corpus/in/a.jsonl"))
    one = reader.fingerprint()
    assert FilesReader("web", spec("s3://corpus/in/a.jsonl")).fingerprint() == one
    client.put_object(Bucket="corpus", Key="in/a.jsonl", Body=lines(ROWS[::-1]))
    with pytest.raises(SourceError, match=r"s3://corpus/in/a\.jsonl changed while it was read"):
        list(reader.read(0, 1))
    assert FilesReader("web", spec("s3://corpus/in/a.jsonl")).fingerprint() != one


RECIPE = """\
name: bucket
seed: 3
partitions: 2
tokenizer: {vocab_size: 600, train_bytes: 20KB}
sources:
  cloud: {reader: files, paths: ["s3://corpus/in/a.jsonl"], domain: web, language: en, license: CC0-1.0, priority: 1}
curate: {repetition: null, c4: null, fineweb: null, language: null, gopher: {min_stop_words: null}}
phases:
  phase1: {segment: stable, tokens: 5K, mix: {cloud: 1.0}}
"""


def test_a_whole_build_from_a_bucket_writes_no_secret(
    bucket: tuple[object, Proxy], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _, between = bucket
    (tmp_path / "bucket.yaml").write_text(RECIPE)
    said: list[str] = []
    build = Build(load_recipe(tmp_path / "bucket.yaml"), tmp_path / "home", workers=1, say=said.append)
    build.check()
    between.breaks = 1
    frame = pl.read_parquet(build.shards("phase1").path / "shard-00000.parquet")
    assert set(frame["text"]) <= {row["text"] for row in ROWS} and frame.height > 20
    write_report(build)
    out, err = capfd.readouterr()
    shown = "\n".join([*said, out, err])
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 20
    for canary in (KEY, SECRET):
        assert canary not in shown
        assert not [path for path in written if canary.encode() in path.read_bytes()]
    # Built again without a change, everything is there: the ETag is the content's.
    again = Build(load_recipe(tmp_path / "bucket.yaml"), tmp_path / "home", workers=1)
    assert again.shards("phase1").reused and again.collected["cloud"].reused


def test_a_public_bucket_is_read_without_credentials(
    bucket: tuple[object, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = bucket
    client.put_object_acl(Bucket="corpus", Key="in/a.jsonl", ACL="public-read")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setitem(conf, "s3", {"anon": "true"})  # as FSSPEC_S3_ANON=true gives it
    assert sorted(documents(read("s3://corpus/in/a.jsonl"))) == NAMED


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "ftp://host", f"http://me:{SECRET}@host", "http://"])
def test_an_endpoint_that_is_no_url_of_a_server_is_refused(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    with pytest.raises(RecipeError, match=r"AWS_ENDPOINT_URL_S3 .* is not the URL of a server") as raised:
        read("s3://corpus/in/a.jsonl")
    assert SECRET not in str(raised.value)


def test_wrong_credentials_are_told_without_them(bucket: tuple[object, Proxy], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(
            f"AWS Error ACCESS_DENIED during HeadObject for https://{KEY}:{SECRET}@host/x?X-Amz-Signature=abc"
        )

    tried = []
    monkeypatch.setattr("plm_data.sources.remote_listing._S3.info", lambda *a, **k: tried.append(1) or refuse())
    with pytest.raises(RecipeError, match="ACCESS_DENIED") as raised:
        read("s3://corpus/in/a.jsonl")
    assert len(tried) == 1 and "abc" not in str(raised.value)
    assert KEY not in str(raised.value) and SECRET not in str(raised.value)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
