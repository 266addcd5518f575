"""Collects answers from a policy: chains of refinements, or as many answers of the question alone."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trainer.alignment.prompts import Prompt
from trainer.chat import REFINE, ChatML
from trainer.inference import Completion, Sampling, generate
from trainer.model import PLM


@dataclass(frozen=True)
class Answer:
    """An answer's tokens, none of them special, and its text."""

    tokens: tuple[int, ...]
    text: str
    finished: bool  # it ended its turn itself, and was not cut off at its longest
    given: bool = False  # by the data, not drawn from the policy


@dataclass(frozen=True)
class Chain:
    """A prompt and its answers in the order of their drawing; fewer than asked for where the model had no room."""

    prompt: Prompt
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Policy:
    """A model that answers: with its tokenizer, the settings of the draws, and the function that decodes."""

    model: PLM
    chat: ChatML
    sampling: Sampling
    refinement_prompt: str = REFINE
    generate: Callable[..., list[Completion]] = field(default=generate)

    def refine(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """Return the context (x, y, z): the prompt, an answer to it, and the request to refine that."""
        return self.chat.refine(prompt, answer, self.refinement_prompt)

    def answer(
        self, contexts: Sequence[Sequence[int]], seeds: Sequence[int], progress: Callable[[int], object] | None = None
    ) -> list[Answer | None]:
        """Answer contexts, all in one call of the decoder; None where a context leaves no room for `max_tokens`."""
        room = self.model.config.max_position_embeddings - self.sampling.max_tokens
        fitting = [number for number, context in enumerate(contexts) if len(context) <= room]
        completions = self.generate(
            self.model,
            self.chat.tokenizer,
            [contexts[number] for number in fitting],
            self.sampling,
            [seeds[number] for number in fitting],
            progress=progress,
        )
        if progress is not None:
            progress(len(contexts) - len(fitting))
        found: list[Answer | None] = [None] * len(contexts)
        for number, completion in zip(fitting, completions, strict=True):
            tokens = tuple(self.chat.answer(completion.tokens))
            found[number] = Answer(tokens, self.chat.decode(tokens), completion.finish == "end")
        return found


def draw_seed(seed: int, stage: str, prompt: str, step: int) -> int:
    """Return the seed, of 63 bits, of one draw: a hash, so that neither order nor batch plays a part."""
    name = f"{seed}\n{stage}\n{step}\n{prompt}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1


def collect(
    policy: Policy,
    prompts: Sequence[Prompt],
    answers: int,
    *,
    refine: bool,
    seed: int,
    stage: str,
    progress: Callable[[int], object] | None = None,
) -> list[Chain]:
    """Return each prompt's chain: y1 ~ π(·|x), then y_{k+1} ~ π(·|x, y_k, z), the prompts decoded together.

    Args:
        policy: draws the answers.
        prompts: x.
        answers: in a chain at most, the first one included.
        refine: go on from the answer before; else every answer is drawn from the question alone.
        seed: of the run; see `draw_seed`.
        stage: what the answers are for, so that another round draws others.
        progress: told how many answers have been drawn since the last call.
    """
    chains: list[list[Answer]] = [[] for _ in prompts]
    for step in range(answers):
        # a chain without room ends; answers of the question alone are drawn as often as asked for, or never
        open_ones = [number for number, chain in enumerate(chains) if len(chain) == step]
        contexts = [
            policy.refine(prompts[n].tokens, chains[n][-1].tokens) if refine and step else prompts[n].tokens
            for n in open_ones
        ]
        seeds = [draw_seed(seed, stage, prompts[number].id, step) for number in open_ones]
        for number, answer in zip(open_ones, policy.answer(contexts, seeds, progress), strict=True):
            if answer is not None:
                chains[number].append(answer)
    return [Chain(prompt, tuple(chain)) for prompt, chain in zip(prompts, chains, strict=True)]
