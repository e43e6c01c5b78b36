"""Public radiograph sets that hilum recognises, and what each can and can not show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

COVID_YEAR = 2020  # the first COVID-19 radiographs were published in January 2020


@dataclass(frozen=True, slots=True)
class KnownSet:
    """A public set of radiographs.

    Attributes:
        key: Name of its file of fingerprints, without the ending.
        name: What it is called in reports.
        year: Of publication: no later disease can be in it.
        ages: Whom it shows, for the most part.
        population: The same in words, with place and number.
        licence: What may be done with it.
        cannot_show: What no model trained on it can be claimed for.
        citation: Where it was published.
        fingerprints: Which of its images are known, in words.
        complete: Whether these are all: what is not recognised then comes from elsewhere.
    """

    key: str
    name: str
    year: int
    ages: Literal["children", "adults"]
    population: str
    licence: str
    cannot_show: str
    citation: str
    fingerprints: str
    complete: bool = False


KNOWN_SETS: tuple[KnownSet, ...] = (
    KnownSet(
        key="kermany",
        name="Kermany's paediatric radiographs of 2018",
        year=2018,
        ages="children",
        population="children of 1 to 5 years, Guangzhou; 5,856 images: normal, bacterial pneumonia, viral pneumonia",
        licence="CC BY 4.0",
        cannot_show="published in 2018, it cannot show COVID-19; nor does it show adults",
        citation="Kermany et al. 2018, Cell 172:1122-1131",
        fingerprints="all 5,856 images",
        complete=True,
    ),
    KnownSet(
        key="nih",
        name="NIH ChestX-ray8",
        year=2017,
        ages="adults",
        population="mostly adults, Bethesda; 108,948 images (ChestX-ray14: 112,120), labels mined from reports",
        licence="free to use with attribution to the NIH Clinical Center",
        cannot_show="published in 2017, it cannot show COVID-19",
        citation="Wang et al. 2017, CVPR, 2097-2106",
        fingerprints="1,000 images: those of DarkCovidNet (Ozturk et al. 2020)",
    ),
    KnownSet(
        key="ieee8023",
        name="ieee8023/covid-chestxray-dataset",
        year=2020,
        ages="adults",
        population="mostly adults with COVID-19, collected from articles and web pages of many countries",
        licence="mixed, by image; research use",
        cannot_show="it has hardly any healthy images: a normal label beside it comes from elsewhere",
        citation="Cohen et al. 2020, arXiv:2003.11597",
        fingerprints="124 images: those of DarkCovidNet (Ozturk et al. 2020)",
    ),
)
