"""Headerless dumps: which geometry, encoding and bit depth explain the bytes best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ispkit.doctor.depth import Depth, codes, depths
from ispkit.doctor.encodings import BYTE, ENCODINGS, GIGE10, WORD, WORD_BIG, Bytes, Encoding
from ispkit.doctor.layout import Layout, edges, layouts
from ispkit.doctor.period import MIN_STRIDE, column_pattern, longest_stride, stride_candidates
from ispkit.doctor.predict import Strips, code_length

MIN_BYTES = 1 << 14
_SCAN_STRIPS = 48
_FINAL_STRIPS = 200
_PER_STRIDE = 2
_CLEAR_PICTURE = 6.0
_CLEAR_PATTERN = 12.0
_CAP = 28.0
"""standard errors; more are no more convincing"""
_HOPELESS = -200.0
_MODEL_ERROR = 0.001
"""of a code length, relative"""


@dataclass(frozen=True)
class Candidate:
    """One geometry of a dump with the evidence for it."""

    encoding: Encoding
    layout: Layout
    depth: Depth
    bits_per_byte: float
    """length of the code that this geometry allows, bits per stored byte; 8 is no compression"""
    log_score: float
    """evidence of the pixels and prior, nats; only differences count"""
    probability: float
    """share among all candidates weighed"""

    def samples(self, data: Bytes, rows: slice = slice(None)) -> NDArray[np.int32]:
        """The mosaic (H, W) of some rows."""
        place, rule = self.layout, self.encoding.rule
        row_bytes = rule.row_bytes(place.width, self.encoding.bits)
        start, stop, step = rows.indices(place.height)
        lines = [data[b : b + row_bytes] for b in (place.offset + place.stride * y for y in range(start, stop, step))]
        stored = np.stack([line for line in lines if len(line) == row_bytes])
        mosaic = rule.rows(stored, place.width, self.encoding.bits, self.encoding.big).astype(np.int32)
        return mosaic >> (16 - self.depth.bits) if self.depth.align == "msb" else mosaic


@dataclass(frozen=True)
class DumpSearch:
    """The ranked geometries of a dump and whether the pixels could tell."""

    candidates: tuple[Candidate, ...]
    basis: str
    """what decided: "picture" (prediction from rows above), "pattern" (fixed pattern of columns) or "none\""""
    margin: float
    """standard errors between the best encoding and stride and the next"""

    @property
    def determinable(self) -> bool:
        """Whether the pixels, and not only the size of the file, support the first candidate."""
        return self.basis != "none"


@dataclass(frozen=True)
class _Reading:
    encoding: Encoding
    stride: int
    lengths: NDArray[np.float64]

    @property
    def mean(self) -> float:
        return float(self.lengths.mean())


