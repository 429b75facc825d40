"""The 32 registers by name, width, range and the value that experts gave them.

From the paper: names, groups, maxima and expert values (Tseng et al. 2019, table 1). The paper says no more of a
register than its name, so what each does is this toolkit's reading. A printed maximum of 2^n is read as n bits: the
largest code is 2^n - 1. No minimum is printed: ours are 0, a quarter (64) for a gain and -2 (3584) for a coefficient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ispkit.core.errors import ParamError
from ispkit.core.param import Param

Codes = Mapping[str, int]
"""register -> code, by the name without its stage"""

COEF_ZERO = 4096
"""code of a coefficient of 0; 256 codes are 1"""
_GAIN_LOW, _COEF_LOW, _COEF_MAX = 64, COEF_ZERO - 512, 5880


@dataclass(frozen=True)
class Register:
    """One register of the table."""

    name: str
    """"stage.register", the knob's name"""
    expert: int
    """the value of the paper"""
    width: int
    """bits"""
    low: int
    high: int
    doc: str
    scale: Literal["linear", "log"] = "linear"

    @property
    def code(self) -> str:
        """The name without the stage."""
        return self.name.rsplit(".", 1)[-1]

    def param(self, default: int) -> Param:
        """The knob: whole numbers, no gradient."""
        return Param(
            default=default,
            low=self.low,
            high=self.high,
            scale=self.scale,
            step=1,
            differentiable=False,
            doc=self.doc,
        )


def _byte(name: str, expert: int, doc: str) -> Register:
    return Register(name, expert, 8, 0, 255, doc)


def _threshold(name: str, expert: int, doc: str) -> Register:
    return Register(name, expert, 12, 0, 4095, doc)


def _gain(name: str, expert: int, doc: str) -> Register:
    return Register(name, expert, 12, _GAIN_LOW, 4095, doc, "log")


def _coefficient(name: str, expert: int, doc: str) -> Register:
    return Register(name, expert, 13, _COEF_LOW, _COEF_MAX, f"{doc}; 4096 is 0, 256 codes are 1")


REGISTERS: tuple[Register, ...] = (
    _gain("white_balance.gain_00", 583, "gain of the R sites, 256 is 1"),
    _gain("white_balance.gain_01", 271, "gain of both G sites, 256 is 1"),
    _gain("white_balance.gain_11", 587, "gain of the B sites, 256 is 1"),
    _byte("demosaic.vh_slope", 190, "how fast green follows the better of vertical and horizontal; +16 doubles"),
    _threshold("demosaic.vh_thresh", 220, "contrast of the axes below which both are averaged; 32: noise"),
    _byte("demosaic.va_slope", 175, "how fast axes give way to diagonals; +16 doubles"),
    _threshold("demosaic.va_thresh", 210, "lead of the diagonals' contrast below which the axes are kept; 32: noise"),
    _byte("demosaic.aa_slope", 170, "how fast green follows the better of the two diagonals; +16 doubles"),
    _threshold("demosaic.aa_thresh", 100, "contrast of the diagonals below which the near mean is taken; 32: noise"),
    _byte("demosaic.uu_slope", 165, "how fast a direction is trusted; +16 doubles"),
    _threshold("demosaic.uu_thresh", 210, "contrast below which a place is undefined: no direction; 32: noise"),
    _byte("demosaic.sharp_alt_ld", 45, "sharpening across the edge where a direction is found, in 1/512 of the bend"),
    _byte("demosaic.sharp_alt_ldu", 45, "broad sharpening, directional and undefined places alike, in 1/256"),
    _byte("demosaic.sharp_alt_lu", 25, "sharpening all around where the direction is undefined, in 1/512 of the bend"),
    _byte("demosaic.fc_alias_slope", 85, "how fast false-color correction grows with the aliasing found"),
    _byte("demosaic.fc_alias_thresh", 0, "aliasing below which colors are left alone, in 16 codes of 14 bits"),
    _byte("demosaic.fc_slope", 130, "strength of false-color correction where there is aliasing, 256 is 1"),
    _byte("demosaic.np_offset", 3, "raises the noise profile that scales these thresholds; +32 doubles"),
    _byte("denoise.thresh_1h", 5, "detail of 1 px below it is noise, in quarters of the noise profile"),
    _byte("denoise.strength_1", 190, "share of that noise to remove, 256 is all"),
    _byte("denoise.thresh_4h", 10, "detail of 4 px below it is noise, in 1/16 of the noise profile"),
    _byte("denoise.strength_4", 255, "share of that noise to remove, 256 is all"),
    _byte("denoise.thresh_long", 48, "below it a place is flat and takes its long-range mean, in 1/64 of the profile"),
    _byte("tone.lut_knee", 207, "where the straight shoulder starts: (768 + knee) / 1024 of white"),
    _byte("tone.lut_power", 129, "exponent of the curve: (128 + power) / 512"),
    _byte("tone.lut_shadow", 31, "end of the straight toe, in 1/4096 of white"),
    _coefficient("color.coef_a_11", 4461, "R from R"),
    _coefficient("color.coef_a_12", 4001, "R from G"),
    _coefficient("color.coef_a_21", 4068, "G from R"),
    _coefficient("color.coef_a_22", 4398, "G from G"),
    _coefficient("color.coef_a_31", 4135, "B from R"),
    _coefficient("color.coef_a_32", 3842, "B from G"),
)  # fmt: skip
PAPER_EXPERT: dict[str, float] = {r.name: float(r.expert) for r in REGISTERS}
"""the values that experts found in months for another sensor, as printed"""


def check_codes(values: Mapping[str, int]) -> dict[str, int]:
    """Codes by register name without stage; `values` holds every knob by full name. Raises `ParamError`."""
    codes = {}
    for register in REGISTERS:
        code = values[register.name]
        if not register.low <= code <= register.high:
            raise ParamError(
                f"{register.name}={code} is outside [{register.low}, {register.high}] ({register.width} bits)"
            )
        codes[register.code] = code
    return codes
