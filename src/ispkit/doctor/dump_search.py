"""Headerless dumps: which geometry, encoding and bit depth explain the bytes best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ispkit.doctor.depth import Depth, codes, depths
from ispkit.doctor.encodings import BYTE, ENCODINGS, GIGE10, WORD, WORD_BIG, Bytes, Encoding
from ispkit.doctor.layout import Layout, edges, header_is_picture, layouts, starts_foreign
from ispkit.doctor.period import (
    MIN_STRIDE,
    column_pattern,
    fades,
    fundamental_evidence,
    longest_stride,
    stride_candidates,
)
from ispkit.doctor.predict import Strips, code_length

MIN_BYTES = 1 << 14
_SCAN_STRIPS = 48
_FINAL_STRIPS = 200
_PER_STRIDE, _WEIGHED_PLACES = 2, 12
_CLEAR_PICTURE = 6.0
_CLEAR_PATTERN = 12.0
_CAP = 28.0
"""standard errors; more are no more convincing"""
_SWALLOWED, _FOREIGN = 8.0, 5.0
"""nats against a header of picture rows, and against a first row that is none"""
_MODEL_ERROR = 0.003
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

    @property
    def margin(self) -> float:
        """Nats between the first candidate and the best with another encoding, width or stride."""
        first = self.candidates[0]
        key = (first.encoding.name, first.layout.stride)
        rest = [c.log_score for c in self.candidates if (c.encoding.name, c.layout.stride) != key]
        return first.log_score - max(rest, default=first.log_score - _CAP)

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
        return DumpSearch((), "none")
    readings = _weighed(data, strides)
    if _beats_chance(data, readings[0]) or fades(data, readings[0].encoding, readings[0].stride):
        return DumpSearch(_ranked(data, _by_picture(data, readings), limit), "picture")
    basis, found = _by_pattern(data, readings)
    return DumpSearch(_ranked(data, found, limit), basis)


def _by_picture(data: Bytes, readings: Sequence[_Reading]) -> list[Candidate]:
    """Candidates weighed by how well the rows that they name predict each other."""
    strips = Strips.spread(data, len(readings[0].lengths), max(r.stride for r in readings))
    placed, lengths = [], {}
    for r in readings:
        score = r.encoding.log_prior + fundamental_evidence(data, r.encoding, r.stride)
        for place in _places(data, r.encoding, r.stride):
            key = (r.encoding, r.stride, place.offset % r.stride)
            if key not in lengths:
                lengths[key] = code_length(strips, r.encoding, r.stride, place.offset)
            placed.append((_Reading(r.encoding, r.stride, lengths[key]), place, score + place.log_score))
    best = min((r for r, _, _ in placed), key=lambda r: r.mean)
    return [_candidate(r, place, score - 0.5 * min(_gap(r, best), _CAP) ** 2) for r, place, score in placed]


def _places(data: Bytes, encoding: Encoding, stride: int) -> list[Layout]:
    """The best layouts at a stride; those whose header or first row is plainly the other kind are put back."""
    best = layouts(len(data), encoding, stride, edges(data, encoding, stride))[:_WEIGHED_PLACES]
    weighed = []
    for place in best:
        wrong = _SWALLOWED * header_is_picture(data, encoding, place) + _FOREIGN * starts_foreign(data, encoding, place)
        weighed.append(replace(place, log_score=place.log_score - wrong))
    return sorted(weighed, key=lambda p: -p.log_score)[:_PER_STRIDE]


def _candidate(reading: _Reading, place: Layout, score: float) -> Candidate:
    depth = Depth(reading.encoding.bits, "lsb", 1.0)
    return Candidate(reading.encoding, place, depth, reading.mean, score, 0.0)


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
    return [_Reading(encoding, s, code_length(aligned, encoding, s, passes=1)) for s in usable]


def _beats_chance(data: Bytes, best: _Reading) -> bool:
    """Whether rows at this stride predict clearly better than rows anywhere else do."""
    size = best.encoding.group_bytes if best.encoding.packing == "unpacked" else 1
    longest = max(longest_stride(len(data)), best.stride)
    others = [int(best.stride * f) // size * size | (size == 1) for f in (0.382, 0.618, 1.382)]
    others = [max(MIN_STRIDE, min(s, longest)) for s in others]
    strips = Strips.spread(data, len(best.lengths), longest).aligned(best.encoding)
    own = _Reading(best.encoding, best.stride, code_length(strips, best.encoding, best.stride))
    elsewhere = [_Reading(best.encoding, s, code_length(strips, best.encoding, s)) for s in others]
    return all(_gap(r, own, model_error=0.0) > _CLEAR_PICTURE for r in elsewhere)


def _by_pattern(data: Bytes, readings: Sequence[_Reading]) -> tuple[str, list[Candidate]]:
    """No picture: the distance at which the columns' fixed pattern repeats, if there is one."""
    strips = Strips.spread(data, _SCAN_STRIPS, longest_stride(len(data)))
    rivals = [r for e in ENCODINGS for r in _readings(strips, e, [readings[0].stride // 2 * 2])]
    shortest = min(rivals, key=lambda r: r.mean)
    close = [r for r in rivals if _gap(r, shortest) < _CLEAR_PICTURE]
    likely = max(close, key=lambda r: r.encoding.log_prior)
    reading = likely.encoding if likely.encoding in (WORD, WORD_BIG, BYTE) else BYTE
    usable = [s for s in _strides(data) if s % reading.group_bytes == 0]
    strength = {s: column_pattern(data, reading, s) for s in usable}
    best = max(strength.values(), default=0.0)
    basis = "pattern" if best > _CLEAR_PATTERN else "none"
    found = []
    for stride in sorted(strength, key=lambda s: -strength[s])[:8]:
        score = likely.encoding.log_prior + fundamental_evidence(data, likely.encoding, stride)
        score += 0.5 * (strength[stride] - best) if basis == "pattern" else 0.0
        found += [_candidate(likely, p, score + p.log_score) for p in _places(data, likely.encoding, stride)]
    return basis, found


def _gap(other: _Reading, best: _Reading, *, model_error: float = _MODEL_ERROR) -> float:
    """How much longer the other code is, in errors: of the paired difference and of a linear model."""
    difference = other.lengths - best.lengths
    sampling = float(difference.std()) / np.sqrt(len(difference))
    error = np.hypot(sampling, model_error * best.mean) + 1e-9
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
