"""Zipper by Lu and Tan on pictures whose zippered pixels can be counted by hand, and on demosaiced edges."""

import pytest
import torch

from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.zipper import measure_zipper
from ispkit.metrics.color import delta_e76, srgb_to_lab
from ispkit.ops.cfa import mosaic
from ispkit.ops.demosaic import demosaic
from ispkit.ops.encode import srgb_encode


def flat(size=(12, 14), level=0.5):
    return torch.full((3, *size), level, dtype=torch.float64)


def by_hand(picture, reference, threshold=2.3):
    """Pixel by pixel, straight from the definition."""
    before, after = (srgb_to_lab(p[None])[0] for p in (reference, picture))
    height, width = picture.shape[-2:]
    hits = rising = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            pairs = [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
            old = [(before[:, y, x] - before[:, v, u]).norm().item() for v, u in pairs]
            nearest = min(range(8), key=old.__getitem__)
            v, u = pairs[nearest]
            change = (after[:, y, x] - after[:, v, u]).norm().item() - old[nearest]
            hits += abs(change) > threshold
            rising += change > threshold
    return 100 * hits / (height - 2) / (width - 2), 100 * rising / (height - 2) / (width - 2)


def test_one_wrong_pixel_of_a_flat_picture():
    # ties go to the first neighbor, at the upper left: the dot itself and its neighbor at the lower right count
    picture = flat()
    picture[:, 5, 6] += 0.1
    result = measure_zipper(picture, flat())
    assert result.share == pytest.approx(100 * 2 / (10 * 12))
    assert result.where.nonzero().tolist() == [[4, 5], [5, 6]]
    assert measure_zipper(flat(), flat()).share == 0
    assert measure_zipper(flat(level=0.7), flat()).share == 0  # an even change is no zipper


def test_a_zipper_along_an_edge_counts_its_row():
    reference = flat((20, 20))
    reference[:, :, 10:] = 0.8
    picture = reference.clone()
    picture[:, ::2, 10] = 0.7  # every second pixel beside the edge
    result = measure_zipper(picture, reference)
    columns = result.where.nonzero()[:, 1].unique().tolist()
    assert columns in ([9, 10], [9])
    assert 9 / 18**2 * 100 <= result.share <= 36 / 18**2 * 100


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_definition(seed):
    g = torch.Generator().manual_seed(seed)
    reference = torch.rand(3, 11, 13, generator=g, dtype=torch.float64)
    picture = (reference + 0.03 * torch.randn(3, 11, 13, generator=g, dtype=torch.float64)).clamp(0, 1)
    result = measure_zipper(picture, reference)
    share, rising = by_hand(picture, reference)
    assert result.share == pytest.approx(share)
    assert result.rising == pytest.approx(rising)
    assert 0 < result.rising < result.share < 100


def test_the_threshold_is_in_delta_e():
    reference, picture = flat((5, 5)), flat((5, 5))
    picture[:, 2, 2] += 0.02
    pair = delta_e76(picture[None, :, 2:3, 2:3], reference[None, :, 2:3, 2:3], data_range=1.0).item()
    assert measure_zipper(picture, reference, threshold=pair * 1.001).share == 0
    assert measure_zipper(picture, reference, threshold=pair * 0.999).share > 0


def edge_scene(noise):
    """A slanted edge between dark and light, hardly colored, in linear light."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    step = torch.sigmoid((x - 48 - 0.35 * (y - 48)) / 0.3).double()
    colors = torch.tensor([[0.06, 0.6], [0.05, 0.55], [0.04, 0.4]], dtype=torch.float64)
    linear = colors[:, :1, None] * (1 - step) + colors[:, 1:, None] * step
    return linear + noise * torch.randn(linear.shape, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_bilinear_zips_more_than_an_adaptive_method(noise):
    linear = edge_scene(noise)
    encoded = srgb_encode(linear.clamp(0, 1))
    shares = []
    for method in ("bilinear", "menon2007"):
        result = demosaic(mosaic(linear[None], "RGGB"), "RGGB", method)[0]
        shares.append(measure_zipper(srgb_encode(result.clamp(0, 1)), encoded).share)
    assert shares[0] > 3 * shares[1] > 0
    shown = measure_zipper(encoded, encoded).as_result("edge")
    assert shown.value("zipper.share[edge]") == 0


def test_misuse_raises_one_sentence():
    with pytest.raises(ShapeError, match="of one size"):
        measure_zipper(flat(), flat((12, 15)))
    with pytest.raises(ShapeError, match=r"\(3, H, W\)"):
        measure_zipper(flat()[0], flat()[0])
    with pytest.raises(ShapeError, match="at least 3x3"):
        measure_zipper(flat((2, 9)), flat((2, 9)))
    with pytest.raises(ParamError, match="threshold=0"):
        measure_zipper(flat(), flat(), threshold=0)
