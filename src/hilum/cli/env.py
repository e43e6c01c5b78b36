"""`hilum env`: what a report of a fault needs to say about the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from hilum import __version__
from hilum.cli.arguments import say
from hilum.data.process_pool import processor_name, usable_cores
from hilum.extras import EXTRAS, install

BASE = ("numpy", "pillow", "onnxruntime", "pydantic", "typer", "rich", "jinja2")
DISTRIBUTIONS = {"sklearn": "scikit-learn", "tomli_w": "tomli-w", "faiss": "faiss-cpu", "mlflow": "mlflow-skinny"}
GIB = 2**30


def env() -> None:
    """Print versions and machine, as a report of a fault needs them; no names, paths or addresses."""
    for name, value in environment():
        say(f"{name:<22} {value}")


def environment() -> Iterator[tuple[str, str]]:
    """What `env` prints, line by line: a name and what is there."""
    yield "hilum", __version__
    yield "Python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "system", f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield "processor", f"{processor_name()}; {usable_cores()} cores usable"
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        yield "memory", f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / GIB:.1f} GiB"
    if "torch" in _installed(["torch"]):
        import torch

        yield "GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else "none usable by PyTorch"
    yield from _installed(BASE).items()
    for extra, packages in EXTRAS.items():
        found = _installed(packages)
        missing = [package for package in packages if package not in found]
        yield (
            f"[{extra}]",
            ", ".join(f"{name} {number}" for name, number in found.items())
            if not missing
            else f"not installed: {install(extra)}",
        )


def _installed(packages: tuple[str, ...] | list[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(DISTRIBUTIONS.get(package, package))
        except PackageNotFoundError:
            continue
    return found
