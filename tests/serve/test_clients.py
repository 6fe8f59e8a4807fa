"""Clients of other servers, as they come, against a real process."""

from __future__ import annotations

import numpy as np
import pytest

from dse.bench.server_process import serving
from tests.serve.conftest import QUERY, TEXTS

KEY = "secret"


@pytest.fixture(scope="module")
def server(served, tmp_path_factory):
    log = tmp_path_factory.mktemp("clients") / "log"
    with serving(log, "-m", "dse", "serve", served, "--port", "0", DSE_API_KEY=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def scores(student):
    """Scores of the texts; the process may compute in bfloat16."""
    return [pytest.approx(score, abs=5e-3) for score in student.predict([(QUERY, text) for text in TEXTS]).tolist()]


def check(results, scores):
    """(place, score) of each result, best first."""
    results = list(results)
    assert [score for _, score in results] == [scores[place] for place, _ in results]
    assert [score for _, score in results] == sorted((score for _, score in results), reverse=True)
    return len(results)


def test_cohere(server, scores):
    cohere = pytest.importorskip("cohere")
    for client in (cohere.ClientV2(KEY, base_url=server.url), cohere.Client(KEY, base_url=server.url)):
        answer = client.rerank(model="any", query=QUERY, documents=TEXTS, top_n=3)
        assert check([(hit.index, hit.relevance_score) for hit in answer.results], scores) == 3
        with pytest.raises(cohere.core.ApiError) as refused:
            client.rerank(model="any", query=QUERY, documents=[])
        assert (
            refused.value.status_code == 400
            and refused.value.body["message"] == "documents is empty; give at least one."
        )
    with pytest.raises(cohere.UnauthorizedError):
        cohere.ClientV2("wrong", base_url=server.url).rerank(model="any", query=QUERY, documents=TEXTS)


def test_openai(server, student):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(api_key=KEY, base_url=f"{server.url}/v1")
    answer = client.embeddings.create(model="any", input=TEXTS)
    expected = student.encode(TEXTS, normalize_embeddings=True)
    assert np.allclose([row.embedding for row in answer.data], expected, atol=2e-2)
    assert [model.id for model in client.models.list()] == ["student"]
    with pytest.raises(openai.UnprocessableEntityError, match="32 only") as refused:
        client.embeddings.create(model="any", input=TEXTS, dimensions=7)
    assert refused.value.type == "invalid_request_error"
    with pytest.raises(openai.AuthenticationError, match="token is missing or wrong"):
        openai.OpenAI(api_key="wrong", base_url=f"{server.url}/v1").embeddings.create(model="any", input="a")


def test_huggingface_hub(server, student, scores, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)  # it would not reach this machine either

    def client(route):
        return hub.InferenceClient(f"{server.url}/{route}", token=KEY)

    embedded = client("embed").feature_extraction(TEXTS)
    assert np.allclose(embedded, student.encode(TEXTS, normalize_embeddings=True), atol=2e-2)
    assert client("similarity").sentence_similarity(QUERY, TEXTS) == scores
    label = client("predict").text_classification([QUERY, TEXTS[0]])  # the first of what TEI's shape holds
    assert label["score"] == scores[0]
    with pytest.raises(hub.errors.HfHubHTTPError, match="sentences is empty"):
        client("similarity").sentence_similarity(QUERY, [])


def test_llama_index_as_tei(server, scores):
    tei = pytest.importorskip("llama_index.postprocessor.tei_rerank")
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(i))) for i, text in enumerate(TEXTS)]
    reranker = tei.TextEmbeddingInference(base_url=server.url, top_n=3, auth_token=f"Bearer {KEY}")
    best = reranker.postprocess_nodes(nodes, QueryBundle(QUERY))
    assert check([(int(node.node.node_id), node.score) for node in best], scores) == 3


def test_llama_index_as_cohere(server, scores):
    cohere_rerank = pytest.importorskip("llama_index.postprocessor.cohere_rerank")
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(i))) for i, text in enumerate(TEXTS)]
    reranker = cohere_rerank.CohereRerank(api_key=KEY, base_url=server.url, top_n=3)
    best = reranker.postprocess_nodes(nodes, QueryBundle(QUERY))
    assert check([(int(node.node.node_id), node.score) for node in best], scores) == 3


def test_langchain_as_cohere(server, scores):
    langchain_cohere = pytest.importorskip("langchain_cohere")
    from langchain_core.documents import Document

    reranker = langchain_cohere.CohereRerank(cohere_api_key=KEY, base_url=server.url, model="any", top_n=3)
    best = reranker.compress_documents([Document(page_content=text) for text in TEXTS], QUERY)
    found = [(TEXTS.index(document.page_content), document.metadata["relevance_score"]) for document in best]
    assert check(found, scores) == 3


def test_langchain_as_jina(server, scores, monkeypatch):
    jina = pytest.importorskip("langchain_community.document_compressors.jina_rerank")
    from langchain_core.documents import Document

    monkeypatch.setattr(jina, "JINA_API_URL", f"{server.url}/v1/rerank")
    best = jina.JinaRerank(jina_api_key=KEY, top_n=3).compress_documents(
        [Document(page_content=text) for text in TEXTS], QUERY
    )
    found = [(TEXTS.index(document.page_content), document.metadata["relevance_score"]) for document in best]
    assert check(found, scores) == 3


@pytest.mark.parametrize("provider", ["cohere", "hosted_vllm", "huggingface"])
def test_litellm(server, scores, provider):
    litellm = pytest.importorskip("litellm")
    answer = litellm.rerank(
        model=f"{provider}/any", query=QUERY, documents=TEXTS, top_n=3, api_base=server.url, api_key=KEY
    )
    assert check([(hit["index"], hit["relevance_score"]) for hit in answer.results], scores) == 3
