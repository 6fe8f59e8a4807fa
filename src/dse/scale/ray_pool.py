"""Shards on the workers of a Ray cluster: the same functions, with the signature of the builtin `map`.

What a worker runs, the student or teacher in it, is put into Ray's object store once and read once by each worker: a
worker needs no folder of the model. It gets one core or, in a cluster with GPUs, one GPU. Where a worker dies, or its
machine, another one is started as soon as the cluster has room for it, and those that live compute its shards. Results
come in the order of the tasks, and of each worker no more than `IN_HAND` are on their way, so that the object store
does not grow with the data.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import dse
from dse.errors import DSEError, MismatchError, need_extra
from dse.runner import Run

T = TypeVar("T")
R = TypeVar("R")

IN_HAND = 3  # tasks of a worker: one that it computes, and others that are ready for it
RETRIES = 3  # of a task whose worker died, and of starting a worker
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
                ray.init("local", include_dashboard=False, num_cpus=workers, _system_config=LOCAL, **settings)
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

    def ready(self) -> None:
        """Answer: there is a process."""

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


@dataclass
class _Shard:
    """A task, the worker that has it in hand, its number among all that were given, and how many workers died at it."""

    task: Any
    worker: int = -1
    future: Any = None
    given: int = 0
    deaths: int = 0


def _lost() -> tuple[type[Exception], ...]:
    """What is raised for a result whose worker or machine is gone."""
    from ray import exceptions

    return exceptions.RayActorError, exceptions.ObjectLostError, exceptions.OutOfMemoryError


class _Pool:
    """Workers that live as long as the connection, for one function after the other."""

    def __init__(self, workers: int | None) -> None:
        import ray

        gpus = int(ray.cluster_resources().get("GPU", 0))
        resources = ray.available_resources()  # a worker that waits for others to end would hold up its shards
        if gpus:
            gpus = max(1, int(resources.get("GPU", 0)))
        count = workers or gpus or max(1, int(resources.get("CPU", 1)))
        self._options: dict[str, Any] = {"num_cpus": 1, "num_gpus": 1 if gpus else 0}
        self._workers = [self._new() for _ in range(count)]
        self._starting: dict[int, Any] = {}  # first answers of workers that took the place of dead ones
        self._failed = 0  # starts, one after the other
        self._given = 0

    def run(self, function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
        """As `map`."""
        import ray

        place = ray.put(function)
        hand: deque[_Shard] = deque()
        for task in tasks:
            if len(hand) >= IN_HAND * len(self._workers):
                yield self._result(hand, place)
            hand.append(_Shard(task))
            self._give(hand[-1], hand, place)
        while hand:
            yield self._result(hand, place)

    def close(self) -> None:
        """End the workers."""
        import ray

        for worker in self._workers:
            ray.kill(worker)

    def _new(self) -> Any:
        import ray

        worker: Any = ray.remote(**self._options)(_Worker)
        return worker.remote(bool(self._options["num_gpus"]))

    def _give(self, shard: _Shard, hand: Iterable[_Shard], place: Any) -> None:
        """Give a shard to the worker that has the fewest."""
        shard.worker = -1
        load = Counter(other.worker for other in hand)
        shard.worker = min(self._ready(), key=lambda number: load[number])
        worker = self._workers[shard.worker]
        self._given = shard.given = self._given + 1
        shard.future = worker.run.remote(dse.__version__, place.hex(), [place], shard.task)

    def _result(self, hand: deque[_Shard], place: Any) -> Any:
        """The result of the shard that has waited longest; if its worker died, all that it had are given to others."""
        import ray
        from ray import exceptions

        while True:
            try:
                answer = ray.get(hand[0].future)
            except exceptions.RayTaskError as error:
                raise error.cause from None
            except _lost() as error:
                number = hand[0].worker
                lost = self._unfinished(hand, number)
                lost[0].deaths += 1
                self._replace(number)
                if lost[0].deaths > RETRIES:
                    raise DSEError(
                        f"A worker died {RETRIES + 1} times at the same shard, as it does without memory; use smaller "
                        "shards or fewer workers and run again."
                    ) from error
                for shard in lost:
                    self._give(shard, hand, place)
            else:
                hand.popleft()
                return answer

    @staticmethod
    def _unfinished(hand: Iterable[_Shard], number: int) -> list[_Shard]:
        """What a dead worker had not finished, in the order in which it was given: the first it was at when it died.

        A result that had not arrived when the worker died counts as not finished.
        """
        import ray
        from ray import exceptions

        def finished(shard: _Shard) -> bool:
            try:
                ray.get(shard.future, timeout=0)
            except exceptions.RayTaskError:
                return True
            except (*_lost(), exceptions.GetTimeoutError):
                return False
            return True

        own = sorted((shard for shard in hand if shard.worker == number), key=lambda shard: shard.given)
        return [shard for shard in own if not finished(shard)]

    def _replace(self, number: int) -> None:
        """Start another worker: where a machine was lost it waits for room, and gets no shards meanwhile."""
        import ray

        ray.kill(self._workers[number])
        self._workers[number] = self._new()
        self._starting[number] = self._workers[number].ready.remote()

    def _ready(self) -> list[int]:
        """Workers that can be given a shard; where all were replaced, wait for the first."""
        import ray

        while True:
            for number, answer in list(self._starting.items()):
                if ray.wait([answer], timeout=0)[0]:
                    self._started(number)
            if len(self._starting) < len(self._workers):
                return [number for number in range(len(self._workers)) if number not in self._starting]
            ray.wait(list(self._starting.values()))

    def _started(self, number: int) -> None:
        """Note that a worker answers, or start another one if it died before."""
        import ray
        from ray import exceptions

        try:
            ray.get(self._starting.pop(number))
            self._failed = 0
        except exceptions.RayError as error:
            self._failed += 1
            if self._failed > RETRIES:
                raise DSEError("Workers die before they begin; look at Ray's logs, then run again.") from error
            self._replace(number)
