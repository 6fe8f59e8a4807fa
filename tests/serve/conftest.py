"""Students and an index behind an application in the test's own process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from dse import DSE, CandidateIndex
from dse.export import export_student, gate
from dse.serve import Settings, create_app
from tests.conftest import make_student

QUERY = "who sells the red bicycle"
TEXTS = ["a tent", "a man sells a bike", "the old woman sits by the river", "a red bicycle", "never"]
ROWS = [{"id": f"row-{i}", "text": text, "price": 10 * i} for i, text in enumerate(TEXTS)]

Start = Callable[..., TestClient]


@pytest.fixture(scope="session")
def served(backbone: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a student."""
    folder = tmp_path_factory.mktemp("served") / "student"
    make_student(backbone).save_pretrained(str(folder))
    return str(folder)


@pytest.fixture(scope="session")
def indexed(served: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of an index that the student made; tests must not change it."""
    folder = tmp_path_factory.mktemp("served") / "index"
    CandidateIndex.create(folder, served).add(ROWS)
    return str(folder)


@pytest.fixture(scope="session")
def exported(backbone: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a student that was exported to ONNX; it has a prompt and reads 12 tokens."""
    folder = str(tmp_path_factory.mktemp("served") / "exported")
    student = make_student(backbone, prompts={"query": "red "}, max_seq_length=12)
    student.save_pretrained(folder, create_model_card=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "QUERIES", 3)
        patch.setattr(gate, "CANDIDATES", 10)
        export_student(folder)
    return folder


@pytest.fixture(scope="module")
def student(served: str) -> DSE:
    """The student itself, to compare with."""
    return DSE(served, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Starts applications: a student, an index, and settings."""
    with ExitStack() as stack:

        def started(student: DSE, index: CandidateIndex | None = None, **settings: Any) -> TestClient:
            app = create_app(lambda: (student, index), Settings(**settings))
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield started


@pytest.fixture(scope="module")
def index(indexed: str, student: DSE) -> CandidateIndex:
    """The index, open."""
    return CandidateIndex(Path(indexed), student)


@pytest.fixture(scope="module")
def client(start: Start, student: DSE, index: CandidateIndex) -> TestClient:
    """A server of student and index."""
    return start(student, index)
