"""Laws that every stage keeps, as plain checks for the stages' own tests."""

from __future__ import annotations

import torch

from conftest import make_frame
from ispkit.core.frame import Frame
from ispkit.core.param import Param


def batch_equals_loop(stage, settings, size=(24, 32), **facts) -> None:
    """One frame under `settings` {knob: list} gives what one call a setting gives."""
    frame = make_frame(stage.reads, size, batch=1, **facts)
    count = len(next(iter(settings.values())))
    tensors = {
        k: torch.tensor([stage.knobs[k].options.index(v) if isinstance(v, str) else v for v in vs])
        for k, vs in settings.items()
    }
    together = stage(frame, tensors).data
    for i in range(count):
        alone = stage(frame, {k: vs[i] for k, vs in settings.items()}).data
        torch.testing.assert_close(together[i : i + 1], alone, atol=2e-6, rtol=1e-5)


def tile_equals_whole(stage, values, size=(96, 128), atol=1e-6, **facts) -> None:
    """Windows with the declared halo, cut at multiples of `align`, give the pixels of the whole picture."""
    frame = make_frame(stage.reads, size, batch=1, **facts)
    noise = torch.randn(frame.data.shape, generator=torch.Generator().manual_seed(1))
    frame = frame.with_data((frame.data + 0.02 * noise).clamp(0.001, 1))
    known = {k: p.default for k, p in stage.knobs.items()} | values
    halo, whole = stage.support(known, frame.size), stage(frame, values).data
    assert halo > 0
    assert not torch.equal(whole, frame.data)
    for y, x, h, w in ((0, 0, 32, 32), (32, 64, 32, 64), (size[0] - 32, size[1] - 64, 32, 64)):
        top, left = (max(0, v - halo) // stage.align * stage.align for v in (y, x))
        bottom, right = min(size[0], y + h + halo), min(size[1], x + w + halo)
        tile = stage(frame.crop(top, left, bottom - top, right - left), values).data
        inside = tile[..., y - top : y - top + h, x - left : x - left + w]
        torch.testing.assert_close(inside, whole[..., y : y + h, x : x + w], atol=atol, rtol=0)


def gradients_are_right(stage, values, size=(9, 10), seed=0, **facts) -> None:
    """Float64 gradcheck of the pixels and of each differentiable knob that acts under `values`."""
    frame = make_frame(stage.reads, size, batch=1, seed=seed, **facts).to(torch.float64)
    known = {k: p.default for k, p in stage.knobs.items()} | values
    names = [
        k
        for k, p in stage.knobs.items()
        if isinstance(p, Param) and p.differentiable and (p.when is None or known[p.when[0]] in p.when[1])
    ]

    def run(data, *numbers):
        return stage(Frame(data, frame.domain, frame.meta), values | dict(zip(names, numbers, strict=True))).data

    knobs = [torch.tensor(float(known[n]), dtype=torch.float64, requires_grad=True) for n in names]
    assert torch.autograd.gradcheck(run, (frame.data.requires_grad_(), *knobs), atol=1e-5, rtol=1e-4, fast_mode=True)
    for i in range(len(knobs)):
        total = run(frame.data.detach(), *knobs).square().sum()
        assert torch.autograd.grad(total, knobs[i])[0].abs() > 1e-9, f"{names[i]} does nothing under {values}"


def compiles_and_survives_autocast(stage, values, fullgraph=True) -> None:
    """Safe under `torch.compile`, in one graph unless told otherwise, and no lower precision under autocast."""
    frame = make_frame(stage.reads, (24, 32), batch=1)
    expected = stage(frame, values).data

    def run(data):
        return stage(frame.with_data(data), values).data

    torch.testing.assert_close(torch.compile(run, backend="aot_eager", fullgraph=fullgraph)(frame.data), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(run(frame.data), expected)
