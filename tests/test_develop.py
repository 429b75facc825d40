"""The short way from file to picture: what enters late is treated as what enters early."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ispkit
from conftest import make_frame
from ispkit.core.errors import DomainError, ParamError
from ispkit.core.frame import Domain
from ispkit.data.demo import write_demo_raws
from ispkit.isp.develop import Window, develop_frame, look_of, sensor_window, turned
from ispkit.isp.recipe import from_recipe, preset


@pytest.fixture(scope="module")
def raws(tmp_path_factory):
    return write_demo_raws(tmp_path_factory.mktemp("raws"), height=256, width=384)


def test_clipped_highlights_of_a_frame_without_mosaic_are_white():
    frame = make_frame(Domain.CAMERA_RGB, (16, 16), 1, neutral=(0.5, 1.0, 0.7))
    bright = frame.with_data(torch.ones_like(frame.data))
    assert develop_frame(bright, preset("neutral")).min() >= 254


def test_half_size_is_the_picture_made_small(raws):
    whole = ispkit.develop(raws[0], lens_shading__source="off").astype(float)
    small = ispkit.develop(raws[0], half_size=True).astype(float)
    assert small.shape == (128, 192, 3)
    blocks = [p.reshape(16, p.shape[0] // 16, 24, p.shape[1] // 24, 3).mean((1, 3)) for p in (whole, small)]
    assert np.abs(blocks[0] - blocks[1]).mean() < 2.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_window_of_the_upright_picture_is_found_on_the_sensor(orientation):
    stored = np.random.default_rng(orientation).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    upright = turned(stored, orientation)
    y, x, height, width = sensor_window(Window(3, 5, 9, 7), (20, 30), orientation)
    assert np.array_equal(turned(stored[y : y + height, x : x + width], orientation), upright[5:12, 3:12])


@pytest.mark.parametrize("bits", [8, 16])
def test_bits(raws, bits):
    picture = ispkit.develop(raws[0], bits=bits)
    assert picture.dtype == {8: np.uint8, 16: np.uint16}[bits]
    assert picture.max() > 0.9 * (2**bits - 1)


def test_wrong_names_are_refused_before_the_file_is_read():
    with pytest.raises(ParamError, match=r"did you mean 'exposure\.ev'"):
        ispkit.develop("no-such-file.dng", exposure__evv=1.0)


def test_the_look_follows_the_recipe():
    frame = make_frame(Domain.RAW, (16, 16), 1)
    isp = preset("neutral")
    assert look_of(frame, isp).color_space == "srgb"
    assert look_of(frame, isp, {"encode.space": "xyz"}).linear
    assert look_of(frame, isp, {"encode.transfer": "gamma"}).color_space is None
    with pytest.raises(DomainError, match="add 'encode'"):
        look_of(frame, from_recipe({"version": 1, "stages": ["linearize"]}))
