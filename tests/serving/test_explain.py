"""Heatmaps against what is known to be in the picture."""

import numpy as np
import pytest
import torch
from PIL import Image

from hilum.data.preprocessing import Preprocessing
from hilum.errors import UsageError
from hilum.exporting.export import export
from hilum.exporting.graph import OUTPUTS, ServedGraph, to_onnx, with_metadata
from hilum.models.registry import build_classifier
from hilum.serving.explain import decisions, draw, energy_inside, explain, onto_image, points_into
from hilum.serving.model_file import open_model_file
from hilum.serving.predictor import Predictor
from sizes import sized


def squares_of(root):
    """Infected test images, and masks of their bright squares (as `write_squares` draws them)."""
    for file in sorted((root / "test" / "infected").rglob("*.png")):
        pixels = np.asarray(Image.open(file)).astype(np.float32)
        sums = pixels.cumsum(0).cumsum(1)
        sums = np.pad(sums, ((1, 0), (1, 0)))
        windows = sums[16:, 16:] - sums[:-16, 16:] - sums[16:, :-16] + sums[:-16, :-16]
        y, x = np.unravel_index(windows.argmax(), windows.shape)
        mask = np.zeros(pixels.shape, bool)
        mask[y : y + 16, x : x + 16] = True
        yield file, mask


def untrained(model_file):
    """The same model file around a network of the same kind with weights that were drawn and never trained."""
    torch.manual_seed(0)
    facts = model_file.facts
    network = facts["provenance"]["recipe"]["network"]
    size = model_file.size
    fresh = build_classifier(facts["hierarchy"], network["architecture"], model_file.labels, size, **network["options"])
    graph = ServedGraph(
        fresh,
        model_file.labels,
        facts["hierarchy"],
        None,
        Preprocessing(**model_file.metadata.preprocessing.model_dump(exclude={"views"})),
    ).eval()
    return Predictor(with_metadata(dict(facts), to_onnx(graph, size, OUTPUTS[: len(facts["outputs"])])))


def found(predictor, pairs, method):
    hits, energy = [], []
    for source, mask in pairs:
        explanation = explain(predictor, source, method=method)
        values = explanation.heatmaps[-1].values
        hits.append(points_into(values, mask, 0.02))
        energy.append(energy_inside(values, mask))
    return np.mean(hits), np.mean(energy)


def test_occlusion_finds_the_squares(bundle_of, squares):
    pairs = [(file, mask) for file, mask in squares_of(squares)][::2]
    share = np.mean([mask.mean() for _, mask in pairs])
    hits, energy = found(Predictor(bundle_of("flat")), pairs, "occlusion")
    assert hits > 0.75
    assert energy > 3 * share


class BrightCells(torch.nn.Module):
    """Says "bright" by how much light falls into cells of 12x12 pixels: its true maps are known."""

    def __init__(self):
        super().__init__()
        self.cells = torch.nn.Conv2d(1, 1, 12, stride=12, bias=False)
        self.pool = torch.nn.AdaptiveAvgPool2d(1)
        self.head = torch.nn.Linear(1, 3, bias=False)
        torch.nn.init.constant_(self.cells.weight, 1 / 144)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[-20.0], [40.0], [-20.0]]))

    def forward(self, images):
        features = torch.relu(self.cells(images) + 1)
        return torch.log_softmax(self.head(self.pool(features).flatten(1)), dim=1)


def test_maps_are_where_a_network_looks_and_finer_than_its_cells(bundle_of):
    """One light on black: its place is known, and the network answers by nothing else."""
    model_file = open_model_file(bundle_of("flat"))
    graph = ServedGraph(
        BrightCells(),
        model_file.labels,
        "flat",
        None,
        Preprocessing(**model_file.metadata.preprocessing.model_dump(exclude={"views"})),
    ).eval()
    facts = {**model_file.facts, "operating_point": None}
    predictor = Predictor(with_metadata(facts, to_onnx(graph, model_file.size, OUTPUTS)))
    generator = np.random.default_rng(0)
    apart = []
    for _ in range(60):
        y, x = generator.integers(20, 220, 2)
        pixels = np.zeros((240, 240), np.uint8)
        pixels[y - 8 : y + 9, x - 8 : x + 9] = 255
        (heatmap,) = explain(predictor, pixels, method="activation").heatmaps
        assert heatmap.child == "infected/covid"
        place = np.unravel_index(heatmap.values.argmax(), heatmap.values.shape)
        apart.append(np.hypot(place[0] - y, place[1] - x))
    assert np.mean(apart) < 0.3 * 240 / 4  # cells of 60 pixels alone would be 23 apart on average


