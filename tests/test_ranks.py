"""Processes that work together: results in order, errors in all, gradients of the whole."""

from __future__ import annotations

import os

import pytest
import torch
from torch import distributed, multiprocessing, nn

from dse.errors import DSEError
from dse.ranks import Ranks, ranks, together


def test_a_process_alone_does_everything_itself():
    with together() as here:
        assert here == ranks() == Ranks(0, 1) and here.first
        assert here.spread(lambda items: [2 * item for item in items], [1, 2, 3]) == [2, 4, 6]
        assert here.from_first(lambda: 7) == 7
        x = torch.ones(2, 3)
        assert here.joined(x, 2) is x
        here.wait()


def work(rank: int, port: int, folder: str) -> None:
    """What each of three processes does; it ends well if all is as it must be."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    assert ranks() == Ranks(0, 1)
    with together() as here:
        assert here == ranks() == Ranks(rank, 3)
        for items in ([], [5], list(range(10))):
            asked = []
            found = here.spread(lambda part, asked=asked: asked.extend(part) or [2 * item for item in part], items)
            assert found == [2 * item for item in items] and asked == items[rank::3]
        assert here.from_first(lambda: (ranks().count, os.environ["RANK"])) == (1, "0")
        with pytest.raises(DSEError, match="of the third"):
            here.spread(lambda part: fail("of the third") if 2 in part else [], [0, 1, 2])
        with pytest.raises(DSEError, match="of the first"):
            here.from_first(lambda: fail("of the first"))
        with together() as again:  # as a function does that another one calls
            assert again is here
        layer = nn.Linear(4, 4, bias=False)
        torch.manual_seed(0)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(4, 4))
        unused = nn.Parameter(torch.ones(2))
        for rows in (1, 5, 7):  # of one row some processes have none
            x = torch.randn(rows, 4)
            whole = torch.autograd.grad(loss(layer(x)), layer.weight)[0]
            layer.weight.grad = unused.grad = None
            own = x[rank::3]
            e = here.joined(layer(own) if len(own) else x[:0], rows)
            torch.testing.assert_close(e, layer(x))
            if len(own):
                loss(e).backward()
            here.add_gradients([layer.weight, unused])
            torch.testing.assert_close(layer.weight.grad, whole)
            assert unused.grad.eq(0).all()
        here.wait()
    assert ranks() == Ranks(0, 1)
    distributed.destroy_process_group()
    open(os.path.join(folder, str(rank)), "w").close()


def loss(e: torch.Tensor) -> torch.Tensor:
    """Of all rows with each other."""
    return (e @ e.T).square().mean() + e.sum()


def fail(message: str) -> None:
    raise DSEError(message)


def test_three_processes_share_the_work(tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(work, (port, str(tmp_path)), nprocs=3)
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2"]
