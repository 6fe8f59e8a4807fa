"""The tables of `docs/results` that need trained models: see `python -m benchmarks.evidence --help`."""
