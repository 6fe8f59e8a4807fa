"""What requests hold. Fields that are not listed are ignored, as clients of several servers expect."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    model_validator,
)
from pydantic import WithJsonSchema as Schema

MOST_CHARACTERS = 10_000  # of a condition


def _readable(text: str) -> str:
    """Refuse lone halves of surrogate pairs, which JSON can hold and no tokenizer, index or response can."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half a surrogate pair, which is no text; send valid Unicode.") from None
    return text


def _text_of(document: Any) -> Any:
    """A text, also where it comes as ``{"text": ...}``."""
    return document["text"] if isinstance(document, dict) and "text" in document else document


Text = Annotated[str, AfterValidator(_readable)]
Document = Annotated[
    Text,
    BeforeValidator(_text_of),
    Schema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
            ]
        }
    ),
]
Number = Annotated[float, Field(allow_inf_nan=False)]
OneOrMore = Text | list[Text]


class Request(BaseModel):
    """What all requests share."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, protected_namespaces=())

    truncate: StrictBool | None = Field(None, description="false: refuse texts longer than the student reads.")


class RerankRequest(Request):
    """A query (or several), and what to rank: `texts` (TEI), `documents` (Cohere, Jina, vLLM) or `ids` of rows."""

    query: Text | None = None
    queries: list[Text] | None = Field(None, description="Several queries; each gets a ranking of its own.")
    texts: list[Text] | None = Field(None, description="The answer has TEI's shape.")
    documents: list[Document] | None = Field(None, description="The answer has Cohere's shape.")
    ids: list[Text] | None = Field(None, description="Ids of rows in the index; the answer has Cohere's shape.")
    top_n: StrictInt | None = Field(
        None, ge=0, validation_alias=AliasChoices("top_n", "top_k"), description="How many to return; 0 is all."
    )
    return_documents: StrictBool = Field(False, validation_alias=AliasChoices("return_documents", "return_text"))
    raw_scores: StrictBool = Field(False, description="Scores before the activation.")
    score_threshold: Number | None = Field(None, description="Leave out what scores lower.")
    max_tokens_per_doc: StrictInt | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.query is None) == (self.queries is None):
            raise ValueError("Give query, or queries for several.")
        if sum(given is not None for given in (self.texts, self.documents, self.ids)) != 1:
            raise ValueError("Give one of texts, documents or ids: what to rank.")
        return self


class TeacherRequest(Request):
    """A query, and texts that the teacher ranks."""

    query: Text
    texts: list[Text]


class PredictRequest(Request):
    """Pairs, in TEI's shape."""

    inputs: list[Text] | list[list[Text]] = Field(description="One pair [a, b], or a list of pairs [[a, b], ...].")
    raw_scores: StrictBool = False

    @property
    def pairs(self) -> list[list[str]]:
        """The pairs."""
        given: Any = self.inputs
        return given if not given or isinstance(given[0], list) else [given]

    @property
    def single(self) -> bool:
        """Whether one pair was given, not a list."""
        return bool(self.inputs) and isinstance(self.inputs[0], str)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for place, pair in enumerate(self.pairs):
            if len(pair) != 2:
                raise ValueError(f"inputs: pair {place} has {len(pair)} texts; give two.")
        return self


class ScoreRequest(Request):
    """Two texts, one and several, or two lists of one length, in vLLM's shape."""

    text_1: OneOrMore = Field(validation_alias=AliasChoices("text_1", "queries", "data_1", "query"))
    text_2: OneOrMore = Field(validation_alias=AliasChoices("text_2", "documents", "data_2"))
    raw_scores: StrictBool = False

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs."""
        left = [self.text_1] if isinstance(self.text_1, str) else self.text_1
        right = [self.text_2] if isinstance(self.text_2, str) else self.text_2
        return list(zip(left * len(right) if len(left) == 1 else left, right, strict=True))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        left = 1 if isinstance(self.text_1, str) else len(self.text_1)
        right = 1 if isinstance(self.text_2, str) else len(self.text_2)
        if left not in (1, right):
            raise ValueError(f"text_1 holds {left} texts and text_2 {right}; give one, or as many, in text_1.")
        return self


class Similar(BaseModel):
    """A text, and those to compare it with."""

    source_sentence: Text
    sentences: list[Text]


class SimilarityRequest(Request):
    """A text and several others, in TEI's shape."""

    inputs: Similar


class EmbedRequest(Request):
    """Texts to embed, in TEI's shape."""

    inputs: OneOrMore
    normalize: StrictBool = True
    prompt_name: Text | None = Field(None, description="Name of a prompt that the student has, as query.")


class EmbeddingsRequest(Request):
    """Texts to embed, in OpenAI's shape."""

    input: OneOrMore | list[StrictInt] | list[list[StrictInt]] = Field(description="A text, or several.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: StrictInt | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not isinstance(self.input, str) and any(not isinstance(text, str) for text in self.input):
            raise ValueError("input holds numbers of tokens, which mean nothing to this student; send texts.")
        return self


class SearchRequest(Request):
    """A query (or several) for the index."""

    query: Text | None = None
    queries: list[Text] | None = Field(None, description="Several queries; each gets an answer of its own.")
    k: StrictInt = Field(10, ge=1, validation_alias=AliasChoices("k", "top_k"))
    where: Text | None = Field(None, max_length=MOST_CHARACTERS, description="A condition in SQL: price < 50.")
    exact: StrictBool = Field(False, description="Score every row.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.query is None) == (self.queries is None):
            raise ValueError("Give query, or queries for several.")
        return self
