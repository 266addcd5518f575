"""A conversation with a trained model: its turns, its answers as they come, and their refinement by itself."""

from collections.abc import Generator, Iterator, Sequence
from typing import cast

from tokenizers import Tokenizer

from trainer.chat import REFINE, ChatML, Turn
from trainer.errors import TrainerError
from trainer.inference import Completion, Sampling, stream
from trainer.model import PLM


class Conversation:
    """The exchanges so far. Of a long one the oldest exchanges are left out, whole, for the model to have room.

    Args:
        model: a PLM that was trained on ChatML.
        tokenizer: of the model.
        sampling: of its answers.
        seed: of the draws; with the same questions it gives the same conversation.
        refinement_prompt: z, with which an answer is asked to be refined.

    Raises:
        TrainerError: the tokenizer lacks a special token, or an answer may take all of the model's positions.
    """

    def __init__(
        self, model: PLM, tokenizer: Tokenizer, sampling: Sampling, seed: int = 0, refinement_prompt: str = REFINE
    ) -> None:
        self._model, self._chat, self._sampling = model, ChatML(tokenizer), sampling
        self._seed, self._refinement_prompt = seed, refinement_prompt
        self._exchanges: list[list[int]] = []
        self._room = model.config.max_position_embeddings - sampling.max_tokens
        if self._room < 1:
            raise TrainerError(
                f"max_tokens: found {sampling.max_tokens}, expected less than the model's "
                f"{model.config.max_position_embeddings} positions; ask for fewer"
            )

    def ask(self, question: str, refinements: int = 0) -> Iterator[tuple[int, str]]:
        """Yield (number of the answer, next piece of its text): the first answer, then its refinements in turn.

        Each refinement sees the question and the answer before it, as in training. The last one is what stays in the
        conversation, once the iterator has come to its end.

        Raises:
            TrainerError: the question, or an answer with the request to refine it, leaves no room for an answer.
        """
        asked = self._chat.prompt([Turn("user", question)])
        prompt = self._fit(asked)
        answer: list[int] = []
        for number in range(refinements + 1):
            context = self._chat.refine(prompt, answer, self._refinement_prompt) if number else prompt
            self._check(context)
            seed = self._seed + len(self._exchanges) * (refinements + 1) + number
            completion = yield from self._answer(number, context, seed)
            answer = self._chat.answer(completion.tokens)
        self._exchanges.append(self._chat.closed(asked, answer))

    def _answer(self, number: int, context: Sequence[int], seed: int) -> Generator[tuple[int, str], None, Completion]:
        pieces = stream(self._model, self._chat.tokenizer, context, self._sampling, seed)
        while True:
            try:
                yield number, next(pieces)
            except StopIteration as end:
                return cast(Completion, end.value)

    def _fit(self, asked: Sequence[int]) -> list[int]:
        """Return as many of the last exchanges as there is room for, and the question behind them."""
        kept: list[int] = list(asked)
        for exchange in reversed(self._exchanges):
            if len(exchange) + len(kept) > self._room:
                break
            kept = exchange + kept
        return kept

    def _check(self, context: Sequence[int]) -> None:
        if len(context) > self._room:
            raise TrainerError(
                f"prompt: found {len(context)} tokens, expected at most {self._room}, for the model has "
                f"{self._model.config.max_position_embeddings} positions and an answer may take "
                f"{self._sampling.max_tokens}; shorten the question, or ask for a shorter answer"
            )
