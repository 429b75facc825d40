"""Laws that every stage keeps; a new stage is tested by being listed in `STAGES`."""

from __future__ import annotations

import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import DomainError, ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.core.opcodes import VignetteRadial
from ispkit.core.param import Choice, Param
from ispkit.core.space import ParamSpace
from ispkit.isp.stage import Stage
from ispkit.isp.stages import STAGES
from ispkit.isp.stages.encode import Lut3D

# Where the default switches a stage off, these values switch it on, so that the laws have something to hold.
ACTIVE: dict[str, dict[str, float | str]] = {
    "color_matrix": {"red_from_green": 0.1},
    "defect_pixels": {"detect": "both"},
    "exposure": {"auto": "log_average"},
    "lens_shading": {"k1": 0.1, "k2": 0.05, "k3": 0.02},
    "green_equalization": {"strength": 0.7},
    "raw_denoise": {"luma": 0.6, "chroma": 0.8},
    "highlights": {"mode": "reconstruct", "threshold": 0.9},
    "false_color": {"strength": 0.7},
    "distortion": {"k1": 0.03, "k2": 0.02, "k3": 0.01, "zoom": 1.1, "red_scale": 1.002, "blue_scale": 0.999},
    "denoise": {"luma": 0.8, "chroma": 1.2},
    "local_laplacian": {"alpha": 0.6, "beta": 0.8},
    "sharpen": {"amount": 2.0, "threshold": 0.001, "halo_limit": 0.05},
    "jpeg": {"mode": "soft"},
    "color_adjust": {"contrast": 1.2, "saturation": 1.3, "vibrance": 0.2, "hue": 20.0},
    "tone_curve": {"style": "sigmoid", "shadow": 0.3, "hue_preservation": 0.4},
}

# The modes that estimate keep what is already brighter than their estimate; cutting shows the threshold.
CUT: dict[str, dict[str, float | str]] = {"highlights": {"mode": "clip"}}

SHADING = [VignetteRadial(stage=2, k=(0.2, 0.1, 0.0, 0.0, 0.0), center=(0.5, 0.5))]

GRADIENTS = [
    (name, knob)
    for name, stage in STAGES.items()
    for knob, declared in stage.knobs.items()
    if isinstance(declared, Param) and declared.differentiable
]


def settings(name: str, knob: str | None = None) -> dict[str, float | str]:
    """Defaults, switched on, and with the choice under which `knob` acts."""
    stage = STAGES[name]
    values = {k: p.default for k, p in stage.knobs.items()} | ACTIVE.get(name, {})
    declared = stage.knobs[knob] if knob else None
    if declared is not None and declared.when is not None:
        values[declared.when[0]] = declared.when[1][0]
    return values


def make_stage(name: str) -> Stage:
    """The stage, with a look loaded where it is nothing without one."""
    stage = STAGES[name]()
    if isinstance(stage, Lut3D):
        stage.table = torch.rand(5, 5, 5, 3, generator=torch.Generator().manual_seed(1))
    return stage


def frame_for(stage: type[Stage], size=(32, 48), batch=2, dtype=torch.float32) -> Frame:
    """A frame with texture, a file's shading and hot pixels, so that every stage finds something to do."""
    frame = make_frame(stage.reads, size, batch, opcodes=SHADING)
    texture = torch.rand(frame.data.shape, generator=torch.Generator().manual_seed(9)) - 0.5
    scale = 60.0 if stage.reads is Domain.RAW else 0.06
    data = frame.data + scale * texture
    if stage.reads is Domain.MOSAIC:
        data[..., 5::12, 5::12] += 0.4
    return frame.with_data(data).to(dtype)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_itself(name):
    stage = STAGES[name]
    assert stage.__doc__
    ParamSpace(
        {f"{name}.{k}": p for k, p in stage.knobs.items()}, [(f"{name}.{a}", f"{name}.{b}") for a, b in stage.orderings]
    )
    for knob, declared in stage.knobs.items():
        assert declared.doc, f"{name}.{knob} has no doc"
        if declared.when is not None:
            sibling = stage.knobs[declared.when[0]]
            assert isinstance(sibling, Choice)
            assert set(declared.when[1]) <= set(sibling.options)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_domain_shape_dtype_and_purity(name, dtype):
    stage = make_stage(name)
    frame = frame_for(type(stage), dtype=dtype)
    before = frame.data.clone()
    out = stage(frame, settings(name))
    assert out.domain is stage.writes
    assert out.size == frame.size
    assert out.data.dtype is dtype
    assert torch.equal(frame.data, before)
    assert bool(out.data.isfinite().all())
    torch.testing.assert_close(stage(frame, settings(name)).data, out.data, rtol=0, atol=0)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_refuses_another_domain(name):
    stage = make_stage(name)
    wrong = next(d for d in type(stage.reads) if d is not stage.reads)
    with pytest.raises(DomainError, match=f"reads {stage.reads.value}"):
        stage(make_frame(wrong, (32, 48)))


