"""Where in a radiograph a model sees what it answers, drawn over it, and how well that finds what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hilum.data.images import stacked
from hilum.decision.operating_point import are_probabilities
from hilum.errors import ImageError, UsageError
from hilum.serving.inputs import Source, name_of, read_source
from hilum.serving.metadata import comparable
from hilum.serving.model_file import ModelFile
from hilum.serving.prediction import Prediction
from hilum.serving.predictor import Predictor

Floats = NDArray[np.float32]
METHODS = ("activation", "occlusion")
SHIFTS = 2  # a side: the maps of so many shifted images are interleaved
PATCH, STRIDE = 0.2, 0.1  # of an occlusion, as shares of the side; strides of half a patch cover each place four times
BATCH = 32
SMALLEST = 1e-12


@dataclass(frozen=True)
class Heatmap:
    """How much each place speaks for what one decision was decided for.

    Attributes:
        decision: At which folder it was taken; empty at the root.
        child: What was most probable there, a label or a folder of labels.
        share: Its probability, of those who reach the decision.
        values: Of shape (H, W) like the image, in units of log-odds; below 0 what speaks against it; 0 where the
            network sees nothing of the image.
    """

    decision: str
    child: str
    share: float
    values: Floats


@dataclass(frozen=True)
class Explanation:
    """An answer, the picture it is about (shape (H, W), 0 to 1), and a heatmap for each decision of the network."""

    answer: Prediction
    pixels: Floats
    heatmaps: tuple[Heatmap, ...]
    method: str


def explain(
    predictor: Predictor, source: Source, name: str = "", *, method: str | None = None, label: str = ""
) -> Explanation:
    """Answer about one image, and say where the reasons lie.

    Args:
        predictor: Who answers.
        source: As `Predictor.predict` takes it.
        name: What the answer calls it, where it is not a file.
        method: ``activation``: class activation maps (Zhou et al. 2016, *CVPR*), exact where the network ends in
            global average pooling and one linear layer, interleaved from shifted images (Long et al. 2015, *CVPR*).
            ``occlusion``: by how much the log-odds fall where a patch is blurred away (Zeiler and Fergus 2014, *ECCV*);
            for any network, at about a hundred times the work. By default activation wherever there is any.
        label: For which label or finding the reasons are; by default the most probable one, or of findings the one
            with the most urgent decision.

    Raises:
        ImageError: The image cannot be read, or what the network gives cannot be used.
        UsageError: The network has no activation maps, or no such label; or members of an ensemble see other parts of
            an image.
    """
    model_file = predictor.model_file
    if label and label not in model_file.labels:
        msg = f"{model_file.name}: has no label '{label}' ({', '.join(model_file.labels)}). Name one of them."
        raise UsageError(msg, code="no-such-label")
    method = method or METHODS[not model_file.maps]
    if method not in METHODS or (method == METHODS[0] and not model_file.maps):
        hint = "" if method in METHODS else f"; known: {', '.join(METHODS)}"
        msg = (
            f"{model_file.name}: cannot be explained by '{method}'{hint}. Use occlusion, which works for every network."
        )
        raise UsageError(msg, code="no-such-method")
    if len({view.fit for view in model_file.metadata.preprocessing.views}) > 1:
        msg = (
            f"{model_file.name}: cannot be explained: its members see different parts of an image. Explain one of them."
        )
        raise UsageError(msg, code="several-fits")
    name = name or name_of(source, 1)
    picture, notes = read_source(source, name)
    pixels = model_file.reduce(picture.pixels)
    row, likeness = next(predictor.judge(pixels[None]))
    answer = predictor.say(name, row, picture.chroma, notes, likeness)
    found = _activations(predictor, pixels) if method == METHODS[0] else None
    heatmaps = []
    for decision, members in decisions(model_file).items():
        shares = {child: sum(answer.probabilities[label] for label in inside) for child, inside in members.items()}
        wanted = label or (answer.top if model_file.findings else "")
        child = next((one for one, inside in members.items() if wanted in inside), "")
        if wanted and not child:
            continue  # a decision of a cascade that the label does not depend on
        child = child or max(shares, key=lambda name: shares[name])
        if found is not None:
            values = found[model_file.maps.index((decision, child))]
        else:
            values = _occlusion(predictor, pixels, members, child)
        if not comparable(values).all():
            msg = f"{name}: the explanation map is not finite. Export the model again."
            raise ImageError(msg)
        share = shares[child] if model_file.findings else shares[child] / max(sum(shares.values()), SMALLEST)
        onto = onto_image(values, model_file.metadata.preprocessing.fit, picture.pixels.shape)
        heatmaps.append(Heatmap(decision, child, share, onto))
    return Explanation(answer, picture.pixels, tuple(heatmaps), method)


def decisions(model_file: ModelFile) -> dict[str, dict[str, tuple[str, ...]]]:
    """What the network decides: by decision the children, by child its labels; one decision for a flat network."""
    labels = model_file.labels
    if model_file.metadata.hierarchy != "cascade":
        return {"": {label: (label,) for label in labels}}
    return {
        branch.decision: {
            child: tuple(labels[k] for k in inside)
            for child, inside in zip(branch.children, branch.members, strict=True)
        }
        for branch in model_file.metadata.tree
    }


def onto_image(values: Floats, fit: str, shape: tuple[int, ...]) -> Floats:
    """Put a map of the network's square input where it belongs on the image.

    Args:
        values: Of shape (h, w), over the whole input.
        fit: As in `hilum.data.images.reduce`.
        shape: The image's, (H, W).
    """
    height, width = shape
    target = Image.fromarray(values.astype(np.float32))
    if fit == "crop":  # the network saw the central square only
        side = min(height, width)
        square = np.asarray(target.resize((side, side), Image.Resampling.BILINEAR))
        whole = np.zeros((height, width), np.float32)
        above, before = (height - side) // 2, (width - side) // 2
        whole[above : above + side, before : before + side] = square
        return whole
    box: tuple[float, float, float, float] = (0, 0, target.width, target.height)
    if fit == "pad":  # the image is the middle of a square, black around it
        longest = max(height, width)
        inner = target.width * width / longest, target.height * height / longest
        left, top = (target.width - inner[0]) / 2, (target.height - inner[1]) / 2
        box = (left, top, left + inner[0], top + inner[1])
    return np.asarray(target.resize((width, height), Image.Resampling.BILINEAR, box=box))


def _activations(predictor: Predictor, pixels: NDArray[np.uint8]) -> Floats:
    """Maps of shape (M, SHIFTS h, SHIFTS w): each position between those of one pass comes from a shifted image."""
    size = len(pixels)
    side = predictor.run(pixels[None], ["maps"]).shape[-1]
    step, margin = size / side, size // 2
    shifts = [margin + round(((k + 0.5) / SHIFTS - 0.5) * step) for k in range(SHIFTS)]
    wide = np.pad(pixels, margin, mode="edge")
    moved = np.stack([wide[y : y + size, x : x + size] for y in shifts for x in shifts])
    maps = predictor.run(moved, ["maps"])
    grid = maps.reshape(SHIFTS, SHIFTS, maps.shape[1], *maps.shape[2:])
    return grid.transpose(2, 3, 0, 4, 1).reshape(maps.shape[1], maps.shape[2] * SHIFTS, maps.shape[3] * SHIFTS)


def _occlusion(
    predictor: Predictor, pixels: NDArray[np.uint8], members: Mapping[str, tuple[str, ...]], child: str
) -> Floats:
    """How far the log-odds of a child fall for each place of the patch; of shape (n, n)."""
    size, labels = predictor.model_file.size, predictor.model_file.labels
    stride = max(1, round(size * STRIDE))
    centres = np.arange(stride // 2, size, stride)
    views = predictor.model_file.metadata.preprocessing.views
    if views:
        each = [_covered(part[: how.size, : how.size], centres, size) for part, how in zip(pixels, views, strict=True)]
        hidden = [stacked(same) for same in zip(*each, strict=True)]
    else:
        hidden = _covered(pixels, centres, size)
    inside = [labels.index(label) for label in members[child]]
    others = [labels.index(label) for name, group in members.items() if name != child for label in group]

    def odds(probabilities: Floats) -> NDArray[np.float64]:
        exclusive = not predictor.model_file.findings
        usable = are_probabilities(probabilities, exclusive=exclusive)
        probabilities = np.where(usable[:, None], probabilities, np.nan)
        sums = [probabilities[:, which].astype(np.float64).sum(axis=1) for which in (inside, others)]
        sums = sums if exclusive else [sums[0], 1 - sums[0]]
        found: NDArray[np.float64] = np.log(np.maximum(sums[0], SMALLEST)) - np.log(np.maximum(sums[1], SMALLEST))
        return found

    parts = [np.stack(hidden[start : start + BATCH]) for start in range(0, len(hidden), BATCH)]
    left_over = np.concatenate([odds(predictor.run(part)) for part in parts])
    fallen: Floats = (odds(predictor.run(pixels[None])) - left_over).astype(np.float32)
    return fallen.reshape(len(centres), len(centres))


def _covered(pixels: NDArray[np.uint8], centres: NDArray[np.intp], whole: int) -> list[NDArray[np.uint8]]:
    """Copies of an image (s, s) with a patch blurred away, at each pair of centres of an image with `whole` rows."""
    size = len(pixels)
    patch = max(1, round(size * PATCH))
    coarse = Image.fromarray(pixels).resize((6, 6), Image.Resampling.BOX)
    blurred = np.asarray(
        coarse.resize((size, size), Image.Resampling.BILINEAR)
    )  # a patch of one grey is a shape itself
    hidden = []
    for y in centres * size // whole:
        for x in centres * size // whole:
            covered = pixels.copy()
            rows = slice(max(0, y - patch // 2), y + (patch + 1) // 2)
            columns = slice(max(0, x - patch // 2), x + (patch + 1) // 2)
            covered[rows, columns] = blurred[rows, columns]
            hidden.append(covered)
    return hidden


SHORTEST, LONGEST = 320, 640  # of a panel's longer side, in pixels
GAP, GREY = 8, (128, 128, 128)
FAINT = 2.0  # log-odds; weaker evidence is drawn weaker, instead of each map being stretched to full colour
# Ever less transparent, and not to be found in a grey picture: yellow to red for findings, and, as nothing about it is
# alarming, green to blue for what is healthy.
FINDING = np.array([[255, 215, 0], [255, 150, 0], [245, 70, 20], [215, 10, 70]], np.float32)
HEALTHY = np.array([[150, 235, 190], [60, 200, 200], [30, 140, 230], [60, 80, 235]], np.float32)
OPAQUE = 0.6


def draw(explanation: Explanation, model_file: ModelFile) -> Image.Image:
    """The radiograph, and beside it once for each decision of the network with its heatmap.

    Colour shows what speaks for the answer, up to `full_colour`; what speaks against it is not shown.
    """
    grey = _panel(explanation.pixels)
    ramps = [HEALTHY if is_healthy(heatmap, model_file) else FINDING for heatmap in explanation.heatmaps]
    panels = [grey, *(_heat(grey, *pair) for pair in zip(explanation.heatmaps, ramps, strict=True))]
    width, height = grey.size
    sheet = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height), GREY)
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number * (width + GAP), 0))
    return sheet


def is_healthy(heatmap: Heatmap, model_file: ModelFile) -> bool:
    """Whether a map speaks for labels of the healthy."""
    return set(decisions(model_file)[heatmap.decision][heatmap.child]) <= set(model_file.healthy)


def full_colour(heatmap: Heatmap) -> float:
    """The evidence that is drawn in full colour: the strongest of the image, and `FAINT` at least; in log-odds."""
    return max(float(heatmap.values.max()), FAINT)


def _panel(pixels: NDArray[np.float32]) -> Image.Image:
    height, width = pixels.shape
    scale = min(LONGEST / max(height, width), max(1.0, SHORTEST / max(height, width)))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    return Image.fromarray(np.rint(small * 255).clip(0, 255).astype(np.uint8)).convert("RGB")


def _heat(grey: Image.Image, heatmap: Heatmap, ramp: NDArray[np.float32]) -> Image.Image:
    values = np.asarray(Image.fromarray(heatmap.values).resize(grey.size, Image.Resampling.BILINEAR))
    strength = (values / full_colour(heatmap)).clip(0, 1)
    position = strength * (len(ramp) - 1)
    below = np.minimum(position.astype(int), len(ramp) - 2)
    part = (position - below)[..., None]
    colour = ramp[below] * (1 - part) + ramp[below + 1] * part
    alpha = OPAQUE * strength[..., None]
    mixed = np.asarray(grey, np.float32) * (1 - alpha) + colour * alpha
    return Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8))


TOLERANCE = 0.06  # of the longer side: the 15 pixels of 224 that the pointing game's authors allow


def points_into(values: NDArray[np.float32], mask: NDArray[np.bool_], tolerance: float = TOLERANCE) -> bool:
    """The pointing game: whether the strongest place lies in the lesion, or nearly (Zhang et al. 2018, *IJCV*).

    Args:
        values: Of shape (H, W).
        mask: Of the same shape, True where the lesion is; not empty.
        tolerance: How far from it is near enough, as a share of the longer side; 0 for none.
    """
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    rows, columns = np.nonzero(mask)
    return bool(np.hypot(rows - y, columns - x).min() <= tolerance * max(values.shape))


def energy_inside(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Which share of all that speaks for the answer lies in the lesion (Wang et al. 2020, *CVPR Workshops*).

    Returns:
        0 to 1; the mask's share of the image is what a map that knows nothing has.
    """
    positive = np.maximum(values.astype(np.float64), 0)
    total = positive.sum()
    return float((positive * mask).sum() / total) if total > 0 else 0.0
