"""Colors of a simulated camera come back as they were put in; those of real scenes get better than by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ispkit.calibrate.color import ChartShot, fit_light, measure_lights, measure_patches, reference_lab, white_xy
from ispkit.calibrate.shading import corrected, lit
from ispkit.charts.catalog import CHARTS
from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.core.profile import ShadingMap
from ispkit.io.load import load
from ispkit.isp.recipe import from_recipe
from ispkit.kpi.locate import COLORCHECKER, locate
from ispkit.kpi.patches import mosaic_preview, picture_patches
from ispkit.kpi.placement import identity
from ispkit.metrics.color import ciede2000
from ispkit.ops.camera_color import camera_to_linear_srgb, interpolate_by_cct
from ispkit.ops.color_spaces import D50_XY, linear_srgb_to, xy_to_xyz
from ispkit.ops.lab import xyz_to_lab
from ispkit.sensor.color import response
from ispkit.sensor.simulate import Sensor, SiteShading, capture

SENSOR = Sensor()
CHART = CHARTS["colorchecker"](height=300, width=450)
PATCHES = CHART.of_kind("patch")
PLACED = identity(CHART.size)
D50 = xy_to_xyz(torch.tensor(D50_XY, dtype=torch.float64))


def shot(cct_k=5000.0, seed=0, sensor=SENSOR, light="sim", **settings) -> ChartShot:
    frame = capture(CHART.picture[None], sensor, cct_k=cct_k, seed=seed, exposure_ev=-0.3, **settings)
    return ChartShot(frame, light, cct_k, PLACED, PATCHES)


def relative(white) -> torch.Tensor:
    white = torch.as_tensor(white, dtype=torch.float64)
    return white / white[..., 1:2]


@pytest.mark.parametrize("seed", range(10))
def test_white_balance_within_half_a_percent(seed):
    for cct_k in (2856.0, 4000.0, 6504.0):
        found = measure_lights([shot(cct_k, seed, iso=200.0)])[0].color
        truth = response(SENSOR, cct_k).neutral[0]
        assert float((relative(found.neutral) / relative(truth) - 1).abs().max()) < 0.005
        assert max(found.neutral) == 1.0


def test_the_matrix_of_a_linear_camera_is_found_exactly():
    shot_ = shot(4000.0)
    clean = capture(CHART.picture[None].double(), SENSOR, cct_k=4000.0, exposure_ev=-0.3, draw="none")
    found = measure_lights([replace(shot_, frame=clean)])[0]
    assert found.color.delta_e00_max < 0.1  # rounding to 14 bits and what blur carries into a patch
    pair = torch.tensor([SENSOR.color_matrices], dtype=torch.float64)
    truth = interpolate_by_cct(pair, pair.new_tensor([[2856.0, 6504.0]]), pair.new_tensor([4000.0]))[0]
    white = truth @ xy_to_xyz(pair.new_tensor(white_xy("sim", 4000.0)))
    np.testing.assert_allclose(np.array(found.color.color_matrix), truth / white.max(), atol=3e-3)


def test_the_matrices_agree_with_each_other():
    color = measure_lights([shot(3200.0)])[0].color
    ccm, forward, matrix = (
        torch.tensor(m, dtype=torch.float64) for m in (color.ccm, color.forward_matrix, color.color_matrix)
    )
    neutral = torch.tensor(color.neutral, dtype=torch.float64)
    np.testing.assert_allclose(ccm.sum(1), np.ones(3), atol=1e-12)
    np.testing.assert_allclose(forward.sum(1), D50, atol=1e-12)
    np.testing.assert_allclose(linear_srgb_to("xyz") @ ccm, forward, atol=1e-12)
    white = xy_to_xyz(torch.tensor(white_xy("sim", 3200.0), dtype=torch.float64))
    np.testing.assert_allclose(matrix @ white, neutral, atol=1e-9)
    # DNG readers with and without forward matrices reach the same colors
    for forwards in (forward, torch.zeros(3, 3, dtype=torch.float64)):
        pairs = [m.expand(1, 2, 3, 3) for m in (matrix, forwards)]
        gains = (1 / neutral)[None]
        to_srgb = camera_to_linear_srgb(neutral[None], gains, *pairs, torch.tensor([[color.cct_k] * 2]).double())[0]
        np.testing.assert_allclose(to_srgb, ccm, atol=2e-4)


def test_the_pipeline_shows_the_colors_of_the_fit():
    given = shot(2856.0)
    result = measure_lights([given])[0]
    color = result.color
    meta = given.frame.meta
    tagged = given.frame.with_data(
        given.frame.data,
        neutral=torch.tensor([color.neutral]),
        color_matrices=torch.tensor(color.color_matrix).expand(1, 2, 3, 3),
        forward_matrices=torch.tensor(color.forward_matrix).expand(1, 2, 3, 3),
        illuminant_cct_k=torch.full_like(meta.illuminant_cct_k, color.cct_k),
    )
    chain = ["linearize", "lens_shading", "white_balance", "highlights", "demosaic", "color_matrix"]
    linear = from_recipe({"version": 1, "stages": chain})(tagged).data[0]
    seen = picture_patches(linear, PLACED, PATCHES, clip=9.0).mean
    lab = reference_lab(PATCHES)
    gray = slice(18, 23)
    xyz = seen @ linear_srgb_to("xyz").T
    wanted = (
        torch.tensor([r.truth["linear_srgb"] for r in PATCHES[gray]], dtype=torch.float64) @ linear_srgb_to("xyz")[1]
    )
    xyz = xyz * (wanted.sum() / xyz[gray, 1].sum())
    error = ciede2000(xyz_to_lab(xyz, D50), lab)
    assert abs(float(error.mean()) - color.delta_e00_mean) < 0.05
    assert color.delta_e00_mean < 0.4 < 5 < result.delta_e00_before


def test_no_matrix_has_a_smaller_error():
    """Around the optimum of a camera whose response no matrix mends, every step makes it worse."""
    generator = torch.Generator().manual_seed(3)
    lab = reference_lab(COLORCHECKER)
    bent = measure_patches(shot(5000.0)).mean * (1 + 0.06 * torch.randn(24, 3, generator=generator).double())
    for power in (2.0, 1.0):
        found = fit_light(bent, lab, light="sim", cct_k=5000.0, power=power)
        assert found.color.delta_e00_mean > 1
        best = _cost(found.color.ccm, bent, lab, found.color.neutral, power)
        for i in range(60):
            step = torch.randn(3, 3, generator=generator).double() * 10 ** (-1 - i / 20)
            step = step - step.mean(1, keepdim=True)  # rows still sum to 1
            other = torch.tensor(found.color.ccm, dtype=torch.float64) + step
            assert _cost(other, bent, lab, found.color.neutral, power) > best - 1e-7


def _cost(ccm, rgb, lab, neutral, power):
    """Written anew: mean ΔE00^power, exposure by the gray row's luminance."""
    xyz = (rgb / torch.tensor(neutral).double()) @ torch.as_tensor(ccm, dtype=torch.float64).T @ linear_srgb_to("xyz").T
    wanted = ((lab[18:23, 0] + 16) / 116) ** 3
    xyz = xyz * (wanted.sum() / xyz[18:23, 1].sum())
    return float(ciede2000(xyz_to_lab(xyz, D50), lab).pow(power).mean())


