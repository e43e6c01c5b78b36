"""Bundles on hubs of models: loaded by name, as ``hf://owner/name`` or ``hf://owner/name@revision``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hilum.errors import BundleError, ExtraError

PREFIX = "hf://"
FILE = "model.onnx"


def fetch(name: str) -> Path:
    """The file of a bundle that lies in a Hugging Face repository, downloaded if it is not in the cache yet.

    Args:
        name: ``hf://owner/name``, with ``@revision`` if it is not to be the latest.

    Raises:
        ExtraError: The extra ``[hub]`` is not installed.
        BundleError: There is no such repository, it holds no bundle, or it cannot be reached.
    """
    if find_spec("huggingface_hub") is None:
        msg = f"{name}: loading from a hub takes: pip install 'hilum[hub]'"
        raise ExtraError(msg)
    from huggingface_hub import hf_hub_download

    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        return Path(hf_hub_download(repository, FILE, revision=revision or None))
    except Exception as error:  # of the hub's client, of its HTTP library, of the disk
        first = (str(error).strip().splitlines() or [""])[0]
        msg = f"{name}: cannot be loaded ({type(error).__name__}: {first}). Check the name and the connection."
        raise BundleError(msg) from error
