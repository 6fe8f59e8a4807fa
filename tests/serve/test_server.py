"""The process: it starts with one command, loads again at SIGHUP, and answers what it has accepted before it ends."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import httpx
import pytest

from dse.bench.server_process import serving
from dse.errors import DSEError
from dse.index import CandidateIndex
from dse.index.shards.names import write_names
from dse.serve.server import bind
from tests.serve.conftest import QUERY, ROWS, TEXTS


def test_a_process_from_start_to_end(served, indexed, student, tmp_path):
    command = ["-m", "dse", "serve", served, "--index", indexed, "--port", "0"]
    with serving(tmp_path / "log", *command, DSE_API_KEY="secret") as server:
        client = httpx.Client(base_url=server.url, headers={"Authorization": "Bearer secret"}, timeout=60)
        assert httpx.post(f"{server.url}/rerank", json={}).status_code == 401
        answer = client.post("/rerank", json={"query": QUERY, "texts": TEXTS})
        expected = {hit["corpus_id"]: pytest.approx(hit["score"], abs=5e-3) for hit in student.rank(QUERY, TEXTS)}
        assert {hit["index"]: hit["score"] for hit in answer.json()} == expected
        assert client.post("/search", json={"query": QUERY, "k": 1}).json()["hits"][0]["id"].startswith("row-")

        server.process.send_signal(signal.SIGHUP)
        while 'dse_reloads_total{result="done"} 1.0' not in client.get("/metrics").text:
            pass
        again = client.post("/rerank", json={"query": QUERY, "texts": TEXTS})
        assert again.json() == answer.json() and again.headers["X-DSE-Cache"] == "6/6"  # the same student
        client.close()

        body = json.dumps({"query": QUERY, "documents": TEXTS}).encode()
        head = f"POST /v2/rerank HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as begun:
            begun.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body[:10])
            while (
                "dse_requests_running 2.0"
                not in httpx.get(f"{server.url}/metrics", headers={"Authorization": "Bearer secret"}).text
            ):
                pass
            server.process.send_signal(signal.SIGTERM)
            while _listens(server.port):
                pass
            begun.sendall(body[10:])
            with begun.makefile("rb") as stream:
                received = stream.read()
        assert received.startswith(b"HTTP/1.1 200") and b"relevance_score" in received
        assert server.process.wait(60) == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0].startswith("Serving student at http://127.0.0.1:")
    assert {json.loads(line)["event"] for line in lines[1:]} == {"request", "reload"}
    assert QUERY not in "".join(lines)


def test_an_index_in_shards_is_served(served, index, tmp_path):
    shards = [tmp_path / "north", tmp_path / "south"]
    for shard, rows in zip(shards, (ROWS[:2], ROWS[2:]), strict=True):
        CandidateIndex.create(shard, served).add(rows)
    write_names(tmp_path / "whole", shards)
    command = ["-m", "dse", "serve", served, "--shards", tmp_path / "whole", "--port", "0"]
    with serving(tmp_path / "log", *command) as server:
        client = httpx.Client(base_url=server.url, timeout=60)
        hits = client.post("/search", json={"query": QUERY, "k": 4, "where": "price < 35"}).json()["hits"]
        expected = index.search(QUERY, 4, where="price < 35")
        assert hits == [hit | {"score": pytest.approx(hit["score"], abs=5e-3)} for hit in expected]
        ids = [row["id"] for row in ROWS]
        ranked = client.post("/rerank", json={"query": QUERY, "ids": ids}).json()["results"]
        assert [ids[hit["index"]] for hit in ranked] == [hit["id"] for hit in index.search(QUERY, 5)]
        assert client.get("/info").json()["index"]["rows"] == 5
        processes = shard_processes(server.process.pid)
        assert len(processes) == 2
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
    while any(Path(f"/proc/{process}").exists() for process in processes):
        pass


def shard_processes(parent):
    """Processes of all its threads."""
    return [child for file in Path(f"/proc/{parent}/task").glob("*/children") for child in file.read_text().split()]


def _listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def test_an_address_that_is_taken_is_refused_before_anything_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DSEError, match="choose another"):
            bind("127.0.0.1", port)
    with pytest.raises(DSEError, match="cannot be used"):
        bind("no.such.host.invalid", 80)


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "part"),
    [
        (["student", "--index", "no-such-index"], {}, 4, "is no index"),
        (["student"], {"DSE_API_KEY": ""}, 1, "DSE_API_KEY is set and empty"),
        (["student", "--port", "99999"], {}, 2, "--port"),
    ],
)
def test_what_cannot_be_served(monkeypatch, capsys, arguments, environment, code, part):
    from dse.cli import main

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["dse", "serve", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == code and part in capsys.readouterr().err


def test_an_index_of_another_student(indexed, backbone, tmp_path, monkeypatch, capsys):
    from dse.cli import main
    from tests.conftest import make_student

    make_student(backbone, seed=9).save_pretrained(str(tmp_path / "other"))
    monkeypatch.setattr("sys.argv", ["dse", "serve", str(tmp_path / "other"), "--index", indexed, "--port", "0"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 6 and "another student" in capsys.readouterr().err
