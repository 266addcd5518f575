"""A reward model: any sequence-classification model of Hugging Face's form with one output, which scores answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from trainer.chat import Turn
from trainer.errors import TrainerError
from trainer.files import sha256


class RewardModel:
    """Scores conversations by a model whose one output is the score, higher being better.

    Weights are read as safetensors alone, and no code that comes with the model is run. Special tokens in a text are
    taken apart before the chat template is applied: an answer cannot open or close a turn to score better.

    Args:
        path: folder of the model, or its name on the hub.
        revision: commit on the hub.
        batch_size: conversations scored at once.
        device: where the model runs; default: CUDA where there is one.

    Raises:
        TrainerError: transformers is not installed; the model cannot be read, has more than one output, or has no chat
            template or padding token.
    """

    def __init__(
        self, path: str | Path, revision: str | None = None, batch_size: int = 16, device: torch.device | None = None
    ) -> None:
        try:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError:
            raise TrainerError(
                "reward model: found no transformers, expected it to be installed; run pip install 'plm[reward]'"
            ) from None
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._batch_size = batch_size
        safe = {"revision": revision, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(path), **safe)
            model = AutoModelForSequenceClassification.from_pretrained(str(path), use_safetensors=True, **safe)
        except (OSError, ValueError) as error:
            raise TrainerError(f"reward model {path}: cannot be read ({error}); name a folder or a hub model") from None
        if model.config.num_labels != 1:
            raise TrainerError(
                f"reward model {path}: found {model.config.num_labels} outputs, expected one, the score; "
                "choose a model that was trained as a reward model"
            )
        if not self._tokenizer.chat_template:
            raise TrainerError(f"reward model {path}: its tokenizer has no chat template; choose one that has")
        if self._tokenizer.pad_token_id is None or model.config.pad_token_id is None:
            raise TrainerError(f"reward model {path}: names no padding token; set pad_token_id in its config.json")
        self._model = model.to(self._device).eval()
        self._specials = sorted(set(self._tokenizer.all_special_tokens), key=len, reverse=True)
        self._longest = _positions(model.config, self._tokenizer)
        weights = Path(path) / "model.safetensors"
        self.name = sha256(weights) if weights.is_file() else f"{path}@{revision}"

    @torch.inference_mode()
    def score(self, conversations: Sequence[Sequence[Turn]]) -> list[float | None]:
        """Return each conversation's score, in their order; None where it is longer than the model can read.

        Those of one batch are of similar length, so that little is padded.
        """
        encoded = [self._encode(turns) for turns in conversations]
        order = sorted((n for n, ids in enumerate(encoded) if len(ids) <= self._longest), key=lambda n: len(encoded[n]))
        scores: list[float | None] = [None] * len(encoded)
        for start in range(0, len(order), self._batch_size):
            part = order[start : start + self._batch_size]
            batch = self._tokenizer.pad({"input_ids": [encoded[n] for n in part]}, return_tensors="pt")
            logits = self._model(**{key: value.to(self._device) for key, value in batch.items()}).logits
            for number, score in zip(part, logits[:, 0].float().tolist(), strict=True):
                scores[number] = score
        return scores

    def _encode(self, turns: Sequence[Turn]) -> list[int]:
        messages = [{"role": role, "content": self._plain(text)} for role, text in turns]
        text = self._tokenizer.apply_chat_template(messages, tokenize=False)
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def _plain(self, text: str) -> str:
        for token in self._specials:
            text = text.replace(token, f"{token[:1]} {token[1:]}")
        return text


def _positions(config: Any, tokenizer: Any) -> int:
    """Return the tokens that a model can read: a tokenizer without a limit names an absurd one."""
    return min(getattr(config, "max_position_embeddings", None) or 10**9, tokenizer.model_max_length)
