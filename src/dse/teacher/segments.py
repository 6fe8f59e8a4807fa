"""Teachers that judge a pair by the means of its two sentences, read together (`dse.modules.SegmentPooling`)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, cast

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Dense
from torch import Tensor, nn

from dse.data.pairs import Pairs
from dse.data.tasks import Task
from dse.encoding.runtime import run_sorted
from dse.errors import MismatchError
from dse.modules import SegmentPooling
from dse.saved import read_transformer
from dse.teacher.load import Teacher, config_of, default_prompt
from dse.training.head_start import fit_head, head_start_rows
from dse.training.losses import task_loss
from dse.training.settings import Training


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
    transformer = read_transformer(backbone, max_length)
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


def start_teacher_head(teacher: CrossEncoder, train: Pairs, task: Task, linear: bool, training: Training) -> None:
    """The head start of a segment teacher: fit its head to a sample of the rows, its backbone as it is.

    Args:
        teacher: As `segment_teacher` makes it; its head is changed, its backbone is not.
        train: Labelled pairs.
        task: What their labels mean.
        linear: Whether the scores of a regression are the raw labels, see `fit_teacher`.
        training: `Training.head_steps`, rate, weight decay and seed.
    """
    assert train.label is not None
    rows = head_start_rows(len(train), training.seed)
    sample, label = train.select(rows), torch.from_numpy(train.label[rows]).to(teacher.device)
    transformer, segments, hidden, scores = cast(Any, teacher.children())

    def pool(features: dict[str, Any]) -> Tensor:
        vectors: Tensor = segments(transformer(features))["sentence_embedding"]
        return vectors.float()

    teacher.eval()
    with torch.inference_mode():
        prompt = default_prompt(teacher)
        vectors = run_sorted(teacher, sample.tuples(), pool, batch_size=32, device=teacher.device, prompt=prompt)
    vectors = vectors.clone()  # (n, 4H), out of inference mode

    def mean_loss(batch: Tensor) -> Tensor:
        return task_loss(scores.linear(hidden.linear(vectors[batch]).relu()), label[batch], task, linked=not linear)

    parameters = [*hidden.parameters(), *scores.parameters()]
    fit_head(parameters, mean_loss, len(rows), training, config_of(teacher).hidden_size)
