"""Noise S, O: photon transfer within 3 % and 10 % over ten seeds; what the single-image method reaches."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from ispkit.calibrate.black import measure_dark
from ispkit.calibrate.look import site_planes
from ispkit.calibrate.photon_transfer import TransferPoints, dark_anchor, fit_line, gain_law, pair_points
from ispkit.calibrate.single_image_noise import HIGH_PASS, LOW_PASS, clipped_moments, estimate_noise
from ispkit.charts.gray import gray_steps
from ispkit.sensor.simulate import Defect, Sensor, capture


def truth(sensor, iso):
    span = sensor.white_level - sensor.black_level
    return sensor.shot_at_iso100 * iso / 100, sensor.read_at_iso100 * (iso / 100) ** 2 + 1 / 12 / span**2


def shots(sensor, level, iso, seeds, ev=(0.0, 0.0)):
    scene = torch.full((1, 3, 384, 512), level)
    return [site_planes(capture(scene, sensor, iso=iso, seed=s, exposure_ev=e)) for s, e in zip(seeds, ev, strict=True)]


def transfer(sensor, iso, seed, *, level=0.6, ev=(0.0, 0.0), good=None):
    dark = measure_dark(shots(sensor, 0.0, iso, (4 * seed, 4 * seed + 1)), iso=iso, exposure_time_s=0.01)
    where = {"black": dark.point.level_dn, "white": sensor.white_level, "cfa": sensor.cfa}
    points = pair_points(*shots(sensor, level, iso, (4 * seed + 2, 4 * seed + 3), ev), **where, good=good)
    anchor = dark_anchor(dark.variance, dark.degrees, **where)
    return {c: fit_line(points[c], anchor[c]) for c in "RGB"}


@pytest.mark.parametrize("iso", [100.0, 1600.0])
@pytest.mark.parametrize("seed", range(10))
def test_flat_pairs_give_the_simulators_noise(seed, iso):
    sensor = Sensor()
    shot, read = truth(sensor, iso)
    for fit in transfer(sensor, iso, seed).values():
        assert fit.shot == pytest.approx(shot, rel=0.03)
        assert fit.read == pytest.approx(read, rel=0.10)
        assert abs(fit.shot - shot) < 4.5 * fit.shot_error
        assert 0.7 < fit.chi2 < 1.4


def test_lamp_drift_prnu_shading_and_clipping_do_not_bias_it():
    # a third of the picture is clipped, the second flat 3 % brighter, pixels differ by 2 %, some are dead
    defects = tuple(Defect(10 * i + 1, 12 * i + 2, "dead", 0.0) for i in range(30))
    sensor = Sensor(prnu=0.02, vignetting=(1.0, 0.5, 0.0, 0.0, 0.0), defects=defects)
    shot, read = truth(sensor, 400.0)
    good = np.ones((4, 192, 256), bool)
    for d in defects:
        good[2 * (d.row % 2) + d.column % 2, d.row // 2, d.column // 2] = False
    fits = transfer(sensor, 400.0, 1, level=1.25, ev=(0.0, math.log2(1.03)), good=good)
    # PRNU of 2 % is in both frames; what is left of it is the 3 % drift: (0.02 x 0.03)^2 x^2 / 2, nothing
    for fit in fits.values():
        assert fit.shot == pytest.approx(shot, rel=0.03)
        assert fit.read == pytest.approx(read, rel=0.10)


def test_points_on_a_line_give_that_line_whatever_their_weights():
    x = np.linspace(0.05, 0.9, 50)
    points = TransferPoints(x, 3e-4 * x + 2e-7, np.linspace(10, 300, 50))
    fit = fit_line(points)
    assert fit.shot == pytest.approx(3e-4, rel=1e-9)
    assert fit.read == pytest.approx(2e-7, rel=1e-5)
    one = fit_line(TransferPoints(np.full(9, 0.5), np.full(9, 1e-4), np.full(9, 255.0)))
    assert math.isnan(one.shot)
    below = fit_line(TransferPoints(x, 3e-4 * x - 1e-5, np.full(50, 255.0)))
    assert below.read == 0


def test_blocks_far_off_the_line_are_left_out():
    rng = np.random.default_rng(6)
    x, dof = np.linspace(0.02, 0.9, 400), np.full(400, 255.0)
    y = (3e-4 * x + 2e-7) * rng.chisquare(255, 400) / 255
    y[5::20] *= 4  # structure that moved between the flats: one block in twenty
    fit = fit_line(TransferPoints(x, y, dof))
    assert fit.points == 380
    assert fit.shot == pytest.approx(3e-4, rel=0.02)
    assert fit.chi2 == pytest.approx(1, abs=0.25)
    # dark frames are never left out, however far they lie
    held = fit_line(TransferPoints(x, y, dof), TransferPoints(np.zeros(1), np.array([9e-7]), np.array([1e6])))
    assert (held.points, held.read) == (381, pytest.approx(9e-7, rel=0.1))


def test_the_gain_law_sees_what_is_not_proportional():
    exponent, off = gain_law({100.0: 1e-4, 200.0: 2e-4, 800.0: 8e-4})
    assert (exponent, off) == (pytest.approx(1), pytest.approx(0, abs=1e-9))
    exponent, off = gain_law({100.0: 1e-4, 400.0: 2e-4})
    assert exponent == pytest.approx(0.5)
    assert off == pytest.approx(math.sqrt(2) - 1)
    assert gain_law({100.0: 1e-4}) is None


def test_the_wavelet_is_orthonormal_with_three_vanishing_moments():
    for shift in (0, 2, 4):
        expected = 1.0 if shift == 0 else 0.0
        assert float(LOW_PASS[shift:] @ LOW_PASS[: len(LOW_PASS) - shift]) == pytest.approx(expected, abs=1e-12)
    k = np.arange(len(HIGH_PASS))
    assert max(abs(float(HIGH_PASS @ k**m)) for m in range(3)) < 1e-12
    assert float(HIGH_PASS @ HIGH_PASS) == pytest.approx(1)


@pytest.mark.parametrize(("mean", "sigma"), [(-0.05, 0.1), (0.02, 0.04), (0.5, 0.05), (0.97, 0.06), (1.1, 0.1)])
def test_clipped_moments_are_the_integrals(mean, sigma):
    low, high = -0.03, 1.0
    density = norm(mean, sigma).pdf
    edges = [(low, norm.cdf(low, mean, sigma)), (high, norm.sf(high, mean, sigma))]

    def moment(power):
        inside = quad(lambda z: z**power * density(z), low, high, points=[min(max(mean, low), high)], epsabs=1e-13)[0]
        return inside + sum(z**power * share for z, share in edges)

    first, spread = clipped_moments(np.array([mean]), np.array([sigma]), low, high)
    assert first[0] == pytest.approx(moment(1), abs=1e-9)
    assert spread[0] == pytest.approx(math.sqrt(moment(2) - moment(1) ** 2), rel=1e-5)


@pytest.mark.parametrize("ev", [0.0, 0.7])
def test_a_single_step_chart_gives_the_noise_also_where_it_clips(ev):
    sensor, iso = Sensor(), 1600.0
    scene = gray_steps(512, 768, steps=24, low=0.002, high=0.9).picture[None].float()
    shot, read = truth(sensor, iso)
    errors = []
    for seed in range(3):
        frame = site_planes(capture(scene, sensor, iso=iso, seed=seed, exposure_ev=ev))
        found = estimate_noise(frame, black=(512.0,) * 4, white=sensor.white_level, cfa=sensor.cfa)
        errors.append([(found[c].fit.shot / shot - 1, found[c].fit.read / read - 1) for c in "RGB"])
    # single pictures scatter by 2 % in S; the mean over seeds shows that nothing pulls them aside
    assert np.abs(errors)[..., 0].max() < 0.08
    assert np.abs(np.mean(errors, axis=(0, 1)))[0] < 0.02
    assert np.abs(np.mean(errors, axis=(0, 1)))[1] < 0.10


def test_greens_of_different_black_clip_each_at_its_own_place():
    # code 0 lies 12 DN under one green and 400 DN under the other; the noise is 60 DN in the dark
    sensor = Sensor(black_level=12.0, black_offsets=(0.0, 0.0, 388.0, 0.0), read_at_iso100=0.0, shot_at_iso100=1e-4)
    sensor = replace(sensor, read_at_iso100=(60 / sensor.white_level) ** 2)
    scene = gray_steps(512, 768, steps=24, low=0.0005, high=0.9).picture[None].float()
    black = (12.0, 12.0, 400.0, 12.0)
    for order in ((0, 1, 2, 3), (0, 2, 1, 3)):  # whichever green comes last
        frame = site_planes(capture(scene, sensor, iso=100.0, seed=1))[list(order)]
        found = estimate_noise(frame, black=[black[i] for i in order], white=sensor.white_level, cfa="RGGB")
        assert found["G"].fit.read == pytest.approx(sensor.read_at_iso100, rel=0.1)
        assert found["G"].fit.shot == pytest.approx(1e-4, rel=0.08)


def test_a_single_flat_needs_a_dark_frame_and_then_works():
    sensor, iso = Sensor(), 400.0
    dark = measure_dark(shots(sensor, 0.0, iso, (1, 2)), iso=iso, exposure_time_s=0.01)
    where = {"black": dark.point.level_dn, "white": sensor.white_level, "cfa": sensor.cfa}
    flat = shots(sensor, 0.6, iso, (3,), (0.0,))[0]
    alone = estimate_noise(flat, **where)
    assert all(math.isnan(r.fit.shot) for r in alone.values())
    helped = estimate_noise(flat, **where, anchor=dark_anchor(dark.variance, dark.degrees, **where))
    shot, read = truth(sensor, iso)
    for result in helped.values():
        assert result.fit.shot == pytest.approx(shot, rel=0.08)
        assert result.fit.read == pytest.approx(read, rel=0.10)
