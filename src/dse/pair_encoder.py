"""What a student is, seen from outside, and how it embeds what it is given for the two sides of a pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, cast

import numpy as np
import torch
from sentence_transformers.util.decorators import deprecated_kwargs
from torch import Tensor, nn

from dse import scoring
from dse.encoding.encoder import FastEncoder
from dse.encoding.fast_copy import Watch
from dse.encoding.identity import embedding_names, reading
from dse.modules import PairHead
from dse.pair_inputs import (
    UNIT,
    all_of_length_one,
    as_embeddings,
    as_texts,
    check_activation,
    document_prompt,
    encode_options,
    query_prompt,
)

ACTIVATIONS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "identity": nn.Identity}


class PairEncoder(FastEncoder):
    """The properties of `DSE`, and the embeddings of queries and documents."""

    _activation: Callable[[Tensor], Tensor] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._fingerprints: tuple[Watch, Any, tuple[str, ...]] | None = None
        super().__init__(*args, **kwargs)

    @property
    def head(self) -> PairHead:
        """The pair head, the last of the modules.

        Raises:
            ValueError: If another module has been put behind it, or in its place.
        """
        last = self[-1]
        if not isinstance(last, PairHead):
            raise ValueError(f"A student ends in a PairHead, not in {type(last).__name__}; put one there.")
        return last

    @property
    def info(self) -> dict[str, Any]:
        """What the student remembers of its training: task, alpha, teacher, threshold, activation (`dse.json`)."""
        return self.head.info

    @info.setter
    def info(self, info: dict[str, Any]) -> None:
        self.head.info = info

    @property
    def num_labels(self) -> int:
        """C: scores a pair gets; 1 for binary tasks and regression."""
        return self.head.num_labels

    @property
    def label_names(self) -> list[str] | None:
        """Names of the classes in the order of the scores, where the task has them."""
        return cast("list[str] | None", self.info.get("task", {}).get("labels"))

    @property
    def threshold(self) -> float:
        """Score above which a pair counts as positive (binary tasks), on the scale that `predict` returns by default.

        Chosen on held-out rows when distilled; a student without one decides at a raw score of 0.

        Example:
            >>> student = getfixture("student")
            >>> student.threshold, student.raw_threshold
            (0.5, 0.0)
        """
        return float(self.activation_fn(torch.tensor([[self.raw_threshold]], dtype=torch.float64)))

    @property
    def raw_threshold(self) -> float:
        """The threshold on the scale of `raw_scores`, before the activation, as `dse.json` keeps it."""
        return float(self.info.get("threshold", 0.0))

    @property
    def activation_fn(self) -> Callable[[Tensor], Tensor]:
        """What `predict` applies to raw scores: the teacher's own, by default Sigmoid for one label, else nothing.

        It can be set. Modules of ``torch.nn`` that need no arguments are saved with the student, by name.

        Raises:
            ValueError: If it is set to something that is no function.
        """
        return self._activation if self._activation is not None else self._saved_activation

    @activation_fn.setter
    def activation_fn(self, activation: Callable[[Tensor], Tensor] | None) -> None:
        check_activation(activation)
        object.__setattr__(self, "_activation", activation)
        kind = type(activation)
        if getattr(nn, kind.__name__, None) is kind:
            names = {known: name for name, known in ACTIVATIONS.items()}
            self.info["activation"] = names.get(kind, kind.__name__)

    @property
    def _saved_activation(self) -> Callable[[Tensor], Tensor]:
        name = str(self.info.get("activation", "sigmoid" if self.num_labels == 1 else "identity"))
        kind = ACTIVATIONS.get(name) or getattr(nn, name, nn.Identity)
        return kind() if isinstance(kind, type) and issubclass(kind, nn.Module) else nn.Identity()

    default_activation_function = activation_fn  # names of CrossEncoder

    @property
    def max_length(self) -> int | None:
        """`max_seq_length`, under the name it had in CrossEncoder."""
        return self.max_seq_length

    @max_length.setter
    def max_length(self, length: int | None) -> None:
        self.max_seq_length = length

    @property
    def model(self) -> Any:  # PreTrainedModel | None
        """The transformer, as `CrossEncoder.model`."""
        return self.transformers_model

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep an activation from becoming one of the modules of the pipeline."""
        if name in ("activation_fn", "default_activation_function"):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def append(self, module: nn.Module) -> Self:
        """Refuse a module behind the pair head.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"A student ends in its pair head, so nothing can follow it; put {type(module).__name__} before it: "
            "DSE(modules=[..., student.head])."
        )

    @property
    def pair_prompts(self) -> tuple[str, str]:
        """What stands before the first and the second text of a pair: its prompts of queries and of documents."""
        return query_prompt(self, None, None), document_prompt(self)

    @property
    def fingerprint(self) -> str:
        """Name of all that decides the scores (`dse.encoding.fingerprint`); made again when some of it has changed."""
        return self.fingerprints[0]

    @property
    def embeddings_name(self) -> str:
        """The fingerprint that embeddings are kept under: no activation that is set later changes it."""
        return self.fingerprints[2]

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """All that embeddings of this student may be called, the fingerprint first (`dse.encoding.identity`)."""
        usage = (self.default_prompt_name, *self.prompts.items(), self.info.get("activation"), self._activation)
        key = (self.max_seq_length, len(self.tokenizer), usage, str(reading(self)))
        known = self._fingerprints
        if known is None or known[1] != key or not known[0].holds(self):
            watch = Watch(self)  # before the name: what is written meanwhile is seen next time
            known = self._fingerprints = (watch, key, embedding_names(self, self._saved_activation))
        return known[2]

    @deprecated_kwargs(sentences="inputs")
    def encode_query(  # type: ignore[override]
        self, inputs: Any, prompt_name: str | None = None, prompt: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """`encode`, behind what stands before the first text of a pair."""
        return super().encode_query(inputs, None, query_prompt(self, prompt, prompt_name), *args, **kwargs)

    @deprecated_kwargs(sentences="inputs")
    def encode_document(  # type: ignore[override]
        self, inputs: Any, prompt_name: str | None = None, prompt: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """`encode`, behind what stands before the second text of a pair.

        A prompt called ``passage`` or ``corpus`` is taken where ``document`` is empty, which sentence-transformers
        overlooks.
        """
        if prompt is None and prompt_name is None:
            prompt = document_prompt(self)
        return super().encode_document(inputs, prompt_name, prompt, *args, **kwargs)

    def embed_texts(self, texts: list[str], prompt: str = "", **encode_kwargs: Any) -> Tensor:
        """Embeddings as pairs are scored by, (n, d): in full width, whatever `truncate_dim` says of `encode`."""
        width = self.head.embedding_dimension
        return cast(
            Tensor, self.encode(texts, prompt=prompt, truncate_dim=width, convert_to_tensor=True, **encode_kwargs)
        )

    def _embeddings(self, inputs: Any, what: str, prompt: str, **encode_kwargs: Any) -> Tensor:
        """Embeddings of texts, or the embeddings given, checked: (n, d) float32 on the model's device."""
        given = as_embeddings(inputs, what)
        if given is not None and len(given):
            self._refuse_normalised(given, what)
            return scoring.check_embeddings(given, self.head, what)
        texts = [] if given is not None else as_texts([inputs] if isinstance(inputs, str) else inputs, what)
        if not texts:
            return torch.empty(0, self.head.embedding_dimension, device=self.device)
        return scoring.check_embeddings(self.embed_texts(texts, prompt, **encode_kwargs), self.head, what)

    def _queries(self, queries: Any, encode_kwargs: dict[str, Any]) -> Tensor:
        kwargs = encode_options(encode_kwargs)
        prompt = query_prompt(self, kwargs.pop("prompt", None), kwargs.pop("prompt_name", None))
        return self._embeddings(queries, "queries", prompt, **kwargs)

    def _documents(self, documents: Any, what: str, encode_kwargs: dict[str, Any]) -> Tensor:
        kwargs = encode_options(encode_kwargs)
        kwargs = {name: value for name, value in kwargs.items() if name not in ("prompt", "prompt_name")}
        return self._embeddings(documents, what, document_prompt(self), **kwargs)

    def _refuse_normalised(self, embeddings: Tensor | np.ndarray, what: str) -> None:
        """Refuse embeddings brought to length one, where that matters and the student itself gives longer ones."""
        if self.head.formula.ignores_length or not all_of_length_one(embeddings) or not len(self.tokenizer):
            return
        own = self.embed_texts(["a", "the", "of", "and"], show_progress_bar=False).norm(dim=1)
        one_by_chance = len(embeddings) < 3 and bool(own.min() < 1.5) and bool(own.max() > 0.67)
        if not one_by_chance and not bool((own - 1).abs().max() < UNIT):
            raise ValueError(
                f"{what}: embeddings of length 1, which this student does not give; "
                "encode them without normalize_embeddings=True."
            )
