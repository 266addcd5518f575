"""Duplicates: MinHash signatures, the clusters they make, and who in a cluster survives."""