def test_clipped_patches_take_no_part():
    given = shot(5000.0)
    bright = capture(CHART.picture[None], SENSOR, cct_k=5000.0, exposure_ev=0.5)
    found = measure_lights([replace(given, frame=bright)])[0]
    assert not found.used[18]
    assert found.delta_e00[18].isnan()
    assert "clipped and not used: colorchecker/white 9.5" in found.warnings[-1]
    truth = response(SENSOR, 5000.0).neutral[0]
    assert float((relative(found.color.neutral) / relative(truth) - 1).abs().max()) < 0.005
    blown = capture(CHART.picture[None], SENSOR, cct_k=5000.0, exposure_ev=6.0)
    with pytest.raises(FileError, match=r"light 'sim': only .* patches"):
        measure_lights([replace(given, frame=blown)])


def test_noise_weight_trades_accuracy_for_noise():
    rgb = measure_patches(shot(2856.0)).mean
    fits = [fit_light(rgb, reference_lab(PATCHES), light="A", cct_k=2856.0, noise_weight=w) for w in (0.0, 1.0, 10.0)]
    noise = [float(np.square(f.color.ccm).sum()) for f in fits]
    errors = [f.color.delta_e00_mean for f in fits]
    assert noise[0] > noise[1] > noise[2]
    assert errors[0] < errors[1] < errors[2]
    np.testing.assert_allclose(np.sum(fits[2].color.ccm, 1), 1.0, atol=1e-12)


