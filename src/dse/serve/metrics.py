"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SENTENCES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The counters of one application.

    Example:
        >>> metrics = Metrics()
        >>> metrics.texts(hits=3, asked=4)
        >>> [line for line in metrics.page().decode().splitlines() if line.startswith("dse_cache_hit_ratio")]
        ['dse_cache_hit_ratio 0.75']
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("dse_requests", "Requests answered.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "dse_request_seconds", "Time of a request.", ["route"], buckets=SECONDS, registry=registry
        )
        self.running = Gauge("dse_requests_running", "Requests being answered.", registry=registry)
        self.batches = Histogram(
            "dse_batch_sentences", "Sentences encoded together.", buckets=SENTENCES, registry=registry
        )
        self.truncated = Counter("dse_truncated_texts", "Texts longer than the student reads.", registry=registry)
        self.reloads = Counter("dse_reloads", "Reloads of student and index.", ["result"], registry=registry)
        self._asked = Counter("dse_cache_asked", "Embeddings that requests needed.", registry=registry)
        self._hits = Counter("dse_cache_hits", "Those that were in the cache.", registry=registry)
        self._ratio = Gauge("dse_cache_hit_ratio", "Share of embeddings that were in the cache.", registry=registry)
        self._counts = (0, 0)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Show a number that is read when the page is."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def texts(self, hits: int, asked: int) -> None:
        """Count embeddings that a request needed, and those that were in the cache."""
        self._asked.inc(asked)
        self._hits.inc(hits)
        self._counts = (self._counts[0] + hits, self._counts[1] + asked)
        self._ratio.set(self._counts[0] / max(1, self._counts[1]))

    def page(self) -> bytes:
        """The text that Prometheus fetches."""
        return generate_latest(self.registry)
