"""What all black boxes do alike: rows of a batch one by one, values made plain, failures told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from ispkit.core.errors import ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Value, Values
from ispkit.core.space import ParamSpace
from ispkit.isp.external.files import stack_pictures

Plain = Mapping[str, float | str]
"""every knob: a number on its own grid, or an option's name"""
RenderOne = Callable[[Frame, Plain], Tensor]
"""(one frame, its values) -> (3, H, W)"""


def render_rows(isp: BlackBox, frame: Frame, values: Values | None, one: RenderOne) -> Frame:
    """Render a batch of frames, of settings, or both, `isp.workers` at a time.

    Raises `ParamError`, `DomainError`, and the first row's error that `one` raises.
    """
    frame.expect(isp.reads, type(isp).__name__)
    rows = plain_rows(isp.space, values or {}, frame.batch)
    frame = frame.repeat(len(rows))
    frames = [frame.select([i]) for i in range(len(rows))]
    if isp.workers == 1 or len(rows) == 1:
        return stack_pictures(frame, [one(f, v) for f, v in zip(frames, rows, strict=True)], isp.writes)
    with ThreadPoolExecutor(isp.workers) as pool:
        jobs = [pool.submit(one, f, v) for f, v in zip(frames, rows, strict=True)]
        try:
            pictures = [job.result() for job in jobs]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return stack_pictures(frame, pictures, isp.writes)


def plain_rows(space: ParamSpace, values: Values, batch: int) -> list[dict[str, float | str]]:
    """One mapping of plain values a picture, all knobs in it. Raises `ParamError`."""
    space.check(values)
    merged: dict[str, Value] = {**space.defaults(), **values}
    counts = {v.numel() for v in merged.values() if isinstance(v, Tensor) and v.ndim}
    if any(isinstance(v, Tensor) and v.ndim > 1 for v in merged.values()) or len(counts) > 1:
        raise ParamError(f"values are scalars or (B,) with one B, got sizes {sorted(counts)}")
    count = max([*counts, 1])
    if batch > 1 and count not in (1, batch):
        raise ParamError(f"{count} settings do not fit a batch of {batch} frames; use 1 or {batch} of either")
    return [{n: _plain(space, n, _row(v, i)) for n, v in merged.items()} for i in range(max(count, batch))]


def _row(value: Value, i: int) -> Value:
    return value[min(i, value.numel() - 1)] if isinstance(value, Tensor) and value.ndim else value


def _plain(space: ParamSpace, name: str, value: Value) -> float | str:
    knob = space[name]
    if isinstance(knob, Choice):
        return knob.name(value)
    if isinstance(value, str):
        raise ParamError(f"{name}={value!r} must be a number")
    if knob.step is None:
        return float(value)
    return float(knob.snap(torch.as_tensor(value).detach().double()))


class BlackBox:
    """An ISP of which nothing is known but its knobs and its pictures; subclasses render one frame."""

    reads: Domain
    writes: Domain
    space: ParamSpace
    workers: int = 1

    def __call__(self, frame: Frame, values: Values | None = None) -> Frame:
        """Render; a knob left out has its default. Raises `BlackBoxError`, `ParamError`, `DomainError`."""
        return render_rows(self, frame, values, self.render_one)

    def render_one(self, frame: Frame, values: Plain) -> Tensor:
        """One frame under plain values -> (3, H, W)."""
        raise NotImplementedError(f"{type(self).__name__} renders nothing")


def acting(space: ParamSpace, values: Plain) -> set[str]:
    """The knobs that act under plain values, by their declared conditions."""
    return {name for name, mask in space.active(values).items() if bool(mask)}
