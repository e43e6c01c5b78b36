"""The COVID-19 Radiography Database and COVID-QU-Ex, both of Qatar University: class folders with masks beside images.

Chowdhury et al. 2020, *IEEE Access* 8:132665-132676; Tahir et al. 2021, *Comput. Biol. Med.* 139:105002. Of COVID-QU-Ex
the part for infections repeats images of the part for lungs.
"""

from __future__ import annotations

import re

from hilum.data.readers.public.assembling import Entry
from hilum.data.readers.public.trees import TreeLayout

RADIOGRAPHY_LABELS = {
    "covid": "COVID-19",
    "covid-19": "COVID-19",
    "lung_opacity": "lung opacity",
    "normal": "normal",
    "viral pneumonia": "viral pneumonia",
}


def _radiography_entry(match: re.Match[str]) -> Entry:
    return Entry(match[0], RADIOGRAPHY_LABELS[match["label"].lower()])


RADIOGRAPHY = TreeLayout(
    "radiography",
    (
        r"(?:.*/)?COVID(?:-19)?/(?:images/)?COVID(?:-19)? ?[-(]\d+\)?\.png",
        r"(?:.*/)?Viral Pneumonia/(?:images/)?Viral Pneumonia ?[-(]\d+\)?\.png",
    ),
    r"(?:.*/)?(?P<label>COVID(?:-19)?|Lung_Opacity|Normal|Viral Pneumonia)/(?:images/)?[^/]+",
    _radiography_entry,
).layout()

QU_EX_LABELS = {"covid-19": "COVID-19", "non-covid": "non-COVID", "normal": "normal"}


def _qu_ex_entry(match: re.Match[str]) -> Entry:
    return Entry(match[0], QU_EX_LABELS[match["label"].lower()], match["split"].lower())


COVID_QU_EX = TreeLayout(
    "covid-qu-ex",
    (r"(?:.*/)?(?:Lung|Infection) Segmentation Data/(?:.*/)?(?:Train|Val|Test)/COVID-19/images/[^/]+",),
    r"(?:.*/)?(?:Lung|Infection) Segmentation Data/(?P<split>Train|Val|Test)/"
    r"(?P<label>COVID-19|Non-COVID|Normal)/images/[^/]+",
    _qu_ex_entry,
    repeated=r"(?:.*/)?Infection Segmentation Data/.*",
).layout()
