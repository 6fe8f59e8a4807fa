"""What a student does with pairs: `predict` and `rank` as `CrossEncoder`, `score_matrix`, `topk` and `prepare`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Literal, cast

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.util.decorators import cross_encoder_predict_rank_args_decorator
from torch import Tensor

from dse import scoring
from dse.encoding.runtime import Dtype, auto_dtype, resolve_dtype
from dse.pair_encoder import PairEncoder
from dse.pair_inputs import (
    as_embeddings,
    as_pairs,
    as_texts,
    check_activation,
    document_prompt,
    encode_options,
    query_prompt,
)
from dse.scoring.candidates import Candidates

Texts = Sequence[str] | np.ndarray | Tensor


class PairScorer(PairEncoder):
    """The methods of `DSE` that score pairs."""

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
            prompt_name: Name of a saved prompt put before the first sentence of each pair, in place of the student's
                own prompt ``query``. Before the second stands the student's ``document`` or ``passage``, if it has one.
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
            **kwargs: Handed to `encode`, such as ``processing_kwargs`` for the tokenizer; options that change the
                embeddings are refused.

        Returns:
            Float32 scores: (n,) for one label, (n, C) for more; for a single pair without the first axis.

        Raises:
            ValueError: If an input is not a pair of texts or ``batch_size`` is not positive.
        """
        if batch_size <= 0:
            raise ValueError(f"batch_size must be a positive integer, got {batch_size}.")
        check_activation(activation_fn)
        singular = CrossEncoder.is_singular_input(cast(CrossEncoder, self), inputs)
        singular = singular and not isinstance(inputs, Iterator)
        pairs = as_pairs(inputs, singular)
        if pairs:
            scores = self._scores(
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

    def raw_scores(self, pairs: Sequence[tuple[str, str]], **encode_kwargs: Any) -> np.ndarray:
        """Scores of pairs before the activation: what a student is trained and compared by.

        Args:
            pairs: Pairs of sentences.
            **encode_kwargs: Handed to `encode`.

        Returns:
            Float32 scores, (n, C), for one label too.

        Example:
            >>> getfixture("student").raw_scores([("a red bicycle", "a bicycle")]).shape
            (1, 1)
        """
        if not pairs:
            return np.empty((0, self.num_labels), np.float32)
        with torch.inference_mode():
            return self._scores(pairs, **({"show_progress_bar": False} | encode_kwargs)).cpu().numpy()

    def _scores(self, pairs: Sequence[Sequence[str]], **encode_kwargs: Any) -> Tensor:
        kwargs = encode_options(encode_kwargs)
        prompt = query_prompt(self, kwargs.pop("prompt", None), kwargs.pop("prompt_name", None))
        if prompt == document_prompt(self):
            rows: dict[str, int] = {}
            index = torch.tensor([[rows.setdefault(text, len(rows)) for text in pair] for pair in pairs])  # (n, 2)
            u = v = self._embeddings(list(rows), "inputs", prompt, **kwargs)  # (m, d), m distinct sentences
            left, right = index.to(u.device).unbind(dim=1)
            return scoring.score_pairs(self.head, u, v, left, right)  # (n, C)
        sides: list[dict[str, int]] = [{}, {}]  # a text that is on both sides is read with each of the two prompts
        index = torch.tensor([[side.setdefault(t, len(side)) for side, t in zip(sides, p, strict=True)] for p in pairs])
        u = self._embeddings(list(sides[0]), "inputs", prompt, **kwargs)
        v = self._embeddings(list(sides[1]), "inputs", document_prompt(self), **kwargs)
        left, right = index.to(u.device).unbind(dim=1)
        return scoring.score_pairs(self.head, u, v, left, right)

    def _activate(self, scores: Tensor, activation_fn: Callable[[Tensor], Tensor] | None) -> Tensor:
        scores = (activation_fn or self.activation_fn)(scores)
        return scores.squeeze(-1) if self.num_labels == 1 else scores

    @cross_encoder_predict_rank_args_decorator
    def rank(
        self,
        query: str,
        documents: Sequence[str] | Candidates,
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
            query: The query, one text.
            documents: What to rank: texts, from a generator too, or candidates from `prepare`.
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
            ValueError: If the student gives more than one score per pair, or an argument is not what it should be.
            MismatchError: If the candidates were prepared by another student.
        """
        self._need_one_label("rank")
        if not isinstance(query, str):
            raise ValueError(f"query is a {type(query).__name__}; give one text, and several to topk.")
        if top_k is not None and (not isinstance(top_k, int | np.integer) or top_k < 0):
            raise ValueError(f"top_k is {top_k!r}; give how many documents to return, or None for all.")
        given: Any = documents
        if not isinstance(documents, Candidates) and as_embeddings(documents, "documents") is None:
            given = as_texts(documents, "documents")
        elif return_documents:
            raise ValueError("Embeddings hold no texts; look them up by corpus_id, or rank the texts.")
        hits = self.topk(
            query,
            given,
            max(1, len(given) if top_k is None else top_k),
            activation_fn=activation_fn,
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            device=device,
            pool=pool,
            chunk_size=chunk_size,
        )
        results: list[dict[Any, Any]] = list(hits[0])[:top_k]
        if return_documents:
            for result in results:
                result["text"] = given[result["corpus_id"]]
        return results

    def prepare(self, sentences: Texts, *, dtype: Dtype = "auto", **encode_kwargs: Any) -> Candidates:
        """Embed candidates once, for `rank`, `topk` and `score_matrix` to take in place of texts, today or later.

        Args:
            sentences: Texts, or their embeddings (n, d).
            dtype: How the embeddings are held: ``"auto"`` takes bfloat16 where the hardware multiplies it (half the
                memory; scores move by what rounding the embeddings moves them) and float32 elsewhere.
            **encode_kwargs: Handed to `encode` for texts.

        Returns:
            The prepared candidates; `Candidates.save` keeps them.

        Example:
            >>> student = getfixture("student")
            >>> candidates = student.prepare(["a red bicycle", "a blue tent"])
            >>> student.rank("a bicycle", candidates) == student.rank("a bicycle", candidates, top_k=2)
            True
        """
        embeddings = self._documents(sentences, "sentences", encode_kwargs)
        if dtype == "auto" and self.inference_dtype == "float32":
            dtype = "float32"
        return Candidates(embeddings.to(resolve_dtype(dtype, self.device)), self.embeddings_name)

    def score_matrix(
        self,
        queries: Texts | str,
        candidates: Texts | Candidates | str,
        *,
        activation_fn: Callable[[Tensor], Tensor] | None = None,
        **encode_kwargs: Any,
    ) -> np.ndarray:
        """Score every query with every candidate.

        Args:
            queries: Texts (or one text), or their embeddings (q, d).
            candidates: Texts, their embeddings (n, d), or `prepare`'s.
            activation_fn: As in `predict`.
            **encode_kwargs: Handed to `encode` for texts.

        Returns:
            Float32 scores, (q, n), or (q, n, C) for several classes.

        Raises:
            ValueError: If embeddings have another width than the student's, or hold NaN or infinite values.
            MismatchError: If the candidates were prepared by another student.
        """
        check_activation(activation_fn)
        left = self._queries(queries, encode_kwargs)
        right = self._candidates(candidates, encode_kwargs)
        if not isinstance(right, Tensor | np.ndarray):
            raise ValueError("score_matrix needs the candidates at once; join the blocks, or use topk.")
        scores = scoring.score_matrix(self.head, left, right)
        return self._activate(scores, activation_fn).cpu().numpy()

    def topk(
        self,
        queries: Texts | str,
        candidates: Texts | Candidates | Iterator[np.ndarray | Tensor] | str,
        k: int = 10,
        *,
        exact: bool = False,
        activation_fn: Callable[[Tensor], Tensor] | None = None,
        **encode_kwargs: Any,
    ) -> list[list[dict[Literal["corpus_id", "score"], int | float]]]:
        """The k best candidates of each query; never holds all the scores in memory.

        Where the hardware multiplies bfloat16 faster, all candidates are first scored in it, and those that may be
        among the k best again in float32: scores and order are the float32 ones.

        Args:
            queries: Texts (or one text), or embeddings (q, d).
            candidates: Texts, their embeddings (n, d) as tensor, array or memory map, `prepare`'s, or an iterator of
                blocks of embeddings.
            k: How many per query; at most n come back.
            exact: Score all of them in float32, whatever the hardware.
            activation_fn: As in `predict`; must grow with the raw score.
            **encode_kwargs: Handed to `encode` for texts.

        Returns:
            For each query a list of ``{"corpus_id": int, "score": float}``, best first, as
            `sentence_transformers.util.semantic_search` returns it. Equal scores keep the candidates' order.

        Raises:
            ValueError: If k is not positive, the student gives several scores per pair, or embeddings are unusable.
            MismatchError: If the candidates were prepared by another student.
        """
        self._need_one_label("topk")
        if not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"k is {k!r}; ask for at least one candidate.")
        check_activation(activation_fn)
        left = self._queries(queries, encode_kwargs)
        right = self._candidates(candidates, encode_kwargs)
        dtype = torch.float32 if exact else auto_dtype(self.device)
        scores, rows = scoring.topk(self.head, left, right, k, dtype)
        scores = self._activate(scores.unsqueeze(-1), activation_fn)
        return [
            [{"corpus_id": i, "score": s} for i, s in zip(*row, strict=True)]
            for row in zip(rows.tolist(), scores.tolist(), strict=True)
        ]

    def _candidates(
        self, candidates: Texts | Candidates | Iterator[np.ndarray | Tensor] | str, encode_kwargs: dict[str, Any]
    ) -> scoring.Embeddings | Iterator[scoring.Embeddings]:
        """Embeddings to score against; those that need not be are not copied, and stay where and as they are."""
        if isinstance(candidates, Candidates):
            candidates.check(*self.fingerprints)
            return candidates.embeddings
        if isinstance(candidates, Iterator):
            first = next(candidates, None)
            rest: Iterator[Any] = iter(()) if first is None else chain([first], candidates)
            if isinstance(first, np.ndarray | Tensor):
                return self._blocks(rest)
            candidates = list(rest)  # texts from a generator
        given = as_embeddings(candidates, "candidates")
        if given is None:
            return self._documents(candidates, "candidates", encode_kwargs)
        self._refuse_normalised(given, "candidates")
        return given

    def _blocks(self, blocks: Iterable[Any]) -> Iterator[scoring.Embeddings]:
        """Blocks of embeddings, checked as they come."""
        for block in blocks:
            given = as_embeddings(block, "candidates")
            if given is None:
                raise ValueError(f"candidates: a block is a {type(block).__name__}; give embeddings (n, d).")
            self._refuse_normalised(given, "candidates")
            yield given

    def _need_one_label(self, method: str) -> None:
        if self.num_labels != 1:
            raise ValueError(
                f"{method} needs one score per pair, this student gives {self.num_labels}; use predict or score_matrix."
            )
