"""What a request asks for, out of its address and headers: nothing is taken for granted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from ispkit.core.errors import ParamError, nearest
from ispkit.io.geometry import Facts, Geometry, plain_value

As = Literal["json", "jpeg", "png", "both"]
_TYPES: dict[str, As] = {"application/json": "json", "image/jpeg": "jpeg", "image/png": "png"}
_GEOMETRY = tuple(f.name for f in fields(Geometry))
_OWN = ("as", "lux", "seed", "quality")
LUX = (0.1, 2000.0)
"""light that can be simulated"""
_SEEDS = 1 << 31


@dataclass(frozen=True)
class Asked:
    """One request's wishes."""

    answer: As | None = None
    """json: what is seen; jpeg, png: the picture; both: json with the JPEG in it; None: as the server can"""
    facts: Facts | None = None
    """of a dump (a `Geometry`), or facts in place of the file's own"""
    lux: float | None = None
    """a finished picture is first made a RAW of this light"""
    seed: int = 0
    """of the simulated noise"""
    quality: int = 90
    """of the JPEG"""


def asked(query: Sequence[tuple[str, str]], accept: str = "") -> Asked:
    """The wishes of an address's query, `as` before the header Accept. Raises `ParamError`.

    Keys of a geometry are those of `ispkit render --geometry`, four levels with colons: `black_level=64:64:65:64`.

    >>> asked([("width", "640"), ("height", "480"), ("bits", "10"), ("cfa", "RGGB")]).facts.file_size
    614400
    """
    given: dict[str, str] = {}
    for key, value in query:
        if key not in (*_OWN, *_GEOMETRY):
            raise ParamError(f"no option {key[:40]!r}; {nearest(key[:40], (*_OWN, *_GEOMETRY))}")
        if key in given:
            raise ParamError(f"{key} is given twice")
        given[key] = value
    return Asked(
        answer=_answer(given.get("as"), accept),
        facts=_facts({k: plain_value(v[:80]) for k, v in given.items() if k in _GEOMETRY}),
        lux=_number("lux", given["lux"], *LUX) if "lux" in given else None,
        seed=int(_number("seed", given.get("seed", "0"), 0, _SEEDS, whole=True)),
        quality=int(_number("quality", given.get("quality", "90"), 1, 100, whole=True)),
    )


def _answer(wanted: str | None, accept: str) -> As | None:
    if wanted is not None:
        for known in get_args(As):
            if wanted == known:
                return known  # type: ignore[no-any-return]
        raise ParamError(f"as={wanted[:40]!r} is unknown; {nearest(wanted[:40], get_args(As))}")
    ranked = sorted((-_weight(part), i, part.split(";")[0].strip()) for i, part in enumerate(accept.split(",")[:20]))
    return next((_TYPES[kind] for weight, _, kind in ranked if kind in _TYPES and weight < 0), None)


def _weight(part: str) -> float:
    """The q of one part of Accept."""
    for word in part.split(";")[1:]:
        name, _, value = word.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _facts(stated: Mapping[str, Any]) -> Facts | None:
    if not stated:
        return None
    own = {f.name for f in fields(Facts)}
    if set(stated) <= own:
        return Facts(**stated)
    missing = [name for name in ("width", "height", "bits") if name not in stated]
    if missing:
        raise ParamError(f"the geometry of a dump also needs {', '.join(missing)}")
    return Geometry(**stated)


def _number(name: str, text: str, low: float, high: float, *, whole: bool = False) -> float:
    try:
        value = float(int(text)) if whole else float(text)
    except (ValueError, OverflowError):
        value = math.nan
    if not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise ParamError(f"{name}={text[:40]!r} must be {kind} in [{low:g}, {high:g}]")
    return value
