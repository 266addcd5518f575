"""A hub that breaks off, dawdles, lies and refuses: the same bytes come, or one error says why not."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import pytest

from plm_data.errors import RecipeError, SourceError
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.http import TRIES
from plm_data.sources.hub_repository import Repository
from tests.plm_data.sources.hub_files import PATH, expected, noise, parquet, read, rows, texts
from tests.plm_data.sources.hub_server import REVISION, Fault, HubServer, serving

A, B = rows(0, 35), rows(35, 300)
CANARY = "hf_canaryTokenThatMustBeNowhere"


@pytest.fixture
def corpus(hub: HubServer) -> HubServer:
    hub.add(PATH, {"a.parquet": parquet(A), "b.parquet": parquet(B, row_group_size=100)})
    return hub


def repository() -> Repository:
    return Repository("sources.web", "datasets", PATH, REVISION)


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.suffix for path in (tmp_path / "hf" / "plm").iterdir() if path.suffix != ".json")


@pytest.mark.parametrize("how", ["whole", "columns"])
@pytest.mark.parametrize(
    "faults",
    [
        [Fault("drop", at=0)],
        [Fault("drop", at=5000, times=3)],
        [Fault("drop", "/api/", at=20)],
        [Fault("slow", at=2)],
        [Fault("status", "/api/", status=500)],
        [Fault("status", "/resolve/", status=503, times=2), Fault("status", status=502)],
        [Fault("status", status=429, retry_after="0")],
        [Fault("status", status=403), Fault("status", status=404)],  # a signed address that ran out
        [Fault("truncate", at=4000)],
        [Fault("truncate", "/api/", at=30)],
        [Fault("longer", at=10)],
        [Fault("shorter", at=3000)],
        [Fault("drop", at=4000), Fault("status", status=500), Fault("truncate", at=4000), Fault("drop", at=0)],
    ],
    ids=lambda faults: "-".join(f"{fault.kind}{fault.where.strip('/')}" for fault in faults),
)
def test_a_fault_that_passes_leaves_the_same_documents(
    corpus: HubServer, waits: list[float], how: str, faults: list[Fault]
) -> None:
    corpus.faults = deepcopy(faults)
    assert texts(read(2, read=how)) == expected(A, B)
    assert all(fault.times == 0 for fault in corpus.faults)
    # What was slow, or said to be longer than what was asked for, needed no second try.
    assert (waits == []) == (faults[0].kind in ("slow", "longer"))


@pytest.mark.parametrize("faults", [[], [Fault("drop", at=5000)], [Fault("shorter", at=3000)]])
@pytest.mark.parametrize("how", ["whole", "columns"])
def test_a_server_that_knows_no_ranges_will_do(
    corpus: HubServer, waits: list[float], how: str, faults: list[Fault]
) -> None:
    corpus.ranges, corpus.faults = False, deepcopy(faults)
    assert texts(read(2, read=how)) == expected(A, B)


def test_a_download_goes_on_from_the_byte_where_it_broke(corpus: HubServer, waits: list[float]) -> None:
    corpus.faults = [Fault("drop", at=70_000), Fault("drop", at=0), Fault("truncate", at=10_000)]
    b = repository().files[1]
    assert repository().download(b, ".parquet").read_bytes() == corpus.blobs[b.checksum]
    asked = [each.range for each in corpus.downloads()]
    end = b.size - 1
    assert asked == [f"bytes=0-{end}", f"bytes=70000-{end}", f"bytes=70000-{end}", f"bytes=80000-{end}"]
    # No byte came twice.
    assert sum(each.sent for each in corpus.downloads()) == b.size
    # A broken connection that brought something is a first failure again.
    assert waits == [1, 2, 1]


def test_waits_double_and_end_in_one_error(corpus: HubServer, waits: list[float]) -> None:
    corpus.faults = [Fault("status", status=500, times=99)]
    with pytest.raises(
        SourceError, match=r"does not give a\.parquet of owner/corpus: status 500, 7 times in a row\. Run"
    ):
        read()
    assert waits == [1, 2, 4, 8, 16, 32] and len(corpus.downloads()) == TRIES


def test_any_number_of_breaks_is_survived_as_long_as_bytes_come(corpus: HubServer, waits: list[float]) -> None:
    corpus.faults = [Fault("drop", at=1500, times=3 * TRIES)]
    assert texts(read()) == expected(A, B)
    assert set(waits) == {1} and len(waits) > 2 * TRIES


def test_the_wait_is_as_long_as_the_server_asks(corpus: HubServer, waits: list[float]) -> None:
    corpus.faults = [
        Fault("status", status=429, retry_after="7"), Fault("status", status=503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
        Fault("status", status=429, retry_after="soon"),
    ]  # fmt: skip
    assert texts(read()) == expected(A, B)
    assert waits == [7, 0, 4]


def test_an_endless_wait_is_an_error(corpus: HubServer, waits: list[float]) -> None:
    corpus.faults = [Fault("status", status=429, retry_after="601")]
    with pytest.raises(SourceError, match=r"status 429, and to come back in 601 seconds\. Run the same command again"):
        read()
    assert waits == []


def test_a_hub_that_is_not_there(hub: HubServer, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        SourceError, match=r"127\.0\.0\.1:9 does not give the list of its files .*ConnectError\), 7 times"
    ):
        read()


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ftp://127.0.0.1", "http://", "http://[", "http://a:b"])
def test_an_endpoint_that_is_no_address(hub: HubServer, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(RecipeError, match=r"^sources\.web: HF_ENDPOINT is not the address of a hub"):
        read()


def test_a_corrupted_byte_is_never_accepted(corpus: HubServer, tmp_path: Path) -> None:
    corpus.faults = [Fault("corrupt", at=9000)]
    assert texts(read()) == expected(A, B)
    corpus.add(PATH, {"c.parquet": parquet(rows(500, 30))}, revision="2" * 40)
    corpus.faults = [Fault("corrupt", at=2000, times=2)]
    with pytest.raises(
        SourceError, match=r"c\.parquet of owner/corpus: what 127.* sends has not the hash that it lists"
    ):
        read(revision="2" * 40)
    # Nothing of it is kept: three locks, and the two files from before.
    assert cached(tmp_path) == [".lock", ".lock", ".lock", ".parquet", ".parquet"]


def test_a_corrupted_byte_of_a_column_is_caught_by_the_files_own_sums(corpus: HubServer) -> None:
    corpus.add(PATH, {"a.parquet": parquet(rows(0, 400), 100, write_page_checksum=True)}, revision="2" * 40)
    corpus.faults = [Fault("corrupt", where="/blobs/", at=9000)]
    with pytest.raises(SourceError, match=r"a\.parquet(:row 1)? is broken"):
        # The first range is the footer, with pages before it that are not read from it.
        corpus.faults = [Fault("slow"), Fault("corrupt", at=9000)]
        read(read="columns", revision="2" * 40)


def test_a_small_file_is_checked_by_its_git_hash(hub: HubServer) -> None:
    small = parquet([{"id": "a", "text": "x"}])
    hub.add(PATH, {"a.parquet": small})
    assert len(small) < 1000 and repository().files[0].sha256 is None
    hub.faults = [Fault("corrupt", "/resolve/", at=5)]
    assert texts(read()) == {"a": "x"}
    hub.add(PATH, {"a.parquet": parquet([{"id": "a", "text": "y"}])}, revision="2" * 40)
    hub.faults = [Fault("corrupt", "/resolve/", at=5, times=2)]
    with pytest.raises(SourceError, match="has not the hash that it lists"):
        read(revision="2" * 40)


def test_a_size_that_stays_wrong_is_refused(corpus: HubServer, waits: list[float]) -> None:
    corpus.ranges, corpus.faults = False, [Fault("longer", at=10, times=99)]
    with pytest.raises(
        SourceError, match=r"a\.parquet of owner/corpus: a file of [\d,]+ bytes; expected [\d,]+, 7 times"
    ):
        read()


@pytest.mark.parametrize("left", [b"", b"short", b"\0" * 50_000, b"\0" * 500_000])
def test_what_is_left_of_other_bytes_is_given_up(corpus: HubServer, tmp_path: Path, left: bytes) -> None:
    b = repository().files[1]
    (tmp_path / "hf" / "plm" / f"{b.checksum}.parquet.part").write_bytes(left)
    assert texts(read()) == expected(A, B)


def test_a_cached_file_is_checked_each_time(corpus: HubServer) -> None:
    path = repository().download(repository().files[1], ".parquet")
    data = path.read_bytes()
    for altered in (data[:-1], data[:90] + b"x" + data[91:]):
        path.write_bytes(altered)
        assert texts(read()) == expected(A, B) and path.read_bytes() == data
    corpus.seen.clear()
    assert texts(read(3)) == expected(A, B) and corpus.seen == []


def test_a_killed_process_leaves_what_the_next_goes_on_from(corpus: HubServer, tmp_path: Path) -> None:
    b = repository().files[1]
    corpus.faults = [Fault("slow", at=300)]
    code = (
        "from plm_data.sources.hub_repository import Repository\n"
        f"repository = Repository('sources.web', 'datasets', {PATH!r}, {REVISION!r})\n"
        "repository.download(repository.files[1], '.parquet')"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    part = tmp_path / "hf" / "plm" / f"{b.checksum}.parquet.part"
    for _ in range(1000):
        if (part.is_file() and part.stat().st_size) or process.poll() is not None:
            break
        time.sleep(0.01)
    process.kill()
    assert process.wait() != 0
    have = part.stat().st_size
    assert 0 < have < b.size
    corpus.seen.clear()
    assert repository().download(b, ".parquet").read_bytes() == corpus.blobs[b.checksum]
    assert [each.range for each in corpus.downloads()] == [f"bytes={have}-{b.size - 1}"]


def test_the_token_is_shown_to_the_hub_and_nobody_else(
    corpus: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{CANARY}\n")
    corpus.token = CANARY
    items = read(2) + read(read="columns")
    assert len(items) == 2 * len(expected(A, B))
    shown = {each.storage: each.headers.get("authorization") for each in corpus.seen}
    assert shown == {False: f"Bearer {CANARY}", True: None}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 5 and not [path for path in written if CANARY.encode() in path.read_bytes()]
    assert CANARY not in repr(items)


def test_a_page_of_the_list_that_lies_elsewhere_is_asked_for_without_the_token(
    corpus: HubServer, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    corpus.add(PATH, {f"{i}.parquet": b"" for i in range(9)})
    corpus.token, corpus.pages_url = CANARY, corpus.storage_url
    with pytest.raises(SourceError, match=r"does not give the list of its files of owner/corpus: status 404, 7 times"):
        read()
    assert {each.headers.get("authorization") for each in corpus.seen if each.storage} == {None}


def test_what_one_hub_lists_is_not_believed_of_another(corpus: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = repository().files
    with serving() as other:
        other.add(PATH, {"other.parquet": parquet(A)})
        monkeypatch.setenv("HF_ENDPOINT", other.url)
        assert [file.name for file in repository().files] == ["other.parquet"]
    monkeypatch.setenv("HF_ENDPOINT", corpus.url)
    assert repository().files == listed and len(corpus.seen) == 1


def test_a_list_that_is_damaged_in_the_cache_is_asked_for_again(corpus: HubServer, tmp_path: Path) -> None:
    listed = repository().files
    (kept,) = (tmp_path / "hf" / "plm").glob("*.json")
    kept.write_text(kept.read_text()[:-20])
    assert repository().files == listed and len(corpus.seen) == 2


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        (CANARY, Fault("status", "/resolve/", status=401)),
        (CANARY, Fault("status", "/resolve/", status=403)),
        (CANARY, Fault("status", "/resolve/", status=500, times=99)),
        (f"{CANARY}\nX-Injected: 1", None),
        (f"{CANARY}é", None),
    ],
)
def test_no_message_holds_the_token(
    corpus: HubServer, waits: list[float], monkeypatch: pytest.MonkeyPatch, token: str, fault: Fault | None
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    corpus.faults = [deepcopy(fault)] if fault else []
    with pytest.raises((RecipeError, SourceError)) as caught:
        read()
    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in f"{error!r} {error}" and "signed-" not in str(error)
        error = error.__cause__
    assert fault or "HF_TOKEN holds a character that no token has" in str(caught.value)


def test_the_order_of_documents_is_that_of_the_files(corpus: HubServer) -> None:
    items: list[Raw | Rejected] = read()
    assert [item.name for item in items] == [row["id"] for row in A + B]
    assert noise(3) == items[3].text  # type: ignore[union-attr]


class _Terminal(io.StringIO):
    def __init__(self, is_one: bool):
        super().__init__()
        self._is_one = is_one

    def isatty(self) -> bool:
        return self._is_one


@pytest.mark.parametrize(("terminal", "after", "shown"), [(True, 0, True), (True, 3, False), (False, 0, False)])
def test_a_bar_is_shown_of_a_long_download_on_a_terminal_alone(
    corpus: HubServer, monkeypatch: pytest.MonkeyPatch, terminal: bool, after: float, shown: bool
) -> None:
    stderr = _Terminal(terminal)
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setattr("plm_data.sources.hub_repository._BAR_AFTER", after)
    repository().download(repository().files[1], ".parquet")
    assert ("b.parquet: " in stderr.getvalue()) == shown
