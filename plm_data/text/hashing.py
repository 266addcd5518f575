"""Stable identities: the same on every machine, in every process, whatever ``PYTHONHASHSEED`` says."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import xxhash


def document_id(source: str, native_name: str) -> str:
    """A document's id: 128 bits (32 hex digits) of its source's name and its own name within that source."""
    return hashlib.blake2b(f"{source}\0{native_name}".encode(), digest_size=16).hexdigest()


def partition_of(identity: str, partitions: int) -> int:
    """The partition that a document belongs to: by its id alone, so that nothing else can move it."""
    return int(identity[:8], 16) % partitions


def rank_hash(seed: int, salt: str, identity: str) -> int:
    """A seeded 64-bit rank for sampling and shuffling: sorting by it is a permutation that only the seed decides."""
    return xxhash.xxh3_64_intdigest(f"{salt}\0{identity}".encode(), seed=seed & 0xFFFFFFFFFFFFFFFF)


def nodes(ids: pl.Series) -> np.ndarray:
    """uint64: the first 64 bits of each id, by which documents are sorted, joined and sent to their partition."""
    return ids.str.head(16).str.to_integer(base=16, dtype=pl.UInt64).to_numpy()


def partitions_of(nodes: np.ndarray, partitions: int) -> np.ndarray:
    """``partition_of`` for many ids at once, from their ``nodes``."""
    return ((nodes >> np.uint64(32)) % np.uint64(partitions)).astype(np.int64)


def mixed(numbers: np.ndarray, seed: int, salt: str) -> np.ndarray:
    """uint64: numbers drawn evenly, such as hashes, in another order for each seed and salt; no two become one.

    The finaliser of splitmix64 (Steele et al. 2014), over the numbers and a key of seed and salt.
    """
    z = numbers ^ np.uint64(rank_hash(seed, salt, ""))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def ranks(seed: int, salt: str, hashes: pl.Series) -> np.ndarray:
    """uint64: a seeded rank of each content hash: sorting by it is a permutation that only seed and salt decide."""
    return mixed(nodes(hashes), seed, salt)
