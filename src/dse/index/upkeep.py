"""What makes an index fast again after many changes. Needs no student: rows bring their embeddings."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from dse.errors import DSEError
from dse.index import scout
from dse.index.store import Store


def optimize(store: Store, keep: timedelta) -> None:
    """Join small files, index ids and scout vectors, remove files that only older commits than ``keep`` need.

    The steps are commits of their own; one that fails does not keep the others from their work.

    Raises:
        DSEError: What the first failing step said, after the others.
    """
    steps: tuple[Callable[[], None], ...] = (
        store.compact,
        store.index_ids,
        lambda: scout.bring_up_to_date(store),
        lambda: store.clean(keep),
    )
    failed: list[DSEError] = []
    with store.writing():
        for step in steps:
            try:
                with store.reading():
                    step()
            except DSEError as error:
                failed.append(error)
    if failed:
        raise failed[0]
