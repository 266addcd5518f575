"""The loader's benchmark: a seeded corpus, of which ours and the peers give the same tokens."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import loader


def test_ours_and_the_peers_give_the_same_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "HOME", tmp_path / "one")
    folder = loader._corpus(200_000)
    assert loader._corpus(200_000) == folder
    ours, peer = loader.prepare_ours(str(folder))(), loader.prepare_peer(str(folder))()
    assert np.array_equal(ours, peer)
    assert np.array_equal(ours, loader.prepare_trl(str(folder))())
    phase = loader._phase(str(folder))
    assert int(ours.sum()) == phase.tokens > 50_000
    monkeypatch.setattr(loader, "HOME", tmp_path / "two")
    assert loader._phase(str(loader._corpus(200_000))).tokens == phase.tokens
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == [
        path.read_bytes() for path in sorted(loader._corpus(200_000).iterdir())
    ]
