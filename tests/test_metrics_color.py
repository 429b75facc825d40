"""ΔE00 against the published test data, Lab against colour-science, S-CIELAB against its own definition."""

import warnings

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from ispkit.core.errors import ParamError
from ispkit.metrics.color import cie1976, ciede2000, delta_e00, delta_e00_map, delta_e76, srgb_to_lab
from ispkit.metrics.scielab import FILTERS, filter_taps, scielab, scielab_1996, scielab_map

with warnings.catch_warnings():  # it misses a plotting library that nobody needs
    warnings.simplefilter("ignore")
    import colour

# Sharma, Wu, Dalal 2005, table 1: L a b, L a b, ΔE00
SHARMA = """
50 2.6772 -79.7751 50 0 -82.7485 2.0425
50 3.1571 -77.2803 50 0 -82.7485 2.8615
50 2.8361 -74.0200 50 0 -82.7485 3.4412
50 -1.3802 -84.2814 50 0 -82.7485 1.0000
50 -1.1848 -84.8006 50 0 -82.7485 1.0000
50 -0.9009 -85.5211 50 0 -82.7485 1.0000
50 0 0 50 -1 2 2.3669
50 -1 2 50 0 0 2.3669
50 2.4900 -0.0010 50 -2.4900 0.0009 7.1792
50 2.4900 -0.0010 50 -2.4900 0.0010 7.1792
50 2.4900 -0.0010 50 -2.4900 0.0011 7.2195
50 2.4900 -0.0010 50 -2.4900 0.0012 7.2195
50 -0.0010 2.4900 50 0.0009 -2.4900 4.8045
50 -0.0010 2.4900 50 0.0010 -2.4900 4.8045
50 -0.0010 2.4900 50 0.0011 -2.4900 4.7461
50 2.5 0 50 0 -2.5 4.3065
50 2.5 0 73 25 -18 27.1492
50 2.5 0 61 -5 29 22.8977
50 2.5 0 56 -27 -3 31.9030
50 2.5 0 58 24 15 19.4535
50 2.5 0 50 3.1736 0.5854 1.0000
50 2.5 0 50 3.2972 0 1.0000
50 2.5 0 50 1.8634 0.5757 1.0000
50 2.5 0 50 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""


def test_ciede2000_gives_all_34_published_values_both_ways():
    rows = torch.tensor([[float(v) for v in line.split()] for line in SHARMA.split("\n") if line], dtype=torch.float64)
    assert len(rows) == 34
    first, second, truth = rows[:, :3], rows[:, 3:6], rows[:, 6]
    torch.testing.assert_close(ciede2000(first, second), truth, rtol=0, atol=5.1e-5)  # printed with 4 digits
    torch.testing.assert_close(ciede2000(second, first), truth, rtol=0, atol=5.1e-5)
    oracle = colour.delta_E(first.numpy(), second.numpy(), method="CIE 2000")
    np.testing.assert_allclose(ciede2000(first, second).numpy(), oracle, rtol=1e-9)


def random_lab(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform([0, -100, -100], [100, 100, 100], (count, 3))


def test_differences_equal_colour_science_on_random_colors():
    a, b = random_lab(2000, 1), random_lab(2000, 2)
    ours = ciede2000(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(ours, colour.delta_E(a, b, method="CIE 2000"), rtol=1e-8)
    ours = cie1976(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(ours, colour.delta_E(a, b, method="CIE 1976"), rtol=1e-12)
    single = ciede2000(torch.from_numpy(a).float(), torch.from_numpy(b).float()).double()
    close = (single - ciede2000(torch.from_numpy(a), torch.from_numpy(b))).abs() < 1e-3
    assert close.float().mean() > 0.999  # the formula itself jumps at opposite hues


def test_lab_equals_colour_science_and_neutrals_have_no_chroma():
    rgb = np.random.default_rng(0).uniform(0, 1, (500, 3))
    space = colour.models.RGB_COLOURSPACE_sRGB.copy()
    space.use_derived_matrix_RGB_to_XYZ = True
    xyz = colour.RGB_to_XYZ(rgb, space, apply_cctf_decoding=True)
    truth = colour.XYZ_to_Lab(xyz, space.whitepoint)
    ours = srgb_to_lab(torch.from_numpy(rgb).T.reshape(1, 3, 20, 25)).reshape(3, -1).T.numpy()
    np.testing.assert_allclose(ours, truth, atol=2e-5)
    gray = srgb_to_lab(torch.linspace(0, 1, 64, dtype=torch.float64).expand(1, 3, 1, 64))
    assert float(gray[:, 1:].abs().max()) < 1e-10
    assert float(gray[0, 0, 0, -1]) == pytest.approx(100.0)


def test_mean_of_the_map_and_linear_input():
    g = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, 3, 8, 9, generator=g, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close(
        delta_e00(a, b, data_range=1.0), delta_e00_map(a, b, data_range=1.0).mean((1, 2)), rtol=1e-12, atol=0
    )
    decoded = [torch.from_numpy(colour.cctf_decoding(p.numpy(), "sRGB")) for p in (a, b)]
    torch.testing.assert_close(delta_e00(*decoded, data_range=1.0, linear=True), delta_e00(a, b, data_range=1.0))


@pytest.mark.parametrize("variant", FILTERS)
def test_scielab_of_uniform_pictures_is_the_plain_difference(variant):
    a = torch.tensor([0.2, 0.5, 0.7], dtype=torch.float64).reshape(1, 3, 1, 1).expand(1, 3, 40, 31)
    b = torch.tensor([0.25, 0.45, 0.6], dtype=torch.float64).reshape(1, 3, 1, 1).expand(1, 3, 40, 31)
    plain = {"cie1976": delta_e76, "cie2000": delta_e00}
    for formula, difference in plain.items():
        result = scielab(a, b, data_range=1.0, variant=variant, formula=formula)
        torch.testing.assert_close(result, difference(a, b, data_range=1.0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variant", FILTERS)
def test_fine_checkerboard_fades_with_distance(variant):
    checker = ((torch.arange(64)[:, None] + torch.arange(64)) % 2).double().expand(1, 3, 64, 64) * 0.5 + 0.25
    mean = torch.full_like(checker, 0.5)
    near_to_far = [
        float(scielab(checker, mean, data_range=1.0, samples_per_degree=s, variant=variant, linear=True))
        for s in (10, 30, 60, 120)
    ]
    assert near_to_far == sorted(near_to_far, reverse=True)
    assert near_to_far[0] > 5
    assert near_to_far[-1] < near_to_far[0] / 20


def dense_scielab(a: np.ndarray, b: np.ndarray, spreads: list, sigma_per_spread: float) -> np.ndarray:
    """The published steps with whole two-dimensional kernels at 224 samples per degree, colour-science and scipy."""
    to_opponent = (
        np.array([[278.7336, 721.8031, -106.5520], [-448.7736, 289.8056, 77.1569], [85.9513, -589.9859, 501.1089]])
        / 1000
    )
    space = colour.models.RGB_COLOURSPACE_sRGB.copy()
    space.use_derived_matrix_RGB_to_XYZ = True
    x = np.arange(-111, 112) / 224
    labs = []
    for rgb in (a, b):
        opponent = colour.RGB_to_XYZ(rgb, space, apply_cctf_decoding=True) @ to_opponent.T
        for plane, gaussians in enumerate(spreads):
            kernel = np.zeros((223, 223))
            for spread, weight in gaussians:
                one = np.exp(-(x[:, None] ** 2 + x**2) / (2 * (spread * sigma_per_spread) ** 2))
                kernel += weight * one / one.sum()
            mirrored = np.pad(opponent[..., plane], 111, mode="symmetric")
            opponent[..., plane] = convolve2d(mirrored, kernel / kernel.sum(), mode="valid")
        labs.append(colour.XYZ_to_Lab(opponent @ np.linalg.inv(to_opponent).T, space.whitepoint))
    return colour.delta_E(*labs, method="CIE 1976")


@pytest.mark.parametrize("variant", FILTERS)
def test_scielab_map_equals_direct_convolution_at_224_samples_per_degree(variant):
    g = torch.Generator().manual_seed(1)
    a, b = (torch.rand(1, 3, 24, 19, generator=g, dtype=torch.float64) for _ in range(2))
    spreads = [list(p) for p in FILTERS[variant].planes]
    per_spread = {"distribution": 1 / np.sqrt(2 * np.log(2)), "published1996": np.sqrt(0.5)}[variant]
    truth = dense_scielab(a[0].permute(1, 2, 0).numpy(), b[0].permute(1, 2, 0).numpy(), spreads, per_spread)
    ours = scielab_map(a, b, data_range=1.0, samples_per_degree=224, variant=variant)[0].numpy()
    np.testing.assert_allclose(ours, truth, atol=1e-4)


def test_scielab_names_its_variants_and_refuses_others():
    g = torch.Generator().manual_seed(1)
    a, b = (torch.rand(1, 3, 24, 19, generator=g) for _ in range(2))
    narrow = scielab_1996(a, b, data_range=1.0)
    assert float(narrow) == float(scielab(a, b, data_range=1.0, variant="published1996"))
    assert float(narrow) > float(scielab(a, b, data_range=1.0))  # half the blur leaves more of the noise
    with pytest.raises(ParamError, match="did you mean 'distribution'"):
        scielab(a, b, data_range=1.0, variant="distributions")
    with pytest.raises(ParamError, match="samples_per_degree"):
        scielab(a, b, data_range=1.0, samples_per_degree=0)


def test_filters_are_symmetric_normalized_and_keep_their_width_at_low_resolution():
    for rate in (5.0, 20.0, 60.0, 72.5, 224.0, 500.0):
        taps = filter_taps(0.225, rate, FILTERS["distribution"].sigma_per_spread)
        assert len(taps) % 2 == 1
        assert float(taps.sum()) == pytest.approx(1.0)
        torch.testing.assert_close(taps, taps.flip(0))
        x = (torch.arange(len(taps)) - len(taps) // 2).double() / rate
        pixel_variance = 1 / (12 * rate**2)  # what averaging over a pixel adds to the Gaussian cut at half a degree
        if rate >= 20:
            fine = filter_taps(0.225, 4000.0, FILTERS["distribution"].sigma_per_spread)
            y = (torch.arange(len(fine)) - len(fine) // 2).double() / 4000
            truth = float((fine * y**2).sum()) + pixel_variance
            assert float((taps * x**2).sum()) == pytest.approx(truth, rel=0.03)
