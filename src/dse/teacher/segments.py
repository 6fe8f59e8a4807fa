"""Teachers that judge a pair by the means of its two sentences, read together (`dse.modules.SegmentPooling`)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, cast

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Dense, Transformer
from torch import Tensor, nn

from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.encoding.runtime import run_sorted
from dse.errors import MismatchError
from dse.modules import SegmentPooling
from dse.training.head_start import fit_head, some_rows
from dse.training.settings import Training, task_loss


class Teacher(CrossEncoder):
    """A `CrossEncoder` that also loads, without ``trust_remote_code``, teachers with `dse.modules.SegmentPooling`."""

    def _load_module_class_from_ref(self, class_ref: str, *args: Any, **kwargs: Any) -> type:
        if class_ref == "dse.modules.SegmentPooling":
            return SegmentPooling
        return super()._load_module_class_from_ref(class_ref, *args, **kwargs)


def segment_teacher(backbone: str, num_labels: int, max_length: int | None = None, **kwargs: Any) -> Teacher:
    """An untrained cross-encoder that judges by the means of the two sentences.

    Args:
        backbone: Folder or hub id of any encoder whose tokenizer marks the sentences of a pair, or sets a separator
            between them.
        num_labels: C, scores a pair gets.
        max_length: Tokens of a pair; the backbone's own limit by default.
        **kwargs: As `CrossEncoder` takes them.

    Raises:
        MismatchError: If the tokenizer has neither ``token_type_ids`` nor a separator.
    """
    transformer = Transformer(backbone, max_seq_length=max_length)
    tokenizer: Any = transformer.tokenizer
    marked = "token_type_ids" in tokenizer.model_input_names
    separator = None if marked else tokenizer.sep_token_id
    if not marked and separator is None:
        raise MismatchError(
            f"The tokenizer of {backbone} does not tell the two sentences of a pair apart (it has neither "
            "token_type_ids nor a separator); use pooling 'cls'."
        )
    width = 4 * transformer.get_embedding_dimension()
    hidden = Dense(width, 512, activation_function=nn.ReLU(), module_output_name="pair_hidden")
    scores = Dense(
        512,
        num_labels,
        activation_function=nn.Identity(),
        module_input_name="pair_hidden",
        module_output_name="scores",
    )
    transformer.model.config.num_labels = num_labels
    modules = OrderedDict(
        transformer=transformer, segments=SegmentPooling(separator), pair_head_1=hidden, pair_head_2=scores
    )
    teacher: Teacher = Teacher(modules=modules, **kwargs)
    return teacher


def warm_up(teacher: CrossEncoder, train: Pairs, task: Task, linear: bool, training: Training) -> None:
    """Fit the head of a segment teacher to some of the rows, on the vectors its backbone gives as it is."""
    assert train.label is not None
    some = some_rows(len(train), training.seed)
    chosen, label = train.select(some), torch.from_numpy(train.label[some]).to(teacher.device)
    transformer, segments, hidden, scores = cast(Any, teacher.children())

    def read(features: dict[str, Any]) -> Tensor:
        vectors: Tensor = segments(transformer(features))["sentence_embedding"]
        return vectors.float()

    teacher.eval()
    with torch.inference_mode():
        vectors = run_sorted(teacher, chosen.tuples(), read, batch_size=32, device=teacher.device)
    vectors = vectors.clone()  # (n, 4H), out of inference mode

    def mean_loss(rows: Tensor) -> Tensor:
        return task_loss(scores.linear(hidden.linear(vectors[rows]).relu()), label[rows], task, linked=not linear)

    parameters = [*hidden.parameters(), *scores.parameters()]
    fit_head(parameters, mean_loss, len(some), training, cast(Any, teacher.config).hidden_size)