def test_shading_is_corrected_by_the_profile_or_by_the_file():
    radial = tuple((0.5 + 0.2 * i, 0.0, 0.0, 0.0, 0.0) for i in (2, 0, 0, 1))
    tinted = replace(SENSOR, vignetting=(0.0,) * 5, shading=(SiteShading(5000.0, radial),))
    given = shot(5000.0, sensor=tinted)
    by_file = measure_lights([given])[0].color
    rows, columns = np.mgrid[0:1:33j, 0:1:33j]
    far = (((rows - 0.5) * 300) ** 2 + ((columns - 0.5) * 450) ** 2) / (150**2 + 225**2)
    planes = tuple(tuple(map(tuple, (1 + k[0] * far).tolist())) for k in radial)
    own = ShadingMap(5000.0, planes, (0.0,) * 5, (0.5, 0.5))
    by_profile = measure_lights([given], shading=[own])[0].color
    uncorrected = measure_lights([replace(given, frame=_without_opcodes(given.frame))])[0].color
    assert by_file.delta_e00_mean < 0.3
    assert by_profile.delta_e00_mean < 0.3
    assert uncorrected.delta_e00_mean > 1.0
    truth = relative(response(tinted, 5000.0).neutral[0])
    for color in (by_file, by_profile):
        assert float((relative(color.neutral) / truth - 1).abs().max()) < 0.005


def even(cct_k: float, *gains: float) -> ShadingMap:
    """A map of the same gain everywhere, one a site."""
    planes = tuple(((gain,) * 3,) * 3 for gain in gains)
    return ShadingMap(cct_k, planes, (0.0,) * 5, (0.5, 0.5))


@pytest.mark.parametrize(("cct_k", "share"), [(3000.0, 0.0), (4000.0, 0.5), (4800.0, 0.75), (9000.0, 1.0)])
def test_between_two_lights_the_shading_is_straight_in_reciprocal_temperature(cct_k, share):
    maps = [even(6000.0, 1.4, 1.2, 1.2, 1.1), even(3000.0, 1.0, 1.0, 1.0, 1.0)]
    given = shot(cct_k)
    gain = measure_patches(given, maps).mean / measure_patches(given, maps[1:]).mean
    np.testing.assert_allclose(gain, np.broadcast_to(1 + share * np.array([0.4, 0.2, 0.1]), (24, 3)), rtol=1e-6)


def test_a_flat_without_a_light_does_not_replace_those_with_one():
    unknown, known = even(0.0, 3.0, 3.0, 3.0, 3.0), [even(3000.0, 1.0, 1.0, 1.0, 1.0), even(6000.0, 1.2, 1.1, 1.1, 1.4)]
    given = shot(5000.0)
    assert torch.equal(measure_patches(given, [unknown, *known]).mean, measure_patches(given, known).mean)
    alone = measure_patches(given, [unknown]).mean / measure_patches(given, known[:1]).mean
    np.testing.assert_allclose(alone, np.full((24, 3), 3.0), rtol=1e-6)
    # what the noise chart's shots are corrected with, too
    mosaic, view = torch.ones(1, 1, 8, 8, dtype=torch.float64), given.frame.meta.view[0]
    assert lit([unknown, *known]) == known
    for cct_k in (5000.0, 0.0):  # an unknown light is taken for 5000 K
        gains = corrected(mosaic, [unknown, *known], cct_k, view)[0, 0, :2, :2]
        np.testing.assert_allclose(gains, 1 + 0.8 * np.array([[0.2, 0.1], [0.1, 0.4]]), rtol=1e-12)


