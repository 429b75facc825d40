"""Mirrored and rotated samples whose mosaic still is a mosaic: the CFA follows, or is kept by where a window starts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ispkit.core.cfa import TRANSPOSED, CfaPattern, moved, site_order
from ispkit.core.errors import ShapeError
from ispkit.core.frame import Frame
from ispkit.data.samples import Sample


class Turn(NamedTuple):
    """One of the eight symmetries of a square: transposed first, then mirrored."""

    transpose: bool = False
    rows: bool = False
    columns: bool = False


TURNS = tuple(Turn(t, r, c) for t in (False, True) for r in (False, True) for c in (False, True))
"""all of them, those that keep height and width first; the first changes nothing"""


def turned(picture: Tensor, turn: Turn) -> Tensor:
    """A picture (..., H, W) turned; a new tensor or a view of it."""
    laid = picture.transpose(-1, -2) if turn.transpose else picture
    dims = [d for d, on in ((-2, turn.rows), (-1, turn.columns)) if on]
    return laid.flip(dims) if dims else laid


def turned_frame(frame: Frame, turn: Turn) -> Frame:
    """A frame turned; its CFA, levels, views and maps follow. Opcodes do not follow a transposition and are dropped."""
    if turn.transpose:
        frame = frame.with_data(frame.data, opcodes=((),) * frame.meta.batch).transpose()
    return frame.flip(rows=turn.rows, columns=turn.columns) if turn.rows or turn.columns else frame


def turned_sample(sample: Sample, turn: Turn) -> Sample:
    """Frame and targets turned together; the CFA is then another one where the turn changes it."""
    if not any(turn):
        return sample
    restored = None if sample.restored is None else turned(sample.restored, turn)
    frame, target = turned_frame(sample.frame, turn), turned(sample.target, turn)
    return Sample(sample.names, frame, target, restored, views=sample.views)


def start_of(cfa: CfaPattern, wanted: str, turn: Turn | None = None) -> tuple[int, int]:
    """First row and column, each 0 or 1, of an even window that reads `wanted` when it has been turned.

    Raises `ShapeError` where no window does: `wanted` is no Bayer pattern.

    >>> start_of("GRBG", "RGGB"), start_of("RGGB", "RGGB", Turn(columns=True))
    ((0, 1), (0, 1))
    """
    how = turn or Turn()
    for y in (0, 1):
        for x in (0, 1):
            sites = moved(cfa, site_order(y, x))
            if how.transpose:
                sites = moved(sites, TRANSPOSED)
            if moved(sites, site_order(int(how.rows), int(how.columns), how.rows, how.columns)) == wanted:
                return y, x
    raise ShapeError(f"cfa={wanted!r} cannot be reached from {cfa!r}; use RGGB, BGGR, GRBG or GBRG")


def draw_turn(chance: torch.Generator, *, square: bool = True) -> Turn:
    """One of the eight turns, or of the four that keep height and width."""
    return TURNS[int(torch.randint(len(TURNS) if square else 4, (), generator=chance))]


def item_seed(seed: int, epoch: int, index: int) -> int:
    """What one item of one epoch is drawn from, whatever was drawn before."""
    return int(np.random.SeedSequence((seed, epoch, index)).generate_state(1, np.uint64)[0] >> 1)
