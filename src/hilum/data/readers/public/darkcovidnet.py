"""The images of DarkCovidNet, as its repository gives them, and a copy of them that a table describes.

Ozturk et al. 2020, "Automated detection of COVID-19 cases using deep neural networks with X-ray images", *Comput. Biol.
Med.* 121:103792. Images without finding and of pneumonia are NIH's, by their names.
"""

from __future__ import annotations

import re

from hilum.data.readers.public.assembling import Entry
from hilum.data.readers.public.copies import CopyLayout
from hilum.data.readers.public.trees import TreeLayout

LABELS = {"covid-19": "covid", "no_findings": "normal", "pneumonia": "non-covid"}
IEEE8023, NIH = "ieee8023/covid-chestxray-dataset", "NIH ChestX-ray8"


def _entry(match: re.Match[str]) -> Entry:
    nih = match["nih"]
    return Entry(
        match[0], LABELS[match["label"].lower()], patient=f"nih-{nih}" if nih else "", source=NIH if nih else IEEE8023
    )


DARKCOVIDNET = TreeLayout(
    "darkcovidnet",
    (r"(?:.*/)?Covid-19/[^/]+", r"(?:.*/)?No_findings/\d{8}_\d{3}\.png", r"(?:.*/)?Pneumonia/\d{8}_\d{3}\.png"),
    r"(?:.*/)?(?P<label>Covid-19|No_findings|Pneumonia)/(?:(?P<nih>\d{8})_\d{3}\.png|[^/]+)",
    _entry,
).layout()

DARKCOVIDNET_TABLE = CopyLayout(
    "darkcovidnet", ("path", "label", "original_name", "source", "original_format"), "0000", "covid"
).layout()
