"""How good detections are: COCO's average precision, counts at a confidence, and a paired bootstrap over pictures.

Definition: Lin et al. 2014 and the COCO evaluation (cocodataset.org/#detection-eval): overlap thresholds 0.50 to 0.95
in steps of 0.05, precision at 101 recalls, 100 detections a picture and class. Without crowds and size ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.data.boxes import Boxes, overlap
from ispkit.metrics.intervals import Interval

IOUS: tuple[float, ...] = tuple(0.5 + 0.05 * i for i in range(10))
_RECALLS = np.linspace(0, 1, 101)
_MOST = 100
_AP75 = 5
_TINY = float(np.spacing(1))
Floats = NDArray[np.float64]
Told_co = TypeVar("Told_co", covariant=True)


@dataclass(frozen=True)
class Summary:
    """Average precision of a set of pictures, in [0, 1], higher is better; NaN where there are no objects."""

    map: float
    """mean over overlaps 0.50:0.95 and classes that have objects: mAP@[.5:.95]"""
    ap50: float
    ap75: float
    per_class: Mapping[int, float]
    """label -> mean over the overlaps"""


@dataclass(frozen=True)
class Counts:
    """Objects found and not, and false alarms, at one confidence and overlap."""

    tp: int
    fp: int
    fn: int

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), 1 where there was nothing to find and nothing was found."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp + self.fp + self.fn else 1.0


@dataclass(frozen=True)
class _Class:
    """All detections of one class, best first."""

    scores: Floats
    """(D,)"""
    picture: NDArray[np.intp]
    """(D,)"""
    right: NDArray[np.bool_]
    """(overlaps, D)"""
    objects: Floats
    """(pictures,)"""


class Evaluation:
    """Detections matched with the truth, picture by picture; everything else is counted from that.

    `found` need scores; `truth` has none. Raises `ShapeError` unless they are lists of the same pictures.
    """

    def __init__(self, found: Sequence[Boxes], truth: Sequence[Boxes]) -> None:
        if len(found) != len(truth):
            raise ShapeError(f"{len(found)} sets of detections for {len(truth)} pictures; give one for each")
        self.pictures = len(truth)
        labels = sorted({int(v) for boxes in truth for v in boxes.labels})
        self._classes = {label: _matched(found, truth, label) for label in labels}
        # detections of classes that no picture has are false alarms to `counts` alone
        self._strays = [_scores(f)[~np.isin(f.labels.cpu().numpy(), labels)] for f in found]

    def summary(self, weights: Floats | None = None) -> Summary:
        """Average precision; with `weights` (pictures,), of a set that holds each picture so many times."""
        share = np.ones(self.pictures) if weights is None else weights
        values = {k: _precisions(c, share) for k, c in self._classes.items() if share @ c.objects > 0}
        if not values:
            return Summary(np.nan, np.nan, np.nan, {})
        table = np.stack(list(values.values()))
        per_class = {k: float(v.mean()) for k, v in values.items()}
        return Summary(float(table.mean()), float(table[:, 0].mean()), float(table[:, _AP75].mean()), per_class)

    def counts(self, least: float = 0.3) -> Counts:
        """At overlap 0.5, of detections whose confidence is at least `least`."""
        tp = fp = objects = 0
        for c in self._classes.values():
            sure = c.scores >= least
            tp += int((sure & c.right[0]).sum())
            fp += int((sure & ~c.right[0]).sum())
            objects += int(c.objects.sum())
        return Counts(tp, fp + sum(int((s >= least).sum()) for s in self._strays), objects - tp)


class Counted(Protocol[Told_co]):
    """Something counted on a set of pictures that can be drawn again."""

    @property
    def pictures(self) -> int:
        """How many."""

    def summary(self, weights: Floats | None = None) -> Told_co:
        """Of all pictures together; with `weights` (pictures,), of a set that holds each so many times."""


def paired_bootstrap(
    a: Counted[Told_co], b: Counted[Told_co], *, of: Callable[[Told_co], float], repeats: int = 2000, seed: int = 0,
    level: float = 0.95,
) -> Interval:  # fmt: skip
    """The difference b - a in a number `of` a summary, on the same pictures, with its percentile interval.

    Pictures are drawn with replacement, the same for both (Efron & Tibshirani 1993, ch. 13). Same seed, same interval.
    """
    if a.pictures != b.pictures or not a.pictures:
        raise ShapeError(f"a paired bootstrap compares on the same pictures, got {a.pictures} and {b.pictures}")
    if not 0 < level < 1 or repeats < 1:
        raise ParamError(f"level={level:g} must be in (0, 1) and repeats={repeats} at least 1")
    chance = np.random.default_rng(seed)
    drawn = chance.multinomial(a.pictures, np.full(a.pictures, 1 / a.pictures), size=repeats).astype(float)
    gaps = np.array([of(b.summary(w)) - of(a.summary(w)) for w in drawn])
    tail = (1 - level) / 2
    low, high = np.nanquantile(gaps, [tail, 1 - tail])
    return Interval(of(b.summary()) - of(a.summary()), float(low), float(high), level)


def map_difference(a: Evaluation, b: Evaluation, *, repeats: int = 2000, seed: int = 0) -> Interval:
    """B - a in mAP on the same pictures, with its paired 95 % bootstrap interval. Raises `ShapeError`."""
    return paired_bootstrap(a, b, of=lambda summary: summary.map, repeats=repeats, seed=seed)


def match(found: Boxes, truth: Boxes, ious: Sequence[float] = IOUS) -> Tensor:
    """Which object each detection is, (overlaps, D) int64, -1 for none; `found` must be sorted, best first.

    In the order of their scores, detections take the free object of their class that they overlap most.
    """
    shared = overlap(found.boxes[:, None].double(), truth.boxes[None].to(found.boxes).double())
    same = found.labels[:, None] == truth.labels[None].to(found.labels.device)
    table = torch.where(same, shared, -1.0).cpu().numpy()
    least = np.minimum(np.asarray(ious), 1 - 1e-10)
    out = np.full((len(least), len(found)), -1, dtype=np.int64)
    if len(truth):
        free = np.ones((len(least), len(truth)), dtype=bool)
        for d, row in enumerate(table):
            fitting = np.where(free & (row >= least[:, None]), row, -1.0)
            best = len(truth) - 1 - fitting[:, ::-1].argmax(1)  # of equal ones the last, as COCO's code has it
            taken = np.flatnonzero(fitting.max(1) >= 0)
            out[taken, d] = best[taken]
            free[taken, best[taken]] = False
    return torch.from_numpy(out).to(found.boxes.device)


def soft_miss(found: Boxes, truth: Boxes) -> float:
    """One picture's soft miss rate in [0, 1], 0 = all found surely and exactly, nothing else; lower is better.

    1 - 2 sum(confidence x overlap of right detections) / (objects + sum of all confidences): 1 - F with counts
    softened. Right: same class, overlap of at least 0.5, one detection an object. Steps where a match changes.
    `found` must be sorted, best first.
    """
    if found.scores is None or not len(found) + len(truth):
        return 0.0
    hit = match(found, truth, IOUS[:1])[0]
    right = hit >= 0
    shared = overlap(found.boxes[right], truth.boxes.to(found.boxes)[hit[right]])
    true = float((found.scores[right] * shared).sum())
    return 1 - 2 * true / (len(truth) + float(found.scores.sum()))


def _matched(found: Sequence[Boxes], truth: Sequence[Boxes], label: int) -> _Class:
    scores, picture, right = [], [], []
    for i, (seen, there) in enumerate(zip(found, truth, strict=True)):
        own = seen.select((seen.labels == label).nonzero()[:, 0])
        order = np.argsort(-_scores(own), kind="stable")[:_MOST]
        own = own.select(torch.from_numpy(order).to(own.boxes.device))
        hit = match(own, there.select((there.labels == label).nonzero()[:, 0]))
        scores.append(_scores(own))
        picture.append(np.full(len(own), i))
        right.append(hit.cpu().numpy() >= 0)
    everything = np.concatenate(scores)
    order = np.argsort(-everything, kind="stable")
    objects = np.array([float((t.labels == label).sum()) for t in truth])
    return _Class(everything[order], np.concatenate(picture)[order], np.concatenate(right, 1)[:, order], objects)


def _precisions(c: _Class, share: Floats) -> Floats:
    """Average precision at each overlap, (overlaps,)."""
    weight = share[c.picture]
    true, false = (np.cumsum(weight * hit, axis=1) for hit in (c.right, ~c.right))
    recall = true / (share @ c.objects)
    precision = true / (true + false + _TINY)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([envelope, np.zeros((len(envelope), 1))], axis=1)
    reached = [np.searchsorted(r, _RECALLS, side="left") for r in recall]
    return np.array([p[i].mean() for p, i in zip(padded, reached, strict=True)])


def _scores(found: Boxes) -> Floats:
    if found.scores is None:
        raise ParamError("detections need scores; these boxes have none")
    values: Floats = found.scores.detach().cpu().double().numpy()
    return values
