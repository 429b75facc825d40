"""Frames, facts and knobs: geometry keeps the CFA, the vector is the only door, messages name the remedy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_frame
from ispkit.core.cfa import CFA_PATTERNS
from ispkit.core.errors import DomainError, ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.core.param import Choice, Param
from ispkit.core.space import ParamSpace
from ispkit.ops.cfa import cfa_masks, from_planes, mosaic, planes, spread_sites


def color_of_each_pixel(frame: Frame) -> torch.Tensor:
    """The sensor site under each pixel, found through the view, against what the frame's CFA says."""
    return cfa_masks(frame.size, frame.meta.cfa).argmax(0)


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
@pytest.mark.parametrize("size", [(8, 10), (7, 9)])
@given(data=st.data())
def test_geometry_keeps_every_pixel_with_its_color_level_and_place(cfa, size, data):
    frame = make_frame(Domain.RAW, size, 1, cfa, black_level=[1.0, 2.0, 3.0, 4.0], white_level=1023.0)
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    place = (rows * 100 + columns).float()[None, None]
    truth = {
        float(p): (int(c), float(b))
        for p, c, b in zip(
            place.flatten(),
            cfa_masks(size, cfa).argmax(0).flatten(),
            spread_sites(frame.meta.black_level, size).flatten(),
            strict=True,
        )
    }
    moved = frame.with_data(place)
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()) and min(moved.size) > 3:
            y, x = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
            moved = moved.crop(y, x, moved.size[0] - y, moved.size[1] - x)
        else:
            moved = moved.flip(rows=data.draw(st.booleans()), columns=data.draw(st.booleans()))
    colors, blacks = color_of_each_pixel(moved), spread_sites(moved.meta.black_level, moved.size)[0, 0]
    sensor_rows, sensor_columns = moved.meta.view[0].coordinates(moved.size, moved.data)
    for y in range(moved.size[0]):
        for x in range(moved.size[1]):
            where = float(moved.data[0, 0, y, x])
            assert where == float(sensor_rows[y]) * 100 + float(sensor_columns[x])
            assert truth[where] == (int(colors[y, x]), float(blacks[y, x]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_undoes_what_the_camera_recorded_and_only_once(orientation):
    from PIL import Image, ImageOps

    pixels = torch.rand(3, 5, 7).mul(255).round()
    frame = Frame(pixels[None], Domain.DISPLAY_RGB, CameraMeta.make("RGGB", (5, 7), orientation=orientation))
    picture = Image.fromarray(pixels.permute(1, 2, 0).byte().numpy())
    picture.getexif()[0x0112] = orientation
    expected = torch.from_numpy(np.array(ImageOps.exif_transpose(picture))).permute(2, 0, 1)
    upright = frame.upright()
    assert torch.equal(upright.data[0], expected.float())
    assert torch.equal(upright.upright().data, upright.data)


def test_batches_join_and_part():
    a, b = make_frame(Domain.MOSAIC, seed=1, iso=100.0), make_frame(Domain.MOSAIC, seed=2, iso=400.0)
    both = Frame.cat([a, b])
    assert both.meta.iso.tolist() == [100, 100, 400, 400]
    assert torch.equal(both.select([2, 3]).data, b.data)
    with pytest.raises(ShapeError, match="one batch has one CFA"):
        Frame.cat([a.crop(0, 0, 16, 22), a.crop(0, 1, 16, 22)])
    with pytest.raises(ShapeError, match="leaves the 16x24 frame"):
        a.crop(0, 0, 17, 3)
    with pytest.raises(ShapeError, match=r"is \(B, 1, H, W\)"):
        Frame(torch.zeros(1, 3, 4, 4), Domain.MOSAIC, a.meta)
    with pytest.raises(DomainError, match="applied to colors"):
        a.upright()


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_mosaic_samples_the_color_of_each_site(cfa):
    rgb = torch.tensor([1.0, 2.0, 3.0])[None, :, None, None].expand(1, 3, 2, 2)
    assert "".join("RGB"[int(v) - 1] for v in mosaic(rgb, cfa).flatten()) == cfa
    raw = torch.rand(2, 1, 6, 8)
    assert torch.equal(from_planes(planes(raw)), raw)
    assert torch.equal(planes(raw)[:, 1], raw[:, 0, 0::2, 1::2])


SPACE = ParamSpace(
    {
        "a.mode": Choice(default="x", options=("x", "y", "z"), doc="mode"),
        "a.low": Param(default=0.2, low=0.0, high=1.0, when=("mode", ("y", "z")), doc="low"),
        "a.high": Param(default=0.9, low=0.0, high=1.0, doc="high"),
        "b.gain": Param(default=1.0, low=0.25, high=8.0, scale="log", doc="gain"),
        "b.register": Param(default=3.0, low=0.0, high=63.0, step=1.0, differentiable=False, doc="register"),
    },
    orderings=[("a.low", "a.high")],
)


@given(u=st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_every_point_of_the_cube_is_a_legal_setting(u):
    values = SPACE.from_vector(torch.tensor(u, dtype=torch.float64))
    SPACE.check(values)
    again = SPACE.from_vector(SPACE.to_vector(values))
    for name, value in SPACE.readable(values).items():
        if isinstance(value, float):
            assert SPACE.readable(again)[name] == pytest.approx(value, rel=1e-6, abs=1e-6)
        else:
            assert SPACE.readable(again)[name] == value


def test_a_batch_of_vectors_and_gradient_through_rounding():
    u = torch.rand(4, SPACE.dim, generator=torch.Generator().manual_seed(0)).requires_grad_()
    values = SPACE.from_vector(u, straight_through=True)
    assert all(torch.as_tensor(v).shape == (4,) for v in values.values())
    register = torch.as_tensor(values["b.register"])
    assert torch.equal(register.detach(), register.detach().round())
    register.sum().backward()
    assert torch.allclose(u.grad[:, 4], torch.full((4,), 63.0))


def test_conditions_tell_which_knobs_act():
    assert not bool(SPACE.active({"a.mode": "x"})["a.low"])
    assert SPACE.active({"a.mode": torch.tensor([0, 1, 2])})["a.low"].tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a.lo": 1}, r"no parameter 'a.lo'; did you mean 'a.low'\?"),
        ({"b.gain": 9.0}, r"b.gain=9.0 is outside \[0.25, 8\] \(unit: 1\)"),
        ({"b.gain": float("nan")}, "b.gain=nan is outside"),
        ({"b.gain": "much"}, "b.gain='much' must be a number"),
        ({"b.gain": True}, "must be a number"),
        ({"a.mode": "w"}, "a.mode='w' is not an option"),
        ({"a.mode": 7}, "is not an index"),
        ({"a.mode": 0.5}, "is not an index"),
        ({"a.low": 0.95}, "a.low=0.95 exceeds a.high=0.9"),
    ],
)
def test_messages_name_the_place_the_value_and_the_law(values, message):
    with pytest.raises(ParamError, match=message):
        SPACE.check(values)


def test_declarations_are_checked():
    with pytest.raises(ParamError, match="low < high"):
        Param(default=0, low=1, high=1)
    with pytest.raises(ParamError, match="low > 0"):
        Param(default=1, low=0, high=2, scale="log")
    with pytest.raises(ParamError, match="outside"):
        Param(default=3, low=0, high=2)
    with pytest.raises(ParamError, match="selects no knob"):
        SPACE.select("c.*")


def test_a_knob_without_its_switch_counts_as_acting():
    space = ParamSpace(
        {
            "denoise.method": Choice(default="off", options=("off", "nlm"), doc=""),
            "denoise.radius": Param(default=1.0, low=0.5, high=3.0, when=("method", ("nlm",)), doc=""),
        }
    )
    assert not bool(space.active({})["denoise.radius"])
    assert bool(space.select("denoise.radius").active({})["denoise.radius"])
