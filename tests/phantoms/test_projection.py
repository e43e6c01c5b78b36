"""Projections against volumes cut into small pieces along each ray."""

import numpy as np
import pytest

from hilum.phantoms.image import Ellipsoid, Exposure, Grid, Solid, expose
from hilum.phantoms.tubes import TubeCanvas

Z = np.arange(-10, 10, 0.02) + 0.01


def chord(shape, grid):
    path, window = np.zeros((grid.side, grid.side)), shape.window(grid)
    path[window] = 2 * shape.half_chord(grid, window)
    return path


def test_chord_of_a_turned_ellipsoid_equals_its_sampled_volume():
    grid = Grid.of(48, 0.4, tilt=0.1, shift=(0.7, -0.4))
    shape = Ellipsoid((1.0, -0.5, 2.0), (5.0, 3.0, 4.0), angle=0.6)
    x, y = grid.x[..., None] - 1.0, grid.y[..., None] + 0.5
    u, v = np.cos(0.6) * x + np.sin(0.6) * y, np.cos(0.6) * y - np.sin(0.6) * x
    inside = (u / 5) ** 2 + (v / 3) ** 2 + ((Z - 2) / 4) ** 2 < 1
    np.testing.assert_allclose(chord(shape, grid), inside.sum(-1) * 0.02, atol=0.05)


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.2])
def test_tube_equals_its_sampled_volume(slope):
    grid = Grid.of(96, 0.15)
    t = np.linspace(0, 1, 400)[:, None]
    begin, end = np.array([-4.0, -2.0, -4.0 * slope]), np.array([4.0, 1.5, 4.0 * slope])
    canvas = TubeCanvas(grid, anchor=0.9)
    canvas.add(begin + t * (end - begin), 0.9, 0.5)
    drawn = canvas.render()

    axis = (end - begin) / np.linalg.norm(end - begin)
    offset = np.stack(np.broadcast_arrays(grid.x[..., None], grid.y[..., None], Z), -1) - begin
    along = offset @ axis
    apart = (offset**2).sum(-1) - along**2
    exact = 0.5 * ((apart < 0.81) & (along > 0) & (along < np.linalg.norm(end - begin))).sum(-1) * 0.02
    middle = np.abs(grid.x) < 2.0
    assert np.abs(drawn - exact)[middle].mean() < 0.03 * exact.max()
    assert drawn.sum() == pytest.approx(exact.sum(), rel=0.02)


def test_thin_tubes_keep_their_volume_whatever_the_spacing():
    line = np.stack([np.linspace(-5, 5, 300), np.zeros(300), np.zeros(300)], axis=1)
    for spacing in (0.05, 0.2, 0.5):
        canvas = TubeCanvas(Grid.of(round(14 / spacing), spacing))
        canvas.add(line, 0.1)
        assert canvas.render().sum() * spacing**2 == pytest.approx(np.pi * 0.01 * 10, rel=0.02)


def test_hollow_tube_is_an_outer_less_an_inner_tube():
    grid = Grid.of(64, 0.1)
    line = np.stack([np.linspace(-2, 2, 200), np.zeros(200), np.zeros(200)], axis=1)
    hollow, parts = TubeCanvas(grid, anchor=1.3), TubeCanvas(grid, anchor=1.3)
    hollow.add(line, 1.3, 2.0, core=0.25)
    parts.add(line, 1.3, 2.0)
    parts.add(line, 1.0, -0.5)
    np.testing.assert_allclose(hollow.render(), parts.render(), atol=0.01)


def test_solid_covers_overlapping_ellipsoids_exactly():
    grid = Grid.of(40, 0.4)
    shapes = [Ellipsoid((0, 0, -1), (5, 5, 3)), Ellipsoid((1, 0, 2), (4, 3, 3))]
    solid = Solid.empty(grid)
    for shape in shapes:
        solid.cover(grid, shape)
    inside = np.zeros((40, 40, Z.size), bool)
    for shape in shapes:
        at, r = shape.centre, shape.radii
        q = ((grid.x - at[0]) / r[0]) ** 2 + ((grid.y - at[1]) / r[1]) ** 2
        inside |= q[..., None] + ((Z - at[2]) / r[2]) ** 2 < 1
    touching = inside[..., 1:] & ~inside[..., :-1]
    grazed = sum((chord(shape, grid) > 0) & (chord(shape, grid) < 0.1) for shape in shapes) > 0
    one_piece = (touching.sum(-1) <= 1) & ~grazed
    np.testing.assert_allclose(solid.length()[one_piece], inside.sum(-1)[one_piece] * 0.02, atol=0.05)
    assert one_piece.mean() > 0.9


PLAIN = Exposure(
    photons=1e12, scatter=0.0, slope=(0.0, 0.0), flatten=0.0, detail=0.0, window=(0.0, 0.0), gamma=1.0, shutter=(0,) * 4
)


def test_display_is_linear_in_the_line_integral_without_scatter_and_processing():
    integral = np.tile(np.linspace(1.5, 4.0, 80, dtype=np.float32), (80, 1))
    shown = expose(integral, np.zeros_like(integral), 0.3, 8, PLAIN, np.zeros((64, 64), np.float32)).astype(float)
    depth = integral[8:-8, 8:-8]
    slope, offset = np.polyfit(depth[:, 4:-4].ravel(), shown[:, 4:-4].ravel(), 1)
    assert slope > 0  # bones white
    assert np.abs(shown - slope * depth - offset)[:, 4:-4].max() < 1.0

    added = np.zeros_like(integral)
    added[30:50, 30:50] = 0.25
    lifted = expose(integral, added, 0.3, 8, PLAIN, np.zeros((64, 64), np.float32)).astype(float) - shown
    assert lifted[26:38, 26:38].mean() == pytest.approx(0.25 * slope, abs=1.0)
    assert not lifted[:18].any()


def test_noise_has_the_variance_of_the_photon_count():
    integral = np.full((160, 160), 2.0, np.float32) + np.linspace(-0.3, 0.3, 160, dtype=np.float32)
    noise = np.random.default_rng(0).standard_normal((144, 144), dtype=np.float32)
    counted = 20_000.0
    noisy = Exposure(counted / 0.3**2, 0.0, (0.0, 0.0), 0.0, 0.0, (0.0, 0.0), 1.0, (0,) * 4)
    still = expose(integral, 0 * integral, 0.3, 8, noisy, 0 * noise).astype(float)
    moved = expose(integral, 0 * integral, 0.3, 8, noisy, noise).astype(float)
    per_depth = np.polyfit(integral[8:-8, 8:-8].ravel(), still.ravel(), 1)[0]
    inner = (still > 20) & (still < 235)
    expected = np.sqrt((1 / (counted * np.exp(-integral[8:-8, 8:-8][inner]))).mean()) * per_depth
    assert (moved - still)[inner].std() == pytest.approx(expected, rel=0.1)
