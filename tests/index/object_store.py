"""A real S3 server on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def bucket(name: str) -> Iterator[dict[str, str]]:
    """Storage options of a server with an empty bucket."""
    boto3 = pytest.importorskip("boto3", reason="moto is not installed")
    moto_server = pytest.importorskip("moto.server", reason="moto is not installed")
    server = moto_server.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address, region = f"http://{host}:{port}", "us-east-1"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    try:
        boto3.client("s3", endpoint_url=address, region_name=region, **keys).create_bucket(Bucket=name)
        yield {"aws_endpoint": address, "aws_region": region, "aws_allow_http": "true", **keys}
    finally:
        server.stop()
