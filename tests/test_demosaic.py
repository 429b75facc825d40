"""Demosaicing: laws that every method keeps, and results of independent implementations."""

from __future__ import annotations

import os
import warnings

import cv2
import numpy as np
import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.isp.stages.demosaic import Demosaic
from ispkit.ops.cfa import cfa_masks, mosaic
from ispkit.ops.demosaic import METHODS, SUPPORT, demosaic

CFAS = ("RGGB", "BGGR", "GRBG", "GBRG")
SIZES = ((16, 20), (17, 23), (4, 4), (2, 3))
ADAPTIVE = ("hamilton_adams", "menon2007", "rcd", "mlri")
every_method = pytest.mark.parametrize("method", METHODS)
every_cfa = pytest.mark.parametrize("cfa", CFAS)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def peers():
    os.environ.setdefault("COLOUR_SCIENCE__FILTER_USAGE_WARNINGS", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("colour_demosaicing")


def theirs(function, mosaic_: torch.Tensor, cfa: str) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.from_numpy(np.ascontiguousarray(function(mosaic_[0, 0].numpy(), cfa))).permute(2, 0, 1)[None]


@every_method
@every_cfa
@pytest.mark.parametrize("size", SIZES)
def test_measured_samples_pass_unchanged(method, cfa, size):
    raw = noise(2, 1, *size).float() - 0.1
    before = raw.clone()
    rgb = demosaic(raw, cfa, method)
    assert rgb.shape == (2, 3, *size)
    assert rgb.dtype == raw.dtype
    assert torch.equal(mosaic(rgb, cfa), raw)
    assert torch.equal(raw, before)


def test_bilinear_by_hand():
    raw = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]])[None, None]
    red, green, blue = demosaic(raw, "RGGB", "bilinear")[0]
    assert red[1, 1] == (1 + 3 + 9 + 11) / 4
    assert red[0, 3] == 3  # beyond the right edge column 2 comes again, not column 3
    assert green[2, 2] == (7 + 15 + 10 + 12) / 4
    assert green[0, 0] == (2 + 2 + 5 + 5) / 4
    assert blue[1, 2] == (6 + 8) / 2
    assert blue[0, 0] == 6


@every_cfa
@pytest.mark.parametrize("size", [(24, 30), (25, 31)])
@pytest.mark.parametrize(("method", "name"), [("bilinear", "bilinear"), ("malvar2004", "Malvar2004")])
def test_linear_methods_equal_colour_demosaicing(peers, cfa, size, method, name):
    """Theirs repeats the edge pixel, which breaks the pattern there; fed with our mirror it agrees everywhere."""
    raw = noise(1, 1, *size)
    function = getattr(peers, f"demosaicing_CFA_Bayer_{name}")
    inner = (..., slice(2, -2), slice(2, -2))
    found = demosaic(raw, cfa, method)
    torch.testing.assert_close(found[inner], theirs(function, raw, cfa)[inner], rtol=0, atol=1e-14)
    mirrored = torch.nn.functional.pad(raw, (4, 4, 4, 4), mode="reflect")
    torch.testing.assert_close(found, theirs(function, mirrored, cfa)[..., 4:-4, 4:-4], rtol=0, atol=1e-14)


@every_cfa
@pytest.mark.parametrize("size", [(24, 30), (25, 31), (5, 6)])
@pytest.mark.parametrize("levels", [None, 12, 256])
def test_menon2007_equals_colour_demosaicing(peers, cfa, size, levels):
    """Everywhere, borders too; whole numbers make ties between the axes, real ones do not."""
    raw = noise(1, 1, *size)
    raw = raw if levels is None else (raw * levels).floor()
    expected = theirs(peers.demosaicing_CFA_Bayer_Menon2007, raw, cfa)
    torch.testing.assert_close(demosaic(raw, cfa, "menon2007"), expected, rtol=0, atol=1e-12 * (levels or 1))


def test_menon2007_in_float32_takes_the_same_axes(peers):
    raw = (noise(1, 1, 40, 50) * 4096).floor()
    expected = theirs(peers.demosaicing_CFA_Bayer_Menon2007, raw, "GRBG")
    torch.testing.assert_close(demosaic(raw.float(), "GRBG", "menon2007").double(), expected, rtol=0, atol=4e-3)


