"""Each adapter in the real framework: the order and the scores are the student's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dse import DSE
from dse.errors import MismatchError
from dse.integrations.student import ranking_student
from tests.conftest import make_student

QUERY = "who sells the red bicycle"
TEXTS = ["a tent", "a man sells a bike", "the old woman sits by the river", "a red bicycle"]


@pytest.fixture(scope="module")
def folder(backbone: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("adapters") / "student"
    make_student(backbone).save_pretrained(str(path))
    return str(path)


@pytest.fixture(params=["folder", "path", "model"])
def given(request: pytest.FixtureRequest, folder: str) -> Any:
    return {"folder": folder, "path": Path(folder), "model": DSE(folder, device="cpu")}[request.param]


@pytest.fixture
def expected(folder: str) -> list[tuple[str, float]]:
    hits = DSE(folder, device="cpu").rank(QUERY, TEXTS)
    return [(TEXTS[hit["corpus_id"]], pytest.approx(hit["score"], abs=1e-4)) for hit in hits]


def test_several_scores_make_no_order(backbone: str) -> None:
    with pytest.raises(MismatchError, match="one score per pair, this student gives 3"):
        ranking_student(make_student(backbone, num_labels=3))


def test_langchain(given: Any, expected: list[tuple[str, float]]) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document

    from dse.integrations.langchain import DSECrossEncoder

    encoder = DSECrossEncoder(given)
    scores = encoder.score([(QUERY, text) for text in TEXTS])
    assert all(type(score) is float for score in scores)
    assert sorted(zip(TEXTS, scores, strict=True), key=lambda hit: -hit[1]) == expected
    assert encoder.score([]) == []
    rerankers = pytest.importorskip("langchain_classic.retrievers.document_compressors")
    reranker = rerankers.CrossEncoderReranker(model=encoder, top_n=3)
    found = reranker.compress_documents([Document(page_content=text) for text in TEXTS], QUERY)
    assert [document.page_content for document in found] == [text for text, _ in expected[:3]]


def test_llama_index(given: Any, expected: list[tuple[str, float]]) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    from dse.integrations.llama_index import DSERerank

    nodes = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in TEXTS]
    rerank = DSERerank(given, top_n=3, keep_retrieval_score=True)
    found = rerank.postprocess_nodes(nodes, query_bundle=QueryBundle(QUERY))
    assert [(node.text, node.score) for node in found] == expected[:3]
    assert all(node.metadata["retrieval_score"] == 0.5 for node in found)
    assert [node.score for node in nodes] == [0.5] * 4  # those given are left alone
    assert rerank.postprocess_nodes([], query_bundle=QueryBundle(QUERY)) == []
    with pytest.raises(ValueError, match="give query_bundle"):
        rerank.postprocess_nodes(nodes)


def test_haystack(given: Any, folder: str, expected: list[tuple[str, float]]) -> None:
    haystack = pytest.importorskip("haystack")
    from dse.integrations.haystack import DSERanker

    documents = [haystack.Document(content=text, meta={"n": n}) for n, text in enumerate(TEXTS)]
    pipeline = haystack.Pipeline()
    pipeline.add_component("ranker", DSERanker(given, top_k=3))
    found = pipeline.run({"ranker": {"query": QUERY, "documents": documents}})["ranker"]["documents"]
    assert [(document.content, document.score) for document in found] == expected[:3]
    assert all(document.score is None for document in documents)
    ranker = DSERanker(folder, top_k=2)
    assert len(ranker.run(QUERY, documents)["documents"]) == 2
    assert len(ranker.run(QUERY, documents, top_k=4)["documents"]) == 4
    assert ranker.run(QUERY, [])["documents"] == []
    written = one_component(haystack, ranker).dumps()
    again = haystack.Pipeline.loads(written, allowed_modules=["dse.integrations.haystack"]).get_component("ranker")
    assert (again.student, again.top_k) == (folder, 2)
    with pytest.raises(ValueError, match="has no text"):
        ranker.run(QUERY, [haystack.Document(content=None)])


def one_component(haystack: Any, ranker: Any) -> Any:
    pipeline = haystack.Pipeline()
    pipeline.add_component("ranker", ranker)
    return pipeline


def test_lancedb(given: Any, expected: list[tuple[str, float]], tmp_path: Path) -> None:
    lancedb = pytest.importorskip("lancedb")
    from dse.integrations.lancedb import DSEReranker

    vectors = np.eye(4, dtype=np.float32)
    rows = [{"vector": vector, "text": text} for vector, text in zip(vectors, TEXTS, strict=True)]
    table = lancedb.connect(tmp_path).create_table("texts", rows)
    found = table.search(vectors[0]).limit(4).rerank(DSEReranker(given), query_string=QUERY).to_list()
    assert [(row["text"], row["_relevance_score"]) for row in found] == expected
    everything = table.search(vectors[0]).limit(4).rerank(DSEReranker(given, return_score="all"), query_string=QUERY)
    assert {"_distance", "_relevance_score"} <= everything.to_list()[0].keys()


@pytest.mark.parametrize("name", ["langchain", "llama_index", "haystack", "lancedb"])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    from dse import errors

    monkeypatch.setattr(errors, "find_spec", lambda package: None)
    monkeypatch.delitem(sys.modules, f"dse.integrations.{name}", raising=False)
    with pytest.raises(errors.MissingExtraError, match=rf'pip install "dse\[{name.replace("_", "-")}\]"'):
        importlib.import_module(f"dse.integrations.{name}")