def test_networks_without_maps_are_explained_by_occlusion(bundle_of, squares, refuses):
    predictor = Predictor(bundle_of("vgg"))
    file, _ = next(squares_of(squares))
    explanation = explain(predictor, file)
    assert explanation.method == "occlusion"
    assert explanation.answer.probabilities == predictor.predict(file).probabilities
    with refuses(UsageError, "no-such-method"):
        explain(predictor, file, method="activation")
    with refuses(UsageError, "no-such-method"):
        explain(predictor, file, method="magic")


@pytest.mark.parametrize("method", ["activation", "occlusion"])
def test_a_cascade_has_a_map_for_each_decision(method, bundle_of, squares):
    predictor = Predictor(bundle_of("cascade"))
    file, _ = next(squares_of(squares))
    explanation = explain(predictor, file, method=method)
    assert [heatmap.decision for heatmap in explanation.heatmaps] == ["", "infected"]
    first, second = explanation.heatmaps
    p = explanation.answer.probabilities
    assert first.share == pytest.approx(max(p["normal"], 1 - p["normal"]), abs=1e-5)
    infected = p["infected/covid"] + p["infected/non-covid"]
    assert second.share == pytest.approx(max(p["infected/covid"], p["infected/non-covid"]) / infected, abs=1e-5)
    assert decisions(predictor.model_file)["infected"].keys() == {"infected/covid", "infected/non-covid"}
    sheet = draw(explanation, predictor.model_file)
    assert sheet.width > 2.9 * 320 * 0.99


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_a_map_lands_where_the_network_saw_it(fit):
    """One pixel of the image, sent through the reduction, comes back to its place."""
    from hilum.data.images import reduce

    for height, width, y, x in [(300, 200, 100, 60), (200, 300, 70, 200), (240, 240, 200, 20)]:
        pixels = np.zeros((height, width), np.float32)
        pixels[y - 4 : y + 5, x - 4 : x + 5] = 1
        seen = reduce(pixels, 60, fit).astype(np.float32)
        back = onto_image(seen, fit, pixels.shape)
        rows, columns = np.unravel_index(back.argmax(), back.shape)
        assert back.shape == pixels.shape
        assert abs(rows - y) <= 5
        assert abs(columns - x) <= 5


def test_the_measures_are_those_of_the_pointing_game():
    mask = np.zeros((100, 100), bool)
    mask[10:20, 10:20] = True
    values = np.zeros((100, 100), np.float32)
    values[24, 15] = 1
    assert points_into(values, mask)
    assert not points_into(values, mask, 0)
    assert energy_inside(mask.astype(np.float32), mask) == 1
    assert energy_inside(np.ones((100, 100), np.float32), mask) == pytest.approx(0.01)
    assert energy_inside(-np.ones((100, 100), np.float32), mask) == 0


def test_the_command_draws_each_image_and_a_page(hilum, bundle_of, squares, tmp_path):
    files = [next((squares / "test" / label).iterdir()) for label in ("normal", "infected/covid")]
    (tmp_path / "bad.png").write_text("no image")
    arguments = [*files, tmp_path / "bad.png", "--model", bundle_of("flat"), "--explain", tmp_path / "maps"]
    result = hilum("predict", *arguments, "--json", tmp_path / "rows.jsonl", check=0)
    page = tmp_path / "maps" / "index.html"
    assert str(page) in result.stdout
    drawn = sorted((tmp_path / "maps").rglob("*.jpg"))
    assert len(drawn) == 2
    text = page.read_text()
    for file in drawn:
        assert file.relative_to(tmp_path / "maps").as_posix() in text
    assert text.count("<figure>") == 2
    assert "<dt>folder</dt><dd>normal</dd>" in text
    assert '<h2 id="unreadable">Could not be read <span>1</span>' in text
    assert "bad.png: a text file" in text
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3


@pytest.mark.slow
def test_maps_find_the_lesions_of_phantoms(tmp_path):
    from hilum.phantoms import write_phantoms
    from hilum.training.recipe import load_recipe
    from hilum.training.train import train

    write_phantoms(tmp_path / "data", patients=240, size=96)
    run = train(tmp_path / "data", tmp_path / "run", load_recipe("phantoms", ["epochs=10"]))
    model_file = export(run, tmp_path / "m.onnx")
    trained, fresh = Predictor(model_file), untrained(model_file)
    pairs = []
    for file in sorted((tmp_path / "data" / "test" / "infected").rglob("*.png")):
        mask = (
            np.asarray(Image.open(tmp_path / "data" / "masks" / file.relative_to(tmp_path / "data")).convert("L")) > 0
        )
        if mask.any() and trained.predict(file).label in str(file):
            pairs.append((file, mask))
    pairs = pairs[:: sized(3, 1)]
    share = np.mean([mask.mean() for _, mask in pairs])
    for method in ("activation", "occlusion"):
        hits, energy = found(trained, pairs, method)
        lost_hits, lost_energy = found(fresh, pairs, method)
        assert hits > max(0.4, 1.5 * lost_hits), method
        assert energy > max(1.3 * share, lost_energy), method
