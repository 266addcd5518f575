"""Completions of prompts, decoded together: the one loop that draws tokens."""

import random
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor

from trainer.errors import TrainerError
from trainer.inference.cache import LatentCache
from trainer.inference.forward import Span, hidden_states, next_logits
from trainer.inference.sampling import Sampling, draw
from trainer.inference.text import TextStream
from trainer.model import PLM
from trainer.pretrained import END_OF_TEXT

END_TOKENS: Final = (END_OF_TEXT, "<|im_end|>")
PREFILL_CHUNK: Final = 512  # tokens of prompts that are read at once

Finish = Literal["end", "stop", "length"]


@dataclass(frozen=True)
class Completion:
    """A prompt's continuation.

    Attributes:
        tokens: drawn, without the end token; where a stop string ended it, up to the token that completed that.
        text: of the tokens, up to the stop string and without it.
        finish: what ended it: an end token, a stop string, or `max_tokens`.
        cut: the prompt's oldest tokens that the model was not shown, for want of positions.
    """

    tokens: list[int]
    text: str
    finish: Finish
    cut: int


@dataclass
class _Sequence:
    """A prompt being continued; its place in the list of those is its place in the cache."""

    number: int  # of the prompt
    prompt: list[int]
    cut: int
    random: random.Random
    stream: TextStream
    read: int = 0  # tokens in the cache
    drawn: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    def take(self, token: int, ends: Collection[int], max_tokens: int) -> tuple[str, Completion | None]:
        """Add a drawn token; return the text that is certain by it, and the completion where it is the last."""
        if token in ends:
            piece, finish = self.stream.end(), "end"
        else:
            self.drawn.append(token)
            piece, finish = self.stream.add(token), ""
            if not self.stream.stopped and len(self.drawn) == max_tokens:
                piece, finish = piece + self.stream.end(), "length"
        if self.stream.stopped:
            finish = "stop"
        self.pieces.append(piece)
        if not finish:
            return piece, None
        return piece, Completion(self.drawn, "".join(self.pieces), finish, self.cut)  # type: ignore[arg-type]


def generate(
    model: PLM,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    seeds: Sequence[int],
    *,
    end: Collection[int] | None = None,
    batch_size: int = 32,
    prefill_chunk: int = PREFILL_CHUNK,
    progress: Callable[[int], object] | None = None,
) -> list[Completion]:
    """Complete prompts, `batch_size` at a time; a prompt joins as soon as another's completion has ended.

    A prompt's draws come from its own seed, one number a token. So its completion is the same in any batch and order,
    but for logits whose last bits differ with the batch's shape; see `draw`.

    Args:
        model: a PLM, in its parameters' dtype and on their device.
        tokenizer: of the model; only ids that it knows are drawn, though the model's vocabulary may be padded.
        prompts: token ids, at least one each. A prompt and `max_tokens` share the model's positions: the oldest tokens
            of a prompt that is too long for that are cut.
        sampling: of all prompts.
        seeds: of the draws, one a prompt.
        end: ids that end a completion and are no part of it; by default `<|endoftext|>` and `<|im_end|>`.
        batch_size: sequences whose tokens are computed together.
        prefill_chunk: tokens of prompts that are read at once; it bounds memory and changes nothing else.
        progress: called with the number of prompts that have ended since the last call, as tqdm's `update` wants it.

    Returns:
        A completion of each prompt, in their order.

    Raises:
        TrainerError: a prompt is empty or holds an id that the model lacks; seeds do not match; `max_tokens` exceeds
            the model's positions; a size is below one.
    """
    found: dict[int, Completion] = {}
    decoding = decode(
        model, tokenizer, prompts, sampling, seeds, end=end, batch_size=batch_size, prefill_chunk=prefill_chunk
    )
    for number, _, completion in decoding:
        if completion is not None:
            found[number] = completion
            if progress is not None:
                progress(1)
    return [found[number] for number in range(len(prompts))]


def stream(
    model: PLM,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    sampling: Sampling,
    seed: int,
    *,
    end: Collection[int] | None = None,
    prefill_chunk: int = PREFILL_CHUNK,
) -> Generator[str, None, Completion]:
    """Complete one prompt, yielding its text as it becomes certain, in whole characters; see `generate`.

    Returns:
        The completion, whose text is that of the pieces.
    """
    for _, piece, completion in decode(
        model, tokenizer, [prompt], sampling, [seed], end=end, batch_size=1, prefill_chunk=prefill_chunk
    ):
        if piece:
            yield piece
        if completion is not None:
            return completion
    raise AssertionError("a prompt's decoding ends with its completion")


