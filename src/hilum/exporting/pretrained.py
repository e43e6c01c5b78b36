"""``python -m hilum.exporting.pretrained NAME DATA``: rebuild a model that comes with hilum."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hilum.data.options import ReadOptions
from hilum.errors import HilumError, ModelFileError
from hilum.evaluation.certify import certify
from hilum.evaluation.evaluate import evaluate
from hilum.exporting.export import Words, export
from hilum.files import saving_together
from hilum.progress import Progress, progress_for_terminal
from hilum.serving.model_file import OF_ADULTS, OF_CHILDREN, PRETRAINED, ModelFile
from hilum.training.recipe import load_recipe
from hilum.training.run import Run, open_run
from hilum.training.train import train

SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Pretrained:
    """How a model that comes with hilum is made.

    Attributes:
        words: What a run cannot know of itself, the model's name among them.
        data: The dataset, in words.
        recipe: Name of the recipe.
        settings: Of the recipe, as `load_recipe` takes them.
        read: How the dataset is read.
        false_negative_rate: That is certified for its positive label, with 95 % confidence.
        largest: Bytes that the package has for its model file.
    """

    words: Words
    data: str
    recipe: str = "compact"
    settings: tuple[str, ...] = ()
    read: ReadOptions | None = None
    false_negative_rate: float = 0.05
    largest: int = 6_000_000


CHILDREN = Pretrained(
    data="seed-cxr",
    words=Words(
        name=OF_CHILDREN,
        licence=(
            "CC BY 4.0, as the radiographs: Kermany, Zhang and Goldbaum 2018, 'Labeled Optical Coherence Tomography "
            "(OCT) and Chest X-Ray Images for Classification', Mendeley Data, and Kermany et al. 2018, Cell 172."
        ),
        label_name={
            "normal": "normal",
            "infected/covid": "viral pneumonia (labelled covid in its training set)",
            "infected/non-covid": "bacterial pneumonia (labelled non-covid)",
        },
        card_intro=(
            "It classifies normal chests, viral and bacterial pneumonia, as labelled by one hospital: children of one "
            "to five years, Guangzhou Women and Children's Medical Center, published in 2018.\n\n"
            "**It cannot recognise COVID-19.** The training set calls its viral pneumonias `covid`; they were "
            "published in 2018, before COVID-19. It is not intended for adults, other hospitals or other diseases; the "
            "results below do not hold for them."
        ),
    ),
)
ADULTS = Pretrained(
    data="darkcovidnet",
    recipe="encoder",
    settings=("positive_label=pneumonia", "encoder=efficientnet-lite0", "splits.fraction=0.18"),
    read=ReadOptions(label_map=(("non-covid", "pneumonia"), ("covid", ""))),
    false_negative_rate=0.1,
    largest=20_000_000,
    words=Words(
        name=OF_ADULTS,
        licence=(
            "Free use with attribution, as the radiographs: NIH Clinical Center, ChestX-ray8 "
            "(https://nihcc.app.box.com/v/ChestXray-NIHCC), Wang et al. 2017, CVPR. Its encoder, EfficientNet-Lite0: "
            "Apache-2.0."
        ),
        label_name={"normal": "no finding", "pneumonia": "pneumonia"},
        card_intro=(
            "It classifies chests without finding and pneumonia, as a program read both from the reports of one "
            "hospital: radiographs, most of adults, from the NIH Clinical Center (ChestX-ray8, published in "
            "2017), the part of *darkcovidnet* that shows no COVID-19.\n\n"
            "**It cannot recognise COVID-19**, nor any other disease: no label names any. It is not intended for small "
            "children or other hospitals; the results below do not hold for them.\n\n"
            "Probes that see no lung rank these images nearly as well, as the page about the model file in the "
            "documentation of hilum says: the results do not show that it recognises pneumonia by the lungs."
        ),
    ),
)
MODELS = {model.words.name: model for model in (CHILDREN, ADULTS)}


def build(
    model: Pretrained,
    data: Path,
    folder: Path = PRETRAINED,
    run: Run | None = None,
    *,
    progress: Progress | None = None,
) -> ModelFile:
    """Train, certify, evaluate and export a model, and write its hash beside it.

    Args:
        model: Which one.
        data: Its dataset.
        folder: Where its model file and ``SHA256SUMS`` go.
        run: A finished run of its recipe on these data, instead of a new one.
        progress: Told about long work.

    Raises:
        ModelFileError: The file would be larger than its `largest`.
        HilumError: Whatever the stages raise.
    """
    name = model.words.name
    with tempfile.TemporaryDirectory(prefix="hilum-model-") as scratch:
        # Under a name of its own, so that no evaluation or calibration is written into somebody's run.
        place = Path(scratch) / name
        if run is None:
            recipe = load_recipe(model.recipe, model.settings)
            run = train(data, place, recipe, read=model.read, progress=progress)
        else:
            shutil.copytree(run.path, place)
            run = open_run(place)
        certify(run, false_negative_rate=model.false_negative_rate, progress=progress)
        evaluate(run, progress=progress)
        file = Path(scratch) / f"{name}.onnx"
        model_file = export(run, file, model.words, progress=progress)
        if len(model_file.model) > model.largest:
            size = len(model_file.model)
            msg = f"{file.name}: {size:,} bytes; the package takes {model.largest:,}. Choose a smaller network."
            raise ModelFileError(msg)
        folder.mkdir(parents=True, exist_ok=True)
        sums = folder / SUMS
        others = [
            line for line in (sums.read_text() if sums.exists() else "").splitlines() if line.split()[1] != file.name
        ]
        lines = sorted([*others, f"{model_file.sha256}  {file.name}"], key=lambda line: line.split()[1])
        with saving_together(folder) as save:
            save(file.name, model_file.model)
            save(SUMS, "".join(f"{line}\n" for line in lines).encode())
    return model_file


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m hilum.exporting.pretrained", description=__doc__)
    parser.add_argument("model", choices=MODELS, help="which model")
    parser.add_argument(
        "data", type=Path, help=" or ".join(f"{one.data} for {one.words.name}" for one in MODELS.values())
    )
    parser.add_argument("--run", type=Path, help="a finished run of its recipe on it, instead of a new training")
    parser.add_argument("--out", type=Path, default=PRETRAINED, help="folder; by default within the package")
    wanted = parser.parse_args(arguments)
    try:
        given = open_run(wanted.run) if wanted.run else None
        model_file = build(MODELS[wanted.model], wanted.data, wanted.out, given, progress=progress_for_terminal())
    except HilumError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    size = len(model_file.model)
    sys.stdout.write(f"{wanted.out / wanted.model}.onnx: {size:,} bytes, sha256 {model_file.sha256}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
