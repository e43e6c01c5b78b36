"""On what machine, with which versions, a training ran."""

from __future__ import annotations

import hashlib
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import hilum


def processor_name() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def computes_bfloat16() -> bool:
    """Whether this machine computes in bfloat16 faster than in float32, rather than emulating it."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_capability() >= (8, 0)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def code_sha256() -> str:
    """Of all of hilum's own modules, so that a run says which code it came from, installed or not."""
    root = Path(hilum.__file__).parent
    total = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        total.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()


def packages_sha256() -> str:
    """Of the names and versions of all installed packages: equal where two machines have the same ones."""
    found = {f"{package.name.lower().replace('_', '-')}=={package.version}" for package in metadata.distributions()}
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def describe_environment(precision: str) -> dict[str, Any]:
    """Versions and machine, as ``environment.json`` holds them."""
    on_gpu = torch.cuda.is_available()
    return {
        "hilum": hilum.__version__,
        "code_sha256": code_sha256(),
        "packages_sha256": packages_sha256(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": processor_name(),
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "precision": precision,
        "threads": torch.get_num_threads(),
        "command": " ".join(["hilum", *sys.argv[1:]]) if Path(sys.argv[0]).name == "hilum" else "python",
    }
