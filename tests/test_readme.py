"""Every code block of the README runs: `python` and `dse` lines in a folder made here, `make` as far as make plans."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dse.cli import app
from tests.conftest import SENTENCES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_every_block_has_a_known_language():
    assert {language for language, _ in BLOCKS} <= {"bash", "python", "text"}
    assert [language for language, _ in BLOCKS].count("python") >= 3


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, backbone, encoder):
    """A folder with what the README assumes: models, pairs, candidates."""
    from sentence_transformers import CrossEncoder

    from dse import DSE

    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(backbone, folder / "my-backbone")
    CrossEncoder(str(backbone), num_labels=1).save_pretrained(str(folder / "my-teacher"))
    DSE.from_backbone(str(backbone)).save_pretrained(str(folder / "my-student"))
    draw = np.random.default_rng(0)
    for name, rows in (("train", 60), ("dev", 20)):
        texts = draw.choice(np.array(SENTENCES), size=(rows, 2)).tolist()
        table = {"sentence1": [a for a, _ in texts], "sentence2": [b for _, b in texts]}
        (folder / "data").mkdir(exist_ok=True)
        score = pa.table(table | {"label": draw.uniform(0, 5, rows)})
        pq.write_table(score, folder / "data" / f"{name}.parquet")
        lines = [f'"{a}","{b}",{draw.choice(["no", "yes"])}' for a, b in texts]
        target = "train.csv" if name == "train" else "test.csv"
        (folder / target).write_text("sentence1,sentence2,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    for name in ("my-large-encoder", "my-small-encoder"):
        shutil.copytree(encoder, folder / name)
    texts = [s for s in SENTENCES if s]
    for name, rows in (("corpus", texts), ("log", texts[::2]), ("queries", texts[:3])):
        lines = [json.dumps({"id": f"{name}-{i}", "text": text}) for i, text in enumerate(rows)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    judgements = ["query-id\tcorpus-id\tscore", *(f"queries-{i}\tcorpus-{i}\t1" for i in range(3))]
    (folder / "qrels.tsv").write_text("\n".join(judgements) + "\n", encoding="utf-8")
    (folder / "pairs.jsonl").write_text('{"sentence1": "a red bike", "sentence2": "a bike"}\n', encoding="utf-8")
    (folder / "candidates.txt").write_text("\n".join(s for s in SENTENCES if s) + "\n", encoding="utf-8")
    return folder


def test_bash_blocks(workshop, monkeypatch, capsys):
    monkeypatch.chdir(workshop)
    for language, block in BLOCKS:
        if language != "bash":
            continue
        for line in block.strip().splitlines():
            command = shlex.split(line)
            if command[0] == "make":
                subprocess.run(["make", "-n", *command[1:]], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
                continue
            assert command[0] == "dse", line
            monkeypatch.setattr(sys, "argv", command)
            app(command[1:], standalone_mode=False)
            assert capsys.readouterr().out.strip(), line


def test_python_blocks(workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    names: dict[str, object] = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, "README.md", "exec"), names)
    assert names["student"].num_labels == 1
    assert os.path.exists("new-student/dse.json")


def test_results_are_those_of_the_pages():
    """The tables in README.md are generated; a number typed by hand, or a stale one, fails here."""
    subprocess.run([sys.executable, "-m", "benchmarks.pages", "--check"], cwd=ROOT, check=True)