def _without_opcodes(frame):
    return frame.with_data(frame.data, opcodes=((),))


def test_shots_of_one_light_are_averaged_and_lights_sorted():
    several = [shot(6504.0, s, iso=1600.0) for s in range(4)] + [shot(2856.0, 9, iso=1600.0)]
    results = measure_lights(several)
    assert [r.color.cct_k for r in results] == [2856.0, 6504.0]
    alone = [measure_lights([s])[0].color.delta_e00_mean for s in several[:4]]
    assert results[1].color.delta_e00_mean < np.mean(alone)


def test_the_reference_of_a_real_chart_can_be_spectral():
    plain, under_a = reference_lab(COLORCHECKER), reference_lab(COLORCHECKER, "A")
    gap = ciede2000(plain, under_a, dim=1)
    assert 0.5 < float(gap.mean()) < 6  # colors are not constant under light A
    assert white_xy("A", 0.0) == pytest.approx((0.44757, 0.40744), abs=1e-4)
    with pytest.raises(ParamError, match="has no color temperature"):
        white_xy("my lamp", 0.0)
    with pytest.raises(ShapeError, match="different regions"):
        measure_lights([shot(), replace(shot(), regions=COLORCHECKER[:12])])


def test_a_marked_chart_is_found_and_measured():
    chart = CHARTS["colorchecker"](height=400, width=600, markers=True)
    frame = capture(chart.picture[None], SENSOR, cct_k=5500.0, exposure_ev=-0.3)
    mosaic = (frame.data[0, 0] - 512) / (SENSOR.white_level - 512)
    placed = locate(mosaic_preview(mosaic, frame.meta.cfa), chart)
    found = measure_lights([ChartShot(frame, "sim", 5500.0, placed, chart.of_kind("patch"))])[0]
    assert found.color.delta_e00_mean < 0.4
    # the same without markers: 24 patches on a black board, in front of a light wall
    board = torch.full((3, 480, 660), 0.5)
    board[:, 80:400, 80:580] = 0.012
    board[:, 90:390, 105:555] = CHART.picture
    frame = capture(board[None], SENSOR, cct_k=5500.0, exposure_ev=-0.3)
    found = measure_lights([ChartShot(frame, "sim", 5500.0)])[0]
    # patches out of the gamut of sRGB (cyan) were drawn clipped, so the maker's reference does not hold for them
    assert found.color.delta_e00_mean < 0.7


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mean", "by_hand"), [("Indoor1", 2.9, 4.7), ("Outdoor1", 2.1, 3.6)])
def test_real_scenes_beat_the_hand_tuned_matrix(shared, name, mean, by_hand):
    folder = shared / "raw_infinite_isp_8bit_grbg"
    frame = load(
        folder / f"{name}_2592x1536_8bit_GRBG.raw", sidecar=folder / f"{name}_2592x1536_10bit_GRBG-configs.yml"
    )
    result = measure_lights([ChartShot(frame, name, 5000.0)])[0]
    assert result.color.delta_e00_mean < mean
    m = frame.meta
    gains = 1 / m.neutral.double()
    hand = camera_to_linear_srgb(
        m.neutral.double(), gains / gains.min(), m.color_matrices.double(), m.forward_matrices.double(),
        m.illuminant_cct_k.double(),
    )[0]  # fmt: skip
    # even with the chart's white balance, which the hand-tuned file does not have
    rows = hand / hand.sum(1, keepdim=True)
    lab = reference_lab(COLORCHECKER)
    assert math.sqrt(_cost(rows, result.sensor_rgb, lab, result.color.neutral, 2.0)) > by_hand


def test_a_chart_shot_is_one_raw_frame():
    frame = shot().frame
    developed = frame.with_data(frame.data / 16383, Domain.MOSAIC)
    with pytest.raises(ValueError, match="color calibration"):
        measure_patches(ChartShot(developed, "sim", 5000.0, PLACED, PATCHES))
    with pytest.raises(ShapeError, match="one chart shot at a time"):
        measure_patches(ChartShot(frame.repeat(2), "sim", 5000.0, PLACED, PATCHES))
