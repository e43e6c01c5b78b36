"""Draw the picture of phantoms that the README shows: ``.venv/bin/python docs/make_pictures.py``.

The picture of the report is a screenshot of ``runs/demo/run/report.html`` after ``make demo``, 1200 pixels wide.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from hilum.phantoms import LABELS, make_phantom

OUT = Path(__file__).parent / "images" / "phantoms.png"


def main() -> None:
    """One row a label, five patients each."""
    rows = [
        np.hstack([make_phantom(label, patient=10 * k + patient, size=224).image for patient in range(5)])
        for k, label in enumerate(LABELS)
    ]
    OUT.parent.mkdir(exist_ok=True)
    Image.fromarray(np.vstack(rows)).save(OUT, optimize=True)


if __name__ == "__main__":
    main()
