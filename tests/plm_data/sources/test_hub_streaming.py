"""``datasets`` streaming from a hub on loopback. It takes the hub's address when it is imported: so in a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.plm_data.sources.hub_files import PATH, expected, parquet, rows
from tests.plm_data.sources.hub_server import REVISION, Fault, HubServer

CANARY = "hf_canaryTokenThatMustBeNowhere"
CODE = f"""
import json
from plm_data.errors import SourceError
from plm_data.recipe_sources import HuggingFaceSource
from plm_data.sources.huggingface import HuggingFaceReader

common = {{"reader": "huggingface", "path": {PATH!r}, "domain": "web", "language": "en", "license": "MIT", "priority": 1}}
def read(revision, pieces):
    reader = HuggingFaceReader("web", HuggingFaceSource(**common, revision=revision))
    return [[item.name, item.text] for piece in range(pieces) for item in reader.read(piece, pieces)]
found = {{"whole": read({REVISION!r}, 1), "divided": read({REVISION!r}, 3)}}
try:
    read("3" * 40, 1)
except SourceError as error:
    found["gone"] = str(error)
print(json.dumps(found))
"""


def test_a_pinned_dataset_is_streamed_through_a_dropped_connection(hub: HubServer, tmp_path: Path) -> None:
    first, last = rows(0, 35), rows(35, 4)
    hub.add(PATH, {"data/a.parquet": parquet(rows(0, 2))}, revision="2" * 40)  # what the branch has by now
    hub.add(PATH, {"README.md": b"# Corpus\n", "data/a.parquet": parquet(first), "data/b.parquet": parquet(last)})
    hub.token = CANARY
    hub.faults = [Fault("drop", at=3000), Fault("status", "/resolve/", status=500)]
    home = {"HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": CANARY, "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env={**os.environ, **home}, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for how in ("whole", "divided"):
        assert dict(found[how]) == expected(first, last) and len(found[how]) == 39
    assert all(fault.times == 0 for fault in hub.faults)
    assert found["gone"].startswith(f"sources.web: {PATH} at {'3' * 40} cannot be read through datasets'")
    assert {each.headers.get("authorization") for each in hub.downloads()} == {None}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert CANARY not in done.stdout + done.stderr
    assert not [path for path in written if CANARY.encode() in path.read_bytes()]
