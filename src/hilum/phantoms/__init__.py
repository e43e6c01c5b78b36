"""Synthetic frontal chest radiographs with known truth, and datasets of them with planted defects."""

from hilum.phantoms.defects import Defect, PlantedDefect
from hilum.phantoms.generate import WrittenPhantoms, write_phantoms
from hilum.phantoms.radiograph import LABELS, Phantom, make_phantom

__all__ = [
    "LABELS",
    "Defect",
    "Phantom",
    "PlantedDefect",
    "WrittenPhantoms",
    "make_phantom",
    "write_phantoms",
]
