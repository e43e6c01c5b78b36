"""A folder as hubs of models want it: the bundle, its card as ``README.md``, and ``config.json``."""

from __future__ import annotations

import os
from pathlib import Path

from hilum.errors import RunError, UsageError
from hilum.file_sets import as_bytes, saving_together
from hilum.reporting.model_card import with_front_matter
from hilum.serving.bundle import Bundle
from hilum.targets import CARD, CONFIG, MODEL, check_folder

FILES = {"model.onnx": MODEL, "README.md": CARD, "config.json": CONFIG}


def check_hub_folder(folder: Path) -> None:
    """Find before any work whether a folder may be written.

    Raises:
        UsageError: It holds files of these names that are not hilum's, or others, which an upload would publish.
    """
    check_folder(folder, FILES, option="--hub-folder")
    names = sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 - names only
    others = [name for name in names if name not in FILES and not name.startswith((".", "LICENSE"))]
    if others:
        msg = (
            f"--hub-folder {folder}: holds {others[0]} and would be published as a whole. "
            "Choose a folder for the model alone."
        )
        raise UsageError(msg)


def write_hub_folder(bundle: Bundle, folder: Path) -> None:
    """Write what ``huggingface_hub.upload_folder`` can push as it is.

    Args:
        bundle: Of which the folder is to be.
        folder: Made if it is not there; files of the same names are replaced.

    Raises:
        RunError: It cannot be written.
        UsageError: It holds files of these names that are not hilum's.
    """
    check_hub_folder(folder)
    facts = bundle.facts
    config = {
        "model_type": "hilum",
        "architectures": [facts["architecture"]],
        "id2label": facts["id2label"],
        "label2id": facts["label2id"],
        "image_size": bundle.size,
        "num_channels": 1,
        "hilum": {"format": facts["format"], "version": facts["hilum"], "sha256": bundle.sha256},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with saving_together(folder) as save:
            save("model.onnx", bundle.model)
            save("README.md", with_front_matter(facts["card"]).encode())
            save("config.json", as_bytes(config))
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}). Choose another folder."
        raise RunError(msg) from error
