"""A `ParamSpace` in Optuna's words, and points, params and values turned into each other without loss."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ispkit.core.param import Choice, Knob, Param, Values
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Point

Setting = dict[str, float | str]
"""plain numbers and option names: what a file or a database can hold"""
_SAME = 1e-12  # of a knob's range: what a trip through the unit cube may change in float64


def distributions(space: ParamSpace) -> dict[str, BaseDistribution]:
    """One Optuna distribution a knob: float, log, stepped, whole numbers, categories.

    Every knob is always sampled, also one whose condition does not hold. A stepped knob whose steps do not
    end at `high` or whose scale is logarithmic is sampled as a float and rounded when it is measured.
    """
    return {name: _distribution(knob) for name, knob in space.items()}


def to_point(space: ParamSpace, values: Values) -> Point:
    """Values -> (n,) float64 in [0, 1]; a missing knob has its default."""
    exact = {n: torch.tensor(v, dtype=torch.float64) if isinstance(v, int | float) else v for n, v in values.items()}
    for name, knob in space.items():  # a default would pass through float32
        if name not in exact and isinstance(knob, Param):
            exact[name] = torch.tensor(knob.default, dtype=torch.float64)
    point: Point = space.to_vector({n: exact[n] for n in space if n in exact}).double().numpy()
    return np.clip(point, 0.0, 1.0)


def from_point(space: ParamSpace, point: Point) -> Setting:
    """(n,) in [0, 1] -> the values that are measured there: registers rounded, orderings kept."""
    values = space.from_vector(torch.as_tensor(np.asarray(point, dtype=np.float64)))
    return _plain(space, values)


def legal(space: ParamSpace, values: Values) -> Setting:
    """All knobs of `space` as `from_vector` would give them; a value that is legal already comes back unchanged."""
    found = from_point(space, to_point(space, values))
    for name, knob in space.items():
        given = values.get(name, knob.default)
        if isinstance(knob, Choice) or isinstance(given, str) or knob.step is not None:
            continue
        if abs(float(given) - float(found[name])) <= _SAME * (knob.high - knob.low):
            found[name] = float(given)
    return found


def to_params(space: ParamSpace, values: Values) -> dict[str, Any]:
    """Legal values -> parameters of an Optuna trial under `distributions(space)`."""
    params: dict[str, Any] = {}
    for name, knob in space.items():
        value = values[name]
        if isinstance(knob, Choice):
            params[name] = knob.name(value)
        else:
            number = min(max(float(value), knob.low), knob.high)
            params[name] = round(number) if isinstance(_distribution(knob), IntDistribution) else number
    return params


def setting_key(space: ParamSpace, values: Values) -> str:
    """The same text for all settings that render the same picture: knobs whose condition fails are left out."""
    active = space.active(values)
    parts = {n: _part(space[n], values[n]) for n in space if bool(active[n])}
    return json.dumps(parts, sort_keys=True)


def same_knobs(a: ParamSpace) -> list[list[Any]]:
    """The declaration of all knobs as plain data, to tell whether two studies turn the same ones."""
    found: list[list[Any]] = []
    for name, knob in a.items():
        if isinstance(knob, Choice):
            found.append([name, list(knob.options), knob.default])
        else:
            found.append([name, knob.low, knob.high, knob.scale, knob.step, knob.default])
    return found


def _distribution(knob: Knob) -> BaseDistribution:
    if isinstance(knob, Choice):
        return CategoricalDistribution(knob.options)
    log = knob.scale == "log"
    if knob.step is None:
        return FloatDistribution(knob.low, knob.high, log=log)
    whole = all(float(x).is_integer() for x in (knob.low, knob.high, knob.step))
    steps = (knob.high - knob.low) / knob.step
    on_grid = abs(steps - round(steps)) < 1e-9
    if whole and on_grid and (not log or knob.step == 1):
        return IntDistribution(int(knob.low), int(knob.high), log=log, step=int(knob.step))
    if log or not on_grid:
        return FloatDistribution(knob.low, knob.high, log=log)
    return FloatDistribution(knob.low, knob.high, step=knob.step)


def _plain(space: ParamSpace, values: Values) -> Setting:
    plain = space.readable(values)
    return {n: v for n, v in plain.items() if not isinstance(v, list)}


def _part(knob: Knob, value: Any) -> int | str:
    if isinstance(knob, Choice):
        return knob.name(value)
    if knob.step is not None and float(value) < knob.high:
        return round((float(value) - knob.low) / knob.step)
    return f"{float(value):.10g}"


def complete(space: ParamSpace, params: Mapping[str, Any]) -> Setting:
    """Parameters of any trial, perhaps of another study -> a legal setting; unknown names are dropped."""
    known: dict[str, Any] = {}
    for name, value in params.items():
        if name not in space:
            continue
        knob = space[name]
        if isinstance(knob, Choice):
            if value in knob.options:
                known[name] = value
        else:
            known[name] = min(max(float(value), knob.low), knob.high)
    return legal(space, known)
