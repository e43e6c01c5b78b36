import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hilum.report.gallery import Prediction, choose, picture_uri
from wording import numbers

LABELS = ("a", "b", "c")


def predictions(n: int, wrong_share: float, seed: int = 0) -> list[Prediction]:
    generator = np.random.default_rng(seed)
    made = []
    for i in range(n):
        k = i % 3
        answer = LABELS[(k + 1) % 3] if generator.random() < wrong_share else LABELS[k]
        top = 0.5 + generator.random() / 2
        probabilities = tuple((label, top if label == answer else (1 - top) / 2) for label in LABELS)
        made.append(Prediction(f"{i:04}.png", LABELS[k], answer, probabilities))
    return made


def test_little_is_shown_whole(snapshot: Callable[[str], None]) -> None:
    everything = predictions(40, 0.3)
    chosen = choose(everything, LABELS)
    assert chosen.complete
    assert sorted(chosen.predictions, key=lambda p: p.path) == everything
    snapshot(chosen.how)
    assert {"40"} <= numbers(chosen.how)


def test_sample_is_what_it_says() -> None:
    everything = predictions(600, 0.3)
    chosen = choose(everything, LABELS).predictions
    assert len(chosen) == len(set(chosen)) == 36
    for label in LABELS:
        of_label = [p for p in chosen if p.label == label]
        wrong = [p for p in of_label if not p.right]
        assert (len(of_label), len(wrong)) == (12, 6)
        left_out = {p for p in everything if p.label == label and not p.right} - set(wrong)
        assert min(p.confidence for p in wrong) >= max(p.confidence for p in left_out)


def test_right_answers_are_drawn_not_ranked() -> None:
    everything = predictions(600, 0.3)
    right = [p for p in choose(everything, LABELS).predictions if p.right]
    assert any(p.confidence < 0.75 for p in right)
    assert any(p.confidence > 0.75 for p in right)
    assert {p for p in choose(everything, LABELS, seed=1).predictions if p.right} != set(right)


def test_choice_depends_neither_on_order_nor_on_the_hour() -> None:
    everything = predictions(600, 0.3)
    assert choose(everything, LABELS) == choose(everything[::-1], LABELS)


@pytest.mark.parametrize(("share", "n_wrong"), [(0.0, 0), (1.0, 36)])
def test_other_kind_fills_up(share: float, n_wrong: int) -> None:
    chosen = choose(predictions(600, share), LABELS).predictions
    assert len(chosen) == 36
    assert sum(not p.right for p in chosen) == n_wrong


def test_rare_error_is_never_lost(snapshot: Callable[[str], None]) -> None:
    everything = predictions(600, 0.0)
    odd = Prediction("odd.png", "b", "a", (("a", 0.4), ("b", 0.3), ("c", 0.3)))
    chosen = choose([*everything, odd], LABELS)
    assert odd in chosen.predictions
    snapshot(chosen.how)
    assert {"1"} <= numbers(chosen.how)
    assert len(chosen.predictions) == 36


def test_twenty_labels_share_the_space() -> None:
    labels = [f"l{k:02}" for k in range(20)]
    everything = [
        Prediction(f"{i}.png", labels[i % 20], labels[(i + i // 20 % 2) % 20], ((labels[i % 20], 1.0),))
        for i in range(400)
    ]
    chosen = choose(everything, labels).predictions
    assert len(chosen) == 36
    assert {p.label for p in chosen} == set(labels)


def test_bars_keep_the_truth() -> None:
    ranked = tuple((f"l{k}", 1 / 2 ** (k + 1)) for k in range(10))
    bars = Prediction("x.png", "l9", "l0", ranked).bars()
    assert [label for label, _ in bars] == ["l0", "l1", "l2", "l9"]
    assert [label for label, _ in Prediction("x.png", "l1", "l0", ranked).bars()] == ["l0", "l1", "l2", "l3"]


def test_picture_is_small_and_keeps_shape_and_shades(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 600).astype(np.uint8), (300, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    uri = picture_uri(tmp_path / "ramp.png")
    assert uri is not None
    kind, data = uri.split(",")
    assert kind == "data:image/png;base64"
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (shown.size, shown.mode) == ((192, 96), "L")
    expected = np.linspace(0, 255, 192)
    np.testing.assert_allclose(np.asarray(shown, dtype=float)[48], expected, atol=3)


def test_picture_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image", encoding="utf-8")
    assert picture_uri(tmp_path / "text.png") is None
    assert picture_uri(tmp_path / "gone.png") is None
