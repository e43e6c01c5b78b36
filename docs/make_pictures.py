"""Draw the pictures of README and tutorial: ``.venv/bin/python docs/make_pictures.py SCREENSHOT.png``.

SCREENSHOT is ``runs/demo/run/report.html`` after ``make demo``, 1200 pixels wide and at least 1250 high:
``chromium --headless --hide-scrollbars --window-size=1200,1250 --screenshot=SCREENSHOT.png runs/demo/run/report.html``.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from hilum.phantoms import FINDINGS, LABELS, make_findings_phantom, make_phantom

OUT = Path(__file__).parent / "images"
HEAD = (50, 20, 1150, 724)  # of the screenshot: title, result and notes of the report
GAP = 24  # pixels


def phantoms() -> Image.Image:
    """One row a label, five patients each."""
    rows = [
        np.hstack([make_phantom(label, patient=10 * k + patient, size=224).image for patient in range(5)])
        for k, label in enumerate(LABELS)
    ]
    return Image.fromarray(np.vstack(rows))


def several_findings() -> Image.Image:
    """No finding, each finding alone, and four at once, in two rows of four patients."""
    four = {"effusion": 0.5, "cardiomegaly": 0.5, "nodule": 0.9, "ground_glass": 0.6}
    chosen: list[dict[str, float]] = [{}, *({name: 0.75} for name in FINDINGS), four]
    images = [make_findings_phantom(one, seed=1, patient=k, size=224).image for k, one in enumerate(chosen)]
    return Image.fromarray(np.vstack([np.hstack(images[:4]), np.hstack(images[4:])]))


def overview(made: Image.Image, report: Image.Image) -> Image.Image:
    """Two patients of each label on the left, the head of the report on the right."""
    left = made.crop((0, 0, 448, 672))
    head = report.convert("RGB").crop(HEAD)
    head = head.resize((round(head.width * left.height / head.height), left.height), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (left.width + GAP + head.width, left.height), "white")
    canvas.paste(left, (0, 0))
    canvas.paste(head, (left.width + GAP, 0))
    return canvas


def main() -> None:
    """Write both pictures, and the screenshot itself."""
    report, made = Image.open(sys.argv[1]), phantoms()
    made.save(OUT / "phantoms.png", optimize=True)
    several_findings().save(OUT / "phantoms-findings.png", optimize=True)
    for name, picture in (("report", report.convert("RGB")), ("overview", overview(made, report))):
        picture.quantize(256).save(OUT / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
