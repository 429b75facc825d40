"""`AnchoredISP`: settings as smooth functions of the conditions (gain, light), tuned at a few anchors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ispkit.core.errors import ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Knob, Value, Values
from ispkit.core.space import Ordering, ParamSpace
from ispkit.isp.pipeline import ISP, Pipeline

Conditions = Mapping[str, float]
Corner = tuple[float, ...]
"""one anchor a axis"""
_MOST_AXES = 2


def conditions_of(frame: Frame) -> Conditions:
    """What a frame's own facts tell: gain = ISO / 100, nothing if its ISO is unknown."""
    iso = float(frame.meta.iso[0])
    return {"gain": iso / 100} if iso > 0 else {}


class AnchoredISP:
    """An ISP some of whose knobs are there once an anchor: "denoise.luma@gain=4".

    Between the anchors a knob is interpolated in log2 of the condition, straight in its own unit coordinate
    (bilinear on two axes), and then rounded to its steps; beyond them it keeps the end's value; a choice is that of
    the nearest anchor. Orderings hold at every anchor, and are restored between them by raising the higher knob.

    Args:
        isp: whose knobs are anchored.
        knobs: shell patterns of the names to anchor; the others stay single.
        anchors: one or two axes, e.g. {"gain": (1, 4, 16)} or {"gain": (1, 16), "cct_k": (2850, 6500)}, rising.
        conditions: reads the axes' values off a frame, for calls without them.

    Raises `ParamError` for patterns that fit nothing and anchors that do not rise.
    """

    def __init__(
        self,
        isp: ISP,
        *,
        knobs: Sequence[str] = ("*",),
        anchors: Mapping[str, Sequence[float]],
        conditions: Callable[[Frame], Conditions] = conditions_of,
    ) -> None:
        self.isp = isp
        self.anchors = {axis: _rising(axis, at) for axis, at in anchors.items()}
        if not 1 <= len(self.anchors) <= _MOST_AXES:
            raise ParamError(f"settings are anchored on one or two axes, got {', '.join(anchors) or 'none'}")
        self.anchored = tuple(isp.space.select(*knobs))
        self.corners: tuple[Corner, ...] = tuple(itertools.product(*self.anchors.values()))
        self._conditions = conditions
        self.space = ParamSpace(self._knobs(), self._orderings())

    @property
    def reads(self) -> Domain:
        """As the ISP."""
        return self.isp.reads

    @property
    def writes(self) -> Domain:
        """As the ISP."""
        return self.isp.writes

    @property
    def batched(self) -> bool:
        """Whether the ISP takes several frames at once."""
        several = isinstance(self.isp, Pipeline) or getattr(self.isp, "workers", 1) > 1
        return bool(getattr(self.isp, "batched", several))

    def __call__(self, frame: Frame, values: Values | None = None) -> Frame:
        """Render each picture under its own conditions. Raises `ParamError` where a frame does not tell one."""
        singles = [frame.select([i]) for i in range(frame.batch)]
        return Frame.cat([self.isp(f, self.settings(values or {}, self._conditions(f))) for f in singles])

    def settings(self, values: Values, conditions: Conditions) -> dict[str, Value]:
        """The values of the ISP itself under these conditions; a knob left out has its default.

        Raises `ParamError` for a condition that is missing or not positive.
        """
        merged = {**self.space.defaults(), **values}
        shares = self._shares(conditions)
        found: dict[str, Value] = {}
        for name, knob in self.isp.space.items():
            if name not in self.anchored:
                found[name] = merged[name]
                continue
            at = {corner: merged[self.name(name, corner)] for corner in shares}
            found[name] = _blended(knob, at, shares)
        for low, high in self.isp.space.orderings:
            below, above = torch.as_tensor(found[low]), torch.as_tensor(found[high])
            if bool((below > above).any()):
                found[high] = torch.maximum(below, above)
        return found

    def name(self, knob: str, corner: Corner) -> str:
        """A knob's name at one anchor of each axis."""
        return f"{knob}@{','.join(f'{a}={_text(v)}' for a, v in zip(self.anchors, corner, strict=True))}"

    def spread(self, values: Values) -> dict[str, Value]:
        """Values of the ISP itself as values of this space, the same at every anchor."""
        found: dict[str, Value] = {}
        for knob, value in values.items():
            self.isp.space[knob]
            names = [self.name(knob, c) for c in self.corners] if knob in self.anchored else [knob]
            found |= dict.fromkeys(names, value)
        return found

    def roughness(self, values: Values) -> NDArray[np.float32]:
        """Second differences (m,) of the anchored numbers along each axis, to be kept small.

        For neighbors a, b, c at log2 distances p, q: the straight line from a to c less b, in units of the knob's
        range; empty where an axis has fewer than three anchors. Choices do not count.
        """
        unit = dict(zip(self.space, self.space.to_vector(values).double().tolist(), strict=True))
        grid = tuple(len(at) for at in self.anchors.values())
        parts = [np.zeros(0)]
        for knob in self.anchored:
            if isinstance(self.isp.space[knob], Choice):
                continue
            table = np.array([unit[self.name(knob, c)] for c in self.corners]).reshape(grid)
            for i, at in enumerate(self.anchors.values()):
                parts.append(_bends(np.moveaxis(table, i, -1), np.log2(at)).ravel())
        return np.concatenate(parts).astype(np.float32)

    def _shares(self, conditions: Conditions) -> dict[Corner, float]:
        """How much each anchor counts; those that do not are left out."""
        each = [_hat(at, _condition(conditions, axis)) for axis, at in self.anchors.items()]
        products = {corner: math.prod(w[v] for w, v in zip(each, corner, strict=True)) for corner in self.corners}
        return {corner: share for corner, share in products.items() if share > 0}

    def _knobs(self) -> dict[str, Knob]:
        knobs: dict[str, Knob] = {}
        for name, knob in self.isp.space.items():
            if name not in self.anchored:
                knobs[name] = knob
                continue
            for corner in self.corners:
                label = self.name(name, corner)
                knobs[label] = replace(knob, when=self._condition_at(name, knob, corner))
        return knobs

    def _condition_at(self, name: str, knob: Knob, corner: Corner) -> tuple[str, tuple[str, ...]] | None:
        if knob.when is None:
            return None
        sibling = f"{name.rsplit('.', 1)[0]}.{knob.when[0]}"
        label = self.name(knob.when[0], corner) if sibling in self.anchored else knob.when[0]
        return label, knob.when[1]

    def _orderings(self) -> list[Ordering]:
        pairs: list[Ordering] = []
        for pair in self.isp.space.orderings:
            for corner in self.corners:
                low, high = (self.name(n, corner) if n in self.anchored else n for n in pair)
                pairs.append((low, high))
        return list(dict.fromkeys(pairs))


