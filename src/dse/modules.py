"""What saved models are made of: `LayerConcat` and `PairHead` of a student, `SegmentPooling` of a teacher.

    u = pool(last K layers of encoder(a))            # (d,)   d = K * hidden
    v = pool(last K layers of encoder(b))            # (d,)
    s = W2 relu(W1 [u, v, u*v, |u-v|] + b1) + b2     # (C,)   the paper's pair head

Barkan et al., "Scalable Attentive Sentence-Pair Modeling via Distilled Sentence Embedding", AAAI 2020
(arXiv:1908.05161). The import paths of the classes are written into every saved model (`modules.json`): never
move or rename them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError
from safetensors.torch import load_model
from sentence_transformers.base.modules import InputModule, Module
from torch import Tensor, nn

from dse.errors import MismatchError
from dse.saved import INFO_FILE, SEGMENTS, STUDENT, finish_folder
from dse.scoring.head import PairFunction
from dse.scoring.kinds import HEAD_KINDS, KINDS, HeadKind

logger = logging.getLogger(__name__)


class LayerConcat(Module):
    """Put the last K layers of the backbone side by side, token by token; the native `Pooling` does the rest.

    Args:
        hidden_dimension: Width of one layer of the backbone.
        num_layers: K, how many of the last layers to use (1 = the last one alone).
        average: Average the layers (d = hidden) instead of concatenating them (d = K * hidden).
        skip_token_id: Token left out of the pooling: the paper's own mean leaves out ``[CLS]``. None pools all.

    Example:
        >>> layers = LayerConcat(hidden_dimension=2, num_layers=2)
        >>> states = (torch.zeros(1, 3, 2), torch.ones(1, 3, 2), torch.full((1, 3, 2), 2.0))
        >>> layers({"all_layer_embeddings": states})["token_embeddings"][0, 0].tolist()
        [1.0, 1.0, 2.0, 2.0]
    """

    config_keys: list[str] = ["hidden_dimension", "num_layers", "average", "skip_token_id"]

    def __init__(
        self,
        hidden_dimension: int,
        num_layers: int = 4,
        average: bool = False,
        skip_token_id: int | None = None,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers is {num_layers}; use at least the last layer (num_layers=1).")
        self.hidden_dimension, self.num_layers = hidden_dimension, num_layers
        self.average, self.skip_token_id = average, skip_token_id

    def on_model_ready(self, model: nn.Module) -> None:
        """Ask the backbone for the layers used here, and no others."""
        config = getattr(model, "config", None)
        if config is None:
            return
        if self.num_layers > config.num_hidden_layers:
            raise ValueError(
                f"The student uses the last {self.num_layers} layers, its backbone has {config.num_hidden_layers}; "
                f"choose num_layers between 1 and {config.num_hidden_layers}."
            )
        try:
            config.output_hidden_states = list(range(-self.num_layers, 0))
        except StrictDataclassFieldValidationError:  # transformers before 5.23 gives all layers or none
            config.output_hidden_states = True

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Replace ``token_embeddings`` by the joined layers, (B, T, d)."""
        states = self._last_states(features)  # K tensors (B, T, H)
        if self.average:
            features["token_embeddings"] = torch.stack(states).mean(dim=0)  # (B, T, H)
        else:
            features["token_embeddings"] = torch.cat(states, dim=-1)  # (B, T, K*H)
        if self.skip_token_id is not None:
            keep = features["input_ids"] != self.skip_token_id
            features["attention_mask"] = features["attention_mask"] * keep
        return features

    def _last_states(self, features: dict[str, Any]) -> list[Tensor]:
        """The K layers that end in the one which is the transformer's output; as many as there are, the first repeated.

        `AdaptiveLayerLoss` puts an earlier layer in the place of the last, and reads all of them again.
        """
        if "all_layer_embeddings" not in features:
            raise ValueError(
                "The transformer gave its last layer only; put adapters of PEFT into it with student.add_adapter, or "
                "with get_peft_model and no task_type."
            )
        states, output = features["all_layer_embeddings"], features.get("token_embeddings")
        if not self.training:
            del features["all_layer_embeddings"]  # frees those that are not used
        elif output is not None:
            states = states[: next((i + 1 for i, state in enumerate(states) if state is output), len(states))]
        used = list(states[-self.num_layers :])
        return [used[0]] * (self.num_layers - len(used)) + used

    def get_embedding_dimension(self) -> int:
        """Width of the joined layers."""
        return self.hidden_dimension if self.average else self.num_layers * self.hidden_dimension

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the configuration; there are no weights."""
        self.save_config(output_path)


class VectorInput(InputModule):
    """The first module of a student whose input are vectors of a model that it does not have; texts are refused.

    Args:
        embedding_dimension: d, width of the vectors.
    """

    config_keys: list[str] = ["embedding_dimension"]
    save_in_root = False

    def __init__(self, embedding_dimension: int) -> None:
        super().__init__()
        self.embedding_dimension = embedding_dimension
        self.tokenizer: Any = _NoTokens()

    def preprocess(self, inputs: Any, prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Refuse texts.

        Raises:
            MismatchError: Always.
        """
        raise MismatchError(
            f"This student scores vectors of width {self.embedding_dimension} and has no encoder for texts; give "
            "vectors, or name their model when fitting it (encoder=)."
        )

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Leave the features as they are."""
        return features

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return self.embedding_dimension

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the configuration; there are no weights."""
        self.save_config(output_path)


