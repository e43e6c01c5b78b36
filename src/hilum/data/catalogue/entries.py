"""The catalogue of public datasets: one typed entry each, read from ``datasets.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hilum.data.options import ReadOptions


class KnownProblem(BaseModel):
    """A problem of a dataset that was published.

    Attributes:
        severity: ``error`` where conclusions from the dataset are wrong if it is ignored, else ``warning`` or ``info``.
        text: The problem, in one sentence.
        source: Where it is described.
        labels: Names of the one label that it is about, without its parents'; empty if it is about all images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    severity: Literal["error", "warning", "info"]
    text: str
    source: str
    labels: tuple[str, ...] = ()


class CatalogueEntry(BaseModel):
    """A public dataset of chest radiographs.

    Attributes:
        key: Name on the command line: ``hilum datasets KEY``, ``--layout KEY``.
        name: Name in reports.
        citation: Publication to cite.
        licence: Terms of use.
        year: Year of the first publication.
        years: When the images were made; empty where it is not published.
        population: Whom it shows and where.
        ages: Age group of most patients.
        images: Number of images; None where it is not published.
        patients: Number of patients; None where it is not published.
        size: Size of the download, in words; empty where unknown.
        labels: Classes or findings, in words.
        label_origin: Who or what made the labels.
        splits: Official splits, in words; empty where there are none.
        access: How to get it.
        url: Where.
        cannot_show: What no model trained on it can be claimed for; empty where nothing special is known.
        problems: Published problems.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str
    name: str
    citation: str
    licence: str
    year: int
    years: str = ""
    population: str
    ages: Literal["children", "adults", "mixed"]
    images: int | None = None
    patients: int | None = None
    size: str = ""
    labels: str
    label_origin: str
    splits: str = ""
    access: str
    url: str
    cannot_show: str = ""
    problems: tuple[KnownProblem, ...] = ()

    def problems_as_read(self, options: ReadOptions) -> list[KnownProblem]:
        """The published problems without those about labels whose images were left out (``--map-label LABEL=``)."""
        left_out = {label.rpartition("/")[2].casefold() for label, name in options.label_map if not name}
        return [each for each in self.problems if not left_out & set(each.labels)]


@cache
def catalogue() -> Mapping[str, CatalogueEntry]:
    """All entries by key, in the order of the file."""
    text = files("hilum.data.catalogue").joinpath("datasets.toml").read_text(encoding="utf-8")
    return MappingProxyType(
        {key: CatalogueEntry.model_validate({"key": key, **values}) for key, values in tomllib.loads(text).items()}
    )


FORMATS = {
    "coco": "images listed in a COCO file",
    "imagefolder": "a Hugging Face imagefolder",
    "parquet": "Parquet files of Hugging Face",
}


def citation(layout: str, options: ReadOptions) -> list[str]:
    """What a report says of the dataset that it is about: publication, licence, published problems.

    Args:
        layout: Key of the catalogue, or empty, of which there is nothing to say.
        options: How the dataset was read.
    """
    entry = catalogue().get(layout)
    if entry is None:
        return []
    errors = [
        f"Published problem: {problem.text} ({problem.source})"
        for problem in entry.problems_as_read(options)
        if problem.severity == "error"
    ]
    return [f"Dataset: {entry.name}. Cite {entry.citation}. Licence: {entry.licence}.", *errors]


def title_of(layout: str) -> str:
    """What a layout is called: the name of the dataset, or of the format where many datasets have it."""
    return FORMATS.get(layout) or catalogue()[layout].name
