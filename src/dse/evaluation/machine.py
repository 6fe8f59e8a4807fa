"""Where and with what a figure was measured: without it a speed means nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch


def machine(device: torch.device) -> dict[str, str | int]:
    """Name of the processor, its cores, the threads torch uses, and the device models run on.

    Example:
        >>> sorted(machine(torch.device("cpu")))
        ['cores', 'cpu', 'device', 'threads']
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {"cpu": _cpu(), "cores": os.cpu_count() or 1, "threads": torch.get_num_threads(), "device": name}


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a score or its speed."""
    from dse import __version__

    libraries = ("torch", "transformers", "sentence-transformers")
    return {"python": platform.python_version(), "dse": __version__} | {name: version(name) for name in libraries}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")  # elsewhere the platform module knows the name
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
