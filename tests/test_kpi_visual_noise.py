"""Visual noise against closed forms and against the same steps written with numpy and colour-science."""

import math
import warnings

import numpy as np
import pytest
import torch

from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.visual_noise import (
    FORMS,
    blue_yellow_csf,
    luminance_csf,
    red_green_csf,
    viewing,
    visual_noise,
)
from ispkit.ops.color_spaces import rgb_to_xyz

with warnings.catch_warnings():  # it misses a plotting library that nobody needs
    warnings.simplefilter("ignore")
    import colour


def white(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("level", [0.02, 0.5, [0.2, 0.5, 0.7]])
def test_a_constant_patch_shows_no_noise(form, level):
    patch = torch.zeros(3, 32, 40) + torch.tensor(level).reshape(-1, 1, 1)
    assert visual_noise(patch, pixels_per_degree=20, form=form).value == pytest.approx(0, abs=1e-9)


def test_twice_the_noise_is_twice_the_visual_noise():
    noise = 0.004 * white(3, 96, 96)
    one, two = (visual_noise(0.4 + k * noise, pixels_per_degree=40).value for k in (1, 2))
    assert two / one == pytest.approx(2, rel=0.005)  # the cube root of L* bends a little
    cpiq = [visual_noise(0.4 + k * noise, pixels_per_degree=40, form="cpiq").value for k in (1, 2)]
    # its argument is quadratic in the noise
    assert (10 ** cpiq[1] - 1) / (10 ** cpiq[0] - 1) == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gray", [True, False])
def test_noise_fades_with_distance(form, gray):
    noise = 0.02 * (white(1, 128, 128).expand(3, 128, 128) if gray else white(3, 128, 128))
    values = [visual_noise(0.4 + noise, pixels_per_degree=d, form=form).value for d in (20, 40, 80, 160, 320)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0] / 3


def flat_spectrum(height: int, width: int) -> torch.Tensor:
    """Noise of standard deviation 1 whose spectrum is exactly white, only the phases are random."""
    spectrum = torch.fft.fft2(white(height, width))
    return torch.fft.ifft2(spectrum / spectrum.abs()).real * math.sqrt(height * width)


def test_gray_noise_has_a_closed_form():
    level, sigma, rate = 0.4, 0.0002, 40.0
    patch = (level + sigma * flat_spectrum(160, 120)).expand(3, 160, 120)
    result = visual_noise(patch, pixels_per_degree=rate)
    f = rate * np.hypot(np.fft.fftfreq(160)[:, None], np.fft.fftfreq(120))
    gain = 75 * f**0.8 * np.exp(-0.2 * f) / 34.05
    # Parseval: the filter's mean square is what remains of white noise; dL*/dY = 116 / 3 Y^(-2/3)
    truth = 116 / 3 * level ** (-2 / 3) * sigma * np.sqrt((gain**2).mean())
    assert result.sigma[0] == pytest.approx(truth, rel=1e-3)
    assert result.sigma[1:] == pytest.approx((0, 0), abs=1e-9)  # Bradford keeps gray noise gray
    assert result.value == pytest.approx(result.sigma[0])
    cpiq = visual_noise(patch, pixels_per_degree=rate, form="cpiq")
    assert cpiq.value == pytest.approx(math.log10(1 + 23.0 * (truth / 3.0003) ** 2), rel=3e-3)


def peer(rgb: np.ndarray, rate: float) -> float:
    """The steps of ISO 15739:2013 with numpy's complex transform and colour-science."""
    space = colour.models.RGB_COLOURSPACE_sRGB.copy()
    space.use_derived_matrix_RGB_to_XYZ = True
    d65, e = colour.xy_to_XYZ(space.whitepoint), np.ones(3)
    to_e = colour.adaptation.matrix_chromatic_adaptation_VonKries(d65, e, transform="Bradford")
    xyz = colour.RGB_to_XYZ(rgb, space) @ to_e.T
    planes = [xyz[..., 1], xyz[..., 0] - xyz[..., 1], 0.4 * (xyz[..., 1] - xyz[..., 2])]
    f = rate * np.hypot(np.fft.fftfreq(rgb.shape[0])[:, None], np.fft.fftfreq(rgb.shape[1]))
    curves = [luminance_csf, red_green_csf, blue_yellow_csf]
    seen = []
    for plane, csf in zip(planes, curves, strict=True):
        response = csf(torch.from_numpy(f)).numpy().copy()
        response[0, 0] = 1
        seen.append(np.fft.ifft2(np.fft.fft2(plane) * response).real)
    y, c1, c2 = seen
    xyz = np.stack([c1 + y, y, y - c2 / 0.4], -1) @ np.linalg.inv(to_e).T
    luv = colour.XYZ_to_Luv(np.maximum(xyz, 0), space.whitepoint).reshape(-1, 3)
    return float(luv.std(0, ddof=1) @ [1, 0.852, 0.323])


@pytest.mark.parametrize("level", [0.05, 0.4])  # in the dark some of the filtered XYZ fall below 0
def test_color_noise_equals_the_same_steps_done_elsewhere(level):
    patch = (level + 0.05 * white(3, 48, 61)).clamp(min=0)
    ours = visual_noise(patch, pixels_per_degree=35).value
    assert ours == pytest.approx(peer(patch.permute(1, 2, 0).numpy(), 35), rel=1e-4)


def test_sensitivities_have_the_published_shape():
    f = torch.linspace(0, 60, 6001, dtype=torch.float64)
    luminance = luminance_csf(f)
    assert float(luminance.max()) == pytest.approx(3.0, abs=0.001)  # as Wueller, Matsui and Katoh say of ISO 15739
    assert float(f[luminance.argmax()]) == pytest.approx(4.0)
    for csf in (red_green_csf(f), blue_yellow_csf(f)):
        assert float(csf[0]) == pytest.approx(1)
        assert bool((csf.diff() <= 0).all())
        assert float(csf[-1]) < 1e-4


def test_a_slow_gradient_can_be_taken_out_first():
    x = torch.linspace(-0.1, 0.1, 64, dtype=torch.float64)
    noise = 0.01 * white(3, 64, 64)
    tinted = 0.4 + noise + x * torch.tensor([1.0, 0.0, -1.0])[:, None, None]
    clean = visual_noise(0.4 + noise, pixels_per_degree=30, flatten=True).value
    assert visual_noise(tinted, pixels_per_degree=30, flatten=True).value == pytest.approx(clean, rel=0.02)
    assert visual_noise(tinted, pixels_per_degree=30).value > 1.5 * clean


def test_results_tell_how_they_were_seen_and_what_is_doubtful():
    result = visual_noise(0.4 + 0.01 * white(3, 30, 30), pixels_per_degree=60)
    named = result.as_result("gray/05")
    assert named.value("noise.visual_noise[gray/05]") == result.value
    assert "60 pixels a degree" in named.kpis[0].doc
    assert "spans 0.5 degrees" in named.warnings[0]
    dark = visual_noise((0.001 + 0.01 * white(3, 64, 64)).clamp(min=0), pixels_per_degree=30)
    assert "their noise is cut" in dark.warnings[0]
    only_z = torch.linalg.inv(rgb_to_xyz("srgb"))[:, 2, None, None] * 0.1 * white(64, 64)  # no noise in L* and a*
    blue = visual_noise(0.4 + only_z, pixels_per_degree=10, form="cpiq")
    assert math.isnan(blue.value)
    assert "sum is negative" in blue.warnings[0]
    assert viewing(0.6, 0.254e-3) == pytest.approx(math.pi / 180 * 0.6 / 0.254e-3, rel=1e-4)
    with pytest.raises(ParamError, match="did you mean 'cpiq'"):
        visual_noise(torch.ones(3, 9, 9), pixels_per_degree=30, form="cpi")
    with pytest.raises(ParamError, match="pixels_per_degree"):
        visual_noise(torch.ones(3, 9, 9), pixels_per_degree=0)
    with pytest.raises(ShapeError, match=r"\(3, H, W\)"):
        visual_noise(torch.ones(9, 9), pixels_per_degree=30)
