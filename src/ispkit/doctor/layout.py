"""Given encoding and row distance: where rows begin, how wide they are, how many there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ispkit.doctor.encodings import Bytes, Encoding
from ispkit.doctor.sizes import (
    STANDARD_WIDTHS,
    offset_log_prior,
    padding_log_prior,
    size_log_prior,
    trailing_log_prior,
)

_ROWS, _SPREAD_ROWS = 384, 1024
_SEAM_CAP = 12.0
_PADDING_NATS = 4.0
_MAX_EXTRA_ROWS = 8
_MAX_WIDTH_LOSS = 512
_HEADERS = tuple(1 << k for k in range(4, 17))


@dataclass(frozen=True)
class Layout:
    """One way to cut the file into rows; `log_score` adds prior and what the edges of the rows say."""

    width: int
    height: int
    stride: int
    offset: int
    trailing: int
    log_score: float


@dataclass(frozen=True)
class Edges:
    """What the columns of the file folded at a stride show, by byte column."""

    seam: NDArray[np.float64]
    """nats for a row to begin at this byte column, -12 to 12"""
    constant_run: tuple[int, int] | None
    """first byte column and length of a run of bytes equal in all rows, around the end of the fold"""


def edges(data: Bytes, encoding: Encoding, stride: int) -> Edges:
    """Fold the file at `stride` and look for the break between rows and for padding."""
    rows = min(_ROWS, len(data) // stride)
    first = (len(data) // stride - rows) // 4 * 2
    folded = data[first * stride : (first + rows) * stride].reshape(rows, stride)
    return Edges(_seam(folded, encoding), _cyclic_run(_constant_columns(data, stride)))


def _constant_columns(data: Bytes, stride: int) -> NDArray[np.bool_]:
    """Byte columns that are the same in rows all over the file; its first and last rows may be header and footer."""
    count = len(data) // stride
    margin = min(count // 8, 64)
    rows = np.linspace(margin, count - 1 - margin, min(count - 2 * margin, _SPREAD_ROWS)).astype(np.int64)
    first = data[rows[0] * stride : (rows[0] + 1) * stride]
    constant = np.ones(stride, bool)
    for row in rows[1:].tolist():
        constant &= data[row * stride : (row + 1) * stride] == first
    return constant


def layouts(size: int, encoding: Encoding, stride: int, found: Edges) -> list[Layout]:
    """All layouts worth naming, best first."""
    unique: dict[tuple[int, int, int], Layout] = {}
    for offset in _offsets(size, stride, found):
        for width in _widths(encoding, stride, offset, found):
            layout = _scored(size, encoding, stride, (offset, width), found)
            if layout is not None:
                unique[layout.width, layout.height, layout.offset] = layout
    return sorted(unique.values(), key=lambda one: -one.log_score)


def _scored(size: int, encoding: Encoding, stride: int, place: tuple[int, int], found: Edges) -> Layout | None:
    offset, width = place
    row_bytes = encoding.rule.row_bytes(width, encoding.bits)
    height = (size - offset) // stride
    if size - offset - height * stride == row_bytes and row_bytes < stride:  # the last row is not padded
        height += 1
    trailing = max(size - offset - height * stride, 0)
    padding = stride - row_bytes
    if height < 2 or width < 2 or padding < 0:
        return None
    score = size_log_prior(width, height) + offset_log_prior(offset) + trailing_log_prior(trailing)
    score += padding_log_prior(padding, stride) + float(found.seam[offset % stride])
    score += _padding_evidence(padding, (offset + row_bytes) % stride, stride, found)
    return Layout(width, height, stride, offset, trailing, score)


def _padding_evidence(padding: int, begin: int, stride: int, found: Edges) -> float:
    """Padding is as a rule constant: bytes equal in all rows speak for it, other bytes against it.

    Equal bytes that a layout takes for pixels speak against it: a few dead columns are common, many are not.
    """
    if found.constant_run is None:
        return -_SEAM_CAP if padding >= 2 else 0.0
    first, length = found.constant_run
    if padding < 2:
        return -min(_PADDING_NATS, length / 4)
    if (begin - first) % stride + padding > length:
        return -_SEAM_CAP
    return min(_PADDING_NATS, padding / 4) - min(_PADDING_NATS, (length - padding) / 4)


def _offsets(size: int, stride: int, found: Edges) -> list[int]:
    rest = size % stride
    offsets = {0, *(rest + k * stride for k in range(_MAX_EXTRA_ROWS + 1))}
    offsets |= {h for h in _HEADERS if h < size // 4 and (size - h) % stride == 0}
    strongest = int(found.seam.argmax())
    offsets |= {strongest, *(h for h in _HEADERS if h % stride == strongest and h < size // 4)}
    return sorted(o for o in offsets if o < size // 2)


def _widths(encoding: Encoding, stride: int, offset: int, found: Edges) -> list[int]:
    def fitting(count: int) -> int:
        return count // encoding.group_bytes * encoding.group_pixels

    widths = {fitting(stride)}
    widths |= {w for w in STANDARD_WIDTHS if 0 <= stride - encoding.rule.row_bytes(w, encoding.bits) < _MAX_WIDTH_LOSS}
    if found.constant_run is not None:
        first, length = found.constant_run
        if (first + length) % stride == offset % stride and length < stride // 2:
            widths.add(fitting(stride - length))
    return sorted(widths)


def _seam(folded: Bytes, encoding: Encoding) -> NDArray[np.float64]:
    """Evidence for the break between rows at each byte column.

    The break must show in even and in odd rows (else the stride is half the true one) and nowhere in the
    middle of a row (else it is twice that).
    """
    even, odd = (_breaks(folded, encoding, parity) for parity in (0, 1))
    seam = np.minimum(even, odd) - np.roll(np.minimum(even, odd), len(even) // 2)
    return np.repeat(seam, encoding.group_bytes if encoding.packing == "unpacked" else 1)[: folded.shape[1]]


def _breaks(folded: Bytes, encoding: Encoding, parity: int) -> NDArray[np.float64]:
    """Steps between samples of one color are larger across the break; in units of their usual spread."""
    if encoding.packing == "unpacked":
        size = encoding.group_bytes
        stream = encoding.decode(folded.reshape(1, -1)[:, : folded.size // size * size])[0]
    else:
        size, stream = 1, folded.reshape(-1).astype(np.int32)
    lag = 2 if encoding.packing == "unpacked" else encoding.group_bytes
    width = folded.shape[1] // size
    rows = len(stream) // width - 1
    here = stream[width : width * (rows + 1)].reshape(rows, width)[parity::2]
    before = stream[width - lag : width * (rows + 1) - lag].reshape(rows, width)[parity::2]
    steps = np.abs(here - before).astype(np.float64)
    profile = np.minimum(steps, np.percentile(steps, 98) + 1).mean(axis=0)
    profile = np.mean([np.roll(profile, -k) for k in range(lag)], axis=0)  # all steps that cross the break
    middle = float(np.median(profile))
    spread = 1.4826 * float(np.median(np.abs(profile - middle))) + 1e-9
    evidence: NDArray[np.float64] = np.clip((profile - middle) / spread - 2.0, 0.0, _SEAM_CAP)
    return evidence


def header_is_picture(data: Bytes, encoding: Encoding, layout: Layout) -> bool:
    """Whether the row before the first is as much like it as the rows after it are among each other."""
    if layout.offset < layout.stride:
        return False
    row_bytes = encoding.rule.row_bytes(layout.width, encoding.bits) // encoding.group_bytes * encoding.group_bytes
    starts = [
        layout.offset + layout.stride * k for k in range(-1, 8) if layout.offset + layout.stride * (k + 1) <= len(data)
    ]
    rows = encoding.decode(np.stack([data[s : s + row_bytes] for s in starts])).astype(np.float64)
    steps = rows[:, 2:] - rows[:, :-2]
    power = np.sqrt((steps**2).mean(axis=1)) + 1e-9
    alike = (steps[1:] * steps[:-1]).mean(axis=1) / power[1:] / power[:-1]
    # the levels of the colors are alike too, whatever the scene: means of the sites over the row
    means = np.abs(np.diff(rows[:, : rows.shape[1] // 2 * 2].reshape(len(rows), -1, 2).mean(axis=1), axis=0)).mean(
        axis=1
    )
    level = bool(means[0] < 3 * np.median(means[1:]) + 1) and bool(power[0] < 2 * power[1] and power[1] < 2 * power[0])
    return bool(alike[0] > 0.5 * np.median(alike[1:])) and level


def starts_foreign(data: Bytes, encoding: Encoding, layout: Layout) -> bool:
    """Whether the first row cannot belong to the picture: darker, brighter or far rougher than any row of it."""
    row_bytes = encoding.rule.row_bytes(layout.width, encoding.bits) // encoding.group_bytes * encoding.group_bytes
    places = np.linspace(layout.height // 16, layout.height - 2, 96).astype(np.int64)
    starts = [layout.offset, *(layout.offset + layout.stride * int(y) for y in places)]
    rows = encoding.decode(np.stack([data[s : s + row_bytes] for s in starts if s + row_bytes <= len(data)]))
    level, rough = rows.mean(axis=1), np.abs(rows[:, 2:] - rows[:, :-2]).mean(axis=1)
    low, high = float(level[1:].min()), float(level[1:].max())
    slack = 0.5 * (high - low) + 0.02 * low
    return not low - slack <= level[0] <= high + slack or bool(rough[0] > 2 * rough[1:].max())


def _cyclic_run(flags: NDArray[np.bool_]) -> tuple[int, int] | None:
    """The longest run of true flags on a ring, (start, length); None without one or if all are true."""
    if not flags.any() or flags.all():
        return None
    start = int(np.flatnonzero(~flags)[0])
    turned = np.roll(flags, -start)
    steps = np.diff(np.concatenate([[0], turned.astype(np.int8), [0]]))
    begins, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    longest = int((ends - begins).argmax())
    return (int(begins[longest]) + start) % len(flags), int(ends[longest] - begins[longest])
