"""What each register does is what its name says: one law each."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ispkit.isp.c71 import REGISTERS, detail
from ispkit.isp.c71.demosaic import color_differences, directions, green
from ispkit.isp.c71.denoise import denoise
from ispkit.isp.c71.fixed import FLOOR, WHITE, binomial, doubling, noise_profile, ramp
from ispkit.isp.c71.isp import develop
from ispkit.isp.c71.tone import balance, convert, matrix, tone_table

SIZE = 64
Y, X = np.mgrid[:SIZE, :SIZE]
# decisions without noise: everything decided at once, nothing sharpened, corrected or smoothed
PLAIN = {r.code: 0 for r in REGISTERS} | {
    "gain_00": 256, "gain_01": 256, "gain_11": 256, "vh_slope": 255, "va_slope": 255, "aa_slope": 255, "uu_slope": 255,
    "coef_a_11": 4352, "coef_a_12": 4096, "coef_a_21": 4096, "coef_a_22": 4352, "coef_a_31": 4096, "coef_a_32": 4096,
    "lut_knee": 255, "lut_power": 128,
}  # fmt: skip
SLOPES = (0, 130, 160, 190, 255)
THRESHOLDS = (0, 200, 800, 4095)


def waves(phase):
    """A gray wave that the mosaic samples all alike."""
    return (6000 + 5000 * np.sin(phase)).astype(np.int32)


STRIPES = waves(Y * 1.9)
DIAGONAL = waves((X + Y) * 0.5)  # from bottom left to top right
NOISE = (4000 + 300 * np.random.default_rng(0).standard_normal((SIZE, SIZE))).astype(np.int32)


def falling(values, least=0.0):
    assert all(b <= a for a, b in pairwise(values)), values
    assert values[-1] < values[0] - least, values


def green_error(picture, **codes):
    settings = PLAIN | codes
    found = directions(picture, settings)
    return float(np.abs(green(picture, found) - picture)[8:-8, 8:-8].mean())


def test_gains_multiply_their_own_sites():
    mosaic = np.full((4, 4), 1000, np.int32)
    balanced = balance(mosaic, PLAIN | {"gain_00": 583, "gain_01": 271, "gain_11": 512})
    assert balanced[0, 0] == (583000 + 128) // 256
    assert balanced[0, 1] == balanced[1, 0] == (271000 + 128) // 256
    assert balanced[1, 1] == 2000
    ends = balance(np.array([[9000, -3000], [9000, 9000]], np.int32), PLAIN | {"gain_00": 4095, "gain_01": 4095})
    assert (ends[0, 0], ends[0, 1]) == (WHITE, FLOOR)


@pytest.mark.parametrize(
    ("name", "picture", "others"),
    [
        ("vh", STRIPES, {"va_slope": 0}),
        ("aa", DIAGONAL, {}),
        ("va", DIAGONAL, {}),
        ("uu", STRIPES, {"va_slope": 0}),
    ],
)
def test_directions_follow_slope_and_threshold(name, picture, others):
    """On an edge of its kind, a steeper slope brings green nearer to the truth and a threshold keeps it away."""
    falling([green_error(picture, **others, **{f"{name}_slope": s}) for s in SLOPES], least=20)
    falling([green_error(picture, **others, **{f"{name}_thresh": t}) for t in THRESHOLDS[::-1]], least=20)


@pytest.mark.parametrize("turned", [STRIPES, STRIPES.T, DIAGONAL, DIAGONAL[:, ::-1]])
def test_directions_do_not_depend_on_the_side(turned):
    """Vertical as horizontal, falling as rising."""
    assert green_error(np.ascontiguousarray(turned)) < 30


def test_noise_offset_raises_the_thresholds():
    codes = [PLAIN | {"uu_thresh": 100, "uu_slope": 170, "np_offset": o} for o in (0, 32, 64, 96)]
    falling([float(directions(NOISE, c).defined.mean()) for c in codes], least=0.5)
    level = np.array([[0, 4000, 16000]], np.int32)
    ratio = noise_profile(level, 64) / noise_profile(level)
    assert np.allclose(ratio, 4, rtol=0.02)


def sharpened(picture, **codes):
    """Mean absolute change by sharpening alone."""
    settings = PLAIN | codes
    found = directions(picture, settings)
    smooth = binomial(binomial(picture))
    return float(np.abs(detail.sharpening(picture, smooth, found, settings))[4:-4, 4:-4].mean())


EDGES = waves(np.hypot(X - 70, Y + 9) * 0.5)
UNDEFINED = {"uu_thresh": 4095}


@pytest.mark.parametrize(
    ("name", "acts", "rests"),
    [("ld", {}, UNDEFINED), ("lu", UNDEFINED, None), ("ldu", {}, None), ("ldu", UNDEFINED, None)],
)
def test_sharpening_acts_in_its_places(name, acts, rests):
    register = f"sharp_alt_{name}"
    falling([sharpened(EDGES, **acts, **{register: s}) for s in (255, 120, 40, 0)], least=20)
    assert sharpened(EDGES, **acts) == 0
    if rests is not None:
        assert sharpened(EDGES, **rests, **{register: 255}) == 0


def test_undefined_sharpening_rests_where_a_direction_is_found():
    found = directions(EDGES, PLAIN)
    masked = detail.sharpening(EDGES, binomial(binomial(EDGES)), found, PLAIN | {"sharp_alt_lu": 255})
    assert not masked[found.defined == 256].any()


def test_sharpening_overshoots_at_an_edge_and_leaves_noise_below_the_profile():
    step = np.where(X < SIZE // 2, 3000, 6000).astype(np.int32)
    found = directions(step, PLAIN)
    added = detail.sharpening(step, binomial(binomial(step)), found, PLAIN | {"sharp_alt_ld": 120})
    assert (added[20, SIZE // 2 - 1] < -100, added[20, SIZE // 2] > 100) == (True, True)
    loud = [sharpened(NOISE, np_offset=o, sharp_alt_ldu=120) for o in (0, 48, 96, 160)]
    falling(loud, least=20)
    assert loud[-1] == 0


def moire(**codes):
    """Mean color of a gray zone plate near the mosaic's limit."""
    settings = PLAIN | {"fc_slope": 255, "fc_alias_slope": 85} | codes
    mosaic = waves((X * X + Y * Y) * 0.022)
    found = directions(mosaic, settings)
    g = green(mosaic, found)
    red, blue = color_differences(mosaic, g)
    light = detail.luma(g, red, blue)
    alias = detail.aliasing(light, binomial(binomial(light)))
    return float(sum(np.abs(detail.correct_colors(c, alias, found.sigma, settings)).mean() for c in (red, blue)))


