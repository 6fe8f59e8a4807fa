"""The fingerprint of a model: by it scores, prepared candidates and indexes know whose they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from dse.encoding.fast_copy import switches

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

# Settings of a transformer that change no score: what it is called, what its outputs are called, how it is trained,
# how it is loaded and run.
UNSCORED = {
    *("_commit_hash", "_name_or_path", "architectures", "auto_map", "model_type", "tokenizer_class"),
    *("finetuning_task", "id2label", "label2id", "num_labels", "problem_type", "sentence_transformers"),
    *("gradient_checkpointing", "initializer_factor", "initializer_range", "initializer_cutoff_factor"),
    *("_attn_implementation", "attn_implementation", "chunk_size_feed_forward", "dtype", "torch_dtype", "use_cache"),
    *("output_attentions", "output_hidden_states", "return_dict", "transformers_version", "reference_compile"),
}

OFF: tuple[Any, ...] = (None, False, -1, "absolute", [], {})  # values of settings that ask for nothing


def fingerprint(model: BaseModel) -> str:
    """A short name of everything that decides a model's outputs.

    That is: weights, tokenizer, lengths, the modules after the transformer, the transformer's own configuration,
    prompts, the switches of adapters, and the activation of the scores. Two models with the same fingerprint give the
    same scores. Independent of folder, file format and library version.

    Returns:
        32 hexadecimal digits.
    """
    return fingerprints(model)[0]


def fingerprints(model: BaseModel) -> tuple[str, str]:
    """The fingerprint, and the one by which earlier versions knew the model; files that bear it are taken for its own.

    The earlier one leaves out the transformer's configuration, prompts, adapters and the activation. A model with
    prompts has none: earlier versions put a student's before both sides, and a teacher's nowhere.
    """
    name, earlier, *_ = _names(model, [_activation_name(getattr(model, "activation_fn", None))])
    return name, earlier


def embedding_names(model: BaseModel, saved: Any) -> tuple[str, ...]:
    """All that the embeddings of a student may be called.

    Returns:
        The two fingerprints; the one with the activation that is saved with the student, under which its embeddings are
        kept; and those with other activations of torch, as no activation changes an embedding.
    """
    own: Any = getattr(model, "activation_fn", None)
    others = [getattr(nn.modules.activation, name) for name in nn.modules.activation.__all__]
    kinds = [own, saved, nn.Identity, *others]
    return _names(model, [_activation_name(kind) for kind in kinds])


def _names(model: BaseModel, activations: Sequence[str]) -> tuple[str, ...]:
    """The fingerprint with the first activation, the earlier one, and those with the other activations."""
    digest = hashlib.blake2b(digest_size=16)
    _add_weights(digest, model)
    tokenizer = model.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        # Padding and truncation are changed by every call; they are not part of what a text is turned into.
        vocabulary = json.loads(backend.to_str()) | {"padding": None, "truncation": None}
    else:
        vocabulary = tokenizer.get_vocab()
    # Layers, pooling and head decide the scores too, and may differ where the weights do not: mean and max, dot and
    # cosine. (A cross-encoder has none of them.)
    later: list[Any] = [m for m in list(model.children())[1:] if hasattr(m, "get_config_dict")]
    configs = [[type(module).__name__, module.get_config_dict()] for module in later]
    digest.update(json.dumps([vocabulary, model.max_seq_length, *configs], sort_keys=True).encode())
    earlier = digest.hexdigest()
    usage, adapters = _usage(model), switches(model)  # which adapter is active, and whether it is merged
    # Of an exported student: whose place it takes, as long as nothing changes.
    source: dict[str, Any] = getattr(model[0], "source", None) or {}
    names = []
    for activation in activations:
        own = digest.copy()
        own.update(json.dumps([*usage, activation], sort_keys=True, default=str).encode())
        if adapters:
            own.update(json.dumps(adapters, sort_keys=True).encode())
        if source:
            own.update(json.dumps(source["fingerprints"][:2]).encode())
        names.append(own.hexdigest())
    if source.get("unchanged") in names:
        name, earlier, *more = source["fingerprints"]
        own_name = name if names[0] == source["unchanged"] else names[0]
        return own_name, earlier, *(more or [name]), *names
    return names[0], names[0] if any(model.prompts.values()) else earlier, *names[1:]


def _activation_name(activation: Any) -> str:
    named: Any = activation if hasattr(activation, "__qualname__") else type(activation)  # a function, or a module
    return f"{named.__module__}.{named.__qualname__}"


def weights_hash(module: nn.Module) -> str:
    """Name of the weights alone: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    _add_weights(digest, module)
    return digest.hexdigest()


def _add_weights(digest: hashlib.blake2b, module: nn.Module) -> None:
    for name, tensor in sorted(module.state_dict().items()):
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {data.dtype} {tuple(data.shape)}".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy())


def _usage(model: BaseModel) -> list[Any]:
    """What decides outputs besides weights, tokenizer, modules and activation."""
    prompts = {name: prompt for name, prompt in model.prompts.items() if prompt}
    return [_settings(model.config), reading(model), prompts, model.default_prompt_name]


def reading(model: BaseModel) -> dict[str, Any]:
    """How texts become tokens, besides vocabulary, rules and length: settings of a tokenizer only where it has its own.

    The side on which it pads is not among them: padding is masked, and models that decode are loaded with either.
    """
    settings = {name: getattr(model[0], name, None) or None for name in ("do_lower_case", "processing_kwargs")}
    tokenizer: Any = model.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerBase):  # of static embeddings, or none
        return settings
    if tokenizer.truncation_side != type(tokenizer).truncation_side:
        settings["truncation_side"] = tokenizer.truncation_side
    if getattr(tokenizer, "split_special_tokens", False):
        settings["split_special_tokens"] = True
    names, usual = tokenizer.model_input_names, type(tokenizer).model_input_names
    if "token_type_ids" in {*names} ^ {*usual} and getattr(model.config, "type_vocab_size", 0) > 1:
        settings["model_input_names"] = sorted(names)
    return settings


def _settings(config: Any) -> dict[str, Any]:
    """What a transformer's configuration says of its scores, where it says something else than the class does.

    Settings that the class does not know may be read all the same (DeBERTa's ``position_buckets``). Those that are off
    are left out: libraries add some and forget others.
    """
    if config is None:
        return {}
    usual = type(config)().to_dict()
    given = {n: v for n, v in config.to_dict().items() if (v != usual[n] if n in usual else v not in OFF)}
    return _scored(given)


def _scored(settings: dict[Any, Any]) -> dict[str, Any]:
    return {
        str(name): _scored(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if name not in UNSCORED and "dropout" not in str(name)
    }
