"""Tiles add up to the whole picture: neighbors, block grids, statistics, maps of the sensor, any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.core.param import Param
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.recipe import PRESETS, preset
from ispkit.isp.stage import Stage
from ispkit.isp.tiled import codes, render_codes, render_tiled, render_tiles, spans

RGB = Domain.LINEAR_RGB


class Blur(Stage):
    """Mean of a square window, mirrored at the picture's border."""

    reads = writes = RGB
    radius = Param(default=2.0, low=1.0, high=6.0, step=1.0, differentiable=False)

    def apply(self, frame, radius):
        r = int(radius)
        padded = torch.nn.functional.pad(frame.data, (r, r, r, r), mode="reflect")
        return frame.with_data(torch.nn.functional.avg_pool2d(padded, 2 * r + 1, 1))

    def support(self, values, size):
        return int(values["radius"])


class Blocks(Stage):
    """Every 8x8 block of the picture's own grid becomes its mean, as a codec would."""

    reads = writes = RGB
    align = 8

    def apply(self, frame):
        small = torch.nn.functional.avg_pool2d(frame.data, 8, ceil_mode=True)
        big = small.repeat_interleave(8, -1).repeat_interleave(8, -2)
        return frame.with_data(big[..., : frame.size[0], : frame.size[1]])

    def support(self, values, size):
        return 7


class GrayWorld(Stage):
    """Divide by the mean of the whole picture."""

    reads = writes = RGB
    global_statistics = True

    def apply(self, frame, measured=None):
        sums = self.measure(frame, {}) if measured is None else measured
        return frame.with_data(frame.data * (0.4 * sums[:, 3:] / sums[:, :3])[..., None, None])

    def measure(self, frame, values):
        count = torch.full((frame.batch, 1), float(frame.size[0] * frame.size[1]))
        return torch.cat([frame.data.sum(dim=(-1, -2)), count], dim=1)


class Vignette(Stage):
    """A gain that depends on the place on the sensor, noted in the noise map."""

    reads = writes = RGB

    def apply(self, frame):
        rows, columns = frame.meta.view[0].coordinates(frame.size, frame.data)
        gain = (1 + rows[:, None] * 0.01 + columns * 0.003).expand(frame.batch, 1, -1, -1)
        return frame.with_data(frame.data * gain, noise_map=gain)


class Halve(Stage):
    """Changes the size, which tiles cannot do."""

    reads = writes = RGB

    def apply(self, frame):
        return frame.with_data(frame.data[..., ::2, ::2])


CHAINS = {
    "blur": {"blur": Blur()},
    "blocks after blur": {"blur": Blur(), "blocks": Blocks()},
    "blur after blocks": {"blocks": Blocks(), "blur": Blur()},
    "sensor map": {"vignette": Vignette(), "blur": Blur()},
    "two statistics": {"first": GrayWorld(), "blur": Blur(), "vignette": Vignette(), "second": GrayWorld()},
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize(("size", "tile"), [((48, 64), 16), ((51, 37), 16), ((33, 90), 30), ((20, 20), 512)])
def test_tiled_equals_whole(chain, size, tile):
    pipeline = Pipeline(chain, {"blur.radius": 3} if "blur" in chain else None)
    frame = make_frame(RGB, size)
    whole, tiled = pipeline(frame), render_tiled(pipeline, frame, tile=tile)
    torch.testing.assert_close(tiled.data, whole.data, rtol=2e-6, atol=1e-6)
    assert tiled.meta.view == whole.meta.view
    if whole.meta.noise_map is not None:
        torch.testing.assert_close(tiled.meta.noise_map, whole.meta.noise_map)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_presets_tile_without_seams(name, cfa):
    frame = make_frame(Domain.RAW, (150, 163), batch=1, cfa=cfa)
    pipeline = preset(name)
    whole = pipeline(frame)
    torch.testing.assert_close(render_tiled(pipeline, frame, tile=64).data, whole.data, rtol=0, atol=2e-5)


def test_a_halo_too_small_would_show(monkeypatch):
    """The comparison above is able to fail."""
    monkeypatch.setattr(Blur, "support", lambda *_: 0)
    pipeline, frame = Pipeline({"blur": Blur()}), make_frame(RGB, (48, 64))
    assert (render_tiled(pipeline, frame, tile=16).data - pipeline(frame).data).abs().max() > 1e-3


@pytest.mark.parametrize("length", [1, 7, 16, 100])
@pytest.mark.parametrize(("tile", "halo", "align"), [(16, 0, 2), (16, 5, 2), (10, 3, 8), (200, 9, 4)])
def test_spans_cover_each_pixel_once(length, tile, halo, align):
    cut = spans(length, tile, halo, align)
    assert [i for s in cut for i in range(s.start, s.stop)] == list(range(length))
    for s in cut:
        assert s.low % align == 0
        assert s.low <= max(0, s.start - halo)
        assert s.high >= min(length, s.stop + halo)


def test_tiles_carry_their_place_on_the_sensor():
    places = [
        (y, x, part.meta.view[0].origin)
        for y, x, part in render_tiles(
            Pipeline({"blur": Blur()}), make_frame(RGB, (40, 40)).crop(4, 6, 32, 32), tile=16
        )
    ]
    assert places == [(y, x, (y + 4, x + 6)) for y in (0, 16) for x in (0, 16)]


def test_knobs_and_batches_of_settings():
    class Gain(Stage):
        reads = writes = RGB
        ev = Param(default=0.0, low=-2.0, high=2.0)

        def apply(self, frame, ev):
            return frame.with_data(frame.data * torch.exp2(torch.as_tensor(ev)).reshape(-1, 1, 1, 1))

    pipeline, values = Pipeline({"gain": Gain()}), {"gain.ev": torch.tensor([-1.0, 1.0, 0.5])}
    frame = make_frame(RGB, (20, 30), batch=1)
    torch.testing.assert_close(render_tiled(pipeline, frame, values, tile=8).data, pipeline(frame, values).data)
    with pytest.raises(ShapeError, match="one frame"):
        render_codes(pipeline, frame, values)


@pytest.mark.parametrize(("bits", "kind"), [(8, np.uint8), (16, np.uint16)])
def test_codes_round_and_saturate(bits, kind):
    top = 2**bits - 1
    x = torch.tensor([-0.5, 0.0, 0.49 / top, 0.51 / top, 1.0, 7.0]).expand(3, 1, -1)
    assert codes(x, bits).dtype == kind
    assert codes(x, bits)[0, :, 1].tolist() == [0, 0, 0, 1, top, top]
    frame = make_frame(RGB, (21, 33), batch=1)
    pipeline = Pipeline({"blur": Blur()})
    assert np.array_equal(render_codes(pipeline, frame, bits=bits, tile=16), codes(pipeline(frame).data[0], bits))


def test_refusals():
    frame = make_frame(RGB, (16, 16), batch=1)
    with pytest.raises(ShapeError, match="'halve' changes the picture's size"):
        render_tiled(Pipeline({"halve": Halve()}), frame)
    with pytest.raises(ParamError, match="tile=0"):
        render_tiled(Pipeline({"blur": Blur()}), frame, tile=0)
    with pytest.raises(ParamError, match="bits=12"):
        codes(frame.data[0], 12)