def test_false_colors_are_corrected_where_there_is_aliasing():
    falling([moire(fc_slope=s) for s in (0, 60, 130, 255)], least=20)
    falling([moire(fc_alias_slope=s) for s in (0, 60, 130, 255)], least=20)
    falling([moire(fc_alias_thresh=t) for t in (255, 120, 40, 0)], least=20)


def test_true_color_without_fine_detail_is_left_alone():
    red = np.where(X < SIZE // 2, 3000, 0).astype(np.int32)
    light = np.full_like(red, 5000)
    alias = detail.aliasing(light, binomial(binomial(light)))
    codes = PLAIN | {"fc_slope": 255, "fc_alias_slope": 255}
    assert np.array_equal(detail.correct_colors(red, alias, noise_profile(light), codes), red)


def roughness(picture, **codes):
    _, g, _ = denoise((picture, picture, picture), PLAIN | codes)
    assert g.dtype == np.int32
    return float(g[8:-8, 8:-8].std())


SLOW = (4000 + 60 * np.sin(X * 0.25) * np.sin(Y * 0.25)).astype(np.int32)
FINE = {"thresh_1h": 40, "strength_1": 255}
MIDDLE = {"thresh_4h": 120, "strength_4": 255}


def test_denoising_grows_with_threshold_and_strength():
    falling([roughness(NOISE, strength_1=255, thresh_1h=t) for t in (0, 5, 10, 20, 40)], least=100)
    falling([roughness(NOISE, thresh_1h=40, strength_1=s) for s in (0, 60, 120, 190, 255)], least=100)
    falling([roughness(NOISE, **FINE, strength_4=255, thresh_4h=t) for t in (0, 10, 30, 60, 120)], least=20)
    falling([roughness(NOISE, **FINE, thresh_4h=120, strength_4=s) for s in (0, 60, 120, 190, 255)], least=20)
    falling([roughness(SLOW, thresh_long=t) for t in (0, 16, 48, 255)], least=3)


def test_denoising_switches_off_and_keeps_what_is_no_noise():
    assert np.array_equal(denoise((NOISE, NOISE, NOISE), PLAIN | {"strength_1": 255, "strength_4": 255})[1], NOISE)
    edge = np.where(X < SIZE // 2, 2000, 9000).astype(np.int32)
    kept = denoise((edge, edge, edge), PLAIN | {"thresh_1h": 10, "strength_1": 255, "thresh_4h": 10, "strength_4": 255})
    assert np.abs(kept[1] - edge)[:, SIZE // 2 - 1 : SIZE // 2 + 1].max() <= 2
    for codes in (FINE, MIDDLE, {"thresh_long": 255}):
        assert abs(float(denoise((NOISE, NOISE, NOISE), PLAIN | codes)[1].mean()) - float(NOISE.mean())) < 5


def test_power_and_knee_brighten_shadow_darkens():
    middle = WHITE // 5
    falling([int(tone_table(255, p, 0)[middle]) for p in (0, 60, 129, 200, 255)], least=60)
    falling([int(tone_table(k, 129, 0)[middle]) for k in (0, 100, 207, 255)], least=15)
    toe = WHITE * 10 // 4096
    falling([int(tone_table(207, 129, s)[toe]) for s in (0, 31, 100, 255)], least=5)
    plain, lifted = tone_table(207, 129, 0), tone_table(207, 129, 31)
    assert np.array_equal(plain[WHITE * 32 // 4096 :], lifted[WHITE * 32 // 4096 :])


@pytest.mark.parametrize(("knee", "power", "shadow"), [(255, 129, 0), (0, 0, 255), (207, 120, 31), (100, 255, 255)])
def test_tone_tables_run_from_black_to_white_without_a_step_back(knee, power, shadow):
    table = tone_table(knee, power, shadow)
    assert (table[0], table[-1]) == (0, 255)
    assert bool((np.diff(table.astype(int)) >= 0).all())


def test_plain_power_is_its_closed_form():
    """Knee 255 lifts the curve by 1024 / 1023 and power 128 is the square root."""
    t = np.arange(WHITE + 1) / WHITE
    wanted = 255 * np.minimum(np.sqrt(t) * 1024 / 1023, 1)
    assert np.abs(tone_table(255, 128, 0) - wanted).max() <= 0.6


@pytest.mark.parametrize(
    ("code", "row", "column"),
    [(f"coef_a_{i}{j}", i - 1, j - 1) for i in (1, 2, 3) for j in (1, 2)],
)
def test_coefficients_move_their_entry_against_the_third(code, row, column):
    before, after = matrix(PLAIN), matrix(PLAIN | {code: PLAIN[code] + 64})
    change = np.zeros((3, 3), int)
    change[row, column], change[row, 2] = 64, -64
    assert np.array_equal(after - before, change)
    assert np.array_equal(after.sum(1), [256] * 3)


def test_conversion_is_the_matrix_product_and_saturates():
    codes = PLAIN | {"coef_a_11": 4461, "coef_a_12": 4001, "coef_a_31": 4135, "coef_a_32": 3842}
    rgb = tuple(np.full((2, 2), v, np.int32) for v in (3000, 8000, 12000))
    wanted = np.clip(matrix(codes) / 256 @ [3000, 8000, 12000], 0, WHITE)
    assert np.abs([p[0, 0] for p in convert(rgb, codes)] - wanted).max() <= 0.5
    gray = tuple(np.full((2, 2), 7000, np.int32) for _ in range(3))
    assert {int(p[0, 0]) for p in convert(gray, codes)} == {7000}


def test_printed_coefficients_make_a_camera_matrix():
    codes = {r.code: r.expert for r in REGISTERS}
    wanted = [[1.426, -0.371, -0.055], [-0.109, 1.180, -0.070], [0.152, -0.992, 1.840]]
    assert np.allclose(matrix(codes) / 256, wanted, atol=2e-3)


def test_slopes_double_every_16_codes():
    excess = np.array([[-5, 0, 4000]], np.int32)
    assert ramp(excess, 160).tolist() == [[0, 0, 4000 * 1024 * 256 >> 24]]
    assert [doubling(c, 4) / 256 for c in (0, 16, 160, 240)] == [1, 2, 1024, 32768]
    assert ramp(np.array([[10**9]], np.int32), 255).tolist() == [[256]]


def test_flat_gray_survives_everything():
    """No direction, edge or noise is found where there is none."""
    codes = {r.code: r.high for r in REGISTERS} | {k: v for k, v in PLAIN.items() if k[:4] in ("gain", "coef", "lut_")}
    picture = develop(np.full((16, 16), 4000, np.int32), "GBRG", codes)
    assert np.unique(picture).tolist() == [int(tone_table(255, 128, 0)[4000])]
