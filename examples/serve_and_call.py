"""Serve a student over HTTP and call it, with nothing but the standard library on the client's side.

    python examples/serve_and_call.py                                  # a server in this process
    dse serve example-student & python examples/serve_and_call.py --url http://127.0.0.1:8080

Needs the extras `serve`, `offline` and `train`.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from helpdesk import catalogue_and_queries, load_student, options

from dse import DSE
from dse.serve import create_app


@contextmanager
def server_of(student: DSE) -> Iterator[str]:
    """Serve the student from a thread, on a port that is free; `dse serve` is the same in a process of its own."""
    server = uvicorn.Server(uvicorn.Config(create_app(lambda: (student, None)), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def post(url: str, body: dict[str, Any]) -> Any:
    """Send JSON, return JSON."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def call(url: str) -> None:
    """Rerank a query in the shape of Cohere's API."""
    query, documents = "where is my refund", catalogue_and_queries()[0][::20]
    answer = post(f"{url}/v2/rerank", {"query": query, "documents": documents, "top_n": 3, "return_documents": True})
    for hit in answer["results"]:
        print(f"{hit['relevance_score']:.3f}  {hit['document']['text']}")


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("--url", help="address of a server that runs already")
    if (arguments := parser.parse_args()).url:
        call(arguments.url)
    else:
        with server_of(load_student(arguments)) as url:
            call(url)
