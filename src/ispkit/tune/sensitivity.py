"""Which knobs act, on what and how much: one knob at a time, before any search is paid for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch

from ispkit.core.errors import BlackBoxError
from ispkit.core.param import Choice, Knob, Values
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Measurement, Point, Problem

State = Literal["acts", "dead", "inactive", "failed"]
Progress = Callable[[int, int], None]
"""(probes done, probes in all)"""
Seen = tuple[int, Measurement | str]
"""which of the settings, and what it gave or why it gave nothing"""
Look = Callable[[Sequence[Values]], Iterable[Seen]]
"""has settings measured; answers in any order"""
_MAX_OPTIONS = 8
_TRIES = 3
_ELSEWHERE = 2  # random settings at which dead knobs are looked at again
_AWAY = "acts only away from the defaults of others"
_UNSEEN = "changes nothing at the defaults of others, and no other setting could be rendered"


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
    problem: Problem,
    *,
    pictures: Sequence[int] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    look: Look | None = None,
) -> Sensitivity:
    """Turn each knob to both ends of its range (a choice: to each other option) from the problem's defaults.

    Costs about two renders a knob of the chosen `pictures` (indices; None: all). A knob is "inactive" if its own
    condition keeps it off at the defaults, or if it changes no picture there but does so at one of two random
    settings of the others; it is "dead" if no picture changes by a single code anywhere. `look` measures, instead of
    this process one by one. Raises `BlackBoxError` if even the defaults cannot be rendered.
    """
    space = problem.space
    base_point = space.to_vector(space.defaults()).double().numpy()
    prober = _Prober(space, look or _in_turn(problem, pictures, seed), progress)
    base = prober.base(base_point)
    active = space.active(space.defaults())
    plans = {n: _probe_points(space, n, base_point) if bool(active[n]) else [] for n in space}
    effects = _effects(prober, plans, base)
    _wake(prober, effects, np.random.default_rng(seed))
    shown = tuple(problem.pictures[i] for i in base.pictures)
    knobs = {"defaults": space.readable(space.defaults())}
    return Sensitivity(tuple(effects.values()), problem.objectives, shown, prober.cost, knobs)


def _in_turn(problem: Problem, pictures: Sequence[int] | None, seed: int) -> Look:
    """Measure one setting after the other, here."""

    def look(settings: Sequence[Values]) -> Iterator[Seen]:
        for number, values in enumerate(settings):
            try:
                yield number, problem.measure(values, pictures=pictures, seed=seed)
            except BlackBoxError as error:
                yield number, str(error)

    return look


class _Prober:
    """Has points measured and counts what that costs, failures included."""

    def __init__(self, space: ParamSpace, look: Look, progress: Progress | None) -> None:
        self.space = space
        self._look, self._progress = look, progress
        self.cost = self._each = 0.0
        self._done = 0

    def base(self, point: Point) -> Measurement:
        """Where everything starts; tried again, for a program that fails now and then. Raises `BlackBoxError`."""
        reason = ""
        for failed in range(_TRIES):
            ((_, seen),) = self._look([self.value(point)])
            if isinstance(seen, Measurement):
                self._each = seen.megapixels
                self.cost += self._each * (failed + 1)
                return seen
            reason = seen
        raise BlackBoxError(reason)

    def looks(self, points: Sequence[Point]) -> Iterator[Seen]:
        """Probes, as they are answered: which, and the measurement or why there is none."""
        total = self._done + len(points)
        for number, seen in self._look([self.value(p) for p in points]):
            self.cost += self._each if isinstance(seen, str) else seen.megapixels
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, total)
            yield number, seen

    def value(self, point: Point) -> Values:
        """The setting of a point."""
        return self.space.from_vector(torch.from_numpy(point))


def _effects(prober: _Prober, plans: Mapping[str, Sequence[Point]], base: Measurement) -> dict[str, KnobEffect]:
    """Every knob at its probes, the others at the defaults."""
    space = prober.space
    asked = [(name, point) for name, points in plans.items() for point in points]
    found: dict[int, Probe] = {}
    failures: dict[int, str] = {}
    for number, seen in prober.looks([point for _, point in asked]):
        name, point = asked[number]
        value = space.readable(prober.value(point))[name]
        if isinstance(seen, str):
            failures[number] = f"at {value}: {seen}"
        else:
            found[number] = _probe(value, seen, base)
    effects = {}
    for name, points in plans.items():
        own = [k for k, (knob, _) in enumerate(asked) if knob == name]
        probes = tuple(found[k] for k in own if k in found)
        failed = [failures[k] for k in own if k in failures]
        state: State = _state(probes, len(points)) if points else "inactive"
        effects[name] = KnobEffect(name, state, probes, _told(failed) if points else _condition(space[name]))
    return effects


def _told(failed: Sequence[str]) -> str:
    """Why probes of a knob gave nothing: the first reason, and how many there are."""
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return failed[0] + more if failed else ""


def _wake(prober: _Prober, effects: dict[str, KnobEffect], chance: np.random.Generator) -> None:
    """Look at dead knobs again where the others are anywhere: a radius does nothing while its strength is 0.

    A knob that could not be looked at elsewhere is not proven dead.
    """
    asleep = [name for name, effect in effects.items() if effect.state == "dead"]
    if len(asleep) == len(effects):  # nothing that could wake them
        return
    looked: dict[str, int] = dict.fromkeys(asleep, 0)
    for _ in range(_ELSEWHERE * _TRIES):
        dead = [name for name in asleep if effects[name].state == "dead" and looked[name] < _ELSEWHERE]
        if not dead:
            break
        elsewhere = chance.random(prober.space.dim)
        ((_, there),) = prober.looks([elsewhere])
        if isinstance(there, str):
            continue
        for number, seen in prober.looks([_flipped(prober.space, name, elsewhere) for name in dead]):
            if isinstance(seen, str):
                continue
            looked[dead[number]] += 1
            if _probe(0.0, seen, there).change > 0:
                effects[dead[number]] = replace(effects[dead[number]], state="inactive", reason=_AWAY)
    for name in asleep:
        if not looked[name]:
            effects[name] = replace(effects[name], state="inactive", reason=_UNSEEN)


def _flipped(space: ParamSpace, name: str, point: Point) -> Point:
    i = list(space).index(name)
    moved = point.copy()
    moved[i] = 1.0 if point[i] < 0.5 else 0.0
    return moved


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


def _state(probes: Sequence[Probe], planned: int) -> State:
    if any(p.change > 0 for p in probes):
        return "acts"
    return "dead" if len(probes) == planned else "failed"


def _condition(knob: Knob) -> str:
    return "" if knob.when is None else f"acts only if {knob.when[0]} is {' or '.join(knob.when[1])}"


def literal_pattern(name: str) -> str:
    """A knob's name as a shell pattern that fits nothing else."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