@every_method
@pytest.mark.parametrize("rgb", [(0.3, 0.3, 0.3), (0.9, 0.1, 0.4), (-0.01, 0.02, 0.5)])
def test_a_constant_color_stays(method, rgb):
    picture = torch.tensor(rgb, dtype=torch.float64).reshape(1, 3, 1, 1).expand(1, 3, 15, 16)
    for cfa in CFAS:
        torch.testing.assert_close(demosaic(mosaic(picture, cfa), cfa, method), picture, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "rcd"])
def test_a_gray_ramp_stays_gray(method):
    y, x = torch.meshgrid(torch.arange(80).double(), torch.arange(82).double(), indexing="ij")
    ramp = (0.1 + 0.003 * x + 0.002 * y).expand(1, 3, -1, -1)
    edge = SUPPORT[method]
    inner = (..., slice(edge, -edge), slice(edge, -edge))
    torch.testing.assert_close(demosaic(mosaic(ramp, "GBRG"), "GBRG", method)[inner], ramp[inner], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("method", "channels"), [("hamilton_adams", [1]), ("menon2007", [0, 1, 2])])
@pytest.mark.parametrize("upright", [True, False])
def test_straight_gray_lines_stay(method, channels, upright):
    """Along a line nothing changes, so a method that finds the axis makes no zipper and no false color.

    Hamilton-Adams carries red to blue along diagonals, so of it only green is exact.
    """
    profile = noise(80, seed=3)
    lines = profile.reshape(1, 1, 1, -1) if upright else profile.reshape(1, 1, -1, 1)
    picture = lines.expand(1, 3, 80, 80)
    found = demosaic(mosaic(picture, "RGGB"), "RGGB", method)
    inner = (..., slice(8, -8), slice(8, -8))
    torch.testing.assert_close(found[inner][:, channels], picture[inner][:, channels], rtol=0, atol=1e-12)


@every_method
@pytest.mark.parametrize(("dy", "dx"), [(0, 1), (1, 0), (1, 1)])
def test_rolled_mosaic_is_the_same_picture(method, dy, dx):
    """The scene moved one pixel under the array = the array moved: same colors inside."""
    raw, edge = noise(1, 1, 84, 86), SUPPORT[method] + 2
    names = np.array(list("RGGB")).reshape(2, 2)
    rolled_cfa = "".join(np.roll(names, (dy, dx), (0, 1)).ravel())
    rolled = demosaic(raw.roll((dy, dx), (-2, -1)), rolled_cfa, method).roll((-dy, -dx), (-2, -1))
    inner = (..., slice(edge, -edge), slice(edge, -edge))
    torch.testing.assert_close(rolled[inner], demosaic(raw, "RGGB", method)[inner], rtol=0, atol=1e-12)


@every_method
def test_mirrored_and_transposed_mosaics(method):
    """No side is preferred; menon2007's choice alone sees the end of the picture."""
    raw, edge = noise(1, 1, 40, 44), 8 if method == "menon2007" else 0
    plain = demosaic(raw, "RGGB", method)
    inner = (..., slice(edge, 40 - edge), slice(edge, 44 - edge))
    mirrored = demosaic(raw.flip(-1), "GRBG", method).flip(-1)
    torch.testing.assert_close(mirrored[inner], plain[inner], rtol=0, atol=1e-11)
    transposed = demosaic(raw.transpose(-1, -2), "RGGB", method).transpose(-1, -2)
    torch.testing.assert_close(transposed[inner], plain[inner], rtol=0, atol=1e-11)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "mlri"])
def test_scale_of_the_signal_does_not_matter(method):
    raw = noise(1, 1, 20, 20)
    torch.testing.assert_close(demosaic(raw * 4096, "RGGB", method), demosaic(raw, "RGGB", method) * 4096)


@every_method
@every_cfa
def test_gradcheck(method, cfa):
    raw = noise(1, 1, 6, 7, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: demosaic(r, cfa, method), raw, atol=1e-5, fast_mode=True)


@every_method
def test_a_flat_picture_has_finite_gradients(method):
    raw = torch.full((1, 1, 12, 12), 0.25, requires_grad=True)
    demosaic(raw, "RGGB", method).square().sum().backward()
    assert raw.grad is not None
    assert bool(torch.isfinite(raw.grad).all())
    assert 0 < float(raw.grad.abs().max()) < 10


