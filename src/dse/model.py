"""The student: a sentence encoder that carries its learned pair function with it."""

from __future__ import annotations

import inspect
import logging
import os
from abc import ABCMeta
from collections import OrderedDict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, cast

from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling
from sentence_transformers.util.decorators import cross_encoder_init_args_decorator
from torch import Tensor, nn

from dse.encoding.graphs import GRAPH_BACKENDS
from dse.encoding.runtime import Dtype
from dse.errors import BadDataError, MissingModelError
from dse.graph_encoder import GraphEncoder
from dse.model_card import DSEModelCardData
from dse.modules import LayerConcat, PairHead, VectorInput
from dse.pair_scorer import PairScorer
from dse.saved import damaged_json, naming, noted_length, noted_pooling, noted_prompts, read_transformer
from dse.scoring.kinds import HeadKind

logger = logging.getLogger(__name__)

Backend = Literal["torch", "onnx", "openvino"]
PoolingMode = Literal["mean", "mean_sqrt_len_tokens", "max", "cls"]
MODULES: dict[str, type] = {
    f"{module.__module__}.{module.__name__}": module for module in (LayerConcat, PairHead, VectorInput, GraphEncoder)
}


Init = TypeVar("Init", bound=Callable[..., None])


def _older_names(init: Init) -> Init:
    """Take the arguments that `CrossEncoder` has renamed under their older names too."""
    return cast(Init, cross_encoder_init_args_decorator(init))


class _SentenceTransformersClass(ABCMeta):
    """Says what the class is. KeyBERT and BERTopic look for that word in it, and take another model without it."""

    def __repr__(cls) -> str:
        return f"<class '{cls.__module__}.{cls.__qualname__}' (a model of sentence_transformers)>"


