"""Arguments of the interface: wrong types, options without effect, and places that cannot be written to."""

import numpy as np
import pandas as pd
import pytest
import torch

import hilum
from findings_tables import findings_frame
from hilum.api.python_wording import PythonProgress, in_python
from hilum.data.dataset import Dataset
from hilum.errors import ArgumentError, RunError, UsageError
from hilum.progress import Progress
from hilum.training import RadiographDataset

FRAME = pd.DataFrame({"label": ["a", "b"] * 20, "a": [0.9, 0.2] * 20, "b": [0.1, 0.8] * 20})


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: hilum.evaluate(predictions=FRAME, prevalences=0.3), "prevalences"),
        (lambda: hilum.evaluate(predictions=FRAME, prevalences=["0.3"]), "prevalences"),
        (lambda: hilum.evaluate(predictions=FRAME, positive_label=1), "positive_label"),
        (lambda: hilum.evaluate("run", map_label=["a=b"]), "map_label"),
        (lambda: hilum.evaluate(hilum.load(), "data"), "run"),
        (lambda: hilum.set_prior("run", prevalences=["normal=0.9"]), "prevalences"),
        (lambda: hilum.set_prior("run", choose="kappa"), "choose"),
        (lambda: hilum.load(3), "model"),
        (lambda: hilum.load(threads="2"), "threads"),
        (lambda: hilum.load(threads=0), "threads"),
        (lambda: hilum.train("data", "out", 3), "recipe"),
        (lambda: hilum.train("data", "out", seed="x"), "seed"),
        (lambda: hilum.train("data", None), "out"),
        (lambda: hilum.train("data", "out", loggers="mlflow"), "loggers"),
        (lambda: hilum.cross_validate("data", "out", folds=True), "folds"),
        (lambda: hilum.cross_validate("data", "out", folds=2.5), "folds"),
        (lambda: hilum.sweep("data", {"lr": 1e-3}, "out"), "grid"),
        (lambda: hilum.sweep("data", {}, "out", monitor="kappa"), "monitor"),
        (lambda: hilum.open_run(None), "path"),
        (lambda: hilum.open_dataset("data", patients="zz"), "patients"),
        (lambda: hilum.open_dataset("data", label_column=None), "label_column"),
        (lambda: hilum.export("run", None), "out"),
        (lambda: hilum.export("run", "out.onnx", label_names="a"), "label_names"),
        (lambda: hilum.load_recipe(3), "name"),
        (lambda: hilum.load_recipe("compact", "lr=1"), "settings"),
        (lambda: hilum.audit("data", progress=None), "progress"),
        (lambda: hilum.compare(FRAME, FRAME, out=3), "out"),
        (lambda: hilum.evaluate(predictions=FRAME).to_html(None), "path"),
        (lambda: hilum.compare(FRAME, FRAME).to_html(None), "path"),
        (lambda: RadiographDataset("data"), "data"),
        (lambda: RadiographDataset(Dataset(None, []), value_range=1.0), "value_range"),
    ],
)
def test_an_argument_of_another_type_is_named(call, argument, refuses):
    with refuses(ArgumentError, "wrong-argument") as caught:
        call()
    assert caught.value.argument == argument
    assert isinstance(caught.value, TypeError | ValueError)
    assert f"{argument}=" in str(caught.value)


def test_numbers_and_arrays_of_numpy_are_taken(squares):
    shares = hilum.evaluate(predictions=FRAME, prevalences=np.array([0.3])).metrics.predictive_values
    assert shares is None or 0.3 in [entry.prevalence for entry in shares.at]
    assert len(hilum.open_dataset(squares, progress=np.bool_(False)))


@pytest.mark.parametrize(
    "images",
    [
        None,
        np.array(3.0),
        torch.zeros(()),
        np.array("a.png"),
        torch.zeros((64, 64), dtype=torch.bfloat16),
        [None],
        object(),
        np.zeros((3, 64, 64), np.uint8),
        torch.zeros((2, 3, 64, 64)),
        [np.zeros((3, 64, 64), np.uint8)],
        np.zeros((2, 2, 64, 64)),
    ],
)
def test_what_is_no_image_is_refused_by_the_name_of_the_argument(images):
    for call in (hilum.load().predict_proba, hilum.load().triage):
        with pytest.raises(UsageError, match=r"^X: "):
            call(images)


def test_tensors_and_colours_are_read_as_arrays_are(squares):
    from PIL import Image

    model, file = hilum.load(), next(squares.rglob("*.png"))
    grey = np.asarray(Image.open(file))
    expected = model.predict_proba(file)
    colours = np.repeat(grey[..., None], 3, axis=2)
    for same in (
        torch.tensor(grey / 255, requires_grad=True),
        torch.tensor(grey / 255, requires_grad=True)[None],
        [grey[None]],
        grey[..., None][None],
        colours,
        colours[None],
        colours.transpose(2, 0, 1).transpose(1, 2, 0),  # as the message about (3, H, W) says
    ):
        np.testing.assert_allclose(model.predict_proba(same), expected, atol=1e-3)
    assert len(model.predict_proba(list(np.stack([grey] * 3)))) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda data: hilum.evaluate(predictions=FRAME, split="val"),
        lambda data: hilum.evaluate(predictions=FRAME, map_label={"a": "b"}),
        lambda data: hilum.evaluate(predictions=FRAME, data=data),
        lambda data: hilum.evaluate("run", positive_label="a"),
        lambda data: hilum.compare(FRAME, FRAME, split="val"),
        lambda data: hilum.compare("run", "other", positive_label="a"),
        lambda data: hilum.compare(findings_frame(), findings_frame(), positive_label="Effusion"),
        lambda data: hilum.open_dataset(hilum.open_dataset(data, progress=False), label_column="x", patients="none"),
    ],
)
def test_an_option_without_effect_is_refused(call, squares, refuses):
    with refuses(UsageError, "ignored-option") as caught:
        call(squares)
    assert "--" not in str(caught.value)


