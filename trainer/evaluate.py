"""The held-out loss under the name that the training loop knows it by."""

from trainer.evaluation.held_out import held_out_loss

__all__ = ["held_out_loss"]
