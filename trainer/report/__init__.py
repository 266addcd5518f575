"""The report of a training run: one HTML page, from the files that the run writes."""