def test_pages_go_into_folders_that_exist(squares, tmp_path):
    (tmp_path / "notes.html").write_text("mine")
    findings = findings_frame()
    pages = (
        hilum.evaluate(predictions=FRAME).to_html,
        hilum.evaluate(predictions=findings).to_html,
        hilum.compare(FRAME, FRAME).to_html,
        hilum.compare(findings, findings).to_html,
        hilum.audit(squares, progress=False).to_html,
    )
    for write in pages:
        for place, kind in (
            (tmp_path / "missing" / "page.html", RunError),
            (tmp_path / "notes.html" / "page.html", RunError),
            (tmp_path, UsageError),
            (tmp_path / "notes.html", UsageError),
        ):
            with pytest.raises(kind) as caught:
                write(place)
            assert caught.value.path == place
    assert (tmp_path / "notes.html").read_text() == "mine"
    for out in (tmp_path / "notes.html", tmp_path / "notes.html" / "out"):
        with pytest.raises(hilum.HilumError):
            hilum.evaluate(predictions=FRAME, out=out)
        with pytest.raises(hilum.HilumError):
            hilum.compare(FRAME, FRAME, out=out)


def test_a_training_goes_on_without_its_recipe_being_repeated(squares, tmp_path):
    small = {"epochs": 1, "size": 32, "network__options__width": 4, "network__options__blocks": [1]}
    run = hilum.train(squares, tmp_path / "run", progress=False, **small)
    assert hilum.train(squares, tmp_path / "run", resume=True, progress=False).recipe == run.recipe
    with pytest.raises(RunError) as caught:
        hilum.train(squares, tmp_path / "run", progress=False, **small)
    assert "resume=True" in str(caught.value)


MESSAGES = {
    "Go on with: hilum train DATA --out runs/x --resume": "Go on with: hilum.train(DATA, out='runs/x', resume=True)",
    "Say where: hilum evaluate RUN DATA.": "Say where: hilum.evaluate(RUN, DATA).",
    "with: hilum evaluate DATA --model m.onnx": "with: hilum.evaluate(data=DATA, model='m.onnx')",
    "Make one (hilum export RUN model.onnx), and name it (--model).": "Make one (hilum.export(RUN, 'model.onnx')), and "
    "name it (model).",
    "Run `hilum evaluate first` again.": "Run hilum.evaluate('first') again.",
    "holds a run already. Continue it with --resume, or choose another --out.": "holds a run already. Continue it with "
    "resume=True, or choose another out.",
    "--map-label covid=x: no label": "map_label={'covid': 'x'}: no label",
    "with --map-label 'a b=DST', or with --map-label 'a b='.": "with map_label={'a b': 'DST'}, or with "
    "map_label={'a b': ''}.",
    "took it; --patients none switches this off": "took it; patients='none' switches this off",
    "say --split-column NAME": "say split_column=NAME",
    "Use: --set training.lr=3 or --set lr=0.1": "Use: training__lr=3 or lr=0.1",
    "for example --set lr=0.001,0.01.": "for example {'lr': [0.001,0.01]}.",
    "--prevalence 1.5: give a share": "prevalences=[1.5]: give a share",
    "Use --folds 3, or add images.": "Use folds=3, or add images.",
    "choose with --ledger or HILUM_LEDGER.": "choose with HILUM_LEDGER.",
    # Nothing in Python does this, or nothing is asked for.
    "leave them out: hilum audit DATA --clean OUT.csv.": "leave them out: hilum audit DATA --clean OUT.csv.",
    "hilum train learns one label an image.": "hilum train learns one label an image.",
    "/home/a--set/b--out.png: bad": "/home/a--set/b--out.png: bad",
}


@pytest.mark.parametrize("text", MESSAGES)
def test_messages_name_arguments_of_python(text):
    assert in_python(text) == MESSAGES[text]
    assert in_python(MESSAGES[text]) == MESSAGES[text]


def test_remarks_of_long_work_do_so_too():
    said = []

    class Listening(Progress):
        def line(self, text):
            said.append(text)

    PythonProgress(Listening()).line("took it; --patients none switches this off")
    assert said == ["took it; patients='none' switches this off"]


def test_an_error_speaks_python(tmp_path, squares):
    with pytest.raises(hilum.HilumError) as caught:
        hilum.open_dataset(squares, label_column="finding", progress=False)
    assert "label_column" in str(caught.value)
    assert "--" not in str(caught.value)
