"""`LearnedISP`: networks in a row that keep the contract of an ISP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import cast

import torch
from torch import nn

from ispkit.core.errors import DomainError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Values
from ispkit.core.space import ParamSpace
from ispkit.isp.learned.part import Part, Runner, whole
from ispkit.isp.learned.tiles import Execution

WHOLE_PIXELS = 1_500_000
"""a picture of more is rendered in tiles where nobody asks for gradients"""


class LearnedISP(nn.Module):
    """Parts in order; its weights are all it knows, so its `space` is empty.

    A frame enters at the first part that takes its domain: a LINEAR_RGB frame meets CameraNet's Enhance-Net alone. A
    part that reads a mosaic takes RAW frames as well. In evaluation mode, without gradients, large pictures are
    rendered in tiles whose seams and means are exact (`tiles`). Raises `DomainError` for parts that do not join.
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        super().__init__()
        if not parts:
            raise DomainError("a learned ISP needs at least one part")
        for a, b in pairwise(parts):
            if parts[a].writes is not parts[b].reads:
                raise DomainError(f"{a!r} writes {parts[a].writes.value} but {b!r} reads {parts[b].reads.value}")
        self.parts = nn.ModuleDict(parts)
        self.space = ParamSpace({})

    @property
    def named_parts(self) -> dict[str, Part]:
        """The parts by name, in order."""
        return {name: cast(Part, part) for name, part in self.parts.items()}

    @property
    def reads(self) -> Domain:
        """RAW where the first part reads a mosaic."""
        first = next(iter(self.named_parts.values())).reads
        return Domain.RAW if first is Domain.MOSAIC else first

    @property
    def writes(self) -> Domain:
        """The domain of the last part's output."""
        return list(self.named_parts.values())[-1].writes

    def entered_at(self, frame: Frame) -> dict[str, Part]:
        """The parts that a frame of this domain runs through. Raises `DomainError`."""
        parts = self.named_parts
        for i, part in enumerate(parts.values()):
            if part.takes(frame.domain):
                return dict(list(parts.items())[i:])
        known = sorted({self.reads.value, *(p.reads.value for p in parts.values())})
        raise DomainError(f"no part reads a {frame.domain.value} frame; this ISP takes {', '.join(known)}")

    def forward(self, frame: Frame, values: Values | None = None) -> Frame:
        """Render a batch. Raises `ParamError` for any value (there are no knobs), `DomainError`, `ShapeError`."""
        self.space.check(values or {})
        run = self._runner(frame)
        for part in self.entered_at(frame).values():
            frame = part(frame, run)
        return frame

    def steps(self, frame: Frame, values: Values | None = None) -> Iterator[tuple[str, Frame]]:
        """The frame after each part, as (part name, frame)."""
        self.space.check(values or {})
        run = self._runner(frame)
        for name, part in self.entered_at(frame).items():
            frame = part(frame, run)
            yield name, frame

    def render(self, frame: Frame, execution: Execution | None = None) -> Frame:
        """The finished frame, run as `execution` says (in tiles by default) where the weights are; no gradients."""
        *_, (_, last) = self.rendered_steps(frame, execution)
        return last

    @torch.no_grad()
    def rendered_steps(self, frame: Frame, execution: Execution | None = None) -> Iterator[tuple[str, Frame]]:
        """The frame after each part of `render`, as (part name, frame), where `frame` lies."""
        there = frame.data.device
        run = (execution or Execution()).runner(self)
        frame = frame.to(next(self.parameters()).device)
        for name, part in self.entered_at(frame).items():
            frame = part(frame, run)
            yield name, frame.to(there)

    def _runner(self, frame: Frame) -> Runner:
        height, width = frame.size
        learning = self.training or (torch.is_grad_enabled() and _wants_gradients(self, frame))
        return whole if learning or height * width <= WHOLE_PIXELS else Execution().runner(self)


def _wants_gradients(isp: nn.Module, frame: Frame) -> bool:
    return frame.data.requires_grad or any(p.requires_grad for p in isp.parameters())
