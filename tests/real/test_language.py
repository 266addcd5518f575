"""Language identification on pages whose folder names their language."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from plm_data.attributes.language import identify


def test_long_enough_pages_are_mostly_of_their_folders_language(corpora: Path) -> None:
    frame = pl.read_parquet(corpora / "tldr.parquet").with_columns(
        folder=pl.col("id").str.extract(r"pages\.([a-z]{2})\b")
    )  # fmt: skip
    for code in ("de", "fr", "es", "ko", "zh"):
        texts = frame.filter((pl.col("folder") == code) & (pl.col("text").str.len_chars() > 500))["text"].to_list()[
            :200
        ]
        right = sum(identify(text)[0] == code for text in texts)
        assert len(texts) >= 20 and right / len(texts) > 0.9, (code, right, len(texts))
