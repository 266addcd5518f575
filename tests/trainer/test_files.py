"""Files and folders appear whole or not at all."""

from pathlib import Path

import pytest

from trainer.files import new_folder, sha256, write_text


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with new_folder(tmp_path / "a") as folder:
            (folder / "file").write_text(content)
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "a") as folder:
        (folder / "file").write_text("torn")
        raise KeyboardInterrupt
    assert (tmp_path / "a" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_text_is_replaced(tmp_path: Path) -> None:
    for content in ("old", "new"):
        write_text(tmp_path / "a", content)
    assert (tmp_path / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
