"""The architecture against an independent implementation, and what packing must not change."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.reference import reference
from trainer.attention import attention_mask
from trainer.config import PLM_1_8B, ModelConfig
from trainer.errors import TrainerError
from trainer.functional import apply_rope, head_loss, rope_table
from trainer.model import IGNORE_INDEX, PLM

Tiny = Callable[..., ModelConfig]


def randomised(config: ModelConfig, scale: float = 10.0) -> PLM:
    """Return a model with larger weights than at initialisation, so that a wrong term shows in the logits."""
    torch.manual_seed(0)
    model = PLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
            elif "embed_tokens" not in name:
                parameter.mul_(scale)
    return model


def tokens(batch: int, length: int, vocab_size: int, seed: int = 1) -> Tensor:
    return torch.randint(vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))


# values narrower than, as wide as, and wider than keys: the CPU path pads them
@pytest.mark.parametrize("v_head_dim", [6, 12, 16])
@torch.no_grad()
def test_logits_equal_transformers(tiny: Tiny, v_head_dim: int) -> None:
    model = randomised(tiny(v_head_dim=v_head_dim))
    ids = tokens(2, 48, model.config.vocab_size)
    logits = model(ids)
    assert logits.std() > 0.1
    torch.testing.assert_close(logits, reference(model)(ids).logits, atol=1e-4, rtol=0)


def test_the_published_model_has_its_published_size() -> None:
    with torch.device("meta"):
        model = PLM(PLM_1_8B)
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_825_458_176
    assert not any("lm_head" in name for name in model.state_dict())


@torch.no_grad()
def test_a_packed_document_has_the_logits_that_it_has_alone(tiny: Tiny) -> None:
    model = randomised(tiny())
    first, second = tokens(1, 17, 256, seed=2), tokens(1, 30, 256, seed=3)
    document_ids = torch.tensor([[0] * 17 + [1] * 30])
    packed = model(torch.cat((first, second), dim=1), document_ids)
    torch.testing.assert_close(packed[:, :17], model(first), atol=1e-5, rtol=0)
    torch.testing.assert_close(packed[:, 17:], model(second), atol=1e-5, rtol=0)
    unmasked = model(torch.cat((first, second), dim=1))
    assert (unmasked[:, 17:] - packed[:, 17:]).abs().max() > 1e-2


@torch.no_grad()
def test_attention_is_causal(tiny: Tiny) -> None:
    model = randomised(tiny())
    ids = tokens(1, 20, 256)
    changed = ids.clone()
    changed[0, 12] = (ids[0, 12] + 1) % 256
    one_document = torch.zeros_like(ids)
    for documents in (None, one_document):
        before, after = model(ids, documents), model(changed, documents)
        torch.testing.assert_close(before[:, :12], after[:, :12], atol=1e-6, rtol=0)
        assert (before[:, 12:] - after[:, 12:]).abs().amax(-1).min() > 1e-4


def test_mask_is_causal_within_a_document() -> None:
    mask = attention_mask(torch.tensor([[0, 0, 1]]))
    assert mask.shape == (1, 1, 3, 3)
    assert mask[0, 0].tolist() == [[True, False, False], [True, True, False], [False, False, True]]


def test_rope_turns_neighbouring_pairs() -> None:
    cos, sin = rope_table(3, 4, 100.0, torch.device("cpu"))
    x = torch.zeros(1, 3, 1, 4)
    x[..., 0] = 1  # pairs (0, 1) and (2, 3): the first turns by its position, the second stays zero
    turned = apply_rope(x, cos, sin)
    angles = torch.arange(3.0)
    torch.testing.assert_close(turned[0, :, 0, 0], angles.cos())
    torch.testing.assert_close(turned[0, :, 0, 1], angles.sin())
    assert turned[..., 2:].abs().max() == 0


@torch.no_grad()
def test_half_split_rope_would_be_seen(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = randomised(tiny())
    ids = tokens(1, 48, 256)
    expected = reference(model)(ids).logits

    def half_split(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)

    monkeypatch.setattr("trainer.model.apply_rope", half_split)
    assert (model(ids) - expected).abs().max() > 1e-2


def test_head_is_the_embedding(tiny: Tiny) -> None:
    model = PLM(tiny())
    ids = torch.tensor([[1, 2, 3]])
    before = model(ids)
    with torch.no_grad():
        model.model.embed_tokens.weight[9] *= 2  # no input, so only the head can notice
    after = model(ids)
    torch.testing.assert_close(after[..., 9], before[..., 9] * 2)
    torch.testing.assert_close(after[..., :9], before[..., :9])


def test_loss_and_gradients_equal_plain_cross_entropy(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.model.LOSS_CHUNK", 16)  # several chunks, the last one smaller
    model = randomised(tiny(), scale=2.0)
    ids, labels = tokens(2, 21, 256), tokens(2, 21, 256, seed=5)
    labels[0, 3:9] = IGNORE_INDEX
    loss = model.loss(ids, labels)
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    expected = F.cross_entropy(model(ids).flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX)
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for gradient, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-6, rtol=1e-4)


def test_the_heads_loss_and_gradients_equal_plain_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(37, 12, generator=generator, requires_grad=True)
    weight = torch.randn(50, 12, generator=generator, requires_grad=True)
    labels = tokens(1, 37, 50)[0]
    labels[3:9] = IGNORE_INDEX
    found = head_loss(hidden, weight, labels, IGNORE_INDEX, 16)  # several chunks, the last one smaller
    expected = F.cross_entropy(hidden @ weight.T, labels, ignore_index=IGNORE_INDEX, reduction="sum")
    torch.testing.assert_close(found, expected)
    for a, b in zip(
        torch.autograd.grad(0.5 * found, (hidden, weight)),
        torch.autograd.grad(0.5 * expected, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_loss_of_bf16_products_is_summed_in_fp32(tiny: Tiny) -> None:
    model = PLM(tiny())
    ids = tokens(128, 64, 256)
    losses = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(model.loss(ids, ids.roll(-1, 1)))
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(losses[1], losses[0], atol=1e-3, rtol=0)  # summed in bf16 it is off by a tenth of a nat


def test_loss_without_labels_is_zero(tiny: Tiny) -> None:
    loss = PLM(tiny()).loss(torch.tensor([[1, 2]]), torch.full((1, 2), IGNORE_INDEX))
    loss.backward()
    assert loss.item() == 0


def test_initialisation(tiny: Tiny) -> None:
    torch.manual_seed(0)
    model = PLM(tiny(hidden_size=128))
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert (parameter == 1).all(), name
        else:
            assert abs(parameter.std().item() - 0.02) < 0.001, name
            assert abs(parameter.mean().item()) < 0.002, name


def test_too_long_a_sequence_is_an_error(tiny: Tiny) -> None:
    with pytest.raises(TrainerError, match=r"found a sequence of 65 tokens, expected at most 64"):
        PLM(tiny())(torch.zeros(1, 65, dtype=torch.int64))
