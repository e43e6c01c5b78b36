"""`hilum.export`: from a run to one model file."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from hilum.api.python_wording import public, told
from hilum.api.runs import open_run
from hilum.exporting.export import UNSTATED, Words
from hilum.exporting.export import export as run_export
from hilum.training.run import Run


@public
def export(
    run: Run | str | PathLike[str],
    out: str | PathLike[str],
    *,
    name: str = "",
    licence: str = UNSTATED,
    label_names: Mapping[str, str] | None = None,
    card_intro: str = "",
    int8: bool = False,
    progress: bool = True,
) -> Path:
    """Write one model file: network, preprocessing, labels, calibration, operating point, OOD reference, model card.

    Args:
        run: Finished run, or its folder.
        out: File to write, such as ``model.onnx``.
        name: Name of the model, if not the run's.
        licence: Licence of the weights.
        label_names: What labels are called before people.
        card_intro: Markdown for the head of the model card.
        int8: Whether the network is quantised to 8 bits; what that costs is measured and said.
        progress: Whether long work shows its progress on standard error.

    Returns:
        The file; open it with `load`.

    Raises:
        RunError: The training is not finished, or the file cannot be written.
    """
    words = Words(name, licence, dict(label_names or {}), card_intro)
    run_export(open_run(run), Path(out), words, int8=int8, progress=told(progress))
    return Path(out)
