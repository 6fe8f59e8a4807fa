"""A low-precision copy of a transformer for inference that never outlives the weights it was made of.

PyTorch counts writes into a parameter, but not those through ``p.data``, a numpy view or a fused optimiser, and a
switched adapter changes no parameter at all. So a `Watch` compares what is there: which modules and parameters, the
counters, the switches of modules that adapters put in, and a sample of the values of every tensor.
"""

from __future__ import annotations

import copy
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

SAMPLE = 61  # values looked at in each tensor; a prime, so that they are spread over rows and columns
SMALL = 1024  # values of a tensor that is looked at as a whole: biases, norms
# Of packages whose modules are told apart by weights and configuration; transformers_modules holds remote code.
PLAIN = ("torch", "transformers", "transformers_modules", "sentence_transformers", "dse")


class Watch:
    """Remembers a module, to say later whether it is still what it was.

    It is asked in every search, so it does not read all the weights: a quarter of a millisecond for a transformer of a
    hundred tensors. Only a change of some values of a large matrix, written past PyTorch's counters, can escape it.

    Args:
        module: What to watch.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> watch = Watch(layer)
        >>> watch.holds(layer)
        True
        >>> layer.weight.data.mul_(0.5).shape
        torch.Size([2, 3])
        >>> watch.holds(layer)
        False
    """

    def __init__(self, module: nn.Module) -> None:
        self._modules, self._tensors = _parts(module)
        self._counters = _counters(self._modules, self._tensors)
        self._views: dict[torch.device, list[Tensor]] = {}
        for tensor in self._tensors:
            if not tensor.is_meta and tensor.numel():
                self._views.setdefault(tensor.device, []).append(_sample(tensor))
        self._values = self._read()

    def holds(self, module: nn.Module) -> bool:
        """Whether nothing has changed."""
        modules, tensors = _parts(module)
        return (
            len(modules) == len(self._modules)
            and len(tensors) == len(self._tensors)
            and all(a is b for a, b in zip(modules, self._modules, strict=True))
            and all(a is b for a, b in zip(tensors, self._tensors, strict=True))
            and _counters(modules, tensors) == self._counters
            and all(torch.equal(a, b) for a, b in zip(self._read(), self._values, strict=True))
        )

    @torch.inference_mode()
    def _read(self) -> list[Tensor]:
        # Compared as bytes: NaN is equal to itself.
        return [torch.cat(views).view(torch.uint8) for views in self._views.values()]


class FastCopy:
    """A low-precision copy of a module for inference, made when first needed and again when the module has changed.

    The module itself keeps its float32 weights, so that training and saving lose nothing. Safe in threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._dtype: torch.dtype | None = None
        self._watch: Watch | None = None
        self._copy: nn.Module | None = None

    def of(self, module: nn.Module, dtype: torch.dtype) -> nn.Module:
        """The module in ``dtype``: itself where it is in that dtype already, else the copy."""
        with self._lock:
            if self._copy and self._watch and dtype == self._dtype and self._watch.holds(module):
                return self._copy
            self._copy = self._watch = None  # frees the old one before the new one is made
            if all(p.dtype == dtype or not p.dtype.is_floating_point for p in module.parameters()):
                return module
            watch = Watch(module)  # before the copy: what is written meanwhile is seen next time
            self._copy, self._watch, self._dtype = _cast_copy(module, dtype), watch, dtype
            return self._copy

    def __reduce__(self) -> tuple[type[FastCopy], tuple[()]]:
        """Never travels to other processes or into copies: each makes its own."""
        return (FastCopy, ())


class _Rows(nn.Module):
    """The word embeddings in another precision: the rows of a batch are converted, the table is not copied."""

    def __init__(self, embedding: nn.Embedding, dtype: torch.dtype) -> None:
        super().__init__()
        self.table, self.dtype = (embedding,), dtype  # in a tuple: its weights are none of this module's

    def forward(self, ids: Tensor) -> Tensor:
        rows: Tensor = self.table[0](ids)
        return rows.to(self.dtype)


def switches(module: nn.Module) -> list[list[Any]]:
    """Plain values by which modules of other packages decide what they compute: PEFT's active adapters, scales, merges.

    Example:
        >>> switches(nn.Linear(3, 2))
        []
    """
    return [[name, _plain_values(m)] for name, m in module.named_modules() if not _is_plain(m)]


def _is_plain(module: nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] in PLAIN


def _plain_values(module: nn.Module) -> list[tuple[str, str]]:
    kinds = (bool, int, float, str, list, dict)
    values = [(k, v) for k, v in vars(module).items() if k != "training"]  # scores are computed in eval mode
    return sorted((k, repr(v)) for k, v in values if isinstance(v, kinds) and _flat(v))


def _flat(value: Any) -> bool:
    """Whether a value consists of numbers and names only."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and _flat(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(_flat, value))
    return value is None or isinstance(value, bool | int | float | str)


def _parts(module: nn.Module) -> tuple[list[nn.Module], list[Tensor]]:
    """All modules, parameters and buffers; `modules()` and `parameters()` take several times as long."""
    modules: list[nn.Module] = [module]
    tensors: list[Tensor] = []
    for m in modules:  # grows while it is read
        modules += [child for child in m._modules.values() if child is not None]
        tensors += [t for t in (*m._parameters.values(), *m._buffers.values()) if t is not None]
    return modules, tensors


def _counters(modules: list[nn.Module], tensors: list[Tensor]) -> list[Any]:
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules]
    adapters = [_plain_values(m) for m in modules if not _is_plain(m)]
    return [hooks, adapters, [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]]


def _sample(tensor: Tensor) -> Tensor:
    """A view of some values of a tensor, wherever they lie in its memory."""
    tensor = tensor.detach()
    n = min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size() - tensor.storage_offset())
    step = 1 if n <= SMALL else n // SAMPLE
    return tensor.as_strided(((n - 1) // step + 1,), (step,), tensor.storage_offset())


def _word_embedding(module: nn.Module) -> nn.Embedding | None:
    embedding = module.get_input_embeddings() if isinstance(module, PreTrainedModel) else None
    return embedding if type(embedding) is nn.Embedding else None


def _used_once(parameter: Tensor, module: nn.Module) -> bool:
    """Whether no other module has this parameter too, as the output layer of a language model may."""
    return sum(parameter is p for m in module.modules() for p in m._parameters.values()) == 1


def _cast_copy(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    memo: dict[int, Any] = {}
    shared = [
        e for e in (_word_embedding(m) for m in module.modules()) if e is not None and _used_once(e.weight, module)
    ]
    memo.update({id(embedding): _Rows(embedding, dtype) for embedding in shared})
    for parameter in module.parameters():
        if any(parameter is embedding.weight for embedding in shared):
            continue
        cast = parameter.detach().to(dtype) if parameter.is_floating_point() else parameter.detach()
        memo[id(parameter)] = nn.Parameter(cast, requires_grad=False)
    for child in module.modules():
        # Tokenizers and configurations are shared, not copied: they are large and never change here.
        memo.update({id(v): v for v in vars(child).values() if hasattr(v, "save_pretrained")})
    return copy.deepcopy(module, memo).eval()
