"""Pre-training, alignment and sampling of PLM models; its only input is a folder of phase shards a phase."""
