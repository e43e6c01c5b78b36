"""``python -m hilum.exporting.pretrained DATA``: rebuild the model that comes with hilum, by the default recipe."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from hilum.errors import HilumError, ModelFileError
from hilum.evaluation.certify import certify
from hilum.evaluation.evaluate import evaluate
from hilum.exporting.export import Words, export
from hilum.files import saving_together
from hilum.progress import Progress, progress_for_terminal
from hilum.serving.model_file import PRETRAINED, ModelFile
from hilum.training.recipe import load_recipe
from hilum.training.run import Run, open_run
from hilum.training.train import train

NAME = "paediatric-pneumonia"
SUMS = "SHA256SUMS"
LARGEST = 6_000_000
MISS_RATE = 0.05
WORDS = Words(
    name=NAME,
    licence=(
        "CC BY 4.0, as the radiographs: Kermany, Zhang and Goldbaum 2018, 'Labeled Optical Coherence Tomography (OCT) "
        "and Chest X-Ray Images for Classification', Mendeley Data, and Kermany et al. 2018, Cell 172."
    ),
    label_name={
        "normal": "normal",
        "infected/covid": "viral pneumonia (labelled covid in its training set)",
        "infected/non-covid": "bacterial pneumonia (labelled non-covid)",
    },
    card_intro=(
        "It classifies normal chests, viral and bacterial pneumonia, as labelled by one hospital: children of one "
        "to five years, Guangzhou Women and Children's Medical Center, published in 2018.\n\n"
        "**It cannot recognise COVID-19.** The training set calls its viral pneumonias `covid`; they were published in "
        "2018, before COVID-19. It is not intended for adults, other hospitals or other diseases; the results below do "
        "not hold for them."
    ),
)


def build(
    data: Path,
    folder: Path = PRETRAINED,
    run: Run | None = None,
    *,
    false_negative_rate: float = MISS_RATE,
    progress: Progress | None = None,
) -> ModelFile:
    """Train, certify, evaluate and export the model, and write its hash beside it.

    Args:
        data: *seed-cxr*.
        folder: Where ``paediatric-pneumonia.onnx`` and ``SHA256SUMS`` go.
        run: A finished run of the default recipe on these data, instead of a new one.
        false_negative_rate: That is certified for its positive label, with 95 % confidence.
        progress: Told about long work.

    Raises:
        ModelFileError: The file would be larger than 6 MB.
        HilumError: Whatever the stages raise.
    """
    with tempfile.TemporaryDirectory(prefix="hilum-model-") as scratch:
        # Under a name of its own, so that no evaluation or calibration is written into somebody's run.
        place = Path(scratch) / NAME
        if run is None:
            run = train(data, place, load_recipe("compact"), progress=progress)
        else:
            shutil.copytree(run.path, place)
            run = open_run(place)
        certify(run, false_negative_rate=false_negative_rate, progress=progress)
        evaluate(run, progress=progress)
        file = Path(scratch) / f"{NAME}.onnx"
        model_file = export(run, file, WORDS, progress=progress)
        if len(model_file.model) > LARGEST:
            size = len(model_file.model)
            msg = f"{file.name}: {size:,} bytes; the package takes {LARGEST:,}. Choose a smaller network."
            raise ModelFileError(msg)
        folder.mkdir(parents=True, exist_ok=True)
        with saving_together(folder) as save:
            save(file.name, model_file.model)
            save(SUMS, f"{model_file.sha256}  {file.name}\n".encode())
    return model_file


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m hilum.exporting.pretrained", description=__doc__)
    parser.add_argument("data", type=Path, help="seed-cxr")
    parser.add_argument(
        "--run", type=Path, help="a finished run of the default recipe on it, instead of a new training"
    )
    parser.add_argument("--out", type=Path, default=PRETRAINED, help="folder; by default within the package")
    wanted = parser.parse_args(arguments)
    try:
        given = open_run(wanted.run) if wanted.run else None
        model_file = build(wanted.data, wanted.out, given, progress=progress_for_terminal())
    except HilumError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{wanted.out / NAME}.onnx: {len(model_file.model):,} bytes, sha256 {model_file.sha256}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
