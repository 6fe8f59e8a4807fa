"""Ranking measured on the retrieval collections: `python -m benchmarks.ranking`."""
