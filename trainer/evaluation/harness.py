"""A PLM as lm-evaluation-harness sees a model: its likelihoods and completions, by this project's own decoding.

lm_eval takes a moment to import, so this module is imported where it is used.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tokenizers import Tokenizer
from tqdm import tqdm

from trainer.chat import END, START
from trainer.errors import TrainerError
from trainer.evaluation.likelihood import score
from trainer.inference import Sampling, generate
from trainer.model import PLM
from trainer.pretrained import END_OF_TEXT

_Request = tuple[Any, list[int], list[int]]  # what was asked, its context and its continuation as tokens


class HarnessLM(TemplateLM):
    """Answers lm_eval's requests; results are in the order of the requests.

    Args:
        model: a PLM.
        tokenizer: of the model. A request's text is encoded whole, special tokens in it included: that is how a chat
            template reaches the model.
        window: tokens that the model sees at once; longer contexts lose their oldest.
        batch_size: completions that are decoded together.
        quiet: show no progress.
    """

    def __init__(
        self, model: PLM, tokenizer: Tokenizer, window: int, batch_size: int = 32, quiet: bool = False
    ) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.max_length, self.batch_size, self.quiet = window, batch_size, quiet
        self._end_of_text = int(tokenizer.token_to_id(END_OF_TEXT) or 0)
        self._device = model.model.embed_tokens.weight.device

    @property
    def eot_token_id(self) -> int:
        """Id of `<|endoftext|>`, which also stands before a text that has no context."""
        return self._end_of_text

    @property
    def tokenizer_name(self) -> str:
        """Part of lm_eval's key of cached requests."""
        return f"plm-{zlib.crc32(self.tokenizer.to_str().encode()):08x}"

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the form of a turn, which lm_eval logs; there is only ChatML."""
        return f"{START}{{role}}\n{{text}}{END}\n" if chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return turns in ChatML, and the assistant's start; or else the last turn left open, to be continued."""
        turns = [f"{START}{turn['role']}\n{turn['content']}" for turn in chat_history]
        closed = f"{END}\n".join(turns)
        return f"{closed}{END}\n{START}assistant\n" if add_generation_prompt else closed

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return a text's tokens; nothing is put before or after them."""
        return list(self.tokenizer.encode(string, add_special_tokens=False).ids)

    def _loglikelihood_tokens(
        self, requests: Sequence[_Request], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        sequences, starts, scored = [], [], []
        for index, (asked, context, continuation) in enumerate(requests):
            if not continuation:
                continue  # certain
            if len(continuation) > self.max_length:
                raise TrainerError(
                    f"request {index}: found a continuation of {len(continuation)} tokens ({str(asked)[:80]!r}), "
                    f"expected at most {self.max_length}, the model's window; leave that task out"
                )
            whole = [*context, *continuation][-(self.max_length + 1) :]
            sequences.append(whole)
            starts.append(len(whole) - len(continuation))
            scored.append(index)
        found = [(0.0, True)] * len(requests)
        with tqdm(total=len(scored), desc="likelihoods", disable=disable_tqdm or self.quiet) as line:
            results = score(self.model, sequences, starts, progress=line.update)
        for index, result in zip(scored, results, strict=True):
            found[index] = (float(result.log_probs.sum(dtype="float64")), result.greedy)
        return found

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Return each text's log-likelihood; lm_eval's windows, of which the last alone overlaps another."""
        windows: list[_Request] = []
        owners = []
        for owner, request in enumerate(requests):
            text = request.args[0]
            for window in get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, 1):
                windows.append((text, *make_disjoint_window(window)))
                owners.append(owner)
        totals = [0.0] * len(requests)
        scored = self._loglikelihood_tokens(windows, disable_tqdm=disable_tqdm)
        for owner, (value, _) in zip(owners, scored, strict=True):
            totals[owner] += value
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Complete each context until a stop string, an end token or `max_gen_toks`.

        A completion has half of the window at most, so that a small model still sees some of its context. Draws, where
        a task asks for them, come from a seed of the context and of how often it was asked before.
        """
        seen: Counter[str] = Counter()
        groups: dict[Sampling, list[tuple[int, list[int], int]]] = {}
        for index, request in enumerate(requests):
            context, asked = request.args
            sampling = self._sampling(asked)
            tokens = self.tok_encode(context) or [self.prefix_token_id]
            tokens = tokens[-(self.max_length - sampling.max_tokens) :]
            groups.setdefault(sampling, []).append((index, tokens, zlib.crc32(f"{seen[context]} {context}".encode())))
            seen[context] += 1
        found = [""] * len(requests)
        with tqdm(total=len(requests), desc="completions", disable=disable_tqdm or self.quiet) as line:
            for sampling, group in groups.items():
                completions = generate(
                    self.model,
                    self.tokenizer,
                    [tokens for _, tokens, _ in group],
                    sampling,
                    [seed for *_, seed in group],
                    batch_size=self.batch_size,
                    progress=line.update,
                )
                for (index, *_), completion in zip(group, completions, strict=True):
                    found[index] = completion.text
        return found

    def _sampling(self, asked: dict[str, Any]) -> Sampling:
        wanted = dict(normalize_gen_kwargs(asked))
        longest = min(int(wanted["max_gen_toks"]), self.max_length // 2)
        stop = tuple(text for text in wanted.get("until") or () if text)
        temperature = float(wanted.get("temperature") or 0.0) if wanted.get("do_sample") else 0.0
        return Sampling(longest, temperature, float(wanted.get("top_p") or 1.0), stop)