@every_method
def test_batch_equals_loop_and_autocast_changes_nothing(method):
    raw = noise(3, 1, 14, 16).float()
    whole = demosaic(raw, "BGGR", method)
    torch.testing.assert_close(torch.cat([demosaic(r[None], "BGGR", method) for r in raw]), whole, rtol=0, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(demosaic(raw, "BGGR", method), whole)


@every_method
def test_declared_support_is_enough_and_needed(method):
    """A far sample changes nothing; a tile with the declared halo equals the whole picture."""
    frame = make_frame(Domain.MOSAIC, size=(120, 110), batch=1, cfa="GRBG").to(torch.float64)
    frame = frame.with_data(frame.data + noise(1, 1, 120, 110) * 0.2)
    stage = Demosaic()
    halo = stage.support({"method": method}, frame.size)
    assert halo % 2 == 0
    whole = stage(frame, {"method": method}).data
    y, x, size = 46, 40, 20
    tile = stage(frame.crop(y - halo, x - halo, size + 2 * halo, size + 2 * halo), {"method": method}).data
    torch.testing.assert_close(
        tile[..., halo:-halo, halo:-halo], whole[..., y : y + size, x : x + size], rtol=0, atol=1e-12
    )
    corner = stage(frame.crop(0, 0, size + halo, size + halo), {"method": method}).data
    torch.testing.assert_close(corner[..., :size, :size], whole[..., :size, :size], rtol=0, atol=1e-12)
    moved = frame.data.clone()
    moved[..., 60, 60] += 1.0
    changed = (stage(frame.with_data(moved), {"method": method}).data != whole).any(dim=1)[0].nonzero() - 60
    assert int(changed.abs().max()) <= SUPPORT[method]


def test_stage_takes_a_batch_of_methods():
    frame = make_frame(Domain.MOSAIC, batch=1)
    found = Demosaic()(frame, {"method": torch.tensor([3, 0])})
    assert found.domain is Domain.CAMERA_RGB
    for row, method in zip(found.data, ("menon2007", "bilinear"), strict=True):
        torch.testing.assert_close(row, demosaic(frame.data, "RGGB", method)[0])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["malvar2004", "menon2007"])
def test_compiled_equals_eager(method):
    raw = noise(1, 1, 14, 17).float()
    compiled = torch.compile(lambda r: demosaic(2 * r, "GBRG", method) + 1, backend="aot_eager")
    torch.testing.assert_close(compiled(raw), demosaic(2 * raw, "GBRG", method) + 1)


def test_bad_input_is_refused():
    with pytest.raises(ParamError, match="did you mean 'menon2007'"):
        demosaic(torch.zeros(1, 1, 4, 4), "RGGB", "menon")
    with pytest.raises(ParamError, match="not a Bayer pattern"):
        demosaic(torch.zeros(1, 1, 4, 4), "RGBG")
    for shape in ((1, 3, 4, 4), (1, 4, 4), (1, 1, 1, 4)):
        with pytest.raises(ShapeError, match="at least 2"):
            demosaic(torch.zeros(shape), "RGGB")


def cpsnr(found: torch.Tensor, truth: torch.Tensor) -> float:
    error = (found.clamp(0, 1) - truth)[..., 10:-10, 10:-10]
    return float(-10 * error.square().mean().log10())


@pytest.mark.parametrize("pattern", ["kodak24/kodim*.png", "mcmaster18/mcm*.tif"])
def test_quality_on_real_pictures(shared, pattern):
    """Sampled and restored, mean CPSNR in dB; the whole sets are in docs/benchmarks/demosaic.md."""
    scores = dict.fromkeys(METHODS, 0.0)
    files = sorted(shared.glob(pattern))[::4]
    for path in files:
        picture = cv2.imread(str(path))[100:356, 100:356, ::-1]
        truth = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].float() / 255
        for method in METHODS:
            scores[method] += cpsnr(demosaic(mosaic(truth, "RGGB"), "RGGB", method), truth) / len(files)
    assert scores["mlri"] > max(scores["menon2007"] + 0.5, scores["bilinear"])
    if "kodak" in pattern:
        assert scores["menon2007"] > scores["hamilton_adams"] + 1 > scores["bilinear"] + 4
    else:
        assert scores["rcd"] > max(scores["menon2007"], scores["bilinear"]) + 1


def test_masks_partition_the_picture():
    for cfa in CFAS:
        assert torch.equal(cfa_masks((5, 6), cfa).sum(dim=0), torch.ones(5, 6))
