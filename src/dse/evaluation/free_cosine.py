"""What a user has without training: the cosine of the backbone's own vectors, beside which a student is judged."""

from __future__ import annotations

from torch.nn import init

from dse.model import DSE


def free_cosine(backbone: str, student: DSE) -> DSE:
    """The backbone as a model: the mean of its last layer, of texts as long as a student made from it reads.

    Its raw scores are cosines.

    Args:
        backbone: Folder or hub id.
        student: Its token limit is taken over if it was made from this backbone.
    """
    length = student.max_seq_length if backbone == student.info.get("backbone") else None
    model = DSE.from_backbone(backbone, num_layers=1, head="cosine", max_seq_length=length)
    init.ones_(model.head.out.weight)
    init.zeros_(model.head.out.bias)
    return model
