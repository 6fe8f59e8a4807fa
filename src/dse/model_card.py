"""The README.md that every saved student gets: what it is and how to use it."""

from __future__ import annotations

from dataclasses import dataclass, field

from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardData

PLACEHOLDER = "sentence_transformers_model_id"  # what `push_to_hub` replaces by the name given there


@dataclass
class DSEModelCardData(SentenceTransformerModelCardData):
    """What sentence-transformers writes into a model's README.md, with a snippet that scores pairs.

    Widget examples are off: they need a pass over the training data at every save, and show cosines of embeddings,
    which are not what a student is for.

    Example:
        >>> print(DSEModelCardData().generate_usage_snippet().splitlines()[1])
        from dse import DSE  # Distilled Sentence Embedding; not PyPI's project of that name
    """

    task_name: str = "scoring and ranking sentence pairs, semantic search and textual similarity"
    tags: list[str] = field(
        default_factory=lambda: [
            "sentence-transformers",
            "dse",
            "distillation",
            "cross-encoder",
            "text-ranking",
            "sentence-similarity",
            "feature-extraction",
        ]
    )
    generate_widget_examples: bool = False

    def generate_usage_snippet(self) -> str:
        """The Python block of the section "Usage"."""
        lines = [
            "from dse import DSE  # Distilled Sentence Embedding; not PyPI's project of that name",
            "",
            "# A folder, or a name on the Hub",
            f'model = DSE("{self.model_id or PLACEHOLDER}")',
            "",
            "# Scores of pairs, as CrossEncoder gives them; each distinct sentence is read once",
            'pairs = [("A man is eating food.", "A man eats pasta."), ("A man is eating food.", "The sky is blue.")]',
            "scores = model.predict(pairs)",
            f"print(scores.shape)  # {self._shape()}",
        ]
        if self._num_labels() == 1:
            lines += [
                "",
                "# Documents ordered by their score with a query",
                'documents = ["A man eats pasta.", "The sky is blue.", "Someone is having dinner."]',
                'print(model.rank("A man is eating food.", documents, top_k=2, return_documents=True))',
            ]
        lines += [
            "",
            "# Embeddings, to be kept; predict on pairs of them is model.score_matrix(queries, candidates)",
            'embeddings = model.encode(["A man is eating food.", "A man eats pasta."])',
            f"print(embeddings.shape)  # (2, {self._get_snippet_output_dimensionality()})",
        ]
        return "```python\n" + "\n".join(lines) + "\n```"

    def _num_labels(self) -> int:
        return int(getattr(self.model, "num_labels", 1))

    def _shape(self) -> str:
        labels = self._num_labels()
        return "(2,)" if labels == 1 else f"(2, {labels})"