class DSE(PairScorer, metaclass=_SentenceTransformersClass):
    """A Distilled Sentence Embedding model: `SentenceTransformer` for sentences, `CrossEncoder` for pairs.

    The transformer reads every distinct sentence once; a pair costs one small function of two vectors.

    Args:
        model_name_or_path: Folder or hub id of a saved student.
        dtype: Precision of the transformer in `encode` and `predict`: ``"auto"`` takes bfloat16 where the
            hardware multiplies it and float32 elsewhere. Weights and scores stay float32. What `encode` does not give
            as one embedding a text (``output_value`` of tokens or None, inputs that are dicts, a compiled model) is
            computed in float32 always, and so differs a little; ``"float32"`` computes everything in it.
        num_labels: Scores that a pair should get; another number than the student's is refused.
        max_length: Tokens read of a text, in place of the saved number.
        activation_fn: What `predict` applies to raw scores, in place of the saved function.
        backend: What runs the encoder: ``"torch"``, or ``"onnx"`` or ``"openvino"`` for what `dse export` has written,
            into the student's folder or another. By default what the folder itself holds.
        **kwargs: As `SentenceTransformer` takes them (``device``, ``token``, ``revision``, ...).

    Raises:
        ValueError: If the folder holds no pair head, or one for another number of labels.
        TypeError: If there is no argument of that name.
        MissingModelError: If there is no such student.
        BadDataError: If a file of it is damaged.

    Example:
        >>> student = getfixture("student")                       # DSE("path-or-hub-id")
        >>> student.encode(["a red bicycle", "a blue tent"]).shape  # (n, d)
        (2, 32)
        >>> scores = student.predict([("a red bicycle", "a bicycle"), ("a red bicycle", "a tent")])
        >>> scores.shape, bool((0 < scores).all() and (scores < 1).all())
        ((2,), True)
    """

    model_card_data_class = DSEModelCardData  # type: ignore[assignment]  # a subclass, as sentence-transformers means it

    @_older_names
    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str] | None = None,
        *,
        dtype: Dtype = "auto",
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: Callable[[Tensor], Tensor] | None = None,
        backend: Backend | None = None,
        **kwargs: Any,
    ) -> None:
        _check_names(kwargs)
        name = _folder_for(backend, None if model_name_or_path is None else os.fspath(model_name_or_path))
        try:
            with naming("student", name):
                super().__init__(name, dtype=dtype, **kwargs)
        except SafetensorError as error:
            raise BadDataError(
                f"The weights of {name} cannot be read ({error}); copy or download them again."
            ) from error
        except MissingModelError:
            raise
        except Exception as error:  # transformers, tokenizers and sentence-transformers each raise their own
            if name is None or (file := damaged_json(name)) is None:
                raise
            raise BadDataError(f"{file} is damaged; copy or download the model again.") from error
        self._check_modules(name, num_labels)
        if backend is not None and len(self) and getattr(self[0], "backend", "torch") != backend:
            held = "an export" if isinstance(self[0], GraphEncoder) else "no export"
            raise BadDataError(
                f"{name} holds {held} and cannot run in {backend}; make it with `dse export`, or leave backend out."
            )
        if len(self) and isinstance(self[0], GraphEncoder):
            self[0].compute_in(dtype)
        if max_length is not None:
            self._check_length(max_length)
            self.max_seq_length = max_length
        if activation_fn is not None:
            self.activation_fn = activation_fn

    def _check_modules(self, model_name_or_path: str | None, num_labels: int | None) -> None:
        if not len(self):
            return
        if not isinstance(self[-1], PairHead) and model_name_or_path is not None:
            raise ValueError(
                f"{model_name_or_path} holds no pair head; DSE.from_backbone({str(model_name_or_path)!r}) makes an "
                "untrained student from it, `dse distill` a trained one."
            )
        own = self.head.num_labels  # refuses another last module
        if num_labels not in (None, own):
            raise ValueError(
                f"num_labels is {num_labels}, the student gives {own} scores per pair; leave it out, or "
                "distil a student for that task."
            )

    def _check_length(self, max_length: int) -> None:
        positions = getattr(self.config, "max_position_embeddings", None)
        if not isinstance(max_length, int) or max_length < 1 or (positions is not None and max_length > positions):
            raise ValueError(
                f"max_length is {max_length!r}; this student reads 1 to {positions or 'any number of'} tokens of a "
                "text."
            )

    # ---------------------------------------------------------------------------------------------- building

    @classmethod
    def from_backbone(
        cls,
        backbone: str,
        *,
        num_labels: int = 1,
        num_layers: int = 4,
        average_layers: bool = False,
        pooling: PoolingMode | None = None,
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
            pooling: Over tokens: ``mean``, ``mean_sqrt_len_tokens``, ``max`` or ``cls``. By default what
                sentence-transformers has noted beside the backbone, else ``mean``.
            skip_cls: Leave ``[CLS]`` out of the pooling, as the paper's code does.
            projection: Width of an optional linear projection of the embedding.
            head: Kind of pair head, see `PairHead`.
            head_dimension: Hidden width of the mlp heads.
            head_dropout: Dropout on the embeddings while training.
            freeze_backbone: Train projection and head only.
            max_seq_length: Tokens read of each sentence. By default the limit that sentence-transformers has noted
                beside the backbone, else the transformer's own.
            **kwargs: As `DSE` takes them; ``prompts`` are the backbone's own by default.

        Returns:
            The student, its head randomly initialised from torch's generator.

        Raises:
            ValueError: If the backbone has fewer layers than ``num_layers``.
        """
        transformer: Any = read_transformer(backbone, max_seq_length)
        if max_seq_length is None:
            transformer.max_seq_length = noted_length(backbone, transformer)
        layers = LayerConcat(
            transformer.get_embedding_dimension(),
            num_layers,
            average=average_layers,
            skip_token_id=transformer.tokenizer.cls_token_id if skip_cls else None,
        )
        mode = pooling or noted_pooling(backbone)
        mode = "lasttoken" if mode == "cls" and _cls_stands_last(transformer) else mode
        modules: OrderedDict[str, nn.Module] = OrderedDict(
            transformer=transformer, layers=layers, pooling=Pooling(layers.get_embedding_dimension(), mode)
        )
        dimension = layers.get_embedding_dimension()
        if projection is not None:
            modules["projection"] = Dense(dimension, projection, activation_function=nn.Identity())
            dimension = projection
        # The cosine that a backbone is trained for is that of its last layer, which stands last.
        joined = dimension > transformer.get_embedding_dimension() and projection is None
        beside = head in ("cosine-mlp", "cosine-map") and joined
        cosine_dimension = transformer.get_embedding_dimension() if beside else None
        modules["pair_head"] = PairHead(
            dimension, num_labels, head, head_dimension, head_dropout, cosine_dimension=cosine_dimension
        )
        student = cls(modules=modules, **{"prompts": noted_prompts(backbone)} | kwargs)
        if freeze_backbone:
            student[0].requires_grad_(False)
        return student

    # ---------------------------------------------------------------------------------------------- files

    def _get_model_config(self) -> dict[str, Any]:
        # Without dse installed, sentence-transformers then says what to install instead of failing on an import.
        return super()._get_model_config() | {"requirements": {"dse": f">={version('dse')}"}}

    def _load_module_class_from_ref(self, class_ref: str, *args: Any, **kwargs: Any) -> type:
        # Our own classes need no `trust_remote_code`; every other reference goes the usual, guarded way.
        return MODULES.get(class_ref) or super()._load_module_class_from_ref(class_ref, *args, **kwargs)


def _check_names(kwargs: dict[str, Any]) -> None:
    known = inspect.signature(SentenceTransformer.__init__).parameters
    for name in kwargs.keys() - known.keys() - {"tokenizer_kwargs"}:  # an older name of processor_kwargs
        raise TypeError(
            f"DSE takes no argument {name!r}; it takes those of SentenceTransformer and its own, see help(DSE)."
        )


def _cls_stands_last(transformer: Transformer) -> bool:
    """XLNet puts its classification token at the end."""
    tokenizer: Any = transformer.tokenizer
    ids = tokenizer("a")["input_ids"]
    return len(ids) > 1 and bool(ids[-1] == tokenizer.cls_token_id)


def _folder_for(backend: Backend | None, model: str | None) -> str | None:
    """The export inside a student's folder, if the backend is one of graphs and it is there; else the folder itself."""
    if backend not in (None, "torch", *GRAPH_BACKENDS):
        raise ValueError(f"backend is {backend!r}; choose torch, {' or '.join(GRAPH_BACKENDS)}.")
    if model is None or backend in (None, "torch"):
        return model
    inside = Path(model) / str(backend)
    return str(inside) if (inside / "modules.json").is_file() else model
