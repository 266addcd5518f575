"""Preference training on a model's own answers and their refinements (ARIES), and iterative DPO beside it."""
