"""The declarations of a stage as plain data: for the command line and the reference pages."""

from __future__ import annotations

import inspect
from typing import Any

from ispkit.core.param import Choice, Knob
from ispkit.isp.stage import Stage


def describe_stage(stage: type[Stage]) -> dict[str, Any]:
    """What a stage reads, writes and says of itself, and a list of its knobs."""
    doc = inspect.getdoc(stage) or ""
    return {
        "reads": stage.reads.value,
        "writes": stage.writes.value,
        "summary": doc.split("\n", 1)[0],
        "doc": doc,
        "options": list(stage.options),
        "knobs": [describe_knob(name, knob) for name, knob in stage.knobs.items()],
    }


def describe_knob(name: str, knob: Knob) -> dict[str, Any]:
    """One knob with every field written out as JSON can hold it."""
    when = "" if knob.when is None else f"{knob.when[0]} = {' or '.join(knob.when[1])}"
    common = {"name": name, "default": knob.default, "when": when, "doc": knob.doc}
    if isinstance(knob, Choice):
        words = ", ".join(knob.options)
        return common | {"range": words, "unit": "", "scale": "choice", "differentiable": False}
    steps = "" if knob.step is None else f", step {knob.step:g}"
    return common | {
        "range": f"{knob.low:g} .. {knob.high:g}{steps}",
        "unit": knob.unit,
        "scale": knob.scale,
        "differentiable": knob.differentiable,
    }
