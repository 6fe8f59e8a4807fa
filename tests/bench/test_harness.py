from __future__ import annotations

import json

from dse.bench.harness import Figure, Result, machine, versions


def test_a_figure_is_the_median_of_its_runs():
    assert Figure.from_runs([4.0, 3.0, 1.0], "x", "x") == Figure("x", 3.0, "x", None, 1.0, 4.0, 3)


def test_machine_and_versions_name_what_decides_speed():
    assert {"cpu", "cores", "threads", "ram_gib", "device", "bfloat16"} <= machine().keys()
    assert {"python", "torch", "sentence-transformers"} <= versions().keys()


def test_result_as_json_and_as_text():
    result = Result(
        "encoding",
        "dse bench encoding",
        [Figure.from_runs([2.6, 2.4, 2.5], "encoding_speedup", "x", 2.5), Figure("encoding_cosine_mean", 0.99998, "")],
        [{"way": "ours", "sentences/s": 1234.5}, {"way": "the other way", "sentences/s": 40.25}],
        ["Sentences: some."],
    )
    content = json.loads(json.dumps(result.to_dict()))
    assert {"benchmark", "machine", "versions", "command", "figures", "table"} <= content.keys()
    assert content["figures"][0] == {
        "name": "encoding_speedup", "value": 2.5, "unit": "x", "target": 2.5, "min": 2.4, "max": 2.6, "runs": 3,
    }  # fmt: skip
    text = result.table_text()
    assert "1,23" in text and "0.9999800" in text and "Sentences: some." in text
    assert not text.startswith("\n") and all(line == line.rstrip() for line in text.splitlines())
