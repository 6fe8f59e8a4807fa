"""How fast `dse serve` answers, beside the same server around a cross-encoder of the same backbone.

Real processes and clients on the loopback address; server and clients share the machine. Where `infinity_emb` is on the
PATH, that server answers with the same cross-encoder too.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from sentence_transformers import CrossEncoder

from dse.bench import exported
from dse.bench.harness import Figure, Result
from dse.bench.sentences import distinct_sentences
from dse.bench.server_process import Outcome, Server, send, serving
from dse.bench.soak import soak
from dse.encoding.offline import offline_backbone
from dse.index import CandidateIndex
from dse.model import DSE

STORED = 5000  # rows of the index, at most
IDS, TEXTS, SHORT = 1000, 100, 20  # in a request
TOP = 10  # rows returned of those
CLIENTS, MANY = 8, 32
INFINITY = "infinity_emb"  # a server of rerankers; it does not install beside dse
Make = Callable[[int], list[bytes]]  # bodies of so many requests


def run(
    *, data: Path | None, backbone: str | None, quick: bool, command: str, soak_minutes: float | None = None
) -> Result:
    """Serve a student with an index and a cross-encoder, and send the same requests to both; export the student.

    Args:
        data: Folder of data sets; None takes the help-desk questions.
        backbone: Folder or hub id; None takes the offline one.
        quick: Fewer requests.
        command: The command line, for the record.
        soak_minutes: Minutes of mixed requests while rows are added; by default 10, and none where it is quick.

    Returns:
        Latency of one client, requests a second against the cross-encoder's, the tail with 32 clients, what exports
        gain, and what became of mixed requests.
    """
    minutes = (0.0 if quick else 10.0) if soak_minutes is None else soak_minutes
    backbone = backbone or offline_backbone()
    sentences, origin = distinct_sentences(data, STORED)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        students, notes = _students(folder, backbone, sentences)
        teacher = str(folder / "teacher")
        CrossEncoder(backbone, num_labels=1).save_pretrained(teacher)
        with ExitStack() as stack:
            own = {
                kind: stack.enter_context(serving(folder / f"ours{kind}.log", *_command(*folders)))
                for kind, folders in students.items()
            }
            others = {name: stack.enter_context(server).port for name, server in _others(folder, teacher).items()}
            ports = {kind: server.port for kind, server in own.items()}
            measured = measure(ports, others, Requests(sentences), quick)
        figures, notes = _figures(measured, own[""].seconds), [*_notes(measured, origin, sentences), *notes]
        encoded = exported.measure(folder, backbone, sentences[: 200 if quick else 1000], 1 if quick else 5)
        if minutes:
            student, index = students[""]
            with serving(folder / "soak.log", *_command(student, index), "--cache", "16") as ours:
                seen = soak(ours, student, index, sentences, minutes)
            figures, notes = [*figures, *seen.figures(minutes)], [*notes, seen.note()]
    return Result("serving", command, [*figures, *encoded[0]], _table(measured), [*notes, *encoded[1]])


def _students(folder: Path, backbone: str, sentences: Sequence[str]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """By kind, folders of a student and its index; notes of what is not there. The kind "" is that of rankings."""
    student, index = _student(folder / "cosine", DSE.from_backbone(backbone, num_layers=1, head="cosine"), sentences)
    students = {"": (student, index), "mlp": _student(folder / "mlp", DSE.from_backbone(backbone), sentences)}
    graph = exported.export(student, folder / "graph", "onnx")
    if isinstance(graph, str):
        return students, [f"onnx: {graph}"]
    return students | {"onnx": (str(folder / "graph"), index)}, []


def _student(folder: Path, student: DSE, sentences: Sequence[str]) -> tuple[str, str]:
    """Folders of the student and of an index of the sentences; training would not change how fast they are."""
    model, index = str(folder / "model"), str(folder / "index")
    student.save_pretrained(model)
    CandidateIndex.create(index, model).add([{"id": str(i), "text": text} for i, text in enumerate(sentences)])
    return model, index


def _command(student: str, index: str) -> list[str]:
    return ["-m", "dse", "serve", student, "--index", index, "--port", "0"]


def _others(folder: Path, teacher: str) -> dict[str, AbstractContextManager[Server]]:
    """The servers that are compared with, by name."""
    plain = serving(folder / "theirs.log", "-m", "dse.bench.cross_encoder_server", teacher)
    servers: dict[str, AbstractContextManager[Server]] = {"cross-encoder": plain}
    if program := shutil.which(INFINITY):
        options = ("--host", "127.0.0.1", "--port", "0", "--device", "cpu", "--no-bettertransformer")
        command = ("v2", "--model-id", teacher, *options)
        servers[INFINITY] = serving(folder / "infinity.log", *command, program=program, DO_NOT_TRACK="1")
    return servers


class Requests:
    """Bodies of requests; every query is new, and so is every second text of those with texts.

    Args:
        sentences: Stored in the index under their places.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        self._sentences, self._draw, self._numbers = sentences, np.random.default_rng(0), count()

    def _new(self) -> str:
        return f"{self._sentences[int(self._draw.integers(len(self._sentences)))]} {next(self._numbers)}"

    def _body(self, content: dict[str, Any]) -> bytes:
        return json.dumps({"query": self._new(), **content}).encode()

    def ids(self, requests: int, ids: int) -> list[bytes]:
        """Rows of the index, of which the best are asked for."""
        most = min(ids, len(self._sentences))
        rows = [self._draw.permutation(len(self._sentences))[:most] for _ in range(requests)]
        return [self._body({"ids": [str(i) for i in drawn], "top_n": TOP}) for drawn in rows]

    def texts(self, requests: int, texts: int, field: str = "texts") -> list[bytes]:
        """Texts, half of which come again and again."""
        seen = self._sentences[: 4 * texts]
        bodies = []
        for _ in range(requests):
            drawn = [seen[int(i)] for i in self._draw.integers(len(seen), size=texts // 2)]
            new = [self._new() for _ in range(texts - len(drawn))]
            bodies.append(self._body({field: drawn + new}))
        return bodies


@dataclass(frozen=True)
class Measured:
    """What requests took.

    Attributes:
        one: One client, 1,000 ids, of each kind of student.
        ids: 8 clients, 100 ids, each round.
        texts: 8 clients, 100 texts, each round.
        theirs: By name, a server of the cross-encoder with such texts, each round.
        many: 32 clients, 20 texts.
    """

    one: dict[str, Outcome]
    ids: list[Outcome]
    texts: list[Outcome]
    theirs: dict[str, list[Outcome]]
    many: Outcome


def measure(own: dict[str, int], others: dict[str, int], requests: Requests, quick: bool) -> Measured:
    """Send requests to the ports of all servers in turn."""
    ours = own[""]
    rounds, one, many = (2, 40, 4) if quick else (3, 100, 12)
    fields = {name: "documents" if name == INFINITY else "texts" for name in others}
    for port in own.values():
        send(port, requests.ids(3, IDS), 1)  # the first requests of a process are slower
    send(ours, requests.texts(4, TEXTS), 1)
    for name, port in others.items():
        send(port, requests.texts(1, SHORT, fields[name]), 1)
    alone = {kind: send(port, requests.ids(one, IDS), 1) for kind, port in own.items()}
    ids, texts = [], []
    theirs: dict[str, list[Outcome]] = {name: [] for name in others}
    for _ in range(rounds):
        for name, port in others.items():
            theirs[name].append(send(port, requests.texts(CLIENTS, TEXTS, fields[name]), CLIENTS))
        texts.append(send(ours, requests.texts(3 * CLIENTS, TEXTS), CLIENTS))
        ids.append(send(ours, requests.ids(10 * CLIENTS, TEXTS), CLIENTS))
    return Measured(alone, ids, texts, theirs, send(ours, requests.texts(many * MANY, SHORT), MANY))


def _figures(m: Measured, start: float) -> list[Figure]:
    ratios = [
        Figure.from_runs(
            [a.rate / b.rate for a, b in zip(own, theirs, strict=True)],
            f"rerank_over_{name.replace('-', '').removesuffix('_emb')}_{what}",
            "x",
            target,
        )
        for name, theirs in m.theirs.items()
        for what, own, target in (("ids", m.ids, 20), ("texts", m.texts, 3))
    ]
    tail = float(np.quantile(m.many.latencies, 0.99)) / median(m.many.latencies)
    every = [*m.one.values(), *m.ids, *m.texts, m.many]
    lost = sum(n for o in every for status, n in o.statuses.items() if status != 200)
    return [
        *(
            Figure(
                f"rerank_ids{kind and f'_{kind}'}_p50_ms",
                1000 * median(one.latencies),
                "ms",
                25,
                runs=len(one.latencies),
            )
            for kind, one in m.one.items()
        ),
        *ratios,
        Figure("p99_over_p50_32_clients", tail, "x", 4, runs=len(m.many.latencies)),
        Figure("requests_not_answered", lost, "", 0),
        Figure("serve_start_s", start, "s"),
    ]


def _table(m: Measured) -> list[dict[str, Any]]:
    def row(what: str, clients: int, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        latencies = [seconds for outcome in outcomes for seconds in outcome.latencies]
        return {
            "requests": what,
            "clients": str(clients),
            "requests/s": median(outcome.rate for outcome in outcomes),
            "p50 ms": 1000 * median(latencies),
            "p99 ms": 1000 * float(np.quantile(latencies, 0.99)),
            "sent": str(len(latencies)),
        }

    return [
        *(row(f"dse serve{kind and f', {kind}'}, {IDS:,} ids", 1, [outcome]) for kind, outcome in m.one.items()),
        *(row(f"{name}, {TEXTS} texts", CLIENTS, theirs) for name, theirs in m.theirs.items()),
        row(f"dse serve, {TEXTS} texts", CLIENTS, m.texts),
        row(f"dse serve, {TEXTS} ids", CLIENTS, m.ids),
        row(f"dse serve, {SHORT} texts", MANY, [m.many]),
    ]


def _notes(m: Measured, origin: str, sentences: Sequence[str]) -> list[str]:
    statuses = ", ".join(f"{n} with status {status}" for status, n in sorted(m.many.statuses.items()))
    return [
        f"Texts: {origin}; {len(sentences):,} of them are rows of the index, and of rows the best {TOP} are asked "
        f"for. Every query is new. Of the texts of a request half are drawn from {4 * TEXTS} that come again, half are "
        "new.",
        "Student: the cosine of the backbone's last layer, as `dse distill --corpus` makes it from a cross-encoder; "
        "onnx: its export, `dse export --to onnx`; mlp: the backbone's last four layers and an mlp head, as it is made "
        "of labelled pairs. The cross-encoder has the same backbone, one label and the defaults of "
        "`CrossEncoder.rank`. None is trained, which changes no time.",
        "Both servers have the same front (FastAPI, uvicorn, limits, log). The cross-encoder's answers one request at "
        "a time. Servers and clients share the cores; the two servers are never asked at the same time.",
        f"{MANY} clients: {statuses}.",
        f"{INFINITY}: the same cross-encoder on the CPU, --no-bettertransformer, from its own environment."
        if INFINITY in m.theirs
        else f"{INFINITY} was not on the PATH.",
    ]
