"""Lens shading against the simulator: corners within 1 % over ten seeds, the right place for every node."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ispkit.calibrate.look import site_planes
from ispkit.calibrate.shading import measure_shading
from ispkit.core.errors import ParamError
from ispkit.core.meta import View
from ispkit.ops.lens import centered, radial_gain
from ispkit.sensor import optics
from ispkit.sensor.simulate import Sensor, SiteShading, capture

SIZE = (384, 512)
RADIAL = ((0.5, 0.2, 0, 0, 0), (0.3, 0.1, 0, 0, 0), (0.28, 0.12, 0, 0, 0), (0.6, 0.0, 0.1, 0, 0))
SHADING = SiteShading(4000.0, RADIAL, (0.5, 0.5))


def light(sensor, seeds, draw="poisson", iso=100.0, size=SIZE):
    scene = torch.full((1, 3, *size), 0.7)
    frames = [site_planes(capture(scene, sensor, cct_k=4000.0, iso=iso, seed=s, draw=draw)) for s in seeds]
    return (np.mean(frames, axis=0) - sensor.black_level).astype(np.float32)


def true_nodes(mesh, shading=SHADING, size=SIZE):
    """Gains at the nodes of the mesh, whose corners are the corners of the active area, 1 at the smallest pixel."""
    rows, columns = (torch.linspace(0, n, m, dtype=torch.float64) - 0.5 for n, m in zip(size, mesh, strict=True))
    nodes = [
        radial_gain(*centered(rows, columns, size, shading.center[::-1])[:2], shading.radial[site])[0, 0].numpy()
        for site in range(4)
    ]
    return [n / n.min() for n in nodes]


@pytest.mark.parametrize("seed", range(10))
def test_corners_are_within_one_percent_of_truth(seed):
    sensor = Sensor(vignetting=(0,) * 5, shading=(SHADING,))
    found = measure_shading(light(sensor, range(3 * seed, 3 * seed + 3)), cfa="RGGB", cct_k=4000.0, frames=3)
    for plane, truth in zip(found.map.gains, true_nodes((13, 17)), strict=True):
        error = np.abs(np.array(plane) / truth - 1)
        assert error[::12, ::16].max() < 0.01
        assert error.max() < 0.01
    corner = 1 + sum(found.map.radial)
    assert corner == pytest.approx(1 + (0.4 + 0.4) / 2, rel=0.01)  # the mean of both greens


def test_without_noise_the_radial_law_and_its_center_come_back():
    falloff = SiteShading(4000.0, ((0.3, 0.12, 0.05, 0, 0),) * 4, (0.46, 0.53))
    sensor = Sensor(bits=16, vignetting=(0,) * 5, shading=(falloff,), black_level=512.0)
    found = measure_shading(light(sensor, (0,), "none"), cfa="RGGB", cct_k=4000.0)
    assert found.map.center == pytest.approx((0.46, 0.53), abs=1e-3)
    rows = torch.linspace(0, 1, 50)
    law = radial_gain(rows, torch.zeros(1), found.map.radial)[0, 0, :, 0]
    assert torch.allclose(law, radial_gain(rows, torch.zeros(1), falloff.radial[0])[0, 0, :, 0], rtol=1e-3)
    assert found.radial_residue < 2e-4
    assert found.mesh_residue < 1e-3


def test_the_mesh_flattens_the_field_as_the_simulator_and_a_dng_reader_apply_it():
    falloff = SiteShading(4000.0, RADIAL, (0.45, 0.56))
    flat = light(Sensor(bits=16, vignetting=(0,) * 5, shading=(falloff,)), (0,), "none")
    found = measure_shading(flat, cfa="RGGB", cct_k=4000.0)
    like = torch.zeros(1, 1, *SIZE, dtype=torch.float64)
    gain = optics.falloff((found.map,), torch.tensor([4000.0]), View(SIZE), like)[0, 0].numpy()
    for site in range(4):
        flattened = flat[site] * gain[site // 2 :: 2, site % 2 :: 2]
        assert np.abs(flattened / np.median(flattened) - 1).max() < 3e-3


def test_defects_are_ignored():
    sensor = Sensor(vignetting=(0.25, 0.1, 0, 0, 0))
    clean = light(sensor, (0,), "none")
    spoiled, good = clean.copy(), np.ones(clean.shape, bool)
    spoiled[:, ::7, ::5] = 0
    good[:, ::7, ::5] = False
    first = measure_shading(clean, cfa="RGGB", cct_k=0.0).map.gains
    second = measure_shading(spoiled, cfa="RGGB", cct_k=0.0, good=good).map.gains
    # the rest of a block weighs its pixels a little differently
    assert np.abs(np.array(first) / np.array(second) - 1).max() < 5e-3


@pytest.mark.parametrize("mesh", [(2, 2), (3, 4), (24, 24)])
def test_other_meshes_keep_their_corners(mesh):
    sensor = Sensor(bits=16, vignetting=(0,) * 5, shading=(SHADING,))
    found = measure_shading(light(sensor, (0,), "none"), cfa="RGGB", cct_k=0.0, mesh=mesh)
    planes = np.array(found.map.gains)
    assert planes.shape == (4, *mesh)
    if min(mesh) > 4:
        assert np.abs(planes / np.array(true_nodes(mesh)) - 1).max() < 0.01


def test_wrong_requests_are_refused():
    flat = np.ones((4, 40, 40), np.float32)
    with pytest.raises(ParamError, match="mesh=21x17 does not fit a picture of 80x80 px"):
        measure_shading(flat, cfa="RGGB", cct_k=0.0, mesh=(21, 17))
    with pytest.raises(ParamError, match="without light"):
        measure_shading(np.zeros_like(flat), cfa="RGGB", cct_k=0.0)
