"""Candidates for the distance of rows in bytes, found without knowing the encoding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ispkit.doctor.encodings import BYTE, WORD, WORD_BIG, Bytes, Encoding

MAX_STRIDE = 1 << 16
MIN_STRIDE = 32
MIN_ROWS = 24
_WINDOW = 1 << 20
_FAR_ROWS = (24, 36, 3)
_ELSEWHERE = (0.29, 0.382, 0.618, 0.71, 1.29, 1.382, 1.618, 1.71)
_CLEARLY, _AROUND = 5.0, 33
_PEAKS, _TRUSTED = 14, 3
_ALIKE, _NO_LIKENESS = 0.4, 0.004
_LIKENESS_NATS, _MOST = 8.0, 16.0
Reals = NDArray[np.float64]


def longest_stride(size: int) -> int:
    """The longest row, in bytes, of a file that still has enough rows to compare."""
    return min(MAX_STRIDE, size // MIN_ROWS)


def stride_candidates(data: Bytes) -> list[int]:
    """Lags in bytes at which the file resembles itself most, best first.

    Autocorrelation of the steps between samples of one color, read as bytes and as words of either order;
    byte lags serve packed samples as well, for the layout repeats in every row. Halves of a peak are kept,
    for two rows on, a mosaic is more like itself than one row on.
    """
    top = longest_stride(len(data))
    found: dict[int, float] = {}
    for reading in (BYTE, WORD, WORD_BIG):
        size = reading.group_bytes
        correlation = np.mean([_autocorrelation(w, top // size) for w in windows(data, reading)], axis=0)
        for rank, lag in enumerate(_peaks(correlation, max(MIN_STRIDE // size, 2))):
            strength = float(correlation[lag])
            for part in (1, 2, 4):
                stride = lag * size // part
                worth = strength if rank < _TRUSTED else strength / part
                if stride >= MIN_STRIDE and lag * size % part == 0:
                    found[stride] = max(found.get(stride, 0.0), worth)
    return sorted(found, key=lambda s: -found[s])


def windows(data: Bytes, reading: Encoding, count: int = 3) -> list[NDArray[np.int32]]:
    """Some stretches of the file, decoded, (samples,) each."""
    length = min(_WINDOW, len(data)) // 4 * 4
    starts = np.linspace(0, len(data) - length, count if len(data) > 2 * length else 1).astype(np.int64) // 4 * 4
    return [reading.decode(data[None, s : s + length])[0] for s in starts]


def fundamental_evidence(data: Bytes, encoding: Encoding, stride: int) -> float:
    """Nats, 0 or less, for a stride to be no half and no multiple of the distance of rows.

    Edges run through neighboring rows. At half the distance nothing is alike, so a stride that is much less
    like the next than twice itself is too short; one whose half is alike as well is too long.
    """
    here, twice = row_likeness(data, encoding, stride), row_likeness(data, encoding, 2 * stride)
    half = row_likeness(data, encoding, stride // 2) if stride // 2 % encoding.group_bytes == 0 else 0.0
    penalty = 0.0
    if twice > _NO_LIKENESS:
        penalty += float(np.clip(_LIKENESS_NATS * np.log(_ALIKE * twice / max(here, 1e-6)), 0, _MOST))
    if max(here, half) > _NO_LIKENESS:
        penalty += float(np.clip(_LIKENESS_NATS * np.log(max(half, 1e-6) / (_ALIKE * max(here, 1e-6))), 0, _MOST))
    return -penalty


def fades(data: Bytes, encoding: Encoding, stride: int) -> bool:
    """Whether near rows are clearly more alike than far ones: a picture; the columns of a dark frame stay alike."""
    near = np.mean([row_likeness(data, encoding, stride * k) for k in (1, 2)])
    far = [row_likeness(data, encoding, stride * k) for k in range(*_FAR_ROWS)]
    chance = [row_likeness(data, encoding, int(stride * f) // 2 * 2) for f in _ELSEWHERE]
    return float(near - np.mean(far)) > _CLEARLY * max(float(np.std(chance)), 1e-3)


def row_likeness(data: Bytes, encoding: Encoding, stride: int) -> float:
    """Correlation of the steps between samples of one color with those `stride` bytes on, or of their sizes.

    The size counts where neighboring rows have other colors, in which an edge may rise or fall.
    """
    packed = encoding.packing != "unpacked"
    reading, lag = (BYTE, encoding.group_bytes) if packed else (encoding, 2)
    distance = stride // reading.group_bytes
    found = []
    for samples in windows(data, reading):
        steps = (samples[lag:] - samples[:-lag]).astype(np.float32)
        steps = np.clip(steps, *np.percentile(steps[::7], [2, 98]))
        if 0 < distance < len(steps) // 2 and steps.any():
            sizes = _lanes_alike(np.abs(steps), lag if packed else 1)
            local = np.convolve(sizes, np.full(_AROUND, 1 / _AROUND, np.float32), mode="same")
            found.append([_correlation(x, distance) for x in (steps, sizes - local)])
    return float(np.mean(found, axis=0).max()) if found else 0.0


def _lanes_alike(sizes: NDArray[np.float32], lanes: int) -> NDArray[np.float32]:
    """Sizes in units of their mean among the bytes of the same place in a group."""
    rows = sizes[: len(sizes) // lanes * lanes].reshape(-1, lanes)
    alike: NDArray[np.float32] = (rows / np.maximum(rows.mean(axis=0), 1e-6)).ravel()
    return alike


def _correlation(values: NDArray[np.float32], distance: int) -> float:
    return float((values[distance:] * values[:-distance]).mean()) / max(float((values**2).mean()), 1e-12)


def column_pattern(data: Bytes, reading: Encoding, stride: int) -> float:
    """How much the columns differ when rows are stacked at this stride, in standard deviations of chance.

    Works where there is no picture: the fixed pattern of a dark frame repeats in every row.
    """
    width = stride // reading.group_bytes
    scores = []
    for samples in windows(data, reading):
        low, high = np.percentile(samples[::7], [0.5, 99.0])
        rows = len(samples) // width
        folded = np.clip(samples[: rows * width], low, high).astype(np.float64).reshape(rows, width)
        folded -= folded.mean(axis=1, keepdims=True)
        noise = folded.var()
        if rows < 4 or noise == 0:
            return 0.0
        excess = rows * float((folded.mean(axis=0) ** 2).sum()) / noise - width
        scores.append(excess / np.sqrt(2 * width))
    return float(np.sum(scores) / np.sqrt(len(scores)))


def _autocorrelation(samples: NDArray[np.int32], longest: int) -> Reals:
    steps = (samples[2:] - samples[:-2]).astype(np.float64)
    low, high = np.percentile(steps[::7], [1, 99])
    steps = np.clip(steps, low, high)
    steps -= steps.mean()
    longest = min(longest, len(steps) // 3)
    size = 1 << int(np.ceil(np.log2(len(steps) + longest + 1)))
    power = np.abs(np.fft.rfft(steps, size)) ** 2
    lags = np.arange(longest + 1)
    raw = np.fft.irfft(power, size)[: longest + 1]
    correlation: Reals = raw / max(float(raw[0]), 1e-9) * len(steps) / (len(steps) - lags)
    return correlation


def _peaks(correlation: Reals, lowest: int) -> list[int]:
    order = np.argsort(-correlation[lowest:])[:600] + lowest
    kept: list[int] = []
    for lag in order.tolist():
        if all(abs(lag - k) > 4 for k in kept):
            kept.append(lag)
        if len(kept) == _PEAKS:
            break
    return kept
