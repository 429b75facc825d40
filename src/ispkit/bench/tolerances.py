"""When is a KPI worse? A tolerance per KPI, and the verdict on a pair of results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import yaml

from ispkit.core.errors import FileError
from ispkit.kpi.result import Kpi, Result

Verdict = Literal["worse", "better", "same", "lost", "gained", "fact"]
"""lost: only A could be measured; gained: only B; fact: a number that is neither good nor bad"""


@dataclass(frozen=True)
class Tolerance:
    """How much a KPI may worsen: `absolute` in its unit plus `relative` times the size of A's value."""

    absolute: float
    relative: float = 0.0

    def allowed(self, value: float) -> float:
        """The worsening that is still tolerated at this value."""
        return self.absolute + self.relative * abs(value)


# Ours, chosen near what people just notice; the first pattern that fits a KPI's name counts. A file of the
# user's goes before them (`load_tolerances`).
DEFAULTS: tuple[tuple[str, Tolerance], ...] = (
    ("sfr.mtf*", Tolerance(0.005, 0.02)),
    ("sfr.*shoot", Tolerance(2.0)),
    ("star.*", Tolerance(0.005, 0.02)),
    ("texture.*", Tolerance(0.02)),
    ("color.delta_*", Tolerance(0.3, 0.03)),
    ("color.saturation", Tolerance(0.03)),
    ("wb.mired", Tolerance(2.0)),
    ("wb.tint", Tolerance(2.0)),
    ("wb.*", Tolerance(0.3, 0.03)),
    ("noise.snr_db*", Tolerance(0.3)),
    ("noise.*", Tolerance(0.1, 0.05)),
    ("tone.dynamic_range*", Tolerance(0.1)),
    ("cdp.*", Tolerance(0.02)),
    ("moire.*", Tolerance(0.3, 0.05)),
    ("shading.color", Tolerance(0.5, 0.05)),
    ("shading.*", Tolerance(0.02)),
    ("zipper.*", Tolerance(1.0, 0.05)),
    ("scielab.*", Tolerance(0.2, 0.05)),
    ("*", Tolerance(0.0, 0.05)),
)


@dataclass(frozen=True)
class Change:
    """One KPI of A beside that of B."""

    a: Kpi
    b: Kpi
    worsening: float
    """in the KPI's unit, positive if B is the worse one; NaN where one is missing"""
    allowed: float
    verdict: Verdict


def compare_results(a: Result, b: Result, tolerances: Sequence[tuple[str, Tolerance]] = DEFAULTS) -> tuple[Change, ...]:
    """Every KPI of either result, A's first, judged by the first tolerance whose pattern fits.

    One that a result does not hold counts as not measured there.
    """
    ours, theirs = ({kpi.key: kpi for kpi in result.kpis} for result in (a, b))
    return tuple(
        _change(ours.get(key) or _unmeasured(theirs[key]), theirs.get(key) or _unmeasured(ours[key]), tolerances)
        for key in dict.fromkeys([*ours, *theirs])
    )


def worsening(a: Kpi, b: Kpi) -> float:
    """How much worse B is in the KPI's own sense of good, in its unit; 0 for mere facts.

    >>> worsening(Kpi("x", 3.0, "px", "lower"), Kpi("x", 3.5, "px", "lower"))
    0.5
    """
    distance = {
        "higher": a.value - b.value,
        "lower": b.value - a.value,
        "zero": abs(b.value) - abs(a.value),
        "one": abs(b.value - 1) - abs(a.value - 1),
    }
    return distance.get(a.better, 0.0)


def load_tolerances(path: str | Path) -> tuple[tuple[str, Tolerance], ...]:
    """A YAML mapping `pattern: absolute` or `pattern: {absolute: .., relative: ..}`; put `DEFAULTS` behind it.

    Raises `FileError` that names the entry.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FileError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, Mapping):
        raise FileError(f"{path}: tolerances are lines such as 'sfr.mtf50: {{absolute: 0.01, relative: 0.02}}'")
    return tuple((str(name), _tolerance(path, name, entry)) for name, entry in content.items())


def _tolerance(path: str | Path, name: object, entry: Any) -> Tolerance:
    numbers = entry if isinstance(entry, Mapping) else {"absolute": entry}
    fits = set(numbers) <= {"absolute", "relative"} and all(
        isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n < math.inf for n in numbers.values()
    )
    if not numbers or not fits:
        raise FileError(f"{path}: {name}: {entry!r} is not a number ≥ 0 nor {{absolute: .., relative: ..}}")
    return Tolerance(float(numbers.get("absolute", 0.0)), float(numbers.get("relative", 0.0)))


def _unmeasured(kpi: Kpi) -> Kpi:
    return replace(kpi, value=math.nan)


def _change(a: Kpi, b: Kpi, tolerances: Sequence[tuple[str, Tolerance]]) -> Change:
    tolerance = next((t for pattern, t in tolerances if fnmatchcase(a.name, pattern)), Tolerance(0.0))
    allowed, loss = tolerance.allowed(a.value), worsening(a, b)
    return Change(a, b, loss, allowed, _verdict(a, b, loss, allowed))


def _verdict(a: Kpi, b: Kpi, loss: float, allowed: float) -> Verdict:
    if math.isnan(a.value) and math.isnan(b.value):
        return "same"
    if math.isnan(b.value):
        return "lost"
    if math.isnan(a.value):
        return "gained"
    if a.better == "none":
        return "fact"
    if loss > allowed:
        return "worse"
    return "better" if -loss > allowed else "same"
