"""Shards on the workers of a Ray cluster: the same functions, with the signature of the builtin `map`.

What a worker runs, the student or teacher in it, is put into Ray's object store once and read once by each worker: a
worker needs no folder of the model. It gets one core or, in a cluster with GPUs, one GPU. A worker that dies is started
again and computes its shards again; Ray does that. Results come in the order of the tasks, and of each worker no more
than `IN_HAND` are on their way, so that the object store does not grow with the data.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import dse
from dse.errors import DSEError, MismatchError, need_extra
from dse.runner import Run

T = TypeVar("T")
R = TypeVar("R")

IN_HAND = 3  # tasks of a worker: one that it computes, and others that are ready for it
RETRIES = 3  # of a task whose worker died
# Of a local Ray: its workers have the priority of the command itself, and it starts, if slowly, on a busy machine too.
LOCAL = {"worker_niceness": 0, "agent_register_timeout_ms": 300_000}
PATIENCE = 5.0  # seconds until an address counts as silent


@contextmanager
def ray_map(address: str | None = None, workers: int | None = None) -> Iterator[Run]:
    """Connect to a Ray cluster, or start one on this machine that ends with the block.

    Args:
        address: ``"host:port"``, ``"ray://host:port"`` or ``"auto"``; None or ``""`` starts a local one.
        workers: How many; by default as many as the cluster has free GPUs or, without any, free cores.

    Yields:
        What applies a function to tasks, as `map` does.

    Raises:
        DSEError: If nobody answers at the address.
        MissingExtraError: If Ray is not installed.
    """
    need_extra("ray", "ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    if address:
        _need_answer(address)
        _use_token()  # Ray reads it when it is imported
    import ray

    started = not ray.is_initialized()
    if started:
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
        try:
            if address:
                ray.init(address=address, **settings)
            else:
                ray.init(include_dashboard=False, num_cpus=workers, _system_config=LOCAL, **settings)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DSEError(f"Ray at {address or 'this machine'} cannot be used ({reason}); check --ray.") from error
    try:
        pool = _Pool(workers)
        try:
            yield pool.run
        finally:
            pool.close()
    finally:
        if started:
            ray.shutdown()


def _need_answer(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address in ("auto", "local") or not host:
        return
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, ValueError) as error:
        raise DSEError(f"Nobody answers at {address} ({error}); give the address of a running Ray (--ray).") from error


def _use_token() -> None:
    """Show the user's token: a cluster of `ray start` asks for it, and `ray.init` sends none unless told.

    Of a cluster without tokens the workers would die; its users set ``RAY_AUTH_MODE=disabled``, which stays.
    """
    files = (os.environ.get("RAY_AUTH_TOKEN_PATH"), os.path.expanduser("~/.ray/auth_token"))
    if os.environ.get("RAY_AUTH_TOKEN") or any(file and os.path.exists(file) for file in files):
        os.environ.setdefault("RAY_AUTH_MODE", "token")


class _Worker:
    """Runs functions, each of which it reads once."""

    def __init__(self, gpu: bool) -> None:
        self.gpu = gpu
        self.known = ""
        self.function: Callable[[Any], Any] | None = None

    def run(self, version: str, name: str, shared: list[Any], task: Any) -> Any:
        """The result of a task; `shared` holds the place of the function of that name in the object store."""
        if version != dse.__version__:
            raise MismatchError(
                f"A worker has dse {dse.__version__}, this process {version}; install the same everywhere."
            )
        if name != self.known:
            import ray

            self.function = None  # free the memory of the one before
            self.function, self.known = ray.get(shared[0]), name
            if "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(1)  # one core is the worker's
            if self.gpu:
                _to_gpu(self.function)
        assert self.function is not None
        return self.function(task)


def _to_gpu(function: Any) -> None:
    for part in [*vars(function).values(), *getattr(function, "args", ())]:  # of a dataclass, of a partial function
        if hasattr(part, "to"):
            part.to("cuda")


class _Pool:
    """Workers that live as long as the connection, for one function after the other."""

    def __init__(self, workers: int | None) -> None:
        import ray

        gpus = int(ray.cluster_resources().get("GPU", 0))
        resources = ray.available_resources()  # a worker that waits for others to end would hold up its shards
        if gpus:
            gpus = max(1, int(resources.get("GPU", 0)))
        count = workers or gpus or max(1, int(resources.get("CPU", 1)))
        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": 1 if gpus else 0}
        worker: Any = ray.remote(**options, max_restarts=-1, max_task_retries=RETRIES)(_Worker)
        self._workers = [worker.remote(bool(gpus)) for _ in range(count)]

    def run(self, function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
        """As `map`."""
        import ray

        place = ray.put(function)
        load = [0] * len(self._workers)
        waiting: deque[tuple[int, Any]] = deque()
        for task in tasks:
            if len(waiting) >= IN_HAND * len(self._workers):
                yield _result(waiting, load)
            number = load.index(min(load))
            load[number] += 1
            worker = self._workers[number]
            waiting.append((number, worker.run.remote(dse.__version__, place.hex(), [place], task)))
        while waiting:
            yield _result(waiting, load)

    def close(self) -> None:
        """End the workers."""
        import ray

        for worker in self._workers:
            ray.kill(worker)


def _result(waiting: deque[tuple[int, Any]], load: list[int]) -> Any:
    """The result of the task that has waited longest."""
    import ray
    from ray import exceptions

    number, future = waiting.popleft()
    try:
        answer = ray.get(future)
    except exceptions.RayTaskError as error:
        raise error.cause from None
    except exceptions.RayActorError as error:
        raise DSEError(
            f"A worker died {RETRIES + 1} times at the same shard, as it does without memory; use smaller shards or "
            "fewer workers and run again."
        ) from error
    load[number] -= 1
    return answer
