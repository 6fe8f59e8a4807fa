"""The commands of docs/serve.md: curl's requests are sent to an application here, and answered in the shapes shown."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from dse.cli import app
from tests.serve.conftest import DSE, CandidateIndex

GUIDE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def shape(content):
    """Names and types, of lists that of the first entry."""
    if isinstance(content, dict):
        return {name: shape(value) for name, value in content.items()}
    return [shape(content[0])] if isinstance(content, list) else type(content).__name__


def send(client, command):
    """What curl would send, and the answer."""
    *options, body = command if "--json" in command else [*command, None]
    [url] = [part for part in options if part.startswith("localhost:8080")]
    assert set(options) <= {"curl", "-s", "--json", url}, command
    path = url.removeprefix("localhost:8080")
    answer = client.get(path) if body is None else client.post(path, json=json.loads(body))
    assert answer.status_code == 200, answer.text
    return shape(answer.json())


def test_the_guide(served, start, tmp_path, monkeypatch, capsys):
    shutil.copytree(served, tmp_path / "dse-quickstart")
    monkeypatch.chdir(tmp_path)
    client, answers = None, []
    for language, block in BLOCKS:
        if language == "json":
            assert [shape(json.loads(line)) for line in block.strip().splitlines()] == answers
            answers = []
            continue
        for line in block.strip().splitlines():
            command = shlex.split(line)
            if command[:2] == ["dse", "serve"]:
                student = DSE("dse-quickstart")
                client = start(student, CandidateIndex(command[-1], student) if "--index" in command else None)
            elif command[0] == "curl":
                answers.append(send(client, command))
            elif command[0] == "dse":
                app(command[1:], standalone_mode=False)
                assert capsys.readouterr().out
            elif command[0] == "printf":
                subprocess.run(line, shell=True, check=True, cwd=tmp_path)
            else:
                assert command[:2] == ["pip", "install"], line
    assert not answers


@pytest.mark.parametrize("name", re.findall(r"`(--[a-z-]+)", GUIDE))
def test_options_are_those_of_the_command(name, capsys):
    import typer

    commands = typer.main.get_command(app).commands
    known = [
        option for command in (commands["serve"], commands["index"].commands["create"]) for option in command.params
    ]
    assert name in [flag for option in known for flag in option.opts] or name == "--json"
