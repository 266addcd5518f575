"""Tests of locks, pending steps, verification and comparisons."""