@pytest.mark.parametrize("name", STAGES)
def test_a_batch_of_settings_equals_a_loop(name):
    """One frame with B settings, choices included, is B frames with one setting each."""
    stage = make_stage(name)
    space = ParamSpace(stage.knobs, stage.orderings)
    frame = frame_for(type(stage), batch=1)
    u = torch.rand(3, space.dim, generator=torch.Generator().manual_seed(5))
    both = stage(frame, space.from_vector(u))
    for i in range(3):
        one = stage(frame, space.from_vector(u[i]))
        torch.testing.assert_close(both.data[i : i + 1], one.data, rtol=1e-4, atol=2e-5)
        if one.meta.noise_profile.shape == both.meta.noise_profile[i : i + 1].shape:
            torch.testing.assert_close(both.meta.noise_profile[i : i + 1], one.meta.noise_profile, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", STAGES)
def test_frames_of_a_batch_do_not_mix(name):
    stage = make_stage(name)
    frame = frame_for(type(stage), batch=2)
    both = stage(frame, settings(name)).data
    alone = stage(frame.select([1]), settings(name)).data
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "knob"), GRADIENTS)
def test_gradient_of_every_differentiable_knob(name, knob):
    stage = make_stage(name)
    frame = frame_for(type(stage), size=(16, 16), batch=1, dtype=torch.float64)
    values = settings(name, knob)
    declared = stage.knobs[knob]
    start = declared.from_unit(torch.tensor(0.437, dtype=torch.float64)).requires_grad_()

    def run(value):
        return stage(frame, values | {knob: value}).data

    assert torch.autograd.gradcheck(run, (start,), eps=1e-6, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize(("name", "knob"), GRADIENTS)
def test_every_differentiable_knob_acts(name, knob):
    """A knob without effect would pass every gradient check."""
    stage = make_stage(name)
    frame = frame_for(type(stage), batch=1)
    values, declared = settings(name, knob) | CUT.get(name, {}), stage.knobs[knob]
    low, high = (float(declared.from_unit(u)) for u in (0.3, 0.8))
    a, b = (stage(frame, values | {knob: v}).data for v in (low, high))
    assert float((a - b).abs().max()) > 1e-6


@pytest.mark.parametrize("name", STAGES)
def test_a_tile_with_its_halo_equals_the_whole(name):
    stage = make_stage(name)
    frame = frame_for(type(stage), size=(192, 192), batch=1)
    values = settings(name)
    halo = stage.support(values, frame.size)
    measured = stage.measure(frame, values) if stage.global_statistics else None
    whole = stage(frame, values, measured).data
    core = stage.align * -(-64 // stage.align)
    start = max(0, (core - halo) // stage.align * stage.align)
    end = min(192, core + 32 + halo)
    tile = stage(frame.crop(start, start, end - start, end - start), values, measured).data
    inner = slice(core - start, core - start + 32)
    expected = whole[..., core : core + 32, core : core + 32]
    torch.testing.assert_close(tile[..., inner, inner], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", STAGES)
def test_unknown_and_illegal_values_are_refused(name):
    space = ParamSpace({f"{name}.{k}": p for k, p in STAGES[name].knobs.items()})
    with pytest.raises(ParamError, match="no parameter"):
        space.check({f"{name}.no_such_knob": 1.0})
    for key, declared in space.items():
        if isinstance(declared, Param):
            with pytest.raises(ParamError, match=r"is outside \["):
                space.check({key: declared.high + (declared.high - declared.low)})
            with pytest.raises(ParamError, match=r"is outside \["):
                space.check({key: float("nan")})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", STAGES)
def test_a_gpu_gives_the_same_picture(name):
    stage, frame = make_stage(name), frame_for(STAGES[name])
    on_gpu = stage(frame.to("cuda"), settings(name))
    assert on_gpu.data.is_cuda
    torch.testing.assert_close(on_gpu.data.cpu(), stage(frame, settings(name)).data, rtol=1e-3, atol=1e-4)
