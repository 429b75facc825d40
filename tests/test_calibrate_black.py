"""Black level, read noise and defects of simulated sensors against their truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ispkit.calibrate.black import measure_dark
from ispkit.calibrate.defects import find_defects, good_mask
from ispkit.calibrate.look import site_planes
from ispkit.sensor.simulate import Defect, Sensor, capture

DARK = torch.zeros(1, 3, 192, 256)


def darks(sensor, count=2, iso=100.0, seed=0, scene=DARK):
    return [site_planes(capture(scene, sensor, iso=iso, seed=100 * seed + i)) for i in range(count)]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("iso", [100.0, 800.0])
def test_black_level_is_exact_and_noise_is_right(seed, iso):
    sensor = Sensor(black_offsets=(0.0, 3.0, -2.0, 1.0), prnu=0.01)
    found = measure_dark(darks(sensor, iso=iso, seed=seed), iso=iso, exposure_time_s=0.01)
    truth = np.array([512.0, 515.0, 510.0, 513.0])
    level = np.array(found.point.level_dn)
    assert (level.round() == truth).all()
    assert (np.abs(level - truth) < 4.5 * np.array(found.error_dn) + 1e-3).all()
    gain, span = iso / 100, sensor.white_level - truth
    sigma = np.sqrt(sensor.read_at_iso100 * gain**2 * span**2 + 1 / 12)
    pixels = found.mean[0].size
    assert np.abs(np.array(found.point.noise_dn) / sigma - 1).max() < 4.5 / np.sqrt(2 * pixels) + 1e-3
    assert not found.notes


def test_hot_pixels_and_a_fixed_pattern_do_not_move_level_or_noise():
    spots = tuple(Defect(3 * i, 5 * i, "stuck", 1.0) for i in range(40))
    plain, spoiled = Sensor(), Sensor(defects=spots, column_pattern=3e-4)
    truth = measure_dark(darks(plain), iso=100, exposure_time_s=0.01)
    found = measure_dark(darks(spoiled), iso=100, exposure_time_s=0.01)
    single = measure_dark(darks(spoiled, 1), iso=100, exposure_time_s=0.01)
    pattern_dn = 3e-4 * (spoiled.white_level - 512)
    assert np.abs(np.array(found.point.level_dn) - 512).max() < 4 * pattern_dn / np.sqrt(128)
    assert found.point.noise_dn == pytest.approx(truth.point.noise_dn, rel=0.02)
    assert single.point.noise_dn[0] > 1.5 * found.point.noise_dn[0]
    assert "one dark frame only" in single.notes[0]


def test_every_pair_of_a_series_counts():
    rng = np.random.default_rng(4)
    frames = [np.rint(rng.normal(64, s, (4, 200, 200))).astype(np.float32) for s in (2, 2, 4, 4)]
    found = measure_dark(frames, iso=100, exposure_time_s=0.01)
    # pooled variance of both pairs, with the rounding of a single frame
    assert found.point.noise_dn == pytest.approx([np.sqrt((4 + 16) / 2 + 1 / 12)] * 4, rel=0.02)
    assert found.degrees == 2 * 200 * 200


def test_a_level_cut_off_at_zero_is_that_of_the_whole_distribution():
    rng = np.random.default_rng(0)
    drawn = rng.normal(3.0, 4.0, (2, 4, 300, 300))
    frames = list(np.clip(np.rint(drawn), 0, None).astype(np.float32))
    found = measure_dark(frames, iso=100, exposure_time_s=0.01)
    assert np.abs(np.array(found.point.level_dn) - 3.0).max() < 0.1
    assert np.abs(np.array(found.point.noise_dn) / 4.0 - 1).max() < 0.02
    assert abs(float(frames[0].mean()) - 3.0) > 0.5  # what a plain mean would say
    assert "cut off at code 0" in found.notes[0]


def test_scaled_codes_are_told_and_the_level_is_the_plain_mean():
    rng = np.random.default_rng(1)
    frames = list((np.rint(rng.normal(1.0, 0.6, (2, 4, 100, 100))).clip(0) * 4).astype(np.float32))
    found = measure_dark(frames, iso=100, exposure_time_s=0.01)
    assert np.abs(np.array(found.point.level_dn) - np.mean(frames, axis=(0, 2, 3))).max() < 1e-3
    assert "scaled before" in found.notes[0]


def test_every_planted_defect_is_found_and_nothing_else():
    planted = [Defect(11, 20, "hot", 4e4), Defect(80, 33, "stuck", 0.3), Defect(81, 35, "stuck", 0.3)]
    dead = [Defect(50, 50, "dead", 0.0), Defect(120, 200, "dead", 0.5)]
    # a falloff to a fifth in the corners: noise there is relatively larger, but no defect
    sensor = Sensor(defects=(*planted, *dead), vignetting=(2.0, 2.0, 0.0, 0.0, 0.0), prnu=0.01)
    dark = measure_dark(darks(sensor), iso=100, exposure_time_s=0.01)
    in_dark = find_defects(dark.mean, source="dark")
    assert {tuple(p) for p in in_dark.points.tolist()} == {(d.row, d.column) for d in planted}
    flat = np.mean(darks(sensor, scene=DARK + 0.6), axis=0)
    in_flat = find_defects(flat, source="flat", relative=True, black=dark.point.level_dn)
    seen = {tuple(p) for p in in_flat.points.tolist()}
    # of those seen in the dark, the flat only shows what differs from its own level
    assert {(d.row, d.column) for d in dead} <= seen <= {(d.row, d.column) for d in (*planted, *dead)}
    assert in_dark.sigmas >= 6
    assert in_dark.expected_false < 0.1


def test_photon_noise_of_dark_places_is_no_defect():
    rng = np.random.default_rng(5)
    # a twentieth of the light in a tenth of the area, so with more than four times the relative noise
    light = np.broadcast_to(10000 * 20 ** -np.clip((np.arange(160) - 114) / 30, 0, 1), (4, 160, 160))
    flat = rng.poisson(light).astype(np.float32)
    flat[2, 130, 150] = 0.0
    flat[1, 30, 30] = 5000.0
    found = find_defects(flat, source="flat", relative=True)
    assert found.points.tolist() == [[60, 61], [261, 300]]


def test_a_pattern_is_not_taken_for_defects():
    frame = np.random.default_rng(2).normal(64, 1, (4, 100, 100)).astype(np.float32)
    frame[:, ::5, ::5] += 50
    found = find_defects(frame, source="dark frames")
    assert not len(found.points)
    assert "pattern, not defects" in found.note


def test_the_mask_has_a_hole_at_each_defect():
    good = good_mask(np.array([[1, 2], [4, 5]]), (4, 8, 8))
    assert int((~good).sum()) == 2
    assert not good[2, 0, 1]
    assert not good[1, 2, 2]
