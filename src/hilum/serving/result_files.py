"""Structured reports and FHIR bundles as files, one by one as answers come."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hilum.errors import ImageError, UsageError
from hilum.extras import require
from hilum.files import save_bytes, save_text
from hilum.outputs import check_folder
from hilum.serving.derived_object import read_source
from hilum.serving.explain import Explanation, draw
from hilum.serving.fhir import fhir_bundle
from hilum.serving.model_file import ModelFile
from hilum.serving.prediction import Prediction
from hilum.serving.structured_report import ReportedImage, report_uid, result_objects
from hilum.text import printable


@dataclass
class ResultFiles:
    """Writes what is said about DICOM files: objects for an archive, FHIR bundles, or both.

    Files are called by the UID of the report, which is the same whenever the same model is asked about the same image:
    what was written before is replaced.

    Args:
        model: Who answers.
        reports: Folder of the objects; None where they are not asked for.
        bundles: Folder of the FHIR bundles; None where they are not asked for.
        enhanced: See `hilum.serving.structured_report.result_objects`.

    Attributes:
        written: How many images there are results of.
        left_out: Images without results, and why.

    Raises:
        ExtraError: The extra ``[node]`` is not installed.
        UsageError: A folder cannot be made or written to.
    """

    model: ModelFile
    reports: Path | None = None
    bundles: Path | None = None
    enhanced: bool = False
    written: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for option, folder in (("--sr", self.reports), ("--fhir", self.bundles)):
            if folder is None:
                continue
            require("node", option, *(("highdicom", "pydicom") if option == "--sr" else ("pydicom",)))
            check_folder(folder, {}, option=option)
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                msg = f"{option} {folder}: cannot be created ({error.strerror}). Choose another folder."
                raise UsageError(msg, code="unusable", path=folder) from error

    def add(self, file: Path, answer: Prediction, explanation: Explanation | None = None) -> None:
        """Write what was said about one file; one that is no DICOM object is left out.

        Args:
            file: The image.
            answer: About it.
            explanation: Of the answer, where there is one: a heatmap is written, too.
        """
        heatmap = np.asarray(draw(explanation, self.model)) if explanation and self.reports else None
        image = ReportedImage(answer, read_source(file), heatmap)
        if not image.source:
            self.left_out.append((str(file), "not a DICOM object, and so of no patient and study. Name DICOM files."))
            return
        try:
            if self.reports:
                for made in result_objects(image, self.model, enhanced=self.enhanced):
                    content = io.BytesIO()
                    made.save_as(content, enforce_file_format=True)
                    save_bytes(self.reports / f"{made.SOPInstanceUID}.dcm", content.getvalue())
            if self.bundles:
                name = report_uid(image, self.model, enhanced=self.enhanced)
                bundle = fhir_bundle(image, self.model, enhanced=self.enhanced)
                save_text(self.bundles / f"{name}.json", bundle.to_json())
        except ImageError as error:
            self.left_out.append((str(file), str(error)))
            return
        self.written += 1

    def complaints(self) -> list[str]:
        """A line for each reason for which images were left out, with how many and the first of them."""
        found: dict[str, list[str]] = {}
        for name, why in self.left_out:
            found.setdefault(why, []).append(name)
        return [
            f"{printable(names[0])}: no report: {why}"
            if len(names) == 1
            else f"no report about {len(names):,} images, such as {printable(names[0])}: {why}"
            for why, names in found.items()
        ]