def search_dump(data: Bytes, limit: int = 12) -> DumpSearch:
    """Rank the geometries of a file that holds bare samples, best first."""
    strides = _strides(data)
    if not strides or data[:: max(len(data) // 65536, 1)].std() == 0:
        return DumpSearch((), "none", 0.0)
    readings = _weighed(data, strides)
    basis, readings, evidence, margin = _decided(data, readings)
    found = [
        Candidate(r.encoding, place, Depth(r.encoding.bits, "lsb", 1.0), r.mean, e + r.encoding.log_prior + s, 0.0)
        for r, e in zip(readings, evidence, strict=True)
        if e > _HOPELESS
        for place in layouts(len(data), r.encoding, r.stride, edges(data, r.encoding, r.stride))[:_PER_STRIDE]
        for s in (place.log_score,)
    ]
    return DumpSearch(_ranked(data, found, limit), basis, margin)


def _strides(data: Bytes) -> list[int]:
    if len(data) < MIN_BYTES:
        return []
    return [s for s in stride_candidates(data) if MIN_STRIDE <= s <= longest_stride(len(data))][:28]


def _weighed(data: Bytes, strides: Sequence[int]) -> list[_Reading]:
    """Code lengths of the encodings that survive a scan, at all strides."""
    top = max(strides)
    scan = Strips.spread(data, _SCAN_STRIPS, top)
    best = {e: min(r.mean for r in _readings(scan, e, strides[:6])) for e in ENCODINGS}
    survivors = sorted(ENCODINGS, key=lambda e: best[e])[:3]
    coarse = [r for e in survivors for r in _readings(scan, e, strides)]
    coarse.sort(key=lambda r: r.mean)
    final = Strips.spread(data, min(_FINAL_STRIPS, max(len(data) // 1680, _SCAN_STRIPS)), top)
    aligned = {e: final.aligned(e) for e in survivors}
    kept = coarse[:8]
    return sorted(
        (_Reading(r.encoding, r.stride, code_length(aligned[r.encoding], r.encoding, r.stride)) for r in kept),
        key=lambda r: r.mean,
    )


def _readings(strips: Strips, encoding: Encoding, strides: Sequence[int]) -> list[_Reading]:
    aligned = strips.aligned(encoding)
    usable = [s for s in strides if encoding.packing != "unpacked" or s % encoding.group_bytes == 0]
    if not usable:
        return [_Reading(encoding, strides[0], np.full(len(strips.starts), 8.0))]
    return [_Reading(encoding, s, code_length(aligned, encoding, s)) for s in usable]


def _decided(data: Bytes, readings: list[_Reading]) -> tuple[str, list[_Reading], list[float], float]:
    """What supports the ranking, the readings in order, nats for each, and the margin of the first."""
    best = readings[0]
    if _beats_chance(data, best):
        gaps = [_gap(r, best) for r in readings]
        return "picture", readings, [-0.5 * min(g, _CAP) ** 2 for g in gaps], min(gaps[1:], default=_CAP)
    return _by_pattern(data, readings)


def _beats_chance(data: Bytes, best: _Reading) -> bool:
    """Whether rows at this stride predict clearly better than rows anywhere else do."""
    size = best.encoding.group_bytes if best.encoding.packing == "unpacked" else 1
    longest = max(longest_stride(len(data)), best.stride)
    others = [int(best.stride * f) // size * size | (size == 1) for f in (0.382, 0.618, 1.382)]
    others = [max(MIN_STRIDE, min(s, longest)) for s in others]
    strips = Strips.spread(data, len(best.lengths), longest).aligned(best.encoding)
    own = _Reading(best.encoding, best.stride, code_length(strips, best.encoding, best.stride))
    elsewhere = [_Reading(best.encoding, s, code_length(strips, best.encoding, s)) for s in others]
    return all(_gap(r, own) > _CLEAR_PICTURE for r in elsewhere)


def _by_pattern(data: Bytes, readings: list[_Reading]) -> tuple[str, list[_Reading], list[float], float]:
    """No picture: the distance at which the columns' fixed pattern repeats, if there is one."""
    strips = Strips.spread(data, _SCAN_STRIPS, longest_stride(len(data)))
    rivals = [r for e in ENCODINGS for r in _readings(strips, e, [readings[0].stride // 2 * 2])]
    shortest = min(rivals, key=lambda r: r.mean)
    close = [r.encoding for r in rivals if _gap(r, shortest) < _CLEAR_PICTURE]
    encoding = max(close, key=lambda e: e.log_prior)
    reading = encoding if encoding in (WORD, WORD_BIG, BYTE) else BYTE
    strides = _strides(data)
    usable = [s for s in strides if s % reading.group_bytes == 0]
    strength = {s: column_pattern(data, reading, s) for s in usable}
    order = sorted(strength, key=lambda s: -strength[s])
    blank = np.full(2, readings[0].mean)
    ordered = [_Reading(encoding, s, blank) for s in order[:8]]
    if not order or strength[order[0]] < _CLEAR_PATTERN:
        return "none", ordered or readings, [0.0] * len(ordered or readings), 0.0
    best = strength[order[0]]
    margin = best - strength[order[1]] if len(order) > 1 else best
    return "pattern", ordered, [0.5 * (strength[r.stride] - best) for r in ordered], margin


def _gap(other: _Reading, best: _Reading) -> float:
    """How much longer the other code is, in errors: of the paired difference and of a linear model."""
    difference = other.lengths - best.lengths
    sampling = float(difference.std()) / np.sqrt(len(difference))
    error = np.hypot(sampling, _MODEL_ERROR * best.mean) + 1e-9
    return float(max(difference.mean() / error, 0.0))


def _ranked(data: Bytes, found: list[Candidate], limit: int) -> tuple[Candidate, ...]:
    found = sorted(found, key=lambda c: -c.log_score)[:limit]
    if not found:
        return ()
    scores = np.array([c.log_score for c in found])
    weights = np.exp(scores - scores.max())
    return tuple(
        likely_depths(data, replace(c, probability=float(w)))[0]
        for c, w in zip(found, weights / weights.sum(), strict=True)
    )


def likely_depths(data: Bytes, candidate: Candidate) -> list[Candidate]:
    """The candidate under each bit depth its samples allow, likeliest first; `depth.probability` says how likely."""
    step = max(1, candidate.layout.height // 400)
    pairs = [candidate.samples(data, slice(y, None, 2 * step)) for y in (0, 1)]
    found = [codes(p) for p in pairs]
    both = replace(
        found[0],
        largest=max(f.largest for f in found),
        empty_low_bits=min(f.empty_low_bits for f in found),
        outliers=sum(f.outliers for f in found),
    )
    if candidate.encoding.packing == "gige12" and not any(int(np.bitwise_or.reduce(p, axis=None)) & 12 for p in pairs):
        return [replace(candidate, encoding=GIGE10, depth=Depth(10, "lsb", 1.0))]
    return [replace(candidate, depth=d) for d in depths(both, candidate.encoding.bits)]
