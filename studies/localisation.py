"""How often heatmaps find the lesions of phantoms: a model file, and the same network with fresh weights.

hilum phantoms P --patients 500
hilum train P --recipe phantoms --out R
hilum export R model.onnx
python studies/localisation.py model.onnx P --picture docs/images/explanation.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from hilum.exporting.graph import OUTPUTS, ServedGraph, to_onnx, with_metadata
from hilum.models.registry import build_classifier
from hilum.serving.explain import METHODS, draw, energy_inside, explain, points_into
from hilum.serving.model_file import ModelFile, open_model_file
from hilum.serving.predictor import Predictor


def lesions(predictor: Predictor, root: Path) -> Iterator[tuple[Path, NDArray[np.bool_]]]:
    """Test images of the diseased whose label was found, and their masks."""
    for file in sorted((root / "test" / "infected").rglob("*.png")):
        mask = np.asarray(Image.open(root / "masks" / file.relative_to(root)).convert("L")) > 127
        label = file.parent.relative_to(root / "test").as_posix()
        if mask.any() and predictor.predict(file).label == label:
            yield file, mask


def fresh(model_file: ModelFile) -> Predictor:
    torch.manual_seed(0)
    facts = model_file.facts
    chosen = facts["provenance"]["recipe"]["network"]
    kind = {"members": chosen["members"], **chosen["options"]}
    network = build_classifier(facts["hierarchy"], chosen["architecture"], model_file.labels, model_file.size, **kind)
    graph = ServedGraph(network, model_file.labels, facts["hierarchy"], None, model_file.size).eval()
    return Predictor(with_metadata(dict(facts), to_onnx(graph, model_file.size, OUTPUTS[: len(facts["outputs"])])))


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_file", type=Path)
    parser.add_argument("phantoms", type=Path)
    parser.add_argument("--picture", type=Path)
    wanted = parser.parse_args(arguments)
    model_file = open_model_file(wanted.model_file)
    trained = Predictor(model_file)
    pairs = list(lesions(trained, wanted.phantoms))
    print(f"{len(pairs)} images; lesions cover {np.mean([mask.mean() for _, mask in pairs]):.1%} of them\n")
    print("| network | method | strongest place in the lesion % | or within 6 % of the side | energy inside % |")
    print("|---|---|---|---|---|")
    for name, predictor in (("trained", trained), ("fresh weights", fresh(model_file))):
        for method in METHODS if model_file.maps else METHODS[1:]:
            found = [(explain(predictor, file, method=method).heatmaps[-1].values, mask) for file, mask in pairs]
            strict = np.mean([points_into(values, mask, 0) for values, mask in found])
            near = np.mean([points_into(values, mask) for values, mask in found])
            energy = np.mean([energy_inside(values, mask) for values, mask in found])
            print(f"| {name} | {method} | {100 * strict:.0f} | {100 * near:.0f} | {100 * energy:.0f} |")
    if wanted.picture:
        shown = [pairs[k][0] for k in np.linspace(0, len(pairs) - 1, 3).astype(int)]
        rows = [[draw(explain(trained, file, method=method), model_file) for method in METHODS] for file in shown]
        width, height = rows[0][0].size
        sheet = Image.new("RGB", (2 * width + 16, len(rows) * (height + 6)), (255, 255, 255))
        for y, row in enumerate(rows):
            for x, picture in enumerate(row):
                sheet.paste(picture, (x * (width + 16), y * (height + 6)))
        sheet.save(wanted.picture, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
