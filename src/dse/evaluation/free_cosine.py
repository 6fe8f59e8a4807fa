"""What a user has without training: the cosine of the backbone's own vectors, beside which a student is judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dse.model import DSE


def free_cosine(backbone: str, student: DSE) -> DSE:
    """The backbone as a model: the mean of its last layer, of texts as long as a student made from it reads.

    Args:
        backbone: Folder or hub id.
        student: Its token limit is taken over if it was made from this backbone.
    """
    length = student.max_seq_length if backbone == student.info.get("backbone") else None
    return DSE.from_backbone(backbone, num_layers=1, head="cosine", max_seq_length=length)


def cosines(model: DSE, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Cosine of the embeddings of each pair, (n,).

    Example:
        >>> cosines(getfixture("student"), [("a bike", "a bike")]).round(3).tolist()
        [1.0]
    """
    rows = {text: row for row, text in enumerate(dict.fromkeys(text for pair in pairs for text in pair))}
    vectors = model.encode(list(rows), convert_to_tensor=True, show_progress_bar=False).float()  # (m, d)
    u, v = (vectors[[rows[pair[side]] for pair in pairs]] for side in (0, 1))
    found: np.ndarray = torch.nn.functional.cosine_similarity(u, v).cpu().numpy()
    return found
