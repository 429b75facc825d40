"""Unprocessing is the developer backwards: what was not protected comes back; every draw is in its range."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from ispkit.charts.scene import studio_scene
from ispkit.core.cfa import CFA_PATTERNS
from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.io.dng_writer import write_dng
from ispkit.io.load import load
from ispkit.isp.recipe import preset
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.sensor import kim
from ispkit.sensor.simulate import Sensor
from ispkit.sensor.synthesize import Settings, check_settings, synthesize
from ispkit.sensor.unprocess import (
    camera_of,
    draw_camera,
    draw_noise,
    inverse_smoothstep,
    undo_gains,
    unprocess,
)

NEUTRAL = preset("neutral")


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pictures():
    """Two encoded pictures with texture, saturated colors and highlights."""
    scenes = torch.cat([studio_scene(96, 128, seed=s) for s in (1, 2)])
    return srgb_encode(scenes.clamp(0, 1))


def developed_whole(frame, truth):
    """`neutral` without the filter array: white balance and clip by hand, then its color stages."""
    gains = 1 / frame.meta.neutral
    balanced = (truth.sensor_rgb * gains[..., None, None]).clamp(max=1)
    return NEUTRAL(Frame(balanced, Domain.CAMERA_RGB, replace(frame.meta, wb_gains=gains))).data


def test_neutral_returns_the_picture_exactly_where_nothing_hides_it(pictures):
    for seed in range(5):
        frame, truth = unprocess(pictures, draw_camera(2, chance(seed)), protect=False)
        torch.testing.assert_close(developed_whole(frame, truth), pictures, rtol=0, atol=5e-6)


def test_protected_highlights_stay_white_and_the_rest_comes_back(pictures):
    frame, truth = unprocess(pictures, draw_camera(2, chance(1)))
    error = (developed_whole(frame, truth) - pictures).abs().amax(1)
    balanced_gray = (
        truth.sensor_rgb / unprocess(pictures, draw_camera(2, chance(1)), protect=False)[1].sensor_rgb
    ).amax(1)
    untouched = (balanced_gray - 1).abs() < 1e-5
    assert 0.5 < float(untouched.float().mean()) < 1.0
    assert float(error[untouched].max()) < 5e-6
    white = torch.ones(1, 3, 8, 8)
    frame, truth = unprocess(white, draw_camera(1, chance(2)))
    torch.testing.assert_close(truth.sensor_rgb, white)
    torch.testing.assert_close(NEUTRAL(frame).data, white, rtol=0, atol=1e-4)


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_with_the_filter_array_flat_colors_return_and_edges_within_demosaicing(cfa, pictures):
    flat = torch.tensor([[0.8, 0.2, 0.5], [0.3, 0.6, 0.1]])[..., None, None].expand(-1, -1, 24, 32)
    frame, _ = unprocess(flat, draw_camera(2, chance(3)), cfa=cfa)
    assert frame.meta.cfa == cfa
    torch.testing.assert_close(NEUTRAL(frame).data[..., 4:-4, 4:-4], flat[..., 4:-4, 4:-4], rtol=0, atol=1e-5)

    def psnr(camera):
        out = NEUTRAL(unprocess(pictures, camera, cfa=cfa, protect=False)[0]).data
        return float(-10 * (out - pictures).square().mean().log10())

    plain = camera_of(
        Sensor(color_matrices=(kim_srgb(),) * 2)
    )  # a sensor whose colors are sRGB: only the array is left
    assert psnr(draw_camera(2, chance(4))) > psnr(plain) - 4


def kim_srgb():
    from ispkit.sensor.model import LINEAR_SRGB

    return LINEAR_SRGB


def test_highlight_protection_in_closed_form():
    """At gray 0.95 the mask is ((0.95 - 0.9) / 0.1)^2 = 1/4."""
    image = torch.tensor([0.95, 0.95, 0.95, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0]).reshape(3, 3).T.reshape(1, 3, 1, 3)
    factors = torch.tensor([[0.4, 0.8, 0.5]])
    out = undo_gains(image, factors)[0, :, 0]
    assert out[:, 0].tolist() == pytest.approx([0.95 * (0.25 + 0.75 * f) for f in (0.4, 0.8, 0.5)])
    assert out[:, 1].tolist() == pytest.approx([0.5 * f for f in (0.4, 0.8, 0.5)])
    assert out[:, 2].tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_smoothstep_is_undone():
    x = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(inverse_smoothstep(3 * x**2 - 2 * x**3), x, rtol=0, atol=1e-7)
    picture = torch.rand(1, 3, 8, 8, generator=chance())
    frame, truth = unprocess(picture, draw_camera(1, chance()), protect=False, smoothstep=True)
    shown = srgb_encode(truth.linear)
    torch.testing.assert_close(3 * shown**2 - 2 * shown**3, picture, rtol=0, atol=1e-5)
    torch.testing.assert_close(developed_whole(frame, truth), shown, rtol=0, atol=5e-6)


def test_a_file_carries_the_camera(pictures, tmp_path):
    """Quantized to 16 bits and written as DNG, the clean mosaic develops to the same picture."""
    frame, _ = unprocess(pictures[:1], draw_camera(1, chance(5)))
    stored = frame.with_data(
        (frame.data.clamp(0, 1) * 65535).round(), Domain.RAW, white_level=torch.full((1, 4), 65535.0)
    )
    write_dng(tmp_path / "a.dng", stored)
    torch.testing.assert_close(NEUTRAL(load(tmp_path / "a.dng")).data, NEUTRAL(frame).data, rtol=0, atol=3e-3)


def test_draws_are_seeded_and_in_their_ranges():
    camera = draw_camera(500, chance(6))
    red, green, blue = camera.wb_gains.unbind(-1)
    assert bool(((red >= 1.9) & (red <= 2.4) & (blue >= 1.5) & (blue <= 1.9)).all())
    assert bool((green == 1).all())
    gain = (-camera.exposure_ev).exp2()
    assert float(gain.mean()) == pytest.approx(0.8, abs=0.02)
    assert torch.equal(camera.to_sensor, draw_camera(500, chance(6)).to_sensor)
    assert not torch.equal(camera.to_sensor, draw_camera(500, chance(7)).to_sensor)
    profile = draw_noise(4000, chance(8)).double()
    shot, read = profile[:, 0].log().unbind(-1)
    assert float(shot.min()) >= np.log(1e-4)
    assert float(shot.max()) <= np.log(0.012)
    scatter = read - 2.18 * shot - 1.20
    assert float(scatter.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(scatter.std()) == pytest.approx(0.26, rel=0.05)


def test_a_batch_is_its_pictures_one_by_one(pictures):
    camera = draw_camera(2, chance(9))
    whole, truth = unprocess(pictures, camera)
    for i in range(2):
        one = replace(camera, **{k: v[i : i + 1] for k, v in camera.__dict__.items()})
        frame, own = unprocess(pictures[i : i + 1], one)
        torch.testing.assert_close(frame.data, whole.data[i : i + 1])
        torch.testing.assert_close(own.linear, truth.linear[i : i + 1])
        torch.testing.assert_close(frame.meta.neutral, whole.meta.neutral[i : i + 1])
    with pytest.raises(ShapeError, match="1 or B cameras"):
        unprocess(pictures, draw_camera(3, chance()))


def test_gradients_reach_the_picture():
    picture = (torch.rand(1, 3, 4, 4, generator=chance(), dtype=torch.float64) * 0.8 + 0.1).requires_grad_()
    camera, look = kim.draw_kim(1, chance(1))
    assert torch.autograd.gradcheck(lambda p: unprocess(p, camera)[0].data, picture)
    assert torch.autograd.gradcheck(lambda p: kim.unprocess_kim(p, camera, look)[0].data, picture)


def test_the_inverse_of_kim_undoes_its_model(pictures):
    camera, look = kim.draw_kim(2, chance(10))
    frame, truth = kim.unprocess_kim(pictures.double(), camera, look)
    torch.testing.assert_close(kim.render_kim(truth.linear, look), pictures.double(), rtol=0, atol=1e-6)
    shown = srgb_decode(developed_whole(frame.to(torch.float32), replace(truth, sensor_rgb=truth.sensor_rgb.float())))
    torch.testing.assert_close(shown.double(), truth.linear.clamp(0, 1), rtol=0, atol=1e-5)


def test_every_drawn_curve_rises_and_gamut_mapping_has_its_inverse():
    look = kim.draw_look(500, chance(11))
    assert bool(kim.is_monotone(look.exponents).all())
    assert 0 <= float(look.gamut.min()) <= float(look.gamut.max()) <= kim.STRONGEST_GAMUT
    rgb = torch.rand(4, 3, 16, 16, generator=chance(), dtype=torch.float64)
    amount = torch.tensor([0.0, 0.1, 0.4, 2.0], dtype=torch.float64)
    mapped = kim.map_gamut(rgb, amount)
    torch.testing.assert_close(kim.undo_gamut(mapped, amount), rgb)
    torch.testing.assert_close(mapped[0], rgb[0])
    gray = torch.full((4, 3, 1, 1), 0.4, dtype=torch.float64)
    torch.testing.assert_close(kim.map_gamut(gray, amount), gray)


def test_a_measured_curve_may_take_the_place_of_the_family():
    y = torch.linspace(0, 1, 257, dtype=torch.float64)
    look = replace(kim.draw_look(1, chance()), inverse_curve=y**2.2, gamut=torch.zeros(1))
    x = torch.rand(1, 3, 8, 8, generator=chance(), dtype=torch.float64)
    torch.testing.assert_close(kim.undo_response(x, look), x**2.2, rtol=0, atol=2e-5)
    torch.testing.assert_close(kim.respond(kim.undo_response(x, look), look), x, rtol=0, atol=1e-6)
    with pytest.raises(ParamError, match="do not fall"):
        kim.undo_response(x, replace(look, inverse_curve=y.flip(0)))


@pytest.mark.slow
def test_the_family_of_curves_fits_the_measured_ones(shared):
    """Least squares of y^(a + b y + c y^2) on the 201 inverse curves of DoRF: what the constants of `kim` are from."""
    from scipy.io import loadmat

    data = loadmat(shared / "crf_dorf" / "201_CRF_data.mat")
    y = np.linspace(0.02, 1, 99)
    fits, errors = [], []
    for light, brightness in zip(data["I"].astype(float), data["B"].astype(float), strict=True):
        x = np.interp(y, brightness, light)
        found = least_squares(lambda p, x=x: y ** (p[0] + y * (p[1] + y * p[2])) - x, [2.0, 0.0, 0.0])
        fits.append(found.x)
        errors.append(np.sqrt(np.mean(found.fun**2)))
    fits, errors = np.array(fits), np.array(errors)
    assert np.median(errors) < 0.003
    kept = kim.is_monotone(torch.from_numpy(fits)).numpy() & (errors < 0.03)
    assert kept.sum() == 188
    np.testing.assert_allclose(fits[kept].mean(0), kim.RESPONSE_MEAN, atol=2e-3)
    np.testing.assert_allclose(np.cov(fits[kept].T), kim.RESPONSE_COVARIANCE, atol=5e-3)


def test_light_sets_the_gain_or_the_brightness(pictures):
    sensor = Sensor(blur_px=0.0, vignetting=(0.0,) * 5)
    six = synthesize(pictures[:1], sensor, Settings(lux="6", seed=3))
    assert six.facts["iso"] == pytest.approx(33333.33)
    assert six.facts["exposure"] == 1.0
    dark = synthesize(pictures[:1], sensor, Settings(lux="6", iso=1000.0, seed=3))
    assert dark.facts["exposure"] == pytest.approx(0.03)
    assert dark.facts["wb_gains"] == six.facts["wb_gains"]
    bright = synthesize(pictures[:1], sensor, Settings(iso=1000.0, seed=3))
    mean = lambda made: float((made.raw.data - 512).mean())  # noqa: E731
    assert mean(dark) == pytest.approx(0.03 * mean(bright), rel=0.05)
    again = synthesize(pictures[:1], sensor, Settings(iso=1000.0, seed=3))
    assert torch.equal(again.raw.data, bright.raw.data)


@pytest.mark.parametrize("settings", [Settings(cct_k=3000.0), Settings("kim"), Settings("linear"), Settings()])
def test_the_clean_picture_is_what_neutral_makes_of_a_quiet_sensor(settings, pictures):
    quiet = Sensor(blur_px=0.0, vignetting=(0.0,) * 5, bits=16, shot_at_iso100=0.0, read_at_iso100=0.0)
    smooth = torch.nn.functional.interpolate(pictures[:1, :, ::16, ::16] * 0.9, size=(96, 128), mode="bicubic").clamp(
        0, 0.9
    )
    made = synthesize(smooth, quiet, settings)
    out = NEUTRAL(made.raw).data
    assert float((out - srgb_encode(made.clean)).abs().mean()) < 4e-3
    assert float(-10 * (out - srgb_encode(made.clean)).square().mean().log10()) > 38


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (Settings("brooks"), "method 'brooks' is not known"),
        (Settings(iso=0.0), "iso=0 is outside"),
        (Settings(cct_k=100.0), "cct=100 is outside"),
        (Settings("linear", cct_k=5000.0), "no light of a color"),
        (Settings(lux="dim"), "no light level"),
    ],
)
def test_settings_without_sense_are_refused(settings, complaint):
    with pytest.raises(ParamError, match=complaint):
        check_settings(settings)
