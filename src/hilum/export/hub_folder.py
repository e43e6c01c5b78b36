"""A folder as hubs of models want it: the bundle, its card as ``README.md``, and ``config.json``."""

from __future__ import annotations

import json
from pathlib import Path

from hilum.errors import RunError
from hilum.export.export import card_of
from hilum.serving.bundle import Bundle


def write_hub_folder(bundle: Bundle, folder: Path) -> None:
    """Write what ``huggingface_hub.upload_folder`` can push as it is.

    Args:
        bundle: Of which the folder is to be.
        folder: Made if it is not there; files of the same names are replaced.

    Raises:
        RunError: It cannot be written.
    """
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
        (folder / "model.onnx").write_bytes(bundle.model)
        (folder / "README.md").write_text(card_of(bundle), encoding="utf-8")
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}). Choose another folder."
        raise RunError(msg) from error
