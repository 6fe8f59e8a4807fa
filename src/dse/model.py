"""The student: a sentence encoder that carries its learned pair function with it."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling
from sentence_transformers.util import load_file_path
from sentence_transformers.util.decorators import cross_encoder_predict_rank_args_decorator
from torch import Tensor, nn

from dse import scoring
from dse.encoder import FastEncoder
from dse.files import write_json
from dse.model_card import DSEModelCardData
from dse.modules import HeadKind, LayerConcat, PairHead
from dse.runtime import Dtype, fingerprint

logger = logging.getLogger(__name__)

PoolingMode = Literal["mean", "mean_sqrt_len_tokens", "max", "cls"]
Texts = Sequence[str] | np.ndarray | Tensor
INFO_FILE = "dse.json"
MODULES = {"dse.modules.LayerConcat": LayerConcat, "dse.modules.PairHead": PairHead}


class DSE(FastEncoder):
    """A Distilled Sentence Embedding model: `SentenceTransformer` for sentences, `CrossEncoder` for pairs.

    The transformer reads every distinct sentence once; a pair costs one small function of two vectors.

    Args:
        model_name_or_path: Folder or hub id of a saved student.
        dtype: Precision of the transformer in `encode` and `predict`: ``"auto"`` takes bfloat16 where the
            hardware multiplies it and float32 elsewhere. Weights and scores stay float32.
        **kwargs: As `SentenceTransformer` takes them (``device``, ``token``, ``revision``, ...).

    Raises:
        ValueError: If the folder holds no pair head.

    Example:
        >>> student = getfixture("student")                       # DSE("path-or-hub-id")
        >>> student.encode(["a red bicycle", "a blue tent"]).shape  # (n, d)
        (2, 32)
        >>> scores = student.predict([("a red bicycle", "a bicycle"), ("a red bicycle", "a tent")])
        >>> scores.shape, bool((0 < scores).all() and (scores < 1).all())
        ((2,), True)
    """

    model_card_data_class = DSEModelCardData  # type: ignore[assignment]  # a subclass, as sentence-transformers means it

    def __init__(self, model_name_or_path: str | None = None, *, dtype: Dtype = "auto", **kwargs: Any) -> None:
        self.info: dict[str, Any] = {}
        super().__init__(model_name_or_path, dtype=dtype, **kwargs)
        if model_name_or_path is None:
            return
        if not any(isinstance(module, PairHead) for module in self.children()):
            raise ValueError(
                f"{model_name_or_path} holds no pair head; DSE.from_backbone({str(model_name_or_path)!r}) makes an "
                "untrained student from it, `dse distill` a trained one."
            )
        hub = {k: v for k, v in kwargs.items() if k in ("token", "cache_folder", "revision", "local_files_only")}
        path = load_file_path(model_name_or_path, INFO_FILE, **hub)
        if path is not None:
            self.info = json.loads(Path(path).read_text(encoding="utf-8"))

    # ---------------------------------------------------------------------------------------------- building

    @classmethod
    def from_backbone(
        cls,
        backbone: str,
        *,
        num_labels: int = 1,
        num_layers: int = 4,
        average_layers: bool = False,
        pooling: PoolingMode = "mean",
        skip_cls: bool = False,
        projection: int | None = None,
        head: HeadKind = "mlp",
        head_dimension: int = 512,
        head_dropout: float = 0.1,
        freeze_backbone: bool = False,
        max_seq_length: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Build an untrained student on any Hugging Face encoder.

        Args:
            backbone: Folder or hub id of the encoder; a cross-encoder's folder works too (its classifier is left out).
            num_labels: C, 1 for binary tasks and regression, else the number of classes.
            num_layers: K, how many of the last layers make the embedding.
            average_layers: Average the K layers instead of concatenating them.
            pooling: Over tokens: ``mean``, ``mean_sqrt_len_tokens``, ``max`` or ``cls``.
            skip_cls: Leave ``[CLS]`` out of the pooling, as the paper's code does.
            projection: Width of an optional linear projection of the embedding.
            head: Kind of pair head, see `PairHead`.
            head_dimension: Hidden width of the mlp heads.
            head_dropout: Dropout on the embeddings while training.
            freeze_backbone: Train projection and head only.
            max_seq_length: Tokens read of each sentence; the backbone's own limit by default.
            **kwargs: As `DSE` takes them.

        Returns:
            The student, its head randomly initialised from torch's generator.

        Raises:
            ValueError: If the backbone has fewer layers than ``num_layers``.
        """
        transformer = Transformer(backbone, max_seq_length=max_seq_length)
        layers = LayerConcat(
            transformer.get_embedding_dimension(),
            num_layers,
            average=average_layers,
            skip_token_id=transformer.tokenizer.cls_token_id if skip_cls else None,
        )
        mode = "lasttoken" if pooling == "cls" and _cls_stands_last(transformer) else pooling
        modules: OrderedDict[str, nn.Module] = OrderedDict(
            transformer=transformer, layers=layers, pooling=Pooling(layers.get_embedding_dimension(), mode)
        )
        dimension = layers.get_embedding_dimension()
        if projection is not None:
            modules["projection"] = Dense(dimension, projection, activation_function=nn.Identity())
            dimension = projection
        modules["pair_head"] = PairHead(dimension, num_labels, head, head_dimension, head_dropout)
        student = cls(modules=modules, **kwargs)
        if freeze_backbone:
            student[0].requires_grad_(False)
        return student

    @property
    def head(self) -> PairHead:
        """The pair head."""
        return cast(PairHead, self[-1])

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
        """Raw score above which a pair counts as positive (binary tasks); chosen on held-out rows when distilled."""
        return float(self.info.get("threshold", 0.0))

    @property
    def activation_fn(self) -> nn.Module:
        """What `predict` applies to raw scores: the teacher's own, by default Sigmoid for one label, else nothing."""
        default = "sigmoid" if self.num_labels == 1 else "identity"
        return nn.Sigmoid() if self.info.get("activation", default) == "sigmoid" else nn.Identity()

    @property
    def fingerprint(self) -> str:
        """Name of the weights and tokenizer, see `dse.runtime.fingerprint`."""
        return fingerprint(self)

    # ---------------------------------------------------------------------------------------------- scoring

    @torch.inference_mode()
    @cross_encoder_predict_rank_args_decorator
    def predict(
        self,
        inputs: Sequence[Any] | np.ndarray,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Tensor], Tensor] | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | list[str | torch.device] | None = None,
        pool: dict[Literal["input", "output", "processes"], Any] | None = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Any:  # np.ndarray | Tensor | list[Tensor], as CrossEncoder
        """Score pairs of sentences; signature and return of `CrossEncoder.predict`.

        Every distinct sentence is read once, however many pairs it is in.

        Args:
            inputs: Pairs of sentences, or one pair.
            prompt_name: Name of a saved prompt put before every sentence.
            prompt: The prompt itself.
            batch_size: Sentences the transformer reads at a time.
            show_progress_bar: Whether to show one.
            activation_fn: Instead of the default (Sigmoid for one label); ``torch.nn.Identity()`` gives raw scores.
            apply_softmax: Turn the scores of several classes into probabilities.
            convert_to_numpy: Return an array.
            convert_to_tensor: Return a tensor.
            device: Where to compute; a list of devices uses one process each.
            pool: From `start_multi_process_pool`.
            chunk_size: Sentences per message to a process of the pool.
            **kwargs: Handed to `encode`, such as ``processing_kwargs`` for the tokenizer.

        Returns:
            Float32 scores: (n,) for one label, (n, C) for more; for a single pair without the first axis.

        Raises:
            ValueError: If an input is not a pair of texts or ``batch_size`` is not positive.
        """
        if batch_size <= 0:
            raise ValueError(f"batch_size must be a positive integer, got {batch_size}.")
        singular = CrossEncoder.is_singular_input(cast(CrossEncoder, self), inputs)
        pairs: list[Any] = [inputs] if singular else list(inputs)
        for row, pair in enumerate(pairs):
            if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
                raise ValueError(f"Input {row} is {pair!r}; give pairs of texts, (sentence1, sentence2).")
        if pairs:
            scores = self._raw_scores(
                pairs,
                prompt_name=prompt_name,
                prompt=prompt,
                batch_size=batch_size,
                show_progress_bar=show_progress_bar,
                device=device,
                pool=pool,
                chunk_size=chunk_size,
                **kwargs,
            )
            scores = self._activate(scores, activation_fn)
            if apply_softmax and scores.ndim > 1:
                scores = scores.softmax(dim=1)
        else:
            scores = torch.tensor([], device=self.device)
        result: Any = scores
        if not convert_to_tensor:
            result = scores.cpu().numpy() if convert_to_numpy else list(scores)
        return result[0] if singular else result

    def _raw_scores(self, pairs: Sequence[Sequence[str]], **encode_kwargs: Any) -> Tensor:
        rows: dict[str, int] = {}
        index = torch.tensor([[rows.setdefault(text, len(rows)) for text in pair] for pair in pairs])  # (n, 2)
        embeddings = self._embeddings(list(rows), "inputs", **encode_kwargs)  # (m, d), m distinct sentences
        left, right = index.to(embeddings.device).unbind(dim=1)
        return scoring.score_pairs(self.head, embeddings, embeddings, left, right)  # (n, C)

    def _activate(self, scores: Tensor, activation_fn: Callable[[Tensor], Tensor] | None) -> Tensor:
        scores = (activation_fn or self.activation_fn)(scores)
        return scores.squeeze(-1) if self.num_labels == 1 else scores

    def _embeddings(self, inputs: Texts | str, what: str, **encode_kwargs: Any) -> Tensor:
        """Embeddings of texts, or the embeddings given, checked: (n, d) float32 on the model's device."""
        if isinstance(inputs, str):
            inputs = [inputs]
        if len(inputs) == 0:
            return torch.empty(0, self.head.embedding_dimension, device=self.device)
        if isinstance(inputs, Tensor) or (isinstance(inputs, np.ndarray) and inputs.dtype.kind == "f"):
            embeddings = torch.as_tensor(inputs)
        else:
            embeddings = self.encode(list(inputs), convert_to_tensor=True, **encode_kwargs)
        return scoring.check_embeddings(embeddings, self.head, what)

    @cross_encoder_predict_rank_args_decorator
    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Tensor], Tensor] | None = None,
        device: str | list[str | torch.device] | None = None,
        pool: dict[Literal["input", "output", "processes"], Any] | None = None,
        chunk_size: int | None = None,
    ) -> list[dict[Literal["corpus_id", "score", "text"], int | float | str]]:
        """Order documents by their score with a query; signature and return of `CrossEncoder.rank`.

        Args:
            query: The query.
            documents: What to rank.
            top_k: How many to return; all by default.
            return_documents: Also return the texts.
            prompt_name: As in `predict`.
            prompt: As in `predict`.
            batch_size: As in `predict`.
            show_progress_bar: As in `predict`.
            activation_fn: As in `predict`.
            device: As in `predict`.
            pool: As in `predict`.
            chunk_size: As in `predict`.

        Returns:
            ``{"corpus_id": int, "score": float}`` per document, and ``"text"`` on request, best first.

        Raises:
            ValueError: If the student gives more than one score per pair.
        """
        self._need_one_label("rank")
        scores = self.predict(
            [(query, document) for document in documents],
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            activation_fn=activation_fn,
            device=device,
            pool=pool,
            chunk_size=chunk_size,
        ).tolist()
        order = sorted(range(len(scores)), key=lambda i: -scores[i])[:top_k]  # stable: ties in the given order
        results: list[dict[Any, Any]] = [{"corpus_id": i, "score": scores[i]} for i in order]
        if return_documents:
            for result in results:
                result["text"] = documents[result["corpus_id"]]
        return results

    def score_matrix(
        self,
        queries: Texts | str,
        candidates: Texts | str,
        *,
        activation_fn: Callable[[Tensor], Tensor] | None = None,
        **encode_kwargs: Any,
    ) -> np.ndarray:
        """Score every query with every candidate.

        Args:
            queries: Texts (or one text), or their embeddings (q, d).
            candidates: Texts, or their embeddings (n, d).
            activation_fn: As in `predict`.
            **encode_kwargs: Handed to `encode` for texts.

        Returns:
            Float32 scores, (q, n), or (q, n, C) for several classes.

        Raises:
            ValueError: If embeddings have another width than the student's, or hold NaN or infinite values.
        """
        left = self._embeddings(queries, "queries", **encode_kwargs)
        right = self._embeddings(candidates, "candidates", **encode_kwargs)
        scores = scoring.score_matrix(self.head, left, right)
        return self._activate(scores, activation_fn).cpu().numpy()

    def topk(
        self,
        queries: Texts | str,
        candidates: Texts | str,
        k: int = 10,
        *,
        activation_fn: Callable[[Tensor], Tensor] | None = None,
        **encode_kwargs: Any,
    ) -> list[list[dict[Literal["corpus_id", "score"], int | float]]]:
        """The k best candidates of each query; never holds all the scores in memory.

        Args:
            queries: Texts (or one text), or embeddings (q, d).
            candidates: Texts, or their embeddings (n, d).
            k: How many per query; at most n come back.
            activation_fn: As in `predict`; must grow with the raw score.
            **encode_kwargs: Handed to `encode` for texts.

        Returns:
            For each query a list of ``{"corpus_id": int, "score": float}``, best first, as
            `sentence_transformers.util.semantic_search` returns it. Equal scores keep the candidates' order.

        Raises:
            ValueError: If k is not positive, the student gives several scores per pair, or embeddings are unusable.
        """
        self._need_one_label("topk")
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one candidate.")
        left = self._embeddings(queries, "queries", **encode_kwargs)
        right = self._embeddings(candidates, "candidates", **encode_kwargs)
        scores, rows = scoring.topk(self.head, left, right, k)
        scores = self._activate(scores.unsqueeze(-1), activation_fn)
        return [
            [{"corpus_id": i, "score": s} for i, s in zip(*row, strict=True)]
            for row in zip(rows.tolist(), scores.tolist(), strict=True)
        ]

    def _need_one_label(self, method: str) -> None:
        if self.num_labels != 1:
            raise ValueError(
                f"{method} needs one score per pair, this student gives {self.num_labels}; use predict or score_matrix."
            )

    # ---------------------------------------------------------------------------------------------- files

    def save(self, path: str, *args: Any, **kwargs: Any) -> None:
        """Write the student to a folder: an ordinary sentence-transformers model, and `dse.json` beside it."""
        super().save(path, *args, **kwargs)
        write_json(Path(path) / INFO_FILE, self.info)

    def _get_model_config(self) -> dict[str, Any]:
        from dse import __version__

        # Without dse installed, sentence-transformers then says what to install instead of failing on an import.
        return super()._get_model_config() | {"requirements": {"dse": f">={__version__}"}}

    def _load_module_class_from_ref(self, class_ref: str, *args: Any, **kwargs: Any) -> type:
        # Our own two classes need no `trust_remote_code`; every other reference goes the usual, guarded way.
        return MODULES.get(class_ref) or super()._load_module_class_from_ref(class_ref, *args, **kwargs)


def _cls_stands_last(transformer: Transformer) -> bool:
    """XLNet puts its classification token at the end."""
    tokenizer: Any = transformer.tokenizer
    ids = tokenizer("a")["input_ids"]
    return len(ids) > 1 and bool(ids[-1] == tokenizer.cls_token_id)
