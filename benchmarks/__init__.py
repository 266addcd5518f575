"""Our work beside a peer's in one run: ``python -m benchmarks NAME`` prints one JSON object a measure."""
