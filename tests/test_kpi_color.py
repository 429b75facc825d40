"""Color accuracy and white balance against closed forms and colour-science."""

import math
import warnings

import numpy as np
import pytest
import torch

from ispkit.charts.checker import colorchecker_chart
from ispkit.charts.colorchecker import LAB_D50, reference_linear_srgb, reference_xyz
from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.color import color_accuracy, lab_of_linear_srgb, lab_of_xyz
from ispkit.kpi.white_balance import gray_balance, neutral_error
from ispkit.ops.color_spaces import D50_XY, adaptation, linear_srgb_to

with warnings.catch_warnings():  # it misses a plotting library that nobody needs
    warnings.simplefilter("ignore")
    import colour

REFERENCE = torch.tensor(list(LAB_D50.values()), dtype=torch.float64)
PERFECT = reference_linear_srgb()
NAMES = tuple(LAB_D50)


def test_the_perfect_picture_has_no_error_at_any_exposure():
    for gain in (0.2, 0.7, 1.0):
        accuracy = color_accuracy(gain * PERFECT, REFERENCE, names=NAMES)
        assert accuracy.neutral == tuple(range(18, 24))
        assert float(accuracy.delta_e00.max()) < 1e-9
        assert accuracy.exposure_stops == pytest.approx(math.log2(gain), abs=1e-9)
        assert accuracy.saturation == pytest.approx(1.0)
        assert not accuracy.warnings


def test_the_exposure_is_taken_out_and_wrong_colors_stay_wrong():
    wrong = PERFECT @ torch.tensor([[0.9, 0.1, 0.0], [0.05, 0.9, 0.05], [0.0, 0.1, 0.9]], dtype=torch.float64).T
    one, half = (color_accuracy(gain * wrong, REFERENCE) for gain in (1.0, 0.5))
    assert float(one.delta_e00.mean()) > 2
    torch.testing.assert_close(one.lab, half.lab, rtol=1e-9, atol=1e-9)


def test_every_difference_equals_colour_science():
    g = torch.Generator().manual_seed(0)
    measured = (PERFECT + 0.03 * torch.randn(24, 3, generator=g, dtype=torch.float64)).clamp(min=0)
    ours = color_accuracy(measured, REFERENCE, names=NAMES)
    space = colour.models.RGB_COLOURSPACE_sRGB.copy()
    space.use_derived_matrix_RGB_to_XYZ = True
    white = colour.xy_to_XYZ(np.array(D50_XY))
    xyz = colour.RGB_to_XYZ(2**-ours.exposure_stops * measured.numpy(), space) @ adaptation_d65_to_d50().T
    lab = colour.XYZ_to_Lab(xyz, np.array(D50_XY))
    assert white[1] == 1
    np.testing.assert_allclose(ours.lab.numpy(), lab, atol=5e-5)
    truth = REFERENCE.numpy()
    np.testing.assert_allclose(ours.delta_e00.numpy(), colour.delta_E(truth, lab, method="CIE 2000"), atol=1e-4)
    np.testing.assert_allclose(ours.delta_e76.numpy(), colour.delta_E(truth, lab, method="CIE 1976"), atol=1e-4)
    chroma = np.hypot(*(lab - truth)[:, 1:].T)
    np.testing.assert_allclose(ours.delta_c.numpy(), chroma, atol=1e-4)
    result = ours.as_result("checker")
    assert result.value("color.delta_e00.p90[checker]") == pytest.approx(np.quantile(ours.delta_e00.numpy(), 0.9))
    assert result.value("color.delta_e00.max[checker]") == pytest.approx(float(ours.delta_e00.max()))
    assert result.value("color.delta_c.mean[checker]") == pytest.approx(chroma.mean(), abs=1e-4)


def adaptation_d65_to_d50() -> np.ndarray:
    return colour.adaptation.matrix_chromatic_adaptation_VonKries(
        colour.xy_to_XYZ(np.array([0.3127, 0.3290])), colour.xy_to_XYZ(np.array(D50_XY)), transform="Bradford"
    )


@pytest.mark.parametrize("saturation", [0.7, 1.0, 1.3])
def test_saturation_is_forgiven_by_the_corrected_chroma_error_and_by_nothing_else(saturation):
    lab = REFERENCE.clone()
    lab[:, 1:] *= saturation
    picture = linear_srgb_of_lab(lab)
    accuracy = color_accuracy(picture, REFERENCE, names=NAMES)
    assert accuracy.saturation == pytest.approx(saturation, rel=1e-9)
    assert float(accuracy.delta_c_corrected.max()) < 1e-9
    expected = abs(saturation - 1) * REFERENCE[:, 1:].norm(dim=1)
    torch.testing.assert_close(accuracy.delta_c, expected, rtol=1e-7, atol=1e-8)
    assert float(accuracy.delta_l.abs().max()) < 1e-8
    row = accuracy.table()[14]
    assert row["name"] == "red"
    assert row["delta_c"] == pytest.approx(float(expected[14]))
    assert row["reference_b"] == pytest.approx(28.62)


def linear_srgb_of_lab(lab: torch.Tensor) -> torch.Tensor:
    xyz = torch.from_numpy(colour.Lab_to_XYZ(lab.numpy(), np.array(D50_XY)))
    return torch.linalg.solve(linear_srgb_to("xyz"), xyz.T).T


