"""The ways in which a headerless dump may hold its samples, as hypotheses to be weighed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ispkit.io.packing import PACKINGS, PackingRule

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Encoding:
    """One reading of bytes as samples. A 16-bit word may hold fewer significant bits; `depth` finds them."""

    packing: str
    bits: int
    big: bool
    log_prior: float
    """natural logarithm of how common it is, up to a constant"""

    @property
    def name(self) -> str:
        """Short word for tables, for instance `u16le` or `mipi10`."""
        if self.packing == "unpacked":
            return "u8" if self.bits == 8 else f"u16{'be' if self.big else 'le'}"
        return f"{self.packing}{'be' if self.big else ''}"

    @property
    def rule(self) -> PackingRule:
        """How the samples are packed."""
        return PACKINGS[self.packing]

    @property
    def group_bytes(self) -> int:
        """Bytes after which the layout repeats."""
        return self.rule.group_bytes(self.bits)

    @property
    def group_pixels(self) -> int:
        """Samples in one such group."""
        return self.rule.pixels

    def decode(self, stored: Bytes) -> NDArray[np.int32]:
        """Samples (rows, pixels) of bytes (rows, whole groups)."""
        width = stored.shape[1] // self.group_bytes * self.group_pixels
        return self.rule.rows(stored, width, self.bits, self.big).astype(np.int32)


ENCODINGS: tuple[Encoding, ...] = (
    Encoding("unpacked", 16, False, 0.0),
    Encoding("unpacked", 8, False, -1.0),
    Encoding("mipi10", 10, False, -1.0),
    Encoding("mipi12", 12, False, -1.0),
    Encoding("mipi14", 14, False, -2.5),
    Encoding("unpacked", 16, True, -2.0),
    Encoding("packed10", 10, False, -2.0),
    Encoding("packed12", 12, False, -2.0),
    Encoding("packed14", 14, False, -3.0),
    Encoding("packed10", 10, True, -2.5),
    Encoding("packed12", 12, True, -2.5),
    Encoding("packed14", 14, True, -3.0),
    Encoding("gige12", 12, False, -3.0),
)
GIGE10 = Encoding("gige10", 10, False, -3.5)
"""`gige12` whose nibbles use two bits; no hypothesis of its own, for it would leave bits uncoded"""
WORD = ENCODINGS[0]
BYTE = ENCODINGS[1]
WORD_BIG = ENCODINGS[5]
