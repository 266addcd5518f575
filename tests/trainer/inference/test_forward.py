"""The forward pass over the latent cache against the training path, which has neither cache nor absorption."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainer.config import PLM_1_8B, ModelConfig
from trainer.inference.cache import ROUND, LatentCache, expanded_numbers, latent_numbers
from trainer.inference.forward import Span, _groups, absorbing_is_less, hidden_states, next_logits
from trainer.inference.mlp import prepare_for_decoding
from trainer.model import PLM

Build = Callable[..., PLM]
CPU = torch.device("cpu")


def new_cache(model: PLM, sequences: int, positions: int) -> LatentCache:
    return LatentCache(model.config, sequences, positions, model.model.embed_tokens.weight.dtype, CPU)


def token_ids(length: int, vocabulary: int, seed: int = 1) -> list[int]:
    return torch.randint(vocabulary, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


@torch.inference_mode()
def read(model: PLM, ids: list[int], chunks: list[int], absorb: bool | None = None) -> Tensor:
    """Logits of all tokens, read in chunks of these sizes, and one by one from where these end."""
    cache, found, start = new_cache(model, 1, len(ids)), [], 0
    for size in [*chunks, *[1] * (len(ids) - sum(chunks))]:
        part = ids[start : start + size]
        hidden = hidden_states(model, cache, part, [Span(0, start, len(part))], absorb)
        found.append(next_logits(hidden, model, model.config.vocab_size))
        start += size
    return torch.cat(found)


@torch.inference_mode()
def trained(model: PLM, ids: list[int]) -> Tensor:
    return model(torch.tensor([ids]))[0]


@st.composite
def sizes(draw: st.DrawFn) -> ModelConfig:
    some = st.integers(1, 24)
    return ModelConfig(
        vocab_size=101,
        hidden_size=draw(st.integers(2, 40)),
        intermediate_size=draw(some),
        num_hidden_layers=draw(st.integers(1, 3)),
        num_attention_heads=draw(st.integers(1, 6)),
        kv_lora_rank=draw(some),
        qk_nope_head_dim=draw(some),
        qk_rope_head_dim=2 * draw(st.integers(1, 6)),
        v_head_dim=draw(some),
        max_position_embeddings=64,
        rope_theta=draw(st.sampled_from([100.0, 1e5])),
    )


@given(config=sizes(), data=st.data(), absorb=st.sampled_from([None, True, False]))
def test_logits_equal_the_training_paths_at_every_position(
    randomised: Build, config: ModelConfig, data: st.DataObject, absorb: bool | None
) -> None:
    model = randomised(config, scale=5.0)
    length = data.draw(st.integers(1, 40))
    cuts = sorted(data.draw(st.sets(st.integers(1, length), max_size=5)))
    chunks = [end - start for start, end in zip([0, *cuts], cuts, strict=False)]
    ids = token_ids(length, config.vocab_size)
    torch.testing.assert_close(read(model, ids, chunks, absorb), trained(model, ids), atol=1e-4, rtol=0)


@pytest.mark.parametrize("absorb", [True, False, None])
def test_logits_equal_at_the_published_widths(randomised: Build, absorb: bool | None) -> None:
    """Heads, latent and MLP are PLM-1.8B's; the vocabulary and the number of layers are not."""
    config = PLM_1_8B.__class__(**{**vars(PLM_1_8B), "num_hidden_layers": 1, "vocab_size": 500})
    model = randomised(config, scale=1.0)
    ids = token_ids(80, 500)
    expected = trained(model, ids)
    prepare_for_decoding(model)
    found = read(model, ids, [50, 26], absorb)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_bf16_is_as_near_to_fp32_as_the_training_path_in_bf16(
    tiny: Callable[..., ModelConfig], randomised: Build
) -> None:
    sizes: dict[str, Any] = {"hidden_size": 64, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "v_head_dim": 16}
    model = randomised(tiny(**sizes))
    ids = token_ids(60, 259)
    exact = trained(model, ids)
    model = model.bfloat16()
    apart = (trained(model, ids).float() - exact).abs().mean()
    for chunks in ([], [30, 20]):
        found = read(model, ids, chunks)
        assert found.dtype == torch.bfloat16
        assert (found.float() - exact).abs().mean() < 1.5 * apart


