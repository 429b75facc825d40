"""All charts by name, with or without markers, and back from their written truth."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import UnionType
from typing import Any

from ispkit.charts.chart import Chart
from ispkit.charts.checker import colorchecker_chart
from ispkit.charts.edges import slanted_edge
from ispkit.charts.frequency import log_frequency, siemens_star, zone_plate
from ispkit.charts.gray import dark, flat, gray_steps
from ispkit.charts.lab import lab
from ispkit.charts.leaves import dead_leaves
from ispkit.charts.markers import framed, margin_for
from ispkit.charts.psf_noise import psf_noise
from ispkit.charts.rainbow import rainbow
from ispkit.core.errors import ParamError, ShapeError, nearest

_BUILDERS: dict[str, Callable[..., Chart]] = {
    "lab": lab,
    "slanted_edge": slanted_edge,
    "siemens_star": siemens_star,
    "zone_plate": zone_plate,
    "log_frequency": log_frequency,
    "dead_leaves": dead_leaves,
    "colorchecker": colorchecker_chart,
    "gray_steps": gray_steps,
    "flat": flat,
    "dark": dark,
    "psf_noise": psf_noise,
    "rainbow": rainbow,
}


def _build(chart: str, height: int | None = None, width: int | None = None, **parameters: Any) -> Chart:
    """One chart; `markers=True` gives it a border with its ArUco markers, within the same size."""
    known = parameters_of(chart)
    for name, value in parameters.items():
        if name not in known:
            raise ParamError(f"{chart}: no parameter {name!r}; {nearest(name, known)}")
        parameters[name] = _fitting(f"{chart}.{name}", value, known[name])
    height, width = known["height"] if height is None else height, known["width"] if width is None else width
    marked = parameters.pop("markers", False)
    if not marked or chart == "lab":  # the lab brings its own
        return _BUILDERS[chart](height, width, **parameters)
    margin = margin_for(chart, height, width)
    try:
        inner = _BUILDERS[chart](height - 2 * margin, width - 2 * margin, **parameters)
    except ShapeError as error:
        raise ShapeError(f"{error}; the markers take {2 * margin} pixels of {height}x{width}") from error
    return framed(inner, chart, height, width)


def _fitting(name: str, value: Any, default: Any) -> Any:
    """The value, if it is of the kind of the default; one for a list makes a list of one."""
    if isinstance(default, tuple):
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_fitting(name, item, default[0]) for item in items)
    kinds: dict[type, tuple[str, type | UnionType]] = {
        bool: ("true or false", bool), int: ("a whole number", int), float: ("a number", int | float),
        str: ("a word", str), type(None): ("a number", int | float | None),
    }  # fmt: skip
    words, kind = kinds[type(default)]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ParamError(f"{name}={value!r} must be {words}, such as {default if default is not None else 100}")
    return value


CHARTS: dict[str, Callable[..., Chart]] = {name: partial(_build, name) for name in _BUILDERS}
"""name -> builder; all take height and width in pixels, `markers`, and the parameters of their own function"""


def build(name: str, **parameters: Any) -> Chart:
    """A chart by name; unknown names raise `ParamError`, wrong sizes `ShapeError`.

    >>> build("flat", height=32, width=48, value=0.25).size
    (32, 48)
    """
    if name not in CHARTS:
        raise ParamError(f"no chart {name!r}; {nearest(name, CHARTS)}")
    return CHARTS[name](**parameters)


def from_truth(truth: Mapping[str, Any]) -> Chart:
    """The chart whose `Chart.truth()` this is, pixels and all. Raises `ParamError` if it is no such thing."""
    if truth.get("version") != 1 or "chart" not in truth or not isinstance(truth.get("parameters"), Mapping):
        raise ParamError(
            "this is not the truth of a chart (version 1, chart, parameters); write one with `ispkit chart`"
        )
    return build(str(truth["chart"]), **truth["parameters"])


def parameters_of(name: str) -> dict[str, Any]:
    """The parameters of a chart with their defaults. Raises `ParamError`."""
    if name not in CHARTS:
        raise ParamError(f"no chart {name!r}; {nearest(name, CHARTS)}")
    return {n: p.default for n, p in inspect.signature(_BUILDERS[name]).parameters.items()} | {"markers": name == "lab"}


def summary(name: str) -> str:
    """The first line of what a chart is."""
    return (inspect.getdoc(_BUILDERS[name]) or "").splitlines()[0]
