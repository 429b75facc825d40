"""Shading and S-CIELAB KPIs against closed forms."""

import math
import warnings

import numpy as np
import pytest
import torch

from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.shading import patch_shading, shading
from ispkit.kpi.spatial_color import spatial_color
from ispkit.metrics.color import delta_e00, delta_e76
from ispkit.metrics.scielab import scielab

with warnings.catch_warnings():  # it misses a plotting library that nobody needs
    warnings.simplefilter("ignore")
    import colour


def vignetted(falloff: list[float], *, height: int = 300, width: int = 450, level: float = 0.6) -> torch.Tensor:
    """1 - k r², r = 1 in the corners, k per channel."""
    y, x = ((2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1 for n in (height, width))
    radius2 = (y[:, None] ** 2 + x**2) / 2
    return level * (1 - torch.tensor(falloff, dtype=torch.float64)[:, None, None] * radius2)


def block_truth(falloff: list[float], blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean RGB of the corner block and of the center block: integrals of r²."""
    h = 2 / blocks
    corner, center = (1 - (1 - h) ** 3) / (3 * h), (h / 2) ** 2 / 3
    return 1 - np.array(falloff) * corner, 1 - np.array(falloff) * center


@pytest.mark.parametrize("blocks", [5, 15])
def test_the_corner_is_the_integral_of_the_vignetting(blocks):
    corner, center = block_truth([0.4] * 3, blocks)
    result = shading(vignetted([0.4] * 3), blocks=blocks)
    assert result.corners == pytest.approx([corner[0] / center[0]] * 4, abs=2e-5)
    assert float(result.delta_c.max()) < 1e-9
    assert not result.warnings


def test_color_shading_is_the_chroma_of_the_corner_seen_from_the_center():
    falloff = [0.45, 0.4, 0.3]
    corner, center = block_truth(falloff, 15)
    space = colour.models.RGB_COLOURSPACE_sRGB.copy()
    space.use_derived_matrix_RGB_to_XYZ = True
    xyz, white = (colour.RGB_to_XYZ(c, space) for c in (corner, center))
    lab = colour.XYZ_to_Lab(xyz * white[1] / xyz[1] / white[1], colour.XYZ_to_xy(white))
    result = shading(vignetted(falloff))
    assert float(result.delta_c.max()) == pytest.approx(math.hypot(*lab[1:]), rel=2e-3)
    named = result.as_result("flat")
    assert named.value("shading.color[flat]") == float(result.delta_c.max())
    assert named.value("shading.corner[flat]") == pytest.approx(xyz[1] / white[1], abs=1e-4)
    assert len(named.curves[0].x) == 225
    assert named.curves[0].y[0] == pytest.approx(1.0)


def test_exposure_and_white_balance_do_not_matter_and_one_bad_corner_is_found():
    flat = vignetted([0.45, 0.4, 0.3])
    one = shading(flat)
    torch.testing.assert_close(one.delta_c, shading(0.3 * flat).delta_c, rtol=1e-9, atol=1e-9)
    for gains in ([1.3, 1.0, 0.6], [1.6, 1.0, 1.6]):  # another white bends Lab a little
        other = shading(0.3 * flat * torch.tensor(gains)[:, None, None])
        assert float(other.delta_c.max()) == pytest.approx(float(one.delta_c.max()), rel=0.06)
    flat[:, -40:, -60:] *= 0.8
    bad = shading(flat)
    assert bad.corners.index(min(bad.corners)) == 3
    assert bad.as_result().value("shading.corner.worst") == pytest.approx(0.8 * bad.corners[0], rel=1e-6)


def test_gray_patches_of_a_chart_give_the_shading_of_the_corner():
    g = torch.Generator().manual_seed(0)
    places = 2 * torch.rand(14, 2, generator=g, dtype=torch.float64) - 1
    places[0], places[1] = torch.tensor([0.0, 0.02]), torch.tensor([0.9, -0.95])
    radius2 = places.square().sum(1, keepdim=True) / 2
    falloff = torch.tensor([0.45, 0.4, 0.3], dtype=torch.float64)
    means = 0.2 * (1 - falloff * radius2 + 0.05 * radius2**2)
    result = patch_shading(means, places)
    luminance = (falloff * torch.tensor([0.2126, 0.7152, 0.0722])).sum()
    assert result.corner == pytest.approx(1 - float(luminance) + 0.05, rel=1e-3)
    assert result.residual < 1e-4
    whole = shading(vignetted([0.45, 0.4, 0.3]))
    assert 0.6 * float(whole.delta_c.max()) < result.color < 1.2 * float(whole.delta_c.max())
    noisy = patch_shading(means * (1 + 0.002 * torch.randn(14, 3, generator=g, dtype=torch.float64)), places)
    assert noisy.as_result().value("shading.corner") == pytest.approx(result.corner, abs=0.02)
    assert "extrapolated" in patch_shading(means, places / 2).warnings[0]
    ring = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    few = patch_shading(torch.full((3, 3), 0.2), ring)
    assert "three distances" in few.warnings[0]
    assert math.isnan(few.corner)
    assert "black" in patch_shading(torch.zeros(3, 3), ring).warnings[0]
    with pytest.raises(ShapeError, match="places"):
        patch_shading(means, ring)


def test_noise_of_a_large_flat_adds_little():
    g = torch.Generator().manual_seed(0)
    clean = vignetted([0.45, 0.4, 0.3])
    noisy = clean + 0.02 * torch.randn(clean.shape, generator=g, dtype=torch.float64)
    for name, tolerance in (("shading.corner", 0.002), ("shading.color", 0.5)):
        assert shading(noisy).as_result().value(name) == pytest.approx(
            shading(clean).as_result().value(name), abs=tolerance
        )


def test_flats_that_are_clipped_black_or_small_are_told():
    assert "clipped" in shading(vignetted([0.4] * 3, level=1.1)).warnings[0]
    black = shading(torch.zeros(3, 60, 60))
    assert "black" in black.warnings[0]
    assert math.isnan(black.as_result().value("shading.corner"))
    with pytest.raises(ShapeError, match="at least 30 pixels"):
        shading(torch.ones(3, 20, 60))
    with pytest.raises(ParamError, match="odd"):
        shading(torch.ones(3, 60, 60), blocks=4)


def test_spatial_color_of_uniform_pictures_is_the_plain_difference():
    a, b = (torch.tensor(c)[:, None, None].expand(3, 40, 30) for c in ([0.2, 0.3, 0.1], [0.25, 0.28, 0.12]))
    for formula, plain in (("cie1976", delta_e76), ("cie2000", delta_e00)):
        truth = float(plain(a[None].double(), b[None].double(), data_range=1.0, linear=True))
        result = spatial_color(a, b, samples_per_degree=224, formula=formula)
        assert (result.mean, result.p95, result.maximum) == pytest.approx((truth,) * 3, rel=1e-6)
        assert not result.warnings


def test_spatial_color_names_its_variant_and_warns_of_coarse_pixels():
    g = torch.Generator().manual_seed(0)
    a, b = (torch.rand(3, 40, 50, generator=g, dtype=torch.float64) for _ in range(2))
    result = spatial_color(a, b, samples_per_degree=60, variant="published1996")
    same = scielab(a[None], b[None], data_range=1.0, samples_per_degree=60, variant="published1996", linear=True)
    assert result.mean == pytest.approx(float(same))
    assert result.mean < result.p95 < result.maximum
    named = result.as_result("texture")
    assert named.value("scielab.mean[texture]") == result.mean
    assert "'published1996'" in named.kpis[0].doc
    assert "below 224" in named.warnings[0]
    with pytest.raises(ShapeError, match="one picture"):
        spatial_color(a[None], b[None], samples_per_degree=60)
