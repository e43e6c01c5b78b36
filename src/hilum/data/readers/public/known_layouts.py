"""All layouts of public datasets, and which one a folder or file is in."""

from __future__ import annotations

from pathlib import Path

from hilum.data.options import PLAIN, ReadOptions
from hilum.data.readers.public.assembling import Layout
from hilum.data.readers.public.challenges import RSNA, SIIM_COVID19
from hilum.data.readers.public.cohen import ACTUALMED, FIGURE1, IEEE8023
from hilum.data.readers.public.covidx import COVIDX
from hilum.data.readers.public.darkcovidnet import DARKCOVIDNET, DARKCOVIDNET_TABLE
from hilum.data.readers.public.exchange import COCO, IMAGEFOLDER
from hilum.data.readers.public.glances import forget
from hilum.data.readers.public.kermany import KERMANY, KERMANY_150
from hilum.data.readers.public.medmnist import MEDMNIST
from hilum.data.readers.public.nih import NIH
from hilum.data.readers.public.padchest import PADCHEST
from hilum.data.readers.public.parquet import PARQUET
from hilum.data.readers.public.radiography import COVID_QU_EX, RADIOGRAPHY
from hilum.data.readers.public.stanford import CHEXPERT, MIMIC_CXR
from hilum.data.readers.public.tuberculosis import MONTGOMERY, SHENZHEN
from hilum.data.readers.public.vindr import VINDR_CXR
from hilum.errors import UsageError

LAYOUTS: tuple[Layout, ...] = (
    *(KERMANY_150, DARKCOVIDNET_TABLE, IEEE8023, ACTUALMED, FIGURE1),
    *(NIH, CHEXPERT, MIMIC_CXR, PADCHEST, VINDR_CXR, RSNA, SIIM_COVID19, COVIDX),
    *(MEDMNIST, PARQUET, COCO, IMAGEFOLDER),
    *(KERMANY, RADIOGRAPHY, COVID_QU_EX, DARKCOVIDNET, SHENZHEN, MONTGOMERY),
)
"""Asked in this order: tables first, then folders and file names."""


def layout_of(data: Path, options: ReadOptions) -> Layout | None:
    """The layout that a folder or file is in; None where it is to be read as any other.

    Nothing is recognised where the user names the columns of a table.

    Args:
        data: A folder or file that is there.
        options: What the user says of it.

    Raises:
        UsageError: The user names a layout that does not exist.
    """
    forget()
    if options.layout == PLAIN:
        return None
    if options.layout:
        named = [layout for layout in LAYOUTS if layout.name == options.layout]
        if not named:
            known = ", ".join(dict.fromkeys(layout.name for layout in LAYOUTS))
            msg = f"--layout {options.layout}: no such layout. Known are {PLAIN}, {known}."
            raise UsageError(msg, code="no-such-layout")
        return next((layout for layout in named if layout.recognise(data)), named[-1])
    if options.path_column or options.label_column or options.patient_column or options.split_column:
        return None
    return next((layout for layout in LAYOUTS if layout.recognise(data)), None)
