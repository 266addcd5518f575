"""A trained model as a folder: weights, Hugging Face configuration and tokenizer."""

import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from trainer.config import ModelConfig
from trainer.distributed import ALONE, Ranks, gathered
from trainer.errors import TrainerError
from trainer.files import new_folder, read_json, sha256, write_json
from trainer.model import PLM
from trainer.shards import Phase

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
END_OF_TEXT = "<|endoftext|>"
RUN = "run.json"  # a run's settings, in the folder above its final model's


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read tokenizer.json.

    Raises:
        TrainerError: it is missing, unreadable, or has no `<|endoftext|>`.
    """
    path = folder / TOKENIZER
    if not path.is_file():
        raise TrainerError(f"{path}: not found, expected a tokenizer in Hugging Face form; check the folder's path")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises nothing narrower
        raise TrainerError(f"{path}: not a tokenizer ({error}); write the file anew") from None
    if tokenizer.token_to_id(END_OF_TEXT) is None:
        raise TrainerError(f"{path}: found no {END_OF_TEXT}, expected it as a special token; train the tokenizer again")
    return tokenizer


def trained_length(folder: Path) -> int | None:
    """Return the tokens a sequence that a model was trained at, as its run says: of its folder, or the one above."""
    for place in (folder, folder.parent):
        if (place / RUN).is_file():
            settings = read_json(place / RUN, "a run's settings").get("train")
            length = settings.get("sequence_length") if isinstance(settings, dict) else None
            return length if isinstance(length, int) and length > 1 else None
    return None


def check_tokenizer(folder: Path, phase: Phase) -> None:
    """See that a phase was built with the tokenizer of a folder.

    Raises:
        TrainerError: it is missing or unusable, or the phase's ids are another's.
    """
    load_tokenizer(folder)
    found = sha256(folder / TOKENIZER)
    if found != phase.tokenizer_sha256:
        raise TrainerError(
            f"{phase.path}: tokenizer.sha256: found {phase.tokenizer_sha256}, expected {found} of "
            f"{folder / TOKENIZER}; build the phase with that tokenizer"
        )


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy those of the tokenizer's files that exist."""
    target.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def hub_config(config: ModelConfig, end_of_text: int | None, dtype: torch.dtype) -> dict[str, Any]:
    """Return config.json as the released PLM has it, with the ties and activation that it leaves to defaults."""
    return {
        "architectures": ["PLMForCausalLM"],
        "model_type": "plm",
        **asdict(config),
        "num_key_value_heads": config.num_attention_heads,
        "q_lora_rank": None,
        "hidden_act": "relu2",
        "attention_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }


def save_pretrained(folder: Path, model: PLM, tokenizer: Path, ranks: Ranks = ALONE) -> None:
    """Write weights, configuration and tokenizer to `folder`, whole or not at all.

    Of several ranks all call this together, and the first one writes.

    Raises:
        TrainerError: the tokenizer is missing or unusable.
    """
    end_of_text = load_tokenizer(tokenizer).token_to_id(END_OF_TEXT)
    weights = gathered(dict(model.named_parameters()), ranks)
    if not ranks.first:
        return
    with new_folder(folder) as temporary:
        save_file(weights, temporary / WEIGHTS, metadata={"format": "pt"})
        dtype = model.model.embed_tokens.weight.dtype
        write_json(temporary / CONFIG, hub_config(model.config, end_of_text, dtype))
        copy_tokenizer(tokenizer, temporary)


def load_config(folder: Path) -> ModelConfig:
    """Read the sizes of the model that `save_pretrained` wrote.

    Raises:
        TrainerError: there is no configuration, or a size is missing or wrong.
    """
    path = folder / CONFIG
    return _sizes(read_json(path, "a model's configuration"), path)


def _sizes(config: dict[str, Any], source: Path) -> ModelConfig:
    names = {field.name for field in fields(ModelConfig)}
    try:
        return ModelConfig(**{name: value for name, value in config.items() if name in names})
    except TypeError as error:
        raise TrainerError(f"{source}: sizes are missing ({error}), expected those of a PLM") from None


def load_model(weights: Path, config: dict[str, Any], source: Path) -> PLM:
    """Build a model on the CPU from a safetensors file.

    Args:
        weights: a file with the parameters under their own names.
        config: a mapping with the sizes of `ModelConfig`; other keys are passed over.
        source: file that `config` came from, for the error.

    Raises:
        TrainerError: a size is missing or wrong, or the weights do not fit the sizes.
    """
    with torch.device("meta"):  # initialising parameters that are replaced at once takes a minute at full size
        model = PLM(_sizes(config, source))
    try:
        model.load_state_dict(load_file(weights), assign=True)
    except FileNotFoundError:
        raise TrainerError(f"{weights}: not found, expected a model's weights beside {source}") from None
    except RuntimeError as error:
        raise TrainerError(f"{weights}: does not fit {source}: {error}") from None
    return model.eval()


def load_pretrained(folder: Path) -> PLM:
    """Load the model that `save_pretrained` wrote.

    Raises:
        TrainerError: the folder has no configuration or weights, or they do not fit each other.
    """
    path = folder / CONFIG
    return load_model(folder / WEIGHTS, read_json(path, "a model's configuration"), path)
