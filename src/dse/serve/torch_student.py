"""A `DSE`, and the class that an index ranks by, as the server uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from dse import scoring
from dse.encoding.runtime import auto_dtype
from dse.errors import MismatchError
from dse.model import DSE
from dse.serve.lengths import TokenCounter

if TYPE_CHECKING:
    from dse.index.shards.sharded_index import AnyIndex

ROUND_TOKENS = {"cpu": 2048}  # two batches of a CPU
ROUND_TOKENS_ELSEWHERE = 32_768


class TorchStudent:
    """A `dse.serve.students.Student`.

    Args:
        student: The student.
        index: Its index, or None.

    Raises:
        MismatchError: If the student reads no texts.
    """

    def __init__(self, student: DSE, index: AnyIndex | None) -> None:
        if not len(student.tokenizer):
            raise MismatchError("This student scores vectors and reads no texts; serve one that has an encoder.")
        self._student = student.eval()
        self.fingerprint, self.dimension = student.fingerprint, int(student.head.embedding_dimension)
        self.num_labels, self.label_names = student.num_labels, student.label_names
        self.label = _label(student, index)
        self.threshold = student.threshold if student.num_labels == 1 else 0.0
        self.head, self.dtype = str(student.head.kind), str(student.inference_dtype)
        self.prompts, self.default_prompt_name = dict(student.prompts), student.default_prompt_name
        self.pair_prompts = student.pair_prompts
        counter = TokenCounter(student)
        self.limit, self.count = counter.limit, counter.count
        self.round_tokens = ROUND_TOKENS.get(student.device.type, ROUND_TOKENS_ELSEWHERE)

    def encode(self, texts: list[str], prompt: str) -> np.ndarray:
        """Embeddings (n, d) float32; called by one thread."""
        vectors: np.ndarray = self._student.embed_texts(texts, prompt, show_progress_bar=False).cpu().numpy()
        return vectors

    def best(self, queries: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best candidates (n, d) of queries (q, d), as `DSE.rank` finds them: raw scores and places (q, k)."""
        head = self._student.head
        left = torch.from_numpy(queries).to(head.device)
        if self.label is None:
            scores, places = scoring.topk(head, left, candidates, k, auto_dtype(head.device))
        else:
            from dse.index.row_scorer import RowScorer

            right = torch.from_numpy(candidates).to(head.device)
            scores, places = RowScorer(head, self.label).best(left, right, k)
        return scores.cpu().numpy(), places.cpu().numpy()

    @torch.inference_mode()
    def pair_scores(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Raw scores of pairs of embeddings (n, d), every class: (n, C)."""
        head = self._student.head
        rows = torch.arange(len(left), device=head.device)
        u, v = (torch.from_numpy(side).to(head.device) for side in (left, right))
        scores: np.ndarray = scoring.score_pairs(head, u, v, rows, rows).cpu().numpy()
        return scores

    def one_score(self, raw: np.ndarray) -> np.ndarray:
        """Of raw scores (n, C) the one that pairs are ranked by, (n,)."""
        if self.label is None:
            return raw[:, 0]
        from dse.index.row_scorer import log_odds

        scores: np.ndarray = log_odds(torch.from_numpy(raw), self.label).numpy()
        return scores

    @torch.inference_mode()
    def activate(self, raw: np.ndarray) -> np.ndarray:
        """Scores (n,) as `predict` returns them, from those that pairs are ranked by."""
        scores = torch.from_numpy(raw)
        if self.label is not None:
            return scores.sigmoid().numpy()
        shown: np.ndarray = self._student.activation_fn(scores.unsqueeze(-1)).squeeze(-1).numpy()
        return shown


def _label(student: DSE, index: AnyIndex | None) -> int | None:
    """Place of the class that an index searches for among the student's scores."""
    if index is None or student.num_labels == 1:
        return None
    from dse.index.student import row_scorer

    return row_scorer(student, index.info()["label"]).label
