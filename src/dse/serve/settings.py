"""What a server allows, and what it keeps in memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Limits of a server.

    Attributes:
        max_texts: Texts, or ids of rows, in one request.
        max_tokens: Tokens read for one request.
        max_pairs: Pairs scored for one request: queries times texts.
        max_body: Bytes of a request's body.
        max_requests: Requests answered at a time; further ones get status 429.
        max_waiting: Texts of all requests that wait to be encoded; a request that would exceed it gets status 429.
        timeout: Seconds that a request may take, its body included.
        cache_bytes: Memory for embeddings that may be asked for again.
        api_key: Token that requests must bear; None lets everybody in.

    Example:
        >>> Settings(timeout=5).max_texts
        10000
    """

    max_texts: int = 10_000
    max_tokens: int = 1_000_000
    max_pairs: int = 1_000_000
    max_body: int = 8 << 20
    max_requests: int = 512
    max_waiting: int = 20_000
    timeout: float = 60.0
    cache_bytes: int = 512 << 20
    api_key: str | None = None
