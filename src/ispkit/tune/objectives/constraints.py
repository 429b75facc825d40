"""What a result must keep: "psnr >= 30", "kpi:texture >= 0.8"."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, nearest
from ispkit.data.scenes import Scene
from ispkit.metrics import METRICS
from ispkit.tune.objectives.base import Need, target_of
from ispkit.tune.objectives.kpis import KPIS, kpi_value

_FORM = re.compile(r"\s*([\w.:]+)\s*(>=|<=)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*$")


@dataclass(frozen=True)
class Constraint:
    """A bound on the mean of a quantity over the pictures; in the quantity's own direction (PSNR in dB)."""

    name: str
    """as it was written"""
    quantity: Callable[[Tensor, Scene], float]
    relation: Literal[">=", "<="]
    bound: float
    needs: tuple[Need, ...]

    def amount(self, picture: Tensor, scene: Scene) -> float:
        """How far one picture is beyond the bound, in the quantity's unit; met where <= 0."""
        excess = self.quantity(picture, scene) - self.bound
        return -excess if self.relation == ">=" else excess


def parse_constraint(text: str) -> Constraint:
    """From "METRIC >= NUMBER" or "kpi:NAME <= NUMBER". Raises `ParamError`."""
    match = _FORM.match(text)
    if match is None:
        raise ParamError(f"constraint {text!r} should be QUANTITY >= NUMBER or <=, such as 'ssim >= 0.9'")
    quantity, relation, bound = match.groups()
    kind, _, name = quantity.rpartition(":")
    written = f"{quantity} {relation} {bound}"
    sign: Literal[">=", "<="] = ">=" if relation == ">=" else "<="
    if kind == "kpi":
        if name not in KPIS:
            raise ParamError(f"constraint {text!r}: no KPI {name!r}; {nearest(name, KPIS)}")
        return Constraint(written, lambda p, s: kpi_value(p, s, name), sign, float(bound), ("chart",))
    known = {n for n, m in METRICS.items() if m.full_reference and not m.needs_model}
    if kind or name not in known:
        raise ParamError(f"constraint {text!r}: no quantity {quantity!r}; {nearest(quantity, known)}")
    return Constraint(written, _Measured(name), sign, float(bound), ("target",))


@dataclass(frozen=True)
class _Measured:
    metric: str

    def __call__(self, picture: Tensor, scene: Scene) -> float:
        with torch.no_grad():
            return float(METRICS[self.metric](picture, target_of(scene), data_range=1.0)[0])
