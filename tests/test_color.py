"""Color against closed forms and colour-science: temperature, spaces, the DNG matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ispkit.core.meta import XYZ_TO_SRGB
from ispkit.ops import camera_color, color_spaces, encode, temperature

PATCHES = torch.rand(64, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
# Two matrices of one camera at 2856 K and 6504 K (values of the order that makers publish).
WARM = [[0.9602, -0.3823, -0.0410], [-0.4013, 1.2320, 0.1867], [-0.0513, 0.1498, 0.5620]]
COLD = [[0.7866, -0.2108, -0.0555], [-0.4869, 1.2483, 0.2681], [-0.1176, 0.2069, 0.7501]]
PAIR = torch.tensor([[WARM, COLD]], dtype=torch.float64)
CCTS = torch.tensor([[2856.0, 6504.0]], dtype=torch.float64)
NO_FORWARD = torch.zeros(1, 2, 3, 3, dtype=torch.float64)


@pytest.mark.parametrize("cct", [2000.0, 2856.0, 4000.0, 5003.0, 6504.0, 9300.0, 15000.0])
def test_temperature_agrees_with_colour_science(cct):
    colour = pytest.importorskip("colour")
    uv = colour.temperature.CCT_to_uv_Robertson1968(np.array([cct, 0.0]))
    ours = temperature.cct_to_xy(torch.tensor(cct, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64))
    np.testing.assert_allclose(ours, colour.UCS_uv_to_xy(uv), atol=2e-5)
    back, tint = temperature.xy_to_cct(ours)
    assert float(back) == pytest.approx(cct, rel=1e-3)
    assert abs(float(tint)) < 0.5


@pytest.mark.parametrize("cct", [2500.0, 4200.0, 6504.0, 12000.0])
@pytest.mark.parametrize("tint", [-40.0, 0.0, 25.0])
def test_temperature_round_trip(cct, tint):
    c, t = torch.tensor(cct, dtype=torch.float64), torch.tensor(tint, dtype=torch.float64)
    back = temperature.xy_to_cct(temperature.cct_to_xy(c, t))
    assert float(back[0]) == pytest.approx(cct, rel=2e-3)
    assert float(back[1]) == pytest.approx(tint, abs=0.5)


@pytest.mark.parametrize(
    ("space", "name"),
    [
        ("srgb", "sRGB"),
        ("display-p3", "Display P3"),
        ("adobe-rgb", "Adobe RGB (1998)"),
        ("prophoto-rgb", "ProPhoto RGB"),
    ],
)
def test_spaces_agree_with_colour_science(space, name):
    colour = pytest.importorskip("colour")
    theirs, srgb = colour.RGB_COLOURSPACES[name].copy(), colour.RGB_COLOURSPACES["sRGB"].copy()
    for published in (theirs, srgb):  # from the primaries, as ours: the published matrices are rounded
        published.use_derived_transformation_matrices(True)
    matrix = colour.matrix_RGB_to_RGB(srgb, theirs, "Bradford")
    np.testing.assert_allclose(color_spaces.linear_srgb_to(space), matrix, atol=1e-5)
    linear = torch.linspace(0, 1, 257, dtype=torch.float64)
    np.testing.assert_allclose(encode.encode_for(linear, space), theirs.cctf_encoding(linear.numpy()), atol=1e-4)


def test_srgb_curve_round_trip_and_published_values():
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(encode.srgb_decode(encode.srgb_encode(x)), x, atol=1e-6, rtol=0)
    assert float(encode.srgb_encode(torch.tensor(0.18))) == pytest.approx(0.46135, abs=1e-4)


@pytest.mark.parametrize("cct", [2200.0, 2856.0, 3500.0, 5000.0, 6504.0, 8000.0])
def test_the_white_of_a_light_is_found_again(cct):
    xy = temperature.cct_to_xy(torch.tensor([cct], dtype=torch.float64), torch.tensor([5.0], dtype=torch.float64))
    neutral = camera_color.xy_to_neutral(xy, PAIR, CCTS)
    torch.testing.assert_close(camera_color.neutral_to_xy(neutral, PAIR, CCTS), xy, atol=1e-5, rtol=0)


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("gains", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.6)])
def test_white_becomes_white(forward, gains):
    rounded_d50 = [[0.4, 0.4, 0.1642], [0.2, 0.7, 0.1], [0.0, 0.1, 0.7249]]
    forwards = torch.tensor(rounded_d50, dtype=torch.float64).expand(1, 2, 3, 3) if forward else NO_FORWARD
    neutral = torch.tensor([[0.5, 1.0, 0.625]], dtype=torch.float64)
    g = torch.tensor([gains], dtype=torch.float64)
    m = camera_color.camera_to_linear_srgb(neutral, g, PAIR, forwards, CCTS)
    white = m @ (neutral * g)[..., None]
    torch.testing.assert_close(white, torch.ones_like(white), atol=1e-9, rtol=0)


def test_interpolation_is_linear_in_reciprocal_temperature_and_stops_at_the_ends():
    def at(cct):
        return camera_color.interpolate_by_cct(PAIR, CCTS, torch.tensor([cct], dtype=torch.float64))[0]

    torch.testing.assert_close(at(2000.0), PAIR[0, 0])
    torch.testing.assert_close(at(9000.0), PAIR[0, 1])
    middle = 2 / (1 / 2856 + 1 / 6504)
    torch.testing.assert_close(at(middle), PAIR[0].mean(0))


def test_an_srgb_camera_is_left_alone():
    pair = torch.tensor([[XYZ_TO_SRGB, XYZ_TO_SRGB]], dtype=torch.float64)
    ones = torch.ones(1, 3, dtype=torch.float64)
    ccts = torch.full((1, 2), 6504.0, dtype=torch.float64)
    m = camera_color.camera_to_linear_srgb(ones, ones, pair, NO_FORWARD, ccts)
    torch.testing.assert_close(m[0], torch.eye(3, dtype=torch.float64), atol=2e-3, rtol=0)


def test_color_of_a_known_camera_survives_the_round_trip():
    """Colors seen by a camera with matrix COLD under D65 come back as the sRGB they were."""
    to_xyz = color_spaces.rgb_to_xyz("srgb")
    white = torch.tensor(COLD, dtype=torch.float64) @ to_xyz @ torch.ones(3, dtype=torch.float64)
    seen = (torch.tensor(COLD, dtype=torch.float64) @ to_xyz @ PATCHES.T) / white.max()
    pair = torch.tensor([[COLD, COLD]], dtype=torch.float64)
    neutral = (white / white.max())[None]
    m = camera_color.camera_to_linear_srgb(neutral, torch.ones_like(neutral), pair, NO_FORWARD, CCTS)
    torch.testing.assert_close((m[0] @ seen).T, PATCHES, atol=1e-4, rtol=0)


@pytest.mark.parametrize("cct", [1800.0, 2400.0, 3200.0, 4700.0, 7000.0, 15000.0])
def test_the_temperature_agrees_with_the_matrix_it_selects(cct):
    """The fixed point of the DNG specification, to float64 precision where its 30 plain steps stop short."""
    warm, cold = torch.tensor([WARM], dtype=torch.float64), torch.tensor([COLD], dtype=torch.float64)
    pair = torch.stack([1.3 * warm - 0.3 * cold, cold], 1)
    xy = temperature.cct_to_xy(torch.tensor([cct], dtype=torch.float64), torch.tensor([20.0], dtype=torch.float64))
    found = camera_color.neutral_to_xy(camera_color.xy_to_neutral(xy, pair, CCTS), pair, CCTS)
    matrix = camera_color.interpolate_by_cct(pair, CCTS, temperature.xy_to_cct(found)[0])
    back = (matrix @ color_spaces.xy_to_xyz(found)[..., None])[..., 0]
    neutral = camera_color.xy_to_neutral(xy, pair, CCTS)
    torch.testing.assert_close(back / back.amax(-1, keepdim=True), neutral, atol=1e-8, rtol=0)
