"""Conversations for the training after the pre-training: their forms, curation and shards."""
