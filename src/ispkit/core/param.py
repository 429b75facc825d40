"""What may be turned on an ISP: `Param` (a number) and `Choice` (named positions), declared once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, nearest

Number = float | Tensor
Value = Number | str
Values = Mapping[str, Value]
Condition = tuple[str, tuple[str, ...]]
"""(sibling choice, options under which the knob acts)"""


@dataclass(frozen=True, kw_only=True)
class Param:
    """A numeric knob: default, closed range, unit, and what an optimizer may assume of it."""

    default: float
    low: float
    high: float
    unit: str = "1"
    scale: Literal["linear", "log"] = "linear"
    step: float | None = None
    """legal values are low + k * step (1 for an integer or a register)"""
    differentiable: bool = True
    when: Condition | None = None
    doc: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ParamError(f"a Param needs low < high, got {self.low=}, {self.high=}")
        if self.scale == "log" and self.low <= 0:
            raise ParamError(f"a log-scaled Param needs low > 0, got {self.low=}")
        if self.step is not None and self.differentiable:
            raise ParamError("a stepped Param has no gradient; declare differentiable=False")
        self.check("default", self.default)

    def check(self, name: str, value: Value) -> None:
        """Raise `ParamError` unless `value` holds finite numbers in the closed range (reads the tensor)."""
        law = f"[{self.low:g}, {self.high:g}] (unit: {self.unit})"
        if isinstance(value, str | bool) or not isinstance(value, int | float | Tensor):
            raise ParamError(f"{name}={value!r} must be a number in {law}")
        v, slack = torch.as_tensor(value).detach().double(), 1e-6 * (self.high - self.low)
        if not bool(((v >= self.low - slack) & (v <= self.high + slack)).all()):
            shown = value if not isinstance(value, Tensor) else value.detach().tolist()
            raise ParamError(f"{name}={shown} is outside {law}")

    def snap(self, value: Tensor) -> Tensor:
        """The nearest legal value."""
        if self.step is None:
            return value
        return (self.low + torch.round((value - self.low) / self.step) * self.step).clamp(self.low, self.high)

    def from_unit(self, u: Number) -> Tensor:
        """Map u in [0, 1] to the range through the declared scale; not snapped to the steps."""
        t = torch.as_tensor(u)
        if self.scale == "log":
            return torch.exp(math.log(self.low) + t * math.log(self.high / self.low))
        return self.low + t * (self.high - self.low)

    def to_unit(self, value: Number) -> Tensor:
        """Inverse of `from_unit`."""
        v = value if isinstance(value, Tensor) else torch.tensor(float(value))
        if self.scale == "log":
            return torch.log(v / self.low) / math.log(self.high / self.low)
        return (v - self.low) / (self.high - self.low)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A knob with named positions; never differentiable. A value is a name, an index or (B,) indices."""

    default: str
    options: tuple[str, ...]
    when: Condition | None = None
    doc: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        self.check("default", self.default)

    def check(self, name: str, value: Value) -> None:
        """Raise `ParamError` unless `value` names or indexes an option."""
        if isinstance(value, str):
            if value not in self.options:
                raise ParamError(f"{name}={value!r} is not an option; {nearest(value, self.options)}")
            return
        if isinstance(value, bool) or not isinstance(value, int | float | Tensor):
            raise ParamError(f"{name}={value!r} is not one of {', '.join(self.options)}")
        index = torch.as_tensor(value).detach().double()
        if not bool(((index >= 0) & (index < len(self.options)) & (index == index.floor())).all()):
            raise ParamError(f"{name}={value!r} is not an index into {self.options}")

    def index(self, value: Value) -> Tensor:
        """The position(s) of `value` as integers."""
        return torch.tensor(self.options.index(value)) if isinstance(value, str) else torch.as_tensor(value).long()

    def name(self, index: Value) -> str:
        """The option that one value stands for."""
        return index if isinstance(index, str) else self.options[int(index)]


Knob = Param | Choice
