"""Measures a trained model: bits per byte, exact match on checkable tasks, and the paper's suite."""
