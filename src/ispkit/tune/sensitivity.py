"""Which knobs act, on what and how much: one knob at a time, before any search is paid for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from ispkit.core.errors import BlackBoxError, ParamError
from ispkit.core.param import Choice, Knob
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Measurement, Point, Problem

State = Literal["acts", "dead", "inactive", "failed"]
Progress = Callable[[int, int], None]
"""(probes done, probes in all)"""
_MAX_OPTIONS = 8


@dataclass(frozen=True)
class Probe:
    """One knob turned, the others at the expert's setting."""

    value: float | str
    scores: Mapping[str, float]
    """minus the expert's: below 0 is better"""
    change: float
    """mean absolute difference of the pictures, in 8-bit codes"""


@dataclass(frozen=True)
class KnobEffect:
    """What turning one knob through its range does."""

    name: str
    state: State
    probes: tuple[Probe, ...] = ()
    reason: str = ""
    """of an inactive or failed knob"""

    @property
    def change(self) -> float:
        """The largest change of the pictures, in 8-bit codes."""
        return max((p.change for p in self.probes), default=0.0)

    def swing(self, objective: str) -> float:
        """The largest change of a score, in either direction."""
        return max((abs(p.scores[objective]) for p in self.probes), default=0.0)


@dataclass(frozen=True)
class Sensitivity:
    """The map knob × objective at one setting, and what it cost."""

    effects: tuple[KnobEffect, ...]
    objectives: tuple[str, ...]
    pictures: tuple[str, ...]
    """those that were rendered"""
    megapixels: float
    knobs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """the setting around which was probed, readable"""

    def names(self, *states: State) -> tuple[str, ...]:
        """The knobs in one of these states."""
        return tuple(e.name for e in self.effects if e.state in states)

    def ranked(self, objective: str) -> tuple[KnobEffect, ...]:
        """The knobs that move an objective most come first."""
        return tuple(sorted(self.effects, key=lambda e: -e.swing(objective)))

    def reduced(self, space: ParamSpace) -> ParamSpace:
        """The knobs worth a search: those that act, and those that another setting may wake.

        Raises `ParamError` if none is left.
        """
        dead = set(self.names("dead"))
        kept = [n for n in space if n not in dead]
        if not kept:
            raise ParamError("no knob changes any picture; does the black box read the values it is given?")
        return space.select(*(literal_pattern(n) for n in kept))

    def warnings(self) -> tuple[str, ...]:
        """What a person should know before a search."""
        lines = []
        if dead := self.names("dead"):
            lines.append(f"{len(dead)} of {len(self.effects)} knobs change no picture here: {', '.join(dead)}")
        lines += [f"{e.name} could not be probed: {e.reason}" for e in self.effects if e.state == "failed"]
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        """As written to `sensitivity.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Sensitivity:
        """The inverse of `to_json`."""
        effects = tuple(
            KnobEffect(e["name"], e["state"], tuple(Probe(**p) for p in e["probes"]), e["reason"])
            for e in facts["effects"]
        )
        names = {key: tuple(facts[key]) for key in ("objectives", "pictures")}
        return cls(effects, **names, megapixels=facts["megapixels"], knobs=facts["knobs"])


def sensitivity(
    problem: Problem, *, pictures: Sequence[int] | None = None, seed: int = 0, progress: Progress | None = None
) -> Sensitivity:
    """Turn each knob to both ends of its range (a choice: to each other option) from the problem's defaults.

    Costs about two renders a knob of the chosen `pictures` (indices; None: all). A knob is "dead" if no picture
    changes by a single code, "inactive" if its own condition keeps it off at the defaults. Raises
    `BlackBoxError` if even the defaults cannot be rendered.
    """
    space = problem.space
    base_point = space.to_vector(space.defaults()).double().numpy()
    base = problem.measure(space.from_vector(torch.from_numpy(base_point)), pictures=pictures, seed=seed)
    active = space.active(space.defaults())
    plans = {n: _probe_points(space, n, base_point) if bool(active[n]) else [] for n in space}
    total, done, cost = sum(map(len, plans.values())), 0, base.megapixels
    effects = []
    for name, points in plans.items():
        probes: list[Probe] = []
        reason = "" if points else _condition(space[name])
        for point in points:
            values = space.from_vector(torch.from_numpy(point))
            try:
                seen = problem.measure(values, pictures=pictures, seed=seed)
            except BlackBoxError as error:
                reason = str(error)
            else:
                probes.append(_probe(space.readable(values)[name], seen, base))
                cost += seen.megapixels
            done += 1
            if progress is not None:
                progress(done, total)
        effects.append(KnobEffect(name, _state(probes, planned=bool(points)), tuple(probes), reason))
    shown = tuple(problem.pictures[i] for i in base.pictures)
    knobs = {"defaults": space.readable(space.defaults())}
    return Sensitivity(tuple(effects), problem.objectives, shown, cost, knobs)


def _probe_points(space: ParamSpace, name: str, base: Point) -> list[Point]:
    """The base with one coordinate moved; points that round back to the base are left out."""
    knob, i = space[name], list(space).index(name)
    if isinstance(knob, Choice):
        n = len(knob.options)
        targets = [(k + 0.5) / n for k in range(n) if k != int(knob.index(knob.default))][:_MAX_OPTIONS]
    else:
        targets = [t for t in (0.0, 1.0) if abs(t - base[i]) > 1e-6]
    points = []
    for target in targets:
        point = base.copy()
        point[i] = target
        points.append(point)
    return points


def _probe(value: Any, seen: Measurement, base: Measurement) -> Probe:
    pairs = list(zip(seen.rendered, base.rendered, strict=True))
    pixels = sum(a.size for a, _ in pairs)
    total = sum(float(np.abs(a.astype(np.int16) - b).sum()) for a, b in pairs)
    change = total / pixels if pixels else 0.0
    scores = {name: float(score - base.scores[name]) for name, score in seen.scores.items()}
    if not pixels:  # a problem without pictures: only its scores can tell
        change = float(any(scores.values()))
    return Probe(value, scores, change)


def _state(probes: Sequence[Probe], *, planned: bool) -> State:
    if not planned:
        return "inactive"
    if not probes:
        return "failed"
    return "acts" if any(p.change > 0 for p in probes) else "dead"


def _condition(knob: Knob) -> str:
    return "" if knob.when is None else f"acts only if {knob.when[0]} is {' or '.join(knob.when[1])}"


def literal_pattern(name: str) -> str:
    """A knob's name as a shell pattern that fits nothing else."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