class _NoTokens(dict[str, int]):
    """A vocabulary without words."""

    def get_vocab(self) -> dict[str, int]:
        return self


def _keep_out_of_root(model: nn.Module) -> None:
    first: Any = next(model.children(), None)
    if first is not None:
        first.save_in_root = False


class PairHead(PairFunction, Module):
    """The learned function of two embeddings, s(u, v), as the last module of a student; its kinds: `dse.scoring.kinds`.

    Inside `model(features)` it does nothing, so that ``encode`` gives embeddings. ``model(features, pairs=True)``
    adds ``scores``: ``features["pairs"]`` (n, 2) names the rows of the batch that form each pair. The head is called
    inside ``forward`` because data-parallel training only follows gradients of what ran inside it.

    Args:
        embedding_dimension: d, width of an embedding.
        num_labels: C, 1 for binary tasks and regression, else the number of classes.
        kind: One of `HEAD_KINDS`, whose formulas stand in `dse.scoring.kinds`; ``mlp`` is the paper's.
        hidden_dimension: h, width of the hidden layer of the mlp kinds.
        dropout: Dropout on the embeddings while training (0.1 in the paper's code).
        cosine_dimension: Of kinds with a cosine: how many of the last values of an embedding it is computed of.

    Attributes:
        info: What the student remembers of its training (`dse.json`); here, so that it is saved by whatever saves this.

    Raises:
        ValueError: If the kind is another one.

    Example:
        >>> head = PairHead(embedding_dimension=8, num_labels=3, kind="mlp", hidden_dimension=4)
        >>> head.score(torch.randn(5, 8), torch.randn(5, 8)).shape
        torch.Size([5, 3])
    """

    config_keys: list[str] = [
        "embedding_dimension",
        "num_labels",
        "kind",
        "hidden_dimension",
        "dropout",
        "cosine_dimension",
    ]
    forward_kwargs: set[str] = {"pairs"}

    def __init__(
        self,
        embedding_dimension: int,
        num_labels: int = 1,
        kind: HeadKind = "mlp",
        hidden_dimension: int = 512,
        dropout: float = 0.1,
        cosine_dimension: int | None = None,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"Unknown pair head {kind!r}; choose one of {', '.join(HEAD_KINDS)}.")
        super().__init__(KINDS[kind], embedding_dimension, num_labels, hidden_dimension, cosine_dimension)
        self.kind, self.dropout = kind, dropout
        self.info: dict[str, Any] = {}
        self._warned = False

    def on_model_ready(self, model: nn.Module) -> None:
        """Save the transformer in a folder of its own (`dse.saved`)."""
        _keep_out_of_root(model)

    def forward(self, features: dict[str, Any], pairs: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Leave the features as they are, or, with ``pairs=True``, add ``scores`` (n, C)."""
        if pairs:
            embeddings = features["sentence_embedding"]  # (m, d), m distinct sentences
            embeddings = nn.functional.dropout(embeddings, self.dropout, self.training)
            left, right = features["pairs"].unbind(dim=1)  # (n,), (n,)
            features["scores"] = self.score(embeddings[left], embeddings[right])
        elif self.training and torch.is_grad_enabled() and not self._warned and not self.has_one_weight:
            self._warned = True
            logger.warning(
                "This loss trains the embeddings and leaves the pair head as it is, so that predict and rank no longer "
                "fit; train with dse.distill, or with a loss that calls model(features, pairs=True)."
            )
        return features

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the weights, and keep them in float32: they are small, and scores are computed in it."""

        def moved(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            return result if result.dtype == tensor.dtype else tensor.to(result.device)

        super()._apply(moved, recurse)
        return self

    def get_config_dict(self) -> dict[str, Any]:
        """The configuration; ``cosine_dimension`` only if set, as older students do not have it."""
        return {name: value for name, value in super().get_config_dict().items() if value is not None}

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write configuration and weights (safetensors), and `dse.json` beside the modules."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=True)
        finish_folder(output_path, STUDENT, self.info)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Self:  # type: ignore[override]
        """Read what `save` wrote, from a folder or a hub repository; safetensors only."""
        hub = {k: v for k, v in kwargs.items() if k in ("token", "cache_folder", "revision", "local_files_only")}
        head = cls(**cls.load_config(model_name_or_path, subfolder=subfolder, **hub))
        weights = cls.load_file_path(model_name_or_path, "model.safetensors", subfolder=subfolder, **hub)
        if weights is None:
            raise FileNotFoundError(
                f"{model_name_or_path}/{subfolder} has no model.safetensors; save the student again."
            )
        load_model(head, weights)
        info = cls.load_file_path(model_name_or_path, INFO_FILE, **hub)
        if info is None:
            logger.warning(
                "%s has no %s: threshold, task and activation of the student are lost, and the usual ones are taken; "
                "copy the whole folder that was saved.",
                model_name_or_path,
                INFO_FILE,
            )
        else:
            head.info = json.loads(Path(info).read_text(encoding="utf-8"))
            if not isinstance(head.info, dict):
                raise ValueError(f"{info} is no JSON object; copy the file again.")
        return head


class SegmentPooling(Module):
    """Pool the two sentences of a pair, encoded together, one by one: [u, v, u*v, |u-v|].

    A cross-encoder usually judges a pair by the vector of ``[CLS]``, which a sentence encoder never used: such a
    teacher has to learn to compare from the start. The means of the two sentences, each encoded together with the
    other, are similar before any training where the sentences are.

    Args:
        separator: Id of the token after which the second sentence begins, for tokenizers that do not mark the
            sentences (RoBERTa, MPNet, ModernBERT); None goes by their ``token_type_ids``.

    Example:
        >>> features = {
        ...     "token_embeddings": torch.tensor([[[1.0], [1.0], [3.0], [9.0]]]),
        ...     "attention_mask": torch.tensor([[1, 1, 1, 0]]),
        ...     "token_type_ids": torch.tensor([[0, 0, 1, 0]]),
        ... }
        >>> SegmentPooling()(features)["sentence_embedding"].tolist()
        [[1.0, 3.0, 3.0, 2.0]]
    """

    config_keys: list[str] = ["separator"]

    def __init__(self, separator: int | None = None) -> None:
        super().__init__()
        self.separator = separator

    def on_model_ready(self, model: nn.Module) -> None:
        """Save the transformer in a folder of its own (`dse.saved`)."""
        _keep_out_of_root(model)

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add ``sentence_embedding``, (B, 4H)."""
        tokens, mask = features["token_embeddings"], features["attention_mask"]  # (B, T, H), (B, T)
        second = mask * self._second(features)
        u, v = (self._mean(tokens, segment) for segment in (mask - second, second))  # (B, H) each
        features["sentence_embedding"] = torch.cat([u, v, u * v, (u - v).abs()], dim=1)  # (B, 4H)
        return features

    def _second(self, features: dict[str, Any]) -> Tensor:
        """1 where a token belongs to the second sentence, (B, T)."""
        if self.separator is None:
            marks: Tensor = features["token_type_ids"].clamp(max=1)  # XLNet calls its [CLS] segment 2
            return marks
        ends: Tensor = (features["input_ids"] == self.separator).long()
        return (ends.cumsum(dim=1) - ends).clamp(max=1)  # the first separator still ends the first sentence

    @staticmethod
    def _mean(tokens: Tensor, segment: Tensor) -> Tensor:
        weight = segment.unsqueeze(-1).to(tokens.dtype)  # (B, T, 1)
        return (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)  # (B, H)

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the configuration; there are no weights."""
        self.save_config(output_path)
        finish_folder(output_path, SEGMENTS)
