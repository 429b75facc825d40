"""What a study declares: the best setting, what changed, how sure one may be, and what it cost."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ispkit.tune.distributions import Setting
from ispkit.tune.run_folder import RunFolder, read_json, write_json

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Candidate:
    """A setting with its evidence: means over its repeats where it was measured again, else of its trial."""

    trial: int
    """-1 where it belongs to none"""
    values: Setting
    scores: Mapping[str, float]
    per_picture: Mapping[str, Sequence[float]]
    constraints: Mapping[str, float] = field(default_factory=dict)
    rendered: Sequence[str] = ()
    """digests of its pictures in the run folder"""
    repeats: int = 0
    """measurements under noise seeds shared with the expert; 0: the one of its trial"""

    @property
    def violation(self) -> float:
        """How far all constraints are missed together; 0 = feasible."""
        return float(sum(max(0.0, c) for c in self.constraints.values()))


@dataclass(frozen=True)
class KnobChange:
    """One row of the table old / new / range."""

    name: str
    old: float | str
    """the expert's"""
    new: float | str
    low: float | None
    high: float | None
    options: Sequence[str]
    unit: str
    changed: bool
    active: bool
    """acts under the new setting"""
    locked: bool
    at_bound: str
    """"low" or "high" where it was moved to within 1 % of that end, else empty"""


@dataclass(frozen=True)
class GuardVerdict:
    """What keeping every picture from getting worse cost."""

    worse_by: float
    relative: bool
    cost: float
    """score of the declared setting less that of the best without the guard (>= 0)"""
    refused: int
    """candidates better than the declared one that broke it"""
    worst_picture: str
    """the picture that gains least, or loses most, under the declared setting"""
    worst_change: float
    """its score less the expert's"""


@dataclass(frozen=True)
class HeldOut:
    """Expert and best on pictures that were not tuned on."""

    pictures: Sequence[str]
    expert: Candidate
    best: Candidate
    difference: Mapping[str, float]
    """objective -> mean over the pictures of best - expert; negative = better"""
    interval: Mapping[str, tuple[float, float]]
    """95 % paired bootstrap over pictures of that mean"""


@dataclass(frozen=True)
class Result:
    """The outcome of a study; `result.json` holds everything but `study`."""

    best: Candidate
    expert: Candidate
    front: Sequence[Candidate]
    """not dominated, of a study with several objectives; else the best alone"""
    knobs: Sequence[KnobChange]
    objectives: Sequence[str]
    pictures: Sequence[str]
    weights: Mapping[str, float]
    method: str
    seed: int
    noisy: bool
    spent: float
    """renders of the whole set, re-measurements included"""
    budget: float
    trials: Mapping[str, int]
    """complete, known (not rendered again), pruned, failed, interrupted"""
    seconds: float = 0.0
    """of this sitting"""
    warnings: Sequence[str] = ()
    guard: GuardVerdict | None = None
    held_out: HeldOut | None = None
    stopped: str = ""
    """why the search ended before its budget; empty if it did not"""
    folder: Path = Path()
    study: optuna.Study | None = field(default=None, compare=False, repr=False)

    @property
    def changed(self) -> tuple[KnobChange, ...]:
        """The knobs that differ from the expert's."""
        return tuple(k for k in self.knobs if k.changed)

    def to_json(self) -> dict[str, Any]:
        """As plain data, without the study and the folder."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name not in ("study", "folder")}


def write_result(result: Result) -> None:
    """Write result.json into the run folder. Raises `FileError`."""
    write_json(RunFolder(result.folder).result, {"version": 1, **result.to_json()})


def read_result(folder: str | os.PathLike[str]) -> Result:
    """Read result.json of a run folder; `study` is None. Raises `FileError`."""
    room = RunFolder(folder)
    facts = read_json(room.result)
    facts.pop("version")
    facts["best"], facts["expert"] = Candidate(**facts["best"]), Candidate(**facts["expert"])
    facts["front"] = [Candidate(**c) for c in facts["front"]]
    facts["knobs"] = [KnobChange(**k) for k in facts["knobs"]]
    if facts["guard"] is not None:
        facts["guard"] = GuardVerdict(**facts["guard"])
    if facts["held_out"] is not None:
        held = facts["held_out"]
        intervals = {n: (float(low), float(high)) for n, (low, high) in held.pop("interval").items()}
        expert, best = Candidate(**held.pop("expert")), Candidate(**held.pop("best"))
        facts["held_out"] = HeldOut(**held, expert=expert, best=best, interval=intervals)
    return Result(**facts, folder=room.path)


def _plain(value: Any) -> Any:
    if isinstance(value, Candidate | KnobChange | GuardVerdict | HeldOut):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
