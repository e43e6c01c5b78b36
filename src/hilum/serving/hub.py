"""Bundles on hubs of models: loaded by name, as ``hf://owner/name`` or ``hf://owner/name@revision``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hilum.errors import BundleError, ExtraError

PREFIX = "hf://"
FILE = "model.onnx"
PATIENCE = 4  # seconds to wait for the hub


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
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        reached = True
        try:  # asked once: the download itself asks for half a minute before it gives up
            get_hf_file_metadata(hf_hub_url(repository, FILE, revision=revision or None), timeout=PATIENCE)
        except HFValidationError:
            raise
        except HfHubHTTPError as error:
            reached = error.response.status_code < 500
            if reached:
                raise
        except Exception:  # of its HTTP library, which changes with the client's version
            reached = False
        return Path(hf_hub_download(repository, FILE, revision=revision or None, local_files_only=not reached))
    except LocalEntryNotFoundError as error:
        msg = f"{name}: cannot be loaded: the hub cannot be reached, and no copy is in the cache. Check the connection."
        raise BundleError(msg) from error
    except HFValidationError as error:
        msg = f"{name}: cannot be loaded: not the name of a repository. Write hf://OWNER/NAME, or hf://OWNER/NAME@REVISION."
        raise BundleError(msg, code="malformed-name") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        msg = f"{name}: cannot be loaded: no {FILE} for you (status {status}). Check name and revision, or log in."
        raise BundleError(msg) from error
    except Exception as error:  # of the disk, or of the connection on the way
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        msg = f"{name}: cannot be loaded ({first}). Check the disk and the connection."
        raise BundleError(msg) from error