def test_references_under_any_light_agree():
    torch.testing.assert_close(lab_of_xyz(reference_xyz()), REFERENCE, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(lab_of_linear_srgb(PERFECT), REFERENCE, rtol=1e-6, atol=1e-6)
    tungsten = (0.44758, 0.40745)
    to_a = adaptation(torch.tensor(D50_XY, dtype=torch.float64), torch.tensor(tungsten, dtype=torch.float64))
    under_a = reference_xyz() @ to_a.T
    torch.testing.assert_close(lab_of_xyz(under_a, white_xy=tungsten), REFERENCE, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("light", ["reference", "D65", "A"])
def test_the_chart_itself_is_perfect_under_its_own_light(light):
    truth = [r.truth for r in colorchecker_chart(64, 96, light=light).of_kind("patch")]
    rgb = torch.tensor([t["linear_srgb"] for t in truth], dtype=torch.float64)
    lab = torch.tensor([t["lab_d50"] for t in truth], dtype=torch.float64)
    accuracy = color_accuracy(0.6 * rgb, lab, names=[t["name"] for t in truth])
    assert float(accuracy.delta_e00.max()) < 1e-3  # the picture is float32
    assert len(accuracy.neutral) == 6


def test_patches_that_cannot_be_trusted_are_told():
    burnt = (1.5 * PERFECT).clamp(max=1.0)
    accuracy = color_accuracy(burnt, REFERENCE)
    assert "clipped" in accuracy.warnings[0]
    assert accuracy.exposure_stops == pytest.approx(math.log2(1.5), abs=1e-9)  # from the darker grays
    unlit = color_accuracy(torch.zeros(24, 3), REFERENCE)
    assert "no usable neutral patch" in unlit.warnings[0]
    with pytest.raises(ShapeError, match="24 measured patches, but 6 reference"):
        color_accuracy(PERFECT, REFERENCE[18:])
    with pytest.raises(ParamError, match="neutral holds patch 24"):
        color_accuracy(PERFECT, REFERENCE, neutral=[24])
    with pytest.raises(ParamError, match="not finite"):
        color_accuracy(PERFECT * math.nan, REFERENCE)


def test_gray_balance_gives_the_angle_of_known_gains():
    grays = torch.tensor([0.1, 0.3, 0.6], dtype=torch.float64)[:, None].expand(3, 3)
    assert gray_balance(grays).angular_error_deg == 0
    assert gray_balance(grays).mired == pytest.approx(0, abs=1e-9)
    for gains in ([1.1, 1.0, 1.0], [1.0, 0.8, 1.0], [0.9, 1.0, 1.2]):
        balance = gray_balance(grays * torch.tensor(gains))
        truth = math.degrees(math.acos(sum(gains) / math.sqrt(3 * sum(g * g for g in gains))))
        assert balance.angular_error_deg == pytest.approx(truth, rel=1e-6)
        assert balance.patch_error_deg == pytest.approx([truth] * 3, rel=1e-6)
        assert balance.delta_c > 1


def test_gray_balance_names_the_direction_of_the_cast():
    warm, cool, green, blue = (
        gray_balance(torch.tensor([c])) for c in ([0.5, 0.4, 0.25], [0.3, 0.4, 0.5], [0.4, 0.5, 0.4], [0.1, 0.1, 0.9])
    )
    assert warm.mired > 20 > -20 > cool.mired
    assert green.tint < -10
    assert math.isnan(blue.cct_k)
    assert "locus" in blue.warnings[0]
    xyz = colour.RGB_to_XYZ(np.array([0.5, 0.4, 0.25]), colour.models.RGB_COLOURSPACE_sRGB)
    assert warm.cct_k == pytest.approx(colour.xy_to_CCT(colour.XYZ_to_xy(xyz), "McCamy 1992"), rel=0.01)


def test_gray_balance_knows_grays_that_are_not_gray_and_leaves_out_burnt_ones():
    reference = PERFECT[18:]
    assert gray_balance(0.5 * reference, reference).angular_error_deg < 1e-9
    assert gray_balance(0.5 * reference, reference).delta_c < 1e-9
    assert gray_balance(0.5 * reference).angular_error_deg > 0.3  # the white patch is yellowish
    burnt = reference.clone()
    burnt[0] = torch.tensor([1.0, 1.0, 0.5])
    balance = gray_balance(burnt, reference)
    assert balance.angular_error_deg < 1e-9
    assert math.isnan(balance.patch_error_deg[0])
    assert "1 of 6" in balance.warnings[0]
    assert math.isnan(gray_balance(torch.ones(2, 3)).angular_error_deg)


def test_neutral_error_is_the_angle_before_and_after_balancing():
    truth, estimate = (0.5, 1.0, 0.7), (0.52, 1.0, 0.65)
    same = neutral_error([2 * v for v in truth], truth)
    assert (same.recovery_deg, same.reproduction_deg) == pytest.approx((0, 0), abs=1e-6)
    a, b = np.array(estimate), np.array(truth)
    error = neutral_error(estimate, truth)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert error.recovery_deg == pytest.approx(np.degrees(np.arccos(cosine)))
    after = (b / a) / np.linalg.norm(b / a) @ np.ones(3) / np.sqrt(3)
    assert error.reproduction_deg == pytest.approx(np.degrees(np.arccos(after)))
    gray = torch.tensor([t / e for t, e in zip(truth, estimate, strict=True)]) * 0.3
    assert gray_balance(gray).angular_error_deg == pytest.approx(error.reproduction_deg, rel=1e-5)
    with pytest.raises(ParamError, match="three positive numbers"):
        neutral_error((0.5, 1.0), truth)


def test_noise_of_the_patches_adds_little_to_the_mean_difference():
    g = torch.Generator().manual_seed(3)
    noisy = PERFECT + 0.002 * torch.randn(24, 3, generator=g, dtype=torch.float64)  # 0.05 over 625 pixels
    result = color_accuracy(noisy, REFERENCE).as_result()
    assert 0 < result.value("color.delta_e00.mean") < 0.6
    assert result.value("color.saturation") == pytest.approx(1, abs=0.01)