@given(data=st.data())
@torch.inference_mode()
def test_sequences_read_together_are_as_alone(model: PLM, data: st.DataObject) -> None:
    """Several prompts in one pass, then steps of all: none sees another, whatever their lengths."""
    lengths = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=5))
    steps = 3
    texts = [token_ids(length + steps, 259, seed) for seed, length in enumerate(lengths)]
    cache = new_cache(model, len(texts), max(lengths) + steps)
    cache.entries.fill_(1e3)  # what is left of an earlier sequence must not matter
    spans = [Span(number, 0, length) for number, length in enumerate(lengths)]
    flat = [token for text, length in zip(texts, lengths, strict=True) for token in text[:length]]
    found = list(next_logits(hidden_states(model, cache, flat, spans), model, 259).split(lengths))
    for step in range(steps):
        spans = [Span(number, length + step, 1) for number, length in enumerate(lengths)]
        last = [text[length + step] for text, length in zip(texts, lengths, strict=True)]
        logits = next_logits(hidden_states(model, cache, last, spans), model, 259)
        found = [torch.cat(pair) for pair in zip(found, logits.split(1), strict=True)]
    for text, logits in zip(texts, found, strict=True):
        torch.testing.assert_close(logits, trained(model, text), atol=1e-4, rtol=0)


@torch.inference_mode()
def test_a_moved_sequence_goes_on_as_before(model: PLM) -> None:
    ids = token_ids(20, 259)
    cache = new_cache(model, 3, 20)
    hidden_states(model, cache, ids[:12], [Span(2, 0, 12)])
    cache.move(2, 0, 12)
    cache.entries[:, 2] = 7
    found = next_logits(hidden_states(model, cache, ids[12:], [Span(0, 12, 8)]), model, 259)
    torch.testing.assert_close(found, trained(model, ids)[12:], atol=1e-4, rtol=0)


def test_threads_share_out_the_heads_and_change_nothing(model: PLM) -> None:
    ids, threads = token_ids(20, 259), torch.get_num_threads()
    try:
        for count in (1, 2, 3, 8):
            torch.set_num_threads(count)
            torch.testing.assert_close(read(model, ids, [10]), trained(model, ids), atol=1e-4, rtol=0)
    finally:
        torch.set_num_threads(threads)


def test_few_queries_are_absorbed_and_many_expanded() -> None:
    def absorbs(size: int, start: int) -> bool:
        return absorbing_is_less(PLM_1_8B, _groups([Span(0, start, size)], CPU)[0])

    assert absorbs(1, 1) and absorbs(1, 2047) and absorbs(128, 4000)
    assert not absorbs(256, 4000) and not absorbs(512, 0)


def test_the_cache_holds_576_numbers_a_token_and_layer_and_expanded_ones_5120() -> None:
    assert (latent_numbers(PLM_1_8B), expanded_numbers(PLM_1_8B)) == (576, 5120)
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        cache = LatentCache(PLM_1_8B, 2, 100, dtype, torch.device("meta"))
        assert cache.bytes_per_token == 32 * 576 * size
        assert cache.entries.nbytes == cache.bytes_per_token * 2 * 128


def test_the_cache_is_allocated_once_and_rounded_up(model: PLM) -> None:
    assert new_cache(model, 1, ROUND).entries.shape[2] == ROUND
    assert new_cache(model, 1, ROUND + 1).entries.shape[2] == 2 * ROUND
    cache = new_cache(model, 1, 40)
    before = cache.entries.data_ptr()
    with torch.inference_mode():
        for position in range(40):
            hidden_states(model, cache, [1], [Span(0, position, 1)])
    assert cache.entries.data_ptr() == before
