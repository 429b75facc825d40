"""The black box as a whole: contract, levels, pattern, batches, whole numbers, and the frozen baseline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ispkit.charts.scene import studio_scene
from ispkit.core.cfa import CFA_PATTERNS
from ispkit.core.errors import DomainError, ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.isp.c71 import C71, PAPER_EXPERT, REGISTERS, read_baseline, source_hash
from ispkit.isp.c71 import isp as c71_isp
from ispkit.isp.recipe import preset
from ispkit.metrics.fidelity import psnr
from ispkit.ops.encode import srgb_encode
from ispkit.sensor.catalog import load_sensor
from ispkit.sensor.simulate import capture

# Tseng et al. 2019, table 1: expert value, maximum as printed
TABLE = {
    "white_balance": {"gain_00": (583, 2**12), "gain_01": (271, 2**12), "gain_11": (587, 2**12)},
    "demosaic": {
        "vh_slope": (190, 2**8), "vh_thresh": (220, 2**12), "va_slope": (175, 2**8), "va_thresh": (210, 2**12),
        "aa_slope": (170, 2**8), "aa_thresh": (100, 2**12), "uu_slope": (165, 2**8), "uu_thresh": (210, 2**12),
        "sharp_alt_ld": (45, 2**8), "sharp_alt_ldu": (45, 2**8), "sharp_alt_lu": (25, 2**8),
        "fc_alias_slope": (85, 2**8), "fc_alias_thresh": (0, 2**8), "fc_slope": (130, 2**8), "np_offset": (3, 2**8),
    },
    "denoise": {
        "thresh_1h": (5, 2**8), "strength_1": (190, 2**8), "thresh_4h": (10, 2**8), "strength_4": (255, 2**8),
        "thresh_long": (48, 2**8),
    },
    "tone": {"lut_knee": (207, 2**8), "lut_power": (129, 2**8), "lut_shadow": (31, 2**8)},
    "color": {
        "coef_a_11": (4461, 5880), "coef_a_12": (4001, 5880), "coef_a_21": (4068, 5880), "coef_a_22": (4398, 5880),
        "coef_a_31": (4135, 5880), "coef_a_32": (3842, 5880),
    },
}  # fmt: skip
PHONE = replace(load_sensor("sidd-google-pixel"), blur_px=0.45)


LARGE = (512, 768)  # the scene's own detail; smaller, it is all beyond the mosaic's limit


def shot(iso=100.0, *, size=(192, 256), cfa="RGGB", seed=0):
    """A generated scene through the sensor that the baseline was made for, and what it should become."""
    scene = studio_scene(*size, seed=seed)
    frame = capture(scene, replace(PHONE, cfa=cfa), cct_k=6504.0, iso=iso, seed=seed)
    return frame, srgb_encode(scene.clamp(0, 1))


def flat(value, *, black=64.0, white=1023.0, cfa="RGGB", size=(16, 20)):
    meta = CameraMeta.make(cfa, size, black_level=black, white_level=white)
    return Frame(torch.full((1, 1, *size), float(value)), Domain.RAW, meta)


def test_registers_are_those_of_the_table():
    printed = {f"{stage}.{name}": row for stage, rows in TABLE.items() for name, row in rows.items()}
    assert [r.name for r in REGISTERS] == list(printed)
    assert printed.keys() == C71().space.keys()
    for register in REGISTERS:
        expert, maximum = printed[register.name]
        assert register.expert == expert == PAPER_EXPERT[register.name]
        assert register.high == (maximum - 1 if maximum.bit_count() == 1 else maximum)  # 2^n is n bits
        assert register.high.bit_length() == register.width
        knob = C71().space[register.name]
        assert (knob.step, knob.differentiable) == (1, False)


def test_baseline_was_frozen_for_these_sources():
    frozen = read_baseline()
    assert frozen.source_hash == source_hash(), "c71 changed: run benchmarks/c71_baseline.py again"
    assert C71().space.defaults() == frozen.values
    assert all(r.low <= frozen.values[r.name] <= r.high for r in REGISTERS)


def test_defaults_can_be_replaced():
    assert C71(PAPER_EXPERT).space.defaults() == PAPER_EXPERT


def test_good_picture_at_base_gain():
    frame, truth = shot(size=LARGE)
    picture = C71()(frame)
    assert (picture.domain, picture.size, picture.meta.color_space) == (Domain.DISPLAY_RGB, frame.size, ("srgb",))
    ours, classical = (float(psnr(p.data, truth, data_range=1.0)) for p in (picture, preset("neutral")(frame)))
    assert ours > 30
    assert ours > classical + 1


def test_more_noise_wants_more_denoising():
    stronger = {n: 3 * read_baseline().values[n] for n in ("denoise.thresh_1h", "denoise.thresh_4h")}

    def gained(iso):
        frame, truth = shot(iso, size=LARGE)
        before, after = (psnr(C71()(frame, v).data, truth, data_range=1.0) for v in ({}, stronger))
        return float(after - before)

    assert gained(100.0) < -0.1
    assert gained(1600.0) > 0.3


def test_output_is_8_bit_codes_and_repeats():
    frame, _ = shot(400.0)
    first, second = C71()(frame).data, C71()(frame).data
    assert torch.equal(first, second)
    assert first.dtype == torch.float32
    codes = (first * 255).round()
    assert torch.equal(codes / 255, first)
    assert (int(codes.min()), int(codes.max())) >= (0, 200)


def test_whole_numbers_from_the_sensor_to_the_picture(monkeypatch):
    seen = []

    def watched(inner):
        def run(*args):
            result = inner(*args)
            planes = vars(result).values() if hasattr(result, "vh") else [result]
            seen.extend(np.asarray(p).dtype for p in planes)
            return result

        return run

    for name in ("balance", "directions", "green", "color_differences", "denoise", "convert"):
        monkeypatch.setattr(c71_isp, name, watched(getattr(c71_isp, name)))
    C71(PAPER_EXPERT)(flat(500))
    assert set(seen) == {np.dtype(np.int32)}


@pytest.mark.parametrize(("dy", "dx"), [(0, 1), (1, 0), (1, 1)])
def test_rolled_mosaic_gives_the_same_picture(dy, dx):
    frame, _ = shot(400.0, size=(256, 256))
    whole = C71()(frame).data
    moved = C71()(frame.crop(dy, dx, 200, 200))
    rim = 24
    inside = moved.data[..., rim : 200 - rim, rim : 200 - rim]
    assert torch.equal(inside, whole[..., dy + rim : dy + 200 - rim, dx + rim : dx + 200 - rim])


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_every_pattern_and_odd_sizes(cfa):
    truth = shot()[1][..., :155, :255]
    pictures = [C71()(shot(cfa=c)[0].crop(0, 0, 155, 255)).data for c in (cfa, "RGGB")]
    assert pictures[0].shape == (1, 3, 155, 255)
    one, other = (float(psnr(p, truth, data_range=1.0)) for p in pictures)
    assert one == pytest.approx(other, abs=0.1)  # dB


def test_levels_are_taken_from_the_frame():
    ten = C71()(flat(64 + 0.25 * 959)).data
    fourteen = C71()(flat(512 + 0.25 * 15871, black=512.0, white=16383.0)).data
    assert torch.equal(ten, fourteen)


def test_gray_stays_gray_with_calibrated_gains():
    gray = torch.full((1, 3, 32, 32), 0.3)
    picture = C71()(capture(gray, replace(PHONE, bits=14, black_level=512.0), cct_k=6504.0, draw="none")).data * 255
    assert float((picture.amax(1) - picture.amin(1)).max()) <= 2


def test_saturation():
    assert torch.equal(C71()(flat(1023)).data, torch.ones(1, 3, 16, 20))
    assert torch.equal(C71()(flat(2000)).data, torch.ones(1, 3, 16, 20))
    assert torch.equal(C71()(flat(0)).data, torch.zeros(1, 3, 16, 20))
    most = {f"white_balance.gain_{s}": 4095.0 for s in ("00", "01", "11")}
    assert torch.equal(C71()(flat(500), most).data, torch.ones(1, 3, 16, 20))


@pytest.mark.parametrize("end", ["low", "high"])
def test_no_register_wraps_around(end):
    """At either end of every register, alone and all together, a bright flat frame is no darker than a dim one."""
    ends = {r.name: float(getattr(r, end)) for r in REGISTERS}
    for values in [ends, *({n: v} for n, v in ends.items())]:
        dim, bright = (C71()(flat(v), values).data for v in (150, 400))
        assert bool((bright[:, 1] >= dim[:, 1]).all()), values


def test_batch_is_a_loop():
    frame, _ = shot(400.0, size=(64, 64))
    powers = torch.tensor([100.0, 129.0, 180.0])
    together = C71()(frame, {"tone.lut_power": powers}).data
    alone = [C71()(frame, {"tone.lut_power": float(p)}).data for p in powers]
    assert torch.equal(together, torch.cat(alone))
    frames = Frame.cat([frame, shot(100.0, size=(64, 64))[0]])
    both = C71()(frames, {"tone.lut_power": powers[:2]}).data
    assert torch.equal(both[:1], alone[0])
    assert torch.equal(C71()(frames).data[1:], C71()(frames.select([1])).data)
    with pytest.raises(ShapeError, match="3 settings"):
        C71()(frames, {"tone.lut_power": powers})
    with pytest.raises(ShapeError, match="one length"):
        C71()(frame, {"tone.lut_power": powers, "tone.lut_knee": powers[:2]})


def test_vectors_of_the_space_are_rendered():
    space, frame = C71().space, shot(size=(64, 64))[0]
    u = torch.rand(2, space.dim, generator=torch.Generator().manual_seed(0))
    picture = C71()(frame, space.from_vector(u)).data
    assert picture.shape == (2, 3, 64, 64)
    assert bool(picture.isfinite().all())


def test_codes_are_rounded_as_when_written():
    frame, _ = shot(size=(64, 64))
    assert torch.equal(C71()(frame, {"tone.lut_power": 120.4}).data, C71()(frame, {"tone.lut_power": 120.0}).data)


def test_input_untouched():
    frame, _ = shot(size=(64, 64))
    before = frame.data.clone()
    C71()(frame)
    assert torch.equal(frame.data, before)


def test_complaints():
    frame = flat(500)
    with pytest.raises(ParamError, match="lut_power"):
        C71()(frame, {"tone.lut_powr": 3})
    with pytest.raises(ParamError, match="strength_1=256"):
        C71()(frame, {"denoise.strength_1": 256})
    with pytest.raises(ParamError):
        C71()(frame, {"denoise.strength_1": "full"})
    with pytest.raises(DomainError, match="c71"):
        C71()(frame.with_data(frame.data, Domain.MOSAIC))
    with pytest.raises(ShapeError, match="4x4"):
        C71()(flat(500, size=(2, 8)))
