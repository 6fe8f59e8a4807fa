"""`encode`, faster: distinct sentences only, sorted by token count, in the fastest safe dtype."""

from __future__ import annotations

from functools import partial
from typing import Any, Self, cast

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import truncate_embeddings
from torch import Tensor, nn

from dse.encoding.fast_copy import FastCopy
from dse.encoding.runtime import Dtype, register_capture, remove_capture_hooks, resolve_dtype, run_sorted


class FastEncoder(SentenceTransformer):
    """A `SentenceTransformer` whose `encode` reads each distinct sentence once, in batches of like length.

    Args:
        model_name_or_path: As `SentenceTransformer` takes it.
        dtype: Precision of the transformer: ``"auto"``, ``"float32"`` or ``"bfloat16"``. Weights stay as they are.
        **kwargs: As `SentenceTransformer` takes them.

    Raises:
        ValueError: If the dtype is another one.
    """

    def __init__(self, model_name_or_path: str | None = None, *, dtype: Dtype = "auto", **kwargs: Any) -> None:
        self.inference_dtype: Dtype = dtype
        self._fast = FastCopy()
        super().__init__(model_name_or_path, **kwargs)
        resolve_dtype(dtype, self.device)  # refuses an unknown name now

    @torch.inference_mode()
    def _inference(  # type: ignore[override]
        self,
        inputs: list[Any],
        *,
        prompt: str | None,
        batch_size: int,
        show_progress_bar: bool,
        output_value: str | None,
        save_to_cpu: bool,
        normalize_embeddings: bool,
        truncate_dim: int | None,
        device: str | torch.device | None = None,
        **kwargs: Any,
    ) -> Any:
        """What `encode` runs on one device: distinct texts only, sorted by token count, in the fastest safe dtype."""
        plain = output_value == "sentence_embedding" and inputs and all(isinstance(text, str) for text in inputs)
        # Flattened batches (flash attention) and compiled or split models have their own way through `forward`; so have
        # tokenizer options of one call, which may pad.
        if (
            not plain
            or "processing_kwargs" in kwargs
            or self._can_flatten_inputs()
            or self._compiled_call_impl
            or self._placement_is_delegated
        ):
            return super()._inference(
                inputs,
                prompt=prompt,
                batch_size=batch_size,
                show_progress_bar=show_progress_bar,
                output_value=output_value,
                save_to_cpu=save_to_cpu,
                normalize_embeddings=normalize_embeddings,
                truncate_dim=truncate_dim,
                device=device,
                **kwargs,
            )
        target = self._resolve_inference_device(device)
        if self.training:  # walking through all modules takes 1 ms, of 18 for one short text
            self.eval()
        rows: dict[str, int] = {}
        index = [rows.setdefault(text, len(rows)) for text in inputs]
        embeddings = run_sorted(
            self,
            list(rows),
            partial(self._embed, self._fast.of(self[0], resolve_dtype(self.inference_dtype, self.device))),
            batch_size=batch_size,
            device=target,
            prompt=prompt,
            show_progress_bar=show_progress_bar,
            **kwargs,
        )  # (m, d)
        if truncate_dim is not None:
            embeddings = truncate_embeddings(embeddings, truncate_dim)
        if normalize_embeddings:
            embeddings = nn.functional.normalize(embeddings, p=2, dim=1)
        if len(rows) < len(inputs):
            embeddings = embeddings[torch.tensor(index, device=target)]  # (n, d)
        return embeddings.cpu() if save_to_cpu else embeddings

    def _embed(self, backbone: nn.Module, features: dict[str, Any]) -> Tensor:
        features = backbone(features)
        for module in list(self.children())[1:]:
            if "sentence_embedding" in features:  # what follows the pooling is small: in its own precision, float32
                own = next((p.dtype for p in module.parameters()), torch.float32)
                features["sentence_embedding"] = features["sentence_embedding"].to(own)
            features = module(features)
        return cast(Tensor, features["sentence_embedding"].float())

    def __getstate__(self) -> dict[str, Any]:
        """What travels to the processes of a pool."""
        remove_capture_hooks(self)
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in a process of a pool."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        register_capture(self)

    def get_model_kwargs(self) -> list[str]:
        """Keyword arguments `encode` may hand to the modules; ``pairs`` belongs to training and is not one."""
        return [name for name in super().get_model_kwargs() if name != "pairs"]

    def train(self, mode: bool = True) -> Self:
        """Switch training mode; a frozen backbone stays as it is used later, without dropout."""
        super().train(mode)
        if len(self) and not any(p.requires_grad for p in self[0].parameters()):
            self[0].eval()
        return self
