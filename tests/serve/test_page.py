"""The page at `/`: whole in the package, open without a token, and nothing in it comes from elsewhere."""

from __future__ import annotations

import re

import pytest

from dse.serve.page import FILES


@pytest.mark.parametrize("path", FILES)
def test_files_are_sent_as_they_are(start, student, path):
    answer = start(student, api_key="secret").get(path)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(FILES[path][1])
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert not re.findall(r"(?:https?:)?//[a-z]+\.", answer.text) and "innerHTML" not in answer.text


def test_the_page_names_only_what_exists(client):
    page, script = client.get("/").text, client.get("/page.js").text
    ids = set(re.findall(r'id="([\w-]+)"', page))
    assert set(re.findall(r'element\("([\w-]+)"\)', script)) <= ids
    assert set(re.findall(r'for="([\w-]+)"', page)) <= ids  # every field has a name that can be read out
    assert set(re.findall(r'(?:href|src)="([^"]+)"', page)) <= {*FILES, "data:,"}
    paths = set(client.get("/openapi.json").json()["paths"])
    assert set(re.findall(r'call\("(/[\w/]+)"', script)) <= paths
