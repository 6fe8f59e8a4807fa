"""A student in mteb: the head's scores and the embeddings' cosine, both in one run.

    import mteb
    from dse.evaluation.mteb import MTEBStudent

    mteb.evaluate(MTEBStudent(DSE("my-student")), mteb.get_tasks(["STSBenchmark", "TwitterURLCorpus"]))

For tasks on pairs (STS, PairClassification) mteb asks the model how alike two embeddings are, and reports that as
``spearman``, ``pearson``, ``similarity_ap``, ...: these are the head's. ``cosine_spearman``, ``cosine_ap``, ... are
mteb's own computation on the same embeddings. The ``main_score`` of an STS task stays the cosine, so quote the key.
Handed over without this wrapper, a student is a `SentenceTransformer` to mteb: cosine everywhere.
"""

from __future__ import annotations

from typing import Any

import torch

from dse.errors import MissingExtraError
from dse.model import DSE
from dse.scoring.products import as_tensor

try:
    from mteb.models import SentenceTransformerEncoderWrapper
except ImportError as error:
    raise MissingExtraError('mteb is not installed; run: pip install "dse[mteb]"') from error


class MTEBStudent(SentenceTransformerEncoderWrapper):
    """A student whose pairs are scored by its head.

    It has no ``predict``: mteb would take it for a cross-encoder, which may not run STS and PairClassification.

    Args:
        student: A student with one score per pair.
        **kwargs: As mteb's own wrapper takes them, such as ``model_prompts``.

    Raises:
        ValueError: If the student gives more than one score per pair.

    Example:
        >>> student = getfixture("student")
        >>> vectors = student.encode(["a red bicycle", "a blue tent"])
        >>> scores = MTEBStudent(student).similarity_pairwise(vectors[:1], vectors[1:])
        >>> bool(abs(scores[0] - student.predict(("a red bicycle", "a blue tent"))) < 1e-5)
        True
    """

    def __init__(self, student: DSE, **kwargs: Any) -> None:
        if student.num_labels != 1:
            raise ValueError(
                f"mteb needs one score per pair, this student gives {student.num_labels}; hand it to mteb as it is, "
                "which scores its embeddings by cosine."
            )
        super().__init__(student, **kwargs)

    @torch.inference_mode()
    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """The head's score of each pair, as `DSE.predict` gives it.

        Args:
            embeddings1: Left embeddings, (n, d).
            embeddings2: Right embeddings, (n, d).

        Returns:
            Scores, (n,).
        """
        student: Any = self.model
        u, v = (as_tensor(x).to(student.device, torch.float32) for x in (embeddings1, embeddings2))
        scores: torch.Tensor = student.activation_fn(student.head.score(u, v)).squeeze(-1).cpu()
        return scores
