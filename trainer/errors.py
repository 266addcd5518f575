"""The errors a user of the trainer sees."""


class TrainerError(ValueError):
    """A wrong setting, shard, tokenizer or checkpoint: names the file or key, what was found and what to do."""


class TrainingStopped(TrainerError):
    """A run that a signal stopped, after it saved where it was; the same command goes on from there."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal  # as a shell says it
