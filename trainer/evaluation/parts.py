"""The finished parts of an evaluation on disk, each with what it was made from: reused while that is the same."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainer.errors import TrainerError
from trainer.files import read_json, write_json
from trainer.model import PLM

VERSION = 1  # raise it when a part would come out otherwise from the same key


def weights_digest(model: PLM) -> str:
    """Return the SHA-256 of a model's parameters, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Parts:
    """A folder of parts, `NAME.json` each, of one model."""

    folder: Path
    model: dict[str, str]  # digests of the weights and of the tokenizer

    def path(self, name: str) -> Path:
        """Return the file of a part."""
        return self.folder / f"{name}.json"

    def find(self, name: str) -> dict[str, Any] | None:
        """Return a part of this model, whatever its settings: with `key` and `result`."""
        if not self.path(name).is_file():
            return None
        try:
            found = read_json(self.path(name), "a part of an evaluation")
        except TrainerError:  # a part that cannot be read is made anew
            return None
        good = found.get("version") == VERSION and isinstance(found.get("key"), dict) and "result" in found
        return found if good and all(found["key"].get(k) == v for k, v in self.model.items()) else None

    def make(self, name: str, key: dict[str, Any], work: Callable[[], Any]) -> tuple[Any, bool]:
        """Return a part's result, and whether it was there; it is made and written where it was not.

        Args:
            name: of the part's file.
            key: JSON object of what shapes it, beside the model.
            work: makes the result, a JSON value; what it writes beside comes first, so that a part on disk is whole.
        """
        key = {**self.model, **key}
        found = self.find(name)
        if found is not None and found["key"] == key:
            return found["result"], True
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path(name).unlink(missing_ok=True)  # it stands for files that are about to change
        result = work()
        write_json(self.path(name), {"version": VERSION, "key": key, "result": result})
        return result, False
