"""The fused renderer gives the torch stages' picture, within one 8-bit code, or says why it cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import MissingExtraError, ParamError
from ispkit.core.frame import Domain
from ispkit.core.opcodes import BadPixelsList, GainMap, VignetteRadial
from ispkit.core.param import Param
from ispkit.isp import render as door
from ispkit.isp.fused import chain, renderer
from ispkit.isp.fused.steps import CURVE_DROPPED_BITS, CURVE_RANGE, DoesNotFitError, curve_index_range, tabulate
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.render import render
from ispkit.isp.stage import Stage
from ispkit.isp.stages.color import ColorAdjust, ColorMatrix
from ispkit.isp.stages.defects import DefectPixels
from ispkit.isp.stages.demosaic import Demosaic
from ispkit.isp.stages.encode import Encode, Lut3D
from ispkit.isp.stages.highlights import Highlights
from ispkit.isp.stages.lens import LensShading
from ispkit.isp.stages.levels import Exposure, Linearize
from ispkit.isp.stages.sharpen import Sharpen
from ispkit.isp.stages.tone import ToneCurve
from ispkit.isp.stages.white_balance import WhiteBalance
from ispkit.isp.tiled import codes, render_codes
from ispkit.ops import adjust
from ispkit.ops.encode import srgb_encode

pytest.importorskip("halide", reason="the fused renderer is the extra ispkit[fast]")

CFAS = ("RGGB", "GRBG", "GBRG", "BGGR")


def chain_of(**more):
    """All stages that the fused renderer knows; `more` is appended before the encoding."""
    return Pipeline(
        {
            "linearize": Linearize(),
            "lens_shading": LensShading(),
            "white_balance": WhiteBalance(),
            "highlights": Highlights(),
            "demosaic": Demosaic(),
            "color_matrix": ColorMatrix(),
            "exposure": Exposure(),
            "sharpen": Sharpen(),
            "tone_curve": ToneCurve(),
            "color_adjust": ColorAdjust(),
            **more,
            "encode": Encode(),
        }
    )


def gain_maps(cfa_sites=((0, 0), (0, 1), (1, 0), (1, 1)), area=(0, 0, 4000, 4000), pitch=2, seed=0):
    rng = np.random.default_rng(seed)
    maps = []
    for y, x in cfa_sites:
        gains = tuple(tuple((float(g),) for g in row) for row in rng.uniform(1.0, 2.5, (4, 5)))
        place = (area[0] + y, area[1] + x, *area[2:])
        maps.append(GainMap(2, place, 0, 1, pitch, pitch, 0.4, 0.3, -0.1, 0.05, gains))
    return maps


def raw_frame(size, **facts):
    """One RAW frame with lens shading, so that most tests share their compiled kernels."""
    return make_frame(Domain.RAW, size, batch=1, **({"opcodes": gain_maps()} | facts))


SETTINGS = {
    "defaults": {},
    "white balance by gains": {"white_balance.mode": "gains", "white_balance.red_gain": 1.7, "exposure.ev": 1.3},
    "white balance estimated": {"white_balance.mode": "gray_world", "linearize.black_offset": 0.01},
    "bilinear, gamma": {"demosaic.method": "bilinear", "encode.transfer": "gamma", "encode.gamma": 1.8},
    "other space": {"encode.space": "prophoto-rgb", "color_matrix.red_from_green": 0.2, "exposure.ev": -2.0},
    "sharp": {"sharpen.amount": 2.0, "sharpen.sigma": 1.7, "sharpen.threshold": 0.004, "sharpen.halo_limit": 0.3},
    "knee": {"tone_curve.style": "knee", "tone_curve.power": 0.6, "tone_curve.shadow": 1.0, "exposure.ev": 1.0},
    "shadow alone": {"tone_curve.shadow": 2.0, "tone_curve.hue_preservation": 1.0},
    "camera-like": {
        "sharpen.amount": 0.7,
        "tone_curve.style": "sigmoid",
        "tone_curve.shadow": 0.3,
        "tone_curve.hue_preservation": 0.4,
        "color_adjust.contrast": 1.2,
        "color_adjust.saturation": 1.1,
        "color_adjust.vibrance": 0.15,
        "color_adjust.hue": 10.0,
    },
    "shading by hand": {"lens_shading.k1": 0.5, "lens_shading.k2": -0.1, "highlights.threshold": 0.8},
}


def difference(pipeline, frame, values, bits=8):
    """Largest difference in codes, and the share of codes that differ, to the torch stages on the whole."""
    fused = renderer.render_fused(pipeline, frame, values, bits=bits)
    whole = codes(pipeline(frame, values).data[0], bits)
    assert fused.shape == whole.shape
    assert fused.dtype == whole.dtype
    d = np.abs(fused.astype(np.int64) - whole)
    return int(d.max()), float((d > 0).mean())


@pytest.mark.parametrize("values", SETTINGS.values(), ids=SETTINGS)
def test_within_one_code_of_torch(values):
    frame = raw_frame((75, 301), cfa="GRBG", baseline_exposure=0.3)
    largest, share = difference(chain_of(), frame, values)
    assert largest <= 1
    assert share < 5e-4


@pytest.mark.parametrize("cfa", CFAS)
@pytest.mark.parametrize("size", [(2, 2), (3, 5), (34, 33), (33, 258)])
def test_all_patterns_and_borders(cfa, size):
    frame = raw_frame(size, cfa=cfa)
    for name in ("defaults", "camera-like"):
        assert difference(chain_of(), frame, SETTINGS[name])[0] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("cfa", CFAS)
def test_sixteen_bits(cfa):
    frame = raw_frame((40, 50), cfa=cfa)
    assert difference(chain_of(), frame, SETTINGS["camera-like"], bits=16)[0] <= 2


@pytest.mark.parametrize(
    ("maps", "strength"),
    [(gain_maps(), 1.0), (gain_maps(), 0.6), (gain_maps([(0, 0)], pitch=1), 1.0), (gain_maps([(0, 1), (1, 0)]), 1.5)],
    ids=["four", "weaker", "one for all", "greens only"],
)
@pytest.mark.parametrize("cfa", CFAS)
def test_gain_maps_on_crops_and_mirrors(maps, strength, cfa):
    """The maps stay with the sensor, wherever the picture was cut out and however it runs."""
    frame = raw_frame((48, 60), cfa=cfa, opcodes=maps)
    values = {"lens_shading.strength": strength}
    for view in (frame, frame.crop(3, 5, 41, 50), frame.crop(2, 1, 30, 31).flip(rows=True), frame.flip(columns=True)):
        assert difference(chain_of(), view, values)[0] <= 1


@pytest.mark.parametrize(
    "opcodes",
    [
        [VignetteRadial(2, (0.1,) * 5, (0.5, 0.5))],
        gain_maps(area=(0, 0, 10, 10)),
        gain_maps() + gain_maps(seed=1),
        gain_maps(pitch=3),
    ],
    ids=["radial", "part of the picture", "overlapping", "pitch"],
)
def test_unusual_shading_is_left_to_torch(opcodes):
    frame = raw_frame((26, 34), opcodes=opcodes)
    assert chain.plan(chain_of(), frame).head is not None
    assert difference(chain_of(), frame, {})[0] <= 1


def test_a_mosaic_may_enter_behind_linearize():
    frame = make_frame(Domain.MOSAIC, (30, 40), batch=1)
    assert difference(chain_of(), frame, {})[0] <= 1


def test_wild_light_does_not_break_curves():
    """Negative, huge and tiny light: overexposed skies, noise about black."""
    frame = raw_frame((32, 48))
    data = frame.data.clone()
    data[..., ::3] = -5000.0
    data[..., 1::5] = 4e6
    data[..., 2::7] = 64.0
    frame = frame.with_data(data)
    values = SETTINGS["camera-like"] | {"highlights.threshold": 1.0, "exposure.ev": 6.0}
    assert difference(chain_of(), frame, values)[0] <= 1


def test_knobs_do_not_recompile():
    pipeline, frame = chain_of(), raw_frame((16, 24))
    renderer.render_fused(pipeline, frame, SETTINGS["camera-like"])
    before = len(renderer._compiled)
    numbers = {k: v * 0.9 for k, v in SETTINGS["camera-like"].items() if isinstance(v, float)}
    other = raw_frame((22, 37), cfa="BGGR", seed=5)
    for name, space in (("sigmoid", "srgb"), ("knee", "srgb")):
        values = numbers | {"tone_curve.style": name, "encode.space": space, "white_balance.mode": "cct"}
        assert difference(pipeline, other, values)[0] <= 1
    assert len(renderer._compiled) == before


def test_threads_give_the_same_picture():
    pipeline, frame = chain_of(), raw_frame((131, 70))
    one = renderer.render_fused(pipeline, frame, SETTINGS["camera-like"], threads=1)
    for threads in (2, 3, 64):
        assert np.array_equal(one, renderer.render_fused(pipeline, frame, SETTINGS["camera-like"], threads=threads))


def test_tabulated_curve_is_the_function():
    table = tabulate(srgb_encode)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-1, 2, 5000), 10 ** rng.uniform(-9, 2.4, 5000)]).astype(np.float32)
    word = np.clip(np.abs(x), *CURVE_RANGE).astype(np.float32).view(np.uint32)
    index, part = (word >> CURVE_DROPPED_BITS) - curve_index_range()[0], (word & 0x3FFF) / 2**14
    sign = (x < 0).astype(int)
    read = table[sign, index] + (table[sign, index + 1] - table[sign, index]) * part
    assert np.abs(read - srgb_encode(torch.from_numpy(x)).numpy()).max() < 4e-7


def test_contrast_pivots_where_the_op_does():
    gray = torch.full((1, 3, 1, 1), chain._PIVOT)
    torch.testing.assert_close(adjust.contrast(gray, 1.7), gray)


class Swirl(Stage):
    """A stage that nobody told the fused renderer about."""

    reads = writes = Domain.LINEAR_RGB
    amount = Param(default=0.0, low=0.0, high=1.0)

    def apply(self, frame, amount):
        return frame if amount == 0 else frame.with_data(frame.data.roll(1, -1))

    def support(self, values, size):
        return 0 if values["amount"] == 0 else 1


class Smear(Stage):
    """A stage on the mosaic that is not fused."""

    reads = writes = Domain.MOSAIC
    amount = Param(default=0.0, low=0.0, high=1.0)

    def apply(self, frame, amount):
        return frame if amount == 0 else frame.with_data(torch.lerp(frame.data, frame.data.roll(2, -1), amount))

    def support(self, values, size):
        return 0 if values["amount"] == 0 else 2


@pytest.mark.parametrize(
    ("values", "head"),
    [
        ({}, []),
        ({"smear.amount": 0.5}, ["linearize", "defect_pixels", "lens_shading", "smear"]),
        ({"defect_pixels.detect": "both"}, ["linearize", "defect_pixels"]),
        (
            {"smear.amount": 0.5, "white_balance.mode": "shades_of_gray"},
            ["linearize", "defect_pixels", "lens_shading", "smear"],
        ),
    ],
    ids=["all fused", "unknown stage", "defects", "statistics behind"],
)
def test_what_is_not_fused_on_the_mosaic_runs_before(values, head):
    known = chain_of().stages
    first = {"linearize": Linearize(), "defect_pixels": DefectPixels(), "lens_shading": LensShading(), "smear": Smear()}
    pipeline, frame = Pipeline({**first, **known}), raw_frame((34, 46), cfa="GBRG", noise_profile=[(1e-4, 1e-6)])
    chain_plan = chain.plan(pipeline, frame, values)
    assert list(chain_plan.head.stages if chain_plan.head else []) == head
    assert difference(pipeline, frame, values)[0] <= 1


def test_listed_defects_are_corrected():
    frame = raw_frame((34, 46), opcodes=[*gain_maps(), BadPixelsList(1, 0, ((20, 31), (33, 45)), ())])
    data = frame.data.clone()
    data[..., 20, 31] = data[..., 33, 45] = 1023.0
    pipeline = Pipeline({"linearize": Linearize(), "defect_pixels": DefectPixels(), **chain_of().stages})
    assert difference(pipeline, frame.with_data(data), {})[0] <= 1


def misfits():
    raw = raw_frame((16, 24))
    return {
        "unknown stage": (chain_of(swirl=Swirl()), raw, {"swirl.amount": 0.5}, "stage 'swirl' is not one that"),
        "batch": (chain_of(), make_frame(Domain.RAW, (16, 24), batch=2), {}, "takes one float32 frame"),
        "settings": (chain_of(), raw, {"exposure.ev": torch.zeros(3)}, "exposure.ev holds 3 settings"),
        "float64": (chain_of(), raw.to(torch.float64), {}, "takes one float32 frame"),
        "camera RGB": (chain_of(), make_frame(Domain.CAMERA_RGB, (16, 24), batch=1), {}, "goes from a mosaic"),
        "no encode": (Pipeline({"linearize": Linearize(), "demosaic": Demosaic()}), raw, {}, "to display values"),
    }


@pytest.mark.parametrize("case", misfits().values(), ids=misfits())
def test_says_why_it_does_not_fit(case):
    pipeline, frame, values, reason = case
    with pytest.raises(DoesNotFitError, match=reason):
        chain.plan(pipeline, frame, values)


def test_a_stage_that_is_off_fits():
    pipeline = Pipeline({**chain_of(swirl=Swirl()).stages, "look": Lut3D()})
    assert difference(pipeline, raw_frame((16, 24)), {})[0] <= 1


def test_auto_takes_the_fused_renderer_for_large_pictures_that_fit(monkeypatch):
    pipeline, frame = chain_of(swirl=Swirl()), raw_frame((16, 24))
    ran = []
    monkeypatch.setattr(door, "run", lambda *a, **k: ran.append("fused") or renderer.run(*a, **k))
    monkeypatch.setattr(door, "render_codes", lambda *a, **k: ran.append("torch") or render_codes(*a, **k))
    render(pipeline, frame)
    monkeypatch.setattr(door, "WORTH_COMPILING", 100)
    render(pipeline, frame)
    render(pipeline, frame, {"swirl.amount": 1.0})
    render(pipeline, frame, executor="torch")
    monkeypatch.setattr(door, "available", lambda: False)
    render(pipeline, frame)
    assert ran == ["torch", "fused", "torch", "torch", "torch"]


def test_refusals(monkeypatch):
    pipeline, frame = chain_of(swirl=Swirl()), raw_frame((16, 24))
    with pytest.raises(DoesNotFitError, match="swirl"):
        render(pipeline, frame, {"swirl.amount": 1.0}, executor="fused")
    with pytest.raises(ParamError, match="did you mean 'fused'"):
        render(pipeline, frame, executor="fuse")
    with pytest.raises(ParamError, match="bits=12"):
        render(pipeline, frame, executor="fused", bits=12)
    monkeypatch.setattr(renderer, "available", lambda: False)
    with pytest.raises(MissingExtraError, match=r"ispkit\[fast\]"):
        render(pipeline, frame, executor="fused")
