"""The error a user of the trainer sees."""


class TrainerError(ValueError):
    """A wrong setting, shard, tokenizer or checkpoint: names the file or key, what was found and what to do."""
