"""Objectives from the words of a command line: "l1+0.5*nlpd", "kpi:color,zipper", "psnr; delta_e00"."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, nearest
from ispkit.core.imports import imported
from ispkit.data.scenes import Scene
from ispkit.metrics import METRICS
from ispkit.metrics.lpips import Lpips
from ispkit.perceive.detector import FrozenDetector
from ispkit.tune.objectives.base import Called, Objective, Weighted
from ispkit.tune.objectives.kpis import KPIS, kpi_objective
from ispkit.tune.objectives.reference import REFERENCE, Compared
from ispkit.tune.objectives.style import LOOKS, Styled
from ispkit.tune.objectives.table3 import Table3
from ispkit.tune.objectives.task import TaskObjective

FORMS: dict[str, str] = {
    **dict.fromkeys(REFERENCE, "distance to the target picture"),
    "lpips:BACKBONE,HEADS": "LPIPS (AlexNet) to the target, with your weight files",
    "kpi:NAME,NAME": f"chart KPIs in their tolerances: {', '.join(KPIS)}",
    "kpi:table3": "perceptual distance, detail, color, zipper and moiré against the target",
    "style:LOOK": f"L1 + 0.5 NLPD to the target in a look: {', '.join(LOOKS)}",
    "detector:FILE.pth": "loss of a frozen FastestDet with these weights",
    "detector-score:FILE.pth": "its score, with the loss for methods that need a gradient",
    "MODULE:ATTRIBUTE": "your own: an objective, or a function of (picture, target) or of (picture, scene)",
}
"""what can be written -> what it is; sums as A+0.5*B, several objectives as A; B"""

_KINDS = ("lpips", "kpi", "style", "detector", "detector-score")
_WEIGHT = re.compile(r"\s*(?:([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*\*)?\s*(.+?)\s*$")
# a plus between two terms, not one inside a path: what follows is a weight or a known word
_PLUS = re.compile(r"\+(?=\s*(?:[\d.]+(?:[eE][-+]?\d+)?\s*\*|(?:" + "|".join((*REFERENCE, *_KINDS)) + r")\b))")


def parse_objectives(text: str) -> tuple[Objective, ...]:
    """All objectives of a text, `FORMS` says what can be written. Raises `ParamError`, `FileError`."""
    words = [part.strip() for part in text.split(";") if part.strip()]
    if not words:
        raise ParamError(f"objective {text!r} is empty; take 'psnr', or one of: {', '.join(FORMS)}")
    return tuple(parse_objective(word) for word in words)


def parse_objective(text: str) -> Objective:
    """One objective, or a weighted sum of several. Raises `ParamError`, `FileError`."""
    terms = [_term(word, text) for word in _PLUS.split(text)]
    if len(terms) == 1 and terms[0][0] == 1:
        return terms[0][1]
    return Weighted("+".join(o.name if w == 1 else f"{w:g}*{o.name}" for w, o in terms), tuple(terms))


def _term(word: str, whole: str) -> tuple[float, Objective]:
    match = _WEIGHT.match(word)
    if match is None:
        raise ParamError(f"objective {whole!r}: a term is missing beside '+'")
    try:
        weight = float(match[1] or 1)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise ParamError(f"objective {whole!r}: weight {match[1]!r} must be a positive number")
    return weight, _single(match[2])


def _single(word: str) -> Objective:
    if word in REFERENCE:
        return REFERENCE[word]
    kind, colon, rest = word.partition(":")
    if not colon or not kind or not rest:
        raise ParamError(f"no objective {word!r}; {nearest(word, FORMS)}")
    if kind in _BUILDERS:
        return _BUILDERS[kind](rest)
    return _imported(kind, rest)


def _kpis(rest: str) -> Objective:
    if rest == "table3":
        return Table3()
    return kpi_objective([name.strip() for name in rest.split(",")])


def _style(rest: str) -> Objective:
    if rest not in LOOKS:
        raise ParamError(f"no look {rest!r}; {nearest(rest, LOOKS)}")
    judge = Weighted("l1+0.5*nlpd", ((1.0, REFERENCE["l1"]), (0.5, REFERENCE["nlpd"])))
    return Styled(f"style:{rest}", LOOKS[rest], judge)


def _lpips(rest: str) -> Objective:
    files = [part.strip() for part in rest.split(",")]
    if len(files) != 2:
        raise ParamError(f"lpips:{rest} should name two files: lpips:alexnet-owt-7be5be79.pth,alex.pth")
    model = Lpips.load(files[0], files[1])

    def distance(picture: Tensor, target: Tensor) -> Tensor:
        return METRICS["lpips"](picture, target, data_range=1.0, model=model)[0]

    return Compared("lpips", distance)


def _detector(rest: str) -> Objective:
    return TaskObjective(f"detector:{Path(rest).name}", FrozenDetector.load(rest))


def _detector_score(rest: str) -> Objective:
    return TaskObjective(f"detector-score:{Path(rest).name}", FrozenDetector.load(rest), "score")


_BUILDERS: dict[str, Callable[[str], Objective]] = {
    "kpi": _kpis,
    "style": _style,
    "lpips": _lpips,
    "detector": _detector,
    "detector-score": _detector_score,
}


def _imported(module: str, attribute: str) -> Objective:
    """The user's own: an objective, or a function."""
    found = imported(f"{module}:{attribute}")
    if all(hasattr(found, name) for name in ("name", "needs", "score", "residual", "loss")):
        own: Objective = found
        return own
    if not callable(found):
        raise ParamError(f"objective '{module}:{attribute}' is no objective and no function")
    return called(f"{module}:{attribute}", found)


def called(name: str, function: Callable[..., float | Tensor]) -> Objective:
    """A function as an objective: of (picture, scene) if its second parameter is called so, else (picture, target).

    Lower is better; a scalar tensor with a gradient serves methods that want one.
    """
    if _second(function) == "scene":
        return Called(name, function)

    def with_target(picture: Tensor, scene: Scene) -> float | Tensor:
        target = scene.target
        return function(picture, target.to(picture) if target is not None else torch.empty(0))

    return replace(Called(name, with_target), needs=("target",))


def _second(function: Callable[..., Any]) -> str:
    import inspect

    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a builtin that tells nothing
        return "target"
    return names[1] if len(names) > 1 else "target"
