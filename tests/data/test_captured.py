"""The protocol for captured files: pixels by hand, noise against a simulation, labels from folder and table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ispkit.core.errors import DomainError, FileError, ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.data.captured import PIXEL_NOISE, Protocol, prepared, read_captured
from tiny_dng import scene, tiny_dng

NEUTRAL = (0.5, 1.0, 0.8)


def raw(data, cfa="RGGB", **facts):
    known = {"black_level": 64.0, "white_level": 1087.0, "neutral": NEUTRAL} | facts
    return Frame(data, Domain.RAW, CameraMeta.make(cfa, data.shape, **known))


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_pixels_by_hand(cfa):
    """Planes of 7 x 11 at side 6: planes of 3, every second pixel of the 6 x 6 in the middle."""
    data = torch.rand(2, 1, 14, 22, generator=torch.Generator().manual_seed(0)) * 1000 + 64
    found = prepared(raw(data, cfa), Protocol(side=6, percentile=100.0))
    linear = ((data - 64) / 1023).numpy()
    wanted = np.zeros((2, 1, 6, 6), np.float32)
    for i, color in enumerate(cfa):
        y, x = divmod(i, 2)
        plane = linear[..., y::2, x::2] / NEUTRAL["RGB".index(color)]
        wanted[..., y::2, x::2] = plane[..., 0:6:2, 2:8:2]
    wanted /= wanted.max((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found.data.numpy(), wanted, rtol=1e-5)
    assert (found.domain, found.meta.cfa, found.size) == (Domain.MOSAIC, cfa, (6, 6))
    assert found.meta.neutral.tolist() == [[1.0, 1.0, 1.0]] * 2


def test_the_percentile_is_white_and_clipped():
    data = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(1)) * 1200 - 100
    found = prepared(raw(data), Protocol(side=40)).data
    assert (float(found.min()), float(found.max())) == (0.0, 1.0)
    assert float((found >= 1).float().mean()) == pytest.approx(0.02, abs=0.002)


@pytest.mark.parametrize("stated", [None, PIXEL_NOISE])
def test_the_noise_profile_is_that_of_the_pixels(stated):
    """Simulated: a gray wall beside a brighter one, which is the white; its variance is what the profile says."""
    alpha, sigma, wall = 2e-3, 0.01, 240
    chance = torch.Generator().manual_seed(2)
    signal = torch.zeros(1, 1, 256, 256)
    for i, color in enumerate("RGGB"):
        signal[..., i // 2 :: 2, i % 2 :: 2] = 0.3 * NEUTRAL["RGB".index(color)]
    signal[..., wall:] *= 3
    noisy = signal + (alpha * signal + sigma**2).sqrt() * torch.randn(signal.shape, generator=chance)
    frame = raw(noisy * 1023 + 64, noise_profile=[(alpha, sigma**2)])
    found = prepared(frame, Protocol(side=256, noise=stated))
    shot, read = found.meta.noise_profile[0].unbind(-1)
    known = stated or (alpha, sigma)
    torch.testing.assert_close(read, known[1] ** 2 * (shot / known[0]).square())
    torch.testing.assert_close(shot / shot[1], 1 / torch.tensor(NEUTRAL))
    for k, color in enumerate("RGB" if stated is None else ""):
        sites = [i for i, c in enumerate("RGGB") if c == color]
        plane = torch.cat([found.data[..., i // 2 :: 2, i % 2 : wall : 2].flatten() for i in sites])
        assert float(plane.var()) == pytest.approx(float(shot[k] * plane.mean() + read[k]), rel=0.05)


def test_wrong_frames_are_refused(tmp_path):
    with pytest.raises(ShapeError, match="smaller than 224x224"):
        prepared(raw(torch.full((1, 1, 40, 40), 300.0)))
    with pytest.raises(ShapeError, match="percentile"):
        prepared(raw(torch.full((1, 1, 40, 40), 64.0)), Protocol(side=8))
    with pytest.raises(DomainError):
        prepared(prepared(raw(torch.full((1, 1, 40, 40), 300.0)), Protocol(side=8)))
    with pytest.raises(ParamError, match="side=7"):
        Protocol(side=7)


def test_a_folder_of_labelled_files(tmp_path):
    for name in ("dog/1.dng", "cat/2.DNG", "cat/3.dng"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(tiny_dng(scene(seed=len(name))))
    found = read_captured(tmp_path, protocol=Protocol(side=16))
    assert [(i.name, i.label) for i in found] == [("cat/2.DNG", 0), ("cat/3.dng", 0), ("dog/1.dng", 1)]
    assert (found.names, found[0].frame().size) == (("cat", "dog"), (16, 16))
    assert [i.label for i in read_captured(tmp_path, names=["owl", "dog", "cat"])] == [2, 2, 1]
    first, second = found.split(0.5, seed=1)
    assert len(first) + len(second) == 3
    with pytest.raises(FileError, match=r"2.DNG: .*smaller than 224x224"):
        read_captured(tmp_path)[0].frame()


def test_a_table_of_labelled_files(tmp_path):
    (tmp_path / "1.dng").write_bytes(tiny_dng())
    (tmp_path / "labels.tsv").write_text("file\tclass_index_0based\tname\n1.dng\t3\thound\n")
    (one,) = found = read_captured(tmp_path, protocol=Protocol(side=16))
    assert (one.label, found.names[3]) == (3, "hound")
    assert one.frame().meta.cfa == "RGGB"
