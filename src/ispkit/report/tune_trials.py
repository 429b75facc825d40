"""The trials of a run folder as rows for plots, and which of their pictures a page shows."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ispkit.core.errors import FileError
from ispkit.tune.opening import read_study
from ispkit.tune.records import ORIGIN, record_of
from ispkit.tune.run_folder import RunFolder

_SHOWN = 40
_SHOWN_SIDE = 384


@dataclass(frozen=True)
class TrialRow:
    """One finished trial."""

    number: int
    state: str
    """complete, known, pruned, failed"""
    spent: float
    """renders of the set when it ended"""
    scores: Mapping[str, float]
    reason: str = ""
    origin: str = ""
    picture: str = ""
    """digest of its first picture"""
    violation: float = 0.0
    """how far constraints are missed"""


def read_trials(room: RunFolder) -> list[TrialRow]:
    """The trials in the order in which they ended; pictures only where the study's own database is in the folder."""
    kept = _kept(room)
    rows = {}
    for event in room.events("complete", "known", "pruned", "failed"):
        number = int(event["trial"])
        picture, origin, violation = kept.get(number, ("", "", 0.0))
        scores = {n: float(v) for n, v in event.get("scores", {}).items() if v is not None}
        reason = str(event.get("reason", ""))
        rows[number] = TrialRow(
            number, event["event"], float(event["spent"]), scores, reason, origin, picture, violation
        )
    return list(rows.values())


def running_best(rows: Sequence[TrialRow], objective: str) -> list[TrialRow]:
    """The trials that were better than all before them."""
    best, found = math.inf, []
    for row in rows:
        score = row.scores.get(objective, math.inf)
        if row.state in ("complete", "known") and score < best:
            best = score
            found.append(row)
    return found


def non_dominated(rows: Sequence[TrialRow], objectives: Sequence[str]) -> set[int]:
    """Numbers of the measured trials that none of the others beats in all objectives; feasible ones where any is."""
    measured = [r for r in rows if r.state in ("complete", "known") and set(objectives) <= set(r.scores)]
    least = min((r.violation for r in measured), default=0.0)
    kept = [r for r in measured if r.violation == least]
    scores = np.array([[r.scores[n] for n in objectives] for r in kept]).reshape(len(kept), len(objectives))
    beaten = [bool(np.any((scores <= own).all(1) & (scores < own).any(1))) for own in scores]
    return {r.number for r, out in zip(kept, beaten, strict=True) if not out}


def shown_pictures(room: RunFolder, rows: Sequence[TrialRow]) -> dict[str, NDArray[np.uint8]]:
    """Digest -> picture of the trials that a reader wants to see: all if few, else improvements and a spread."""
    with_picture = [r for r in rows if r.picture and r.state == "complete"]
    if len(with_picture) > _SHOWN:
        objectives = {name for r in with_picture for name in r.scores}
        better = [r for name in objectives for r in running_best(with_picture, name)]
        front = non_dominated(with_picture, sorted(objectives))
        better += [r for r in with_picture if r.number in front]
        step = max(1, 2 * len(with_picture) // _SHOWN)
        with_picture = [*better[-_SHOWN:], *with_picture[::step]]
    digests = dict.fromkeys(r.picture for r in with_picture)
    return {d: _small(room.store.picture(d)) for d in digests if room.store.picture_path(d).is_file()}


def _kept(room: RunFolder) -> dict[int, tuple[str, str, float]]:
    """Trial -> digest of its first picture, where it came from, how far it misses constraints."""
    try:
        study = read_study(room.path)
    except FileError:
        if room.database.is_file():
            raise
        return {}  # a study in a server's database
    found = {}
    for trial in study.get_trials(deepcopy=False):
        record = record_of(trial)
        picture = record.rendered[0] if record is not None and record.rendered else ""
        violation = record.violation if record is not None else 0.0
        found[trial.number] = (picture, str(trial.user_attrs.get(ORIGIN, "")), violation)
    return found


def _small(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    scale = _SHOWN_SIDE / max(codes.shape[:2])
    if scale >= 1:
        return codes
    return np.asarray(cv2.resize(codes, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def near_front(at: Mapping[int, tuple[float, float]], marked: Container[int]) -> set[int]:
    """Trials not much worse than those marked, by number; a random start would stretch the axes of a plot.

    On each axis they lie at most as far beyond the worst marked trial as that is from the best marked one.
    """
    limits = []
    for axis in (0, 1):
        values = [point[axis] for number, point in at.items() if number in marked]
        span = max(values) - min(values) if values else 0.0
        limits.append(max(values) + span if span > 0 else math.inf)
    return {n for n, (x, y) in at.items() if x <= limits[0] and y <= limits[1]}
