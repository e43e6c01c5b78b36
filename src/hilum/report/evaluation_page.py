"""The page of one evaluation alone, such as that of predictions of a model that hilum did not train."""

from __future__ import annotations

from pathlib import Path

from hilum import __version__
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.schema import Metrics
from hilum.report.evaluation_sections import of_predictions
from hilum.report.figures import label_colours
from hilum.templating import write_page

FILE = "report.html"


def write_evaluation_page(file: Path, metrics: Metrics, predictions: Predictions) -> Path:
    """Write the page of predictions and their measures.

    Args:
        file: Is written, or written over.
        metrics: What was measured.
        predictions: Of what; pictures are shown where their files are found.

    Returns:
        The file. The same evaluation gives the same bytes.
    """
    root = Path(metrics.data.root or ".")
    found = of_predictions(metrics.name or "predictions", metrics, predictions, label_colours(metrics.labels), root)
    pictures = any(entry.uri for entry in found.gallery)
    content = {
        "evaluation": found,
        "pictures": pictures,
        "foreign": metrics.weights_sha256 is None,
        "colours": label_colours(metrics.labels),
        "version": __version__,
    }
    return write_page(file, "evaluation.html.j2", content)