def _blended(knob: Knob, at: Mapping[Corner, Value], shares: Mapping[Corner, float]) -> Value:
    """The value between anchors; a choice is that of the nearest."""
    if isinstance(knob, Choice):
        return at[max(shares, key=lambda corner: shares[corner])]
    if len(at) == 1:
        return next(iter(at.values()))
    unit = sum(share * knob.to_unit(_number(at[corner])) for corner, share in shares.items())
    return knob.snap(knob.from_unit(torch.as_tensor(unit)))


def _number(value: Value) -> float | torch.Tensor:
    if isinstance(value, str):
        raise ParamError(f"{value!r} is not a number")
    return value


def _hat(anchors: Sequence[float], at: float) -> dict[float, float]:
    """Weights of the anchors at a place between them, straight in log2; the ends are kept."""
    inside = min(max(at, anchors[0]), anchors[-1])
    x, knots = math.log2(inside), [math.log2(a) for a in anchors]
    weights = {}
    for i, a in enumerate(anchors):
        left = (x - knots[i - 1]) / (knots[i] - knots[i - 1]) if i and x < knots[i] else 1.0
        right = (knots[i + 1] - x) / (knots[i + 1] - knots[i]) if i + 1 < len(knots) and x > knots[i] else 1.0
        weights[a] = max(0.0, min(left, right))
    return weights


def _bends(rows: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each inner value lacks to the straight line between its neighbors, along the last axis."""
    share = (at[1:-1] - at[:-2]) / (at[2:] - at[:-2])
    bends: NDArray[np.float64] = rows[..., :-2] * (1 - share) + rows[..., 2:] * share - rows[..., 1:-1]
    return bends


def _condition(conditions: Conditions, axis: str) -> float:
    if axis not in conditions:
        told = f"told are {', '.join(conditions)}" if conditions else "none is told"
        raise ParamError(f"the settings depend on {axis!r}, which this picture does not tell ({told})")
    value = conditions[axis]
    if not (math.isfinite(value) and value > 0):
        raise ParamError(f"condition {axis}={value} must be a positive number")
    return value


def _rising(axis: str, anchors: Sequence[float]) -> tuple[float, ...]:
    at = tuple(float(a) for a in anchors)
    if len(at) < 2 or at[0] <= 0 or any(a >= b for a, b in itertools.pairwise(at)):
        raise ParamError(f"anchors of {axis!r} must be two or more rising positive numbers, got {list(anchors)}")
    return at


def _text(value: float) -> str:
    return f"{value:g}".replace(".", "p")  # a dot would end the stage's name