@torch.inference_mode()
def decode(
    model: PLM,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    seeds: Sequence[int],
    *,
    end: Collection[int] | None,
    batch_size: int,
    prefill_chunk: int,
) -> Iterator[tuple[int, str, Completion | None]]:
    """Yield of each token drawn: its prompt's number, the text that it made certain, the completion if it is the last.

    See `generate` for the arguments and errors.
    """
    if end is None:
        end = [token for name in END_TOKENS if (token := tokenizer.token_to_id(name)) is not None]
    waiting = deque(_sequences(model, tokenizer, prompts, sampling, seeds, batch_size, prefill_chunk))
    if not waiting:
        return
    known = min(tokenizer.get_vocab_size(), model.config.vocab_size)
    weight = model.model.embed_tokens.weight
    longest = max(len(sequence.prompt) for sequence in waiting)
    # the last token drawn is never read
    cache = LatentCache(
        model.config, min(batch_size, len(waiting)), longest + sampling.max_tokens - 1, weight.dtype, weight.device
    )
    active: list[_Sequence] = []
    while active or waiting:
        first = len(active)
        while waiting and len(active) < batch_size:
            active.append(waiting.popleft())
        if first < len(active):
            stepping = active[first:]
            hidden = _prefill(model, cache, stepping, first, prefill_chunk)
        else:
            stepping = active[:]
            last = [sequence.drawn[-1] for sequence in active]
            spans = [Span(number, sequence.read, 1) for number, sequence in enumerate(active)]
            hidden = hidden_states(model, cache, last, spans)
            for sequence in active:
                sequence.read += 1
        uniforms = [sequence.random.random() for sequence in stepping]
        drawn = draw(next_logits(hidden, model, known), sampling, uniforms)
        for sequence, token in zip(stepping, drawn, strict=True):
            piece, completion = sequence.take(token, end, sampling.max_tokens)
            if completion is not None:
                _leave(cache, active, sequence)
            yield sequence.number, piece, completion


def _sequences(
    model: PLM,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    seeds: Sequence[int],
    batch_size: int,
    prefill_chunk: int,
) -> list[_Sequence]:
    if len(seeds) != len(prompts):
        raise TrainerError(f"seeds: found {len(seeds)}, expected one for each of {len(prompts)} prompts")
    if batch_size < 1 or prefill_chunk < 1:
        raise TrainerError(f"batch_size, prefill_chunk: found {batch_size} and {prefill_chunk}, expected one or more")
    positions, vocabulary = model.config.max_position_embeddings, model.config.vocab_size
    if sampling.max_tokens > positions:
        raise TrainerError(
            f"max_tokens: found {sampling.max_tokens}, expected at most {positions}, the model's positions"
        )
    room = positions - sampling.max_tokens + 1
    found = []
    for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        if not prompt:
            raise TrainerError(f"prompt {number}: found no token, expected one or more to continue")
        if not 0 <= min(prompt) <= max(prompt) < vocabulary:
            raise TrainerError(
                f"prompt {number}: found token ids from {min(prompt)} to {max(prompt)}, expected 0 to "
                f"{vocabulary - 1}; encode it with the model's own tokenizer"
            )
        text = TextStream(tokenizer, sampling.stop)
        cut = max(0, len(prompt) - room)
        found.append(_Sequence(number, list(prompt[cut:]), cut, random.Random(seed), text))
    return found


def _prefill(model: PLM, cache: LatentCache, joining: Sequence[_Sequence], first: int, chunk: int) -> Tensor:
    """Read prompts into the cache, from its sequence `first` on; return the hidden state of each one's last token."""
    rounds: list[tuple[list[int], list[Span]]] = [([], [])]
    for number, sequence in enumerate(joining, first):
        for start in range(0, len(sequence.prompt), chunk):
            tokens = sequence.prompt[start : start + chunk]
            if len(rounds[-1][0]) + len(tokens) > chunk:
                rounds.append(([], []))
            rounds[-1][0].extend(tokens)
            rounds[-1][1].append(Span(number, start, len(tokens)))
        sequence.read = len(sequence.prompt)
    found = []
    for ids, spans in rounds:
        hidden = hidden_states(model, cache, ids, spans)
        for span, ends in zip(spans, accumulate(span.size for span in spans), strict=True):
            if span.start + span.size == len(joining[span.sequence - first].prompt):
                found.append(hidden[ends - 1])
    return torch.stack(found)


def _leave(cache: LatentCache, active: list[_Sequence], sequence: _Sequence) -> None:
    """Take a sequence out; the last one moves to its place, so that those in the cache stay neighbours."""
    place = active.index(sequence)
    last = active.pop()
    if last is not sequence:
        cache.move(len(active), place, last.read)
        active[place] = last
