"""Hardware and library versions of a measurement; a speed means nothing without them."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dse.encoding.runtime import auto_dtype


def machine(device: torch.device | None = None) -> dict[str, Any]:
    """The hardware that models run on: CPU, cores, torch threads, memory, device, and whether bfloat16 is fast there.

    Args:
        device: By default the GPU if there is one, else the CPU.

    Example:
        >>> sorted(machine())
        ['bfloat16', 'cores', 'cpu', 'device', 'ram_gib', 'system', 'threads']
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "ram_gib": _ram_gib(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "bfloat16": auto_dtype(device) == torch.bfloat16,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that decide a score or its speed."""
    packages = ("dse", "torch", "sentence-transformers", "transformers", "tokenizers", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")  # elsewhere the platform module knows the name
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _ram_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):  # this system does not tell
        return None
