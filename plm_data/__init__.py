"""From a recipe to per-phase training shards: sources, attributes, decisions, mix, report."""
