"""`ISP` is a contract (a space + a call). `Pipeline` is the classical citizen that keeps it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Protocol

from ispkit.core.errors import DomainError, ParamError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Value, Values
from ispkit.core.space import ParamSpace
from ispkit.isp.stage import Stage


class ISP(Protocol):
    """Anything that turns a Frame into a Frame under named knobs: classical, learned, or a program."""

    @property
    def space(self) -> ParamSpace:
        """The knobs, "stage.knob" -> Param | Choice, in order."""

    @property
    def reads(self) -> Domain:
        """The domain of the frames it takes."""

    @property
    def writes(self) -> Domain:
        """The domain of the frames it gives."""

    def __call__(self, frame: Frame, values: Values | None = None) -> Frame:
        """Render; a knob left out has its default."""


class Pipeline:
    """Stages in order. Pure: the same frame and values always give the same frame.

    A frame enters at the first stage that reads its domain, so a camera's RGB (X-Trans, LinearRaw)
    skips the mosaic's stages. `defaults` (a recipe's values) become the defaults of its space.
    """

    def __init__(self, stages: Mapping[str, Stage], defaults: Values | None = None) -> None:
        if not stages:
            raise DomainError("a pipeline needs at least one stage")
        self.stages = dict(stages)
        names = list(self.stages)
        for a, b in pairwise(names):
            if self.stages[a].writes is not self.stages[b].reads:
                raise DomainError(
                    f"{a!r} writes {self.stages[a].writes.value} but {b!r} reads {self.stages[b].reads.value}"
                )
        declared = ParamSpace(
            {f"{n}.{k}": p for n, s in self.stages.items() for k, p in s.knobs.items()},
            [(f"{n}.{lo}", f"{n}.{hi}") for n, s in self.stages.items() for lo, hi in s.orderings],
        )
        self.space = declared.with_defaults(defaults or {})

    @property
    def reads(self) -> Domain:
        """The domain of the first stage's input."""
        return next(iter(self.stages.values())).reads

    @property
    def writes(self) -> Domain:
        """The domain of the last stage's output."""
        return list(self.stages.values())[-1].writes

    def __call__(self, frame: Frame, values: Values | None = None) -> Frame:
        """Run all stages. Raises `ParamError` for unknown names or illegal plain values, `DomainError`."""
        settings = self.settings(values)
        for name in self.entered_at(frame):
            frame = self.stages[name](frame, settings[name])
        return frame

    def steps(self, frame: Frame, values: Values | None = None) -> Iterator[tuple[str, Frame]]:
        """The frame after each stage, as (stage name, frame)."""
        settings = self.settings(values)
        for name in self.entered_at(frame):
            frame = self.stages[name](frame, settings[name])
            yield name, frame

    def settings(self, values: Values | None = None) -> dict[str, dict[str, Value]]:
        """Every knob of every stage by stage: `values` over the defaults. Raises `ParamError`."""
        self.check(values or {})
        merged = {**self.space.defaults(), **(values or {})}
        return {n: {k: merged[f"{n}.{k}"] for k in s.knobs} for n, s in self.stages.items()}

    def check(self, values: Values, *, names_only: bool = False) -> None:
        """Raise `ParamError` for unknown stages and knobs, and illegal plain values; tensors are not read."""
        for name in values:
            stage = name.rsplit(".", 1)[0]
            if name not in self.space and stage not in self.stages:
                known = ", ".join(self.stages)
                raise ParamError(
                    f"no parameter {name!r}; {nearest(name, self.space)}"
                    if difflib.get_close_matches(stage, self.stages)
                    else f"no stage {stage!r} in this pipeline ({known}); take another preset or add it to a recipe"
                )
            self.space[name]
        if not names_only:
            self.space.check(values, tensors=False)

    def entered_at(self, frame: Frame) -> list[str]:
        """The stages that a frame of this domain runs through."""
        names = list(self.stages)
        for i, name in enumerate(names):
            if self.stages[name].reads is frame.domain:
                return names[i:]
        known = sorted({s.reads.value for s in self.stages.values()})
        raise DomainError(f"no stage reads a {frame.domain.value} frame; this pipeline takes {', '.join(known)}")
