"""Settings as functions of gain and light."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Param
from ispkit.core.space import ParamSpace
from ispkit.isp.anchored import AnchoredISP
from ispkit.isp.recipe import preset


class Box:
    """Remembers what it is given."""

    reads, writes = Domain.RAW, Domain.DISPLAY_RGB
    space = ParamSpace(
        {
            "denoise.mode": Choice(default="soft", options=("soft", "hard")),
            "denoise.luma": Param(default=2.0, low=1.0, high=16.0, scale="log", when=("mode", ("soft",))),
            "denoise.taps": Param(default=4, low=0, high=31, step=1, differentiable=False),
            "tone.low": Param(default=0.1, low=0.0, high=1.0),
            "tone.high": Param(default=0.9, low=0.0, high=1.0),
        },
        [("tone.low", "tone.high")],
    )

    def __init__(self):
        self.seen = []

    def __call__(self, frame: Frame, values=None) -> Frame:
        self.seen.append(dict(values))
        return Frame(frame.data.expand(-1, 3, -1, -1) / 1023, Domain.DISPLAY_RGB, frame.meta)


GAINS = {"gain": (1, 4, 16)}


def test_every_knob_is_there_once_an_anchor():
    isp = AnchoredISP(Box(), knobs=("denoise.*",), anchors=GAINS)
    assert [n for n in isp.space if "luma" in n] == [
        "denoise.luma@gain=1",
        "denoise.luma@gain=4",
        "denoise.luma@gain=16",
    ]
    assert "tone.low" in isp.space
    assert len(isp.space) == 3 * 3 + 2
    assert isp.space.defaults() == {**isp.spread(Box.space.defaults())}


def test_between_anchors_numbers_are_straight_in_the_logarithm_and_rounded():
    isp = AnchoredISP(Box(), knobs=("denoise.*",), anchors=GAINS)
    values = {"denoise.luma@gain=1": 1.0, "denoise.luma@gain=4": 16.0, "denoise.mode@gain=4": "hard"}
    values |= {"denoise.taps@gain=4": 5, "denoise.taps@gain=16": 9}
    assert float(isp.settings(values, {"gain": 2})["denoise.luma"]) == pytest.approx(4.0)
    assert float(isp.settings(values, {"gain": 8})["denoise.taps"]) == 7
    assert [isp.settings(values, {"gain": g})["denoise.mode"] for g in (1, 1.9, 2.1, 7.9, 8.1)] == [
        "soft", "soft", "hard", "hard", "soft"]  # fmt: skip
    for gain, want in ((0.1, 1.0), (1, 1.0), (4, 16.0), (16, 2.0), (500, 2.0)):
        assert float(isp.settings(values, {"gain": gain})["denoise.luma"]) == pytest.approx(want, rel=1e-6)


def test_the_same_everywhere_is_the_isp_itself():
    frame = make_frame(Domain.RAW, size=(32, 32))
    pipeline = preset("neutral")
    isp = AnchoredISP(pipeline, knobs=("*",), anchors={"gain": (1, 16)})
    plain = {"sharpen.amount": 0.7} if "sharpen.amount" in pipeline.space else {}
    assert torch.equal(isp(frame, isp.spread(plain)).data, pipeline(frame, plain).data)


def test_orderings_hold_at_anchors_and_between():
    isp = AnchoredISP(Box(), anchors=GAINS)
    with pytest.raises(ParamError, match="exceeds"):
        isp.space.check({"tone.low@gain=4": 0.95, "tone.high@gain=4": 0.2})
    u = torch.rand(64, isp.space.dim, generator=torch.Generator().manual_seed(0))
    for row in u:
        found = isp.settings(isp.space.from_vector(row), {"gain": 3})
        assert float(found["tone.low"]) <= float(found["tone.high"])


def test_two_axes_are_bilinear():
    isp = AnchoredISP(Box(), knobs=("tone.low",), anchors={"gain": (1, 16), "cct_k": (2500, 10000)})
    corners = {"tone.low@gain=1,cct_k=2500": 0.0, "tone.low@gain=16,cct_k=2500": 0.2,
               "tone.low@gain=1,cct_k=10000": 0.4, "tone.low@gain=16,cct_k=10000": 0.6}  # fmt: skip
    assert float(isp.settings(corners, {"gain": 4, "cct_k": 5000})["tone.low"]) == pytest.approx(0.3)


def test_conditions_of_siblings_follow_their_anchor():
    isp = AnchoredISP(Box(), knobs=("denoise.*",), anchors={"gain": (1.5, 16)})
    active = isp.space.active({"denoise.mode@gain=1p5": "hard"})
    assert not bool(active["denoise.luma@gain=1p5"])
    assert bool(active["denoise.luma@gain=16"])


def test_frames_tell_their_gain_or_are_refused():
    box = Box()
    isp = AnchoredISP(box, knobs=("denoise.luma",), anchors={"gain": (1, 64)})
    isp(make_frame(Domain.RAW, iso=800.0), {"denoise.luma@gain=1": 1.0, "denoise.luma@gain=64": 16.0})
    assert [float(s["denoise.luma"]) for s in box.seen] == pytest.approx([4.0, 4.0])
    with pytest.raises(ParamError, match="'gain'"):
        isp(make_frame(Domain.RAW, iso=0.0))


def test_roughness_is_zero_on_a_line_and_grows_with_bends():
    isp = AnchoredISP(Box(), knobs=("tone.low", "denoise.mode"), anchors={"gain": (1, 4, 64)})
    names = [f"tone.low@gain={g}" for g in (1, 4, 64)]
    assert isp.roughness(dict(zip(names, (0.1, 0.2, 0.4), strict=True))) == pytest.approx([0.0], abs=1e-7)
    assert isp.roughness(dict(zip(names, (0.1, 0.5, 0.4), strict=True))) == pytest.approx([-0.3])
    assert isp.roughness({}).dtype == np.float32


@pytest.mark.parametrize(
    "anchors", [{}, {"gain": (4, 1)}, {"gain": (0, 1)}, {"gain": (1,)}, {"a": (1, 2), "b": (1, 2), "c": (1, 2)}]
)
def test_wrong_anchors_are_refused(anchors):
    with pytest.raises(ParamError):
        AnchoredISP(Box(), anchors=anchors)
