"""What a folder of shots still lacks for a whole profile, in words, most important first."""

from __future__ import annotations

from ispkit.calibrate.noise import pairs
from ispkit.calibrate.shots import Inventory

_SAME_LIGHT = 0.05
_EXPOSURES = 0.5
"""the darkest flat series of a gain should have at most this share of the brightest one's light"""


def missing_shots(inventory: Inventory) -> tuple[str, ...]:
    """One sentence a gap: what is missing, and what it costs."""
    return (*_darks(inventory), *_flat_fields(inventory), *_gains(inventory), *_charts(inventory), *_psf(inventory))


def _darks(inventory: Inventory) -> list[str]:
    darks, flats = inventory.of("dark"), inventory.of("flat")
    if not darks:
        return [
            "no dark frame: the black level is the file's tag; shoot two with the lens capped at each gain (dark_*)"
        ]
    found = []
    alone = sorted({s[0].iso for s in inventory.series("dark") if len(s) == 1})
    if alone:
        found.append(f"only one dark frame at {_isos(alone)}: two give the read noise without the fixed pattern")
    without = sorted({s.iso for s in flats} - {s.iso for s in darks})
    if without:
        found.append(
            f"you still need dark frames at {_isos(without)}: their black level is taken from the nearest gain"
        )
    return found


def _flat_fields(inventory: Inventory) -> list[str]:
    flats = inventory.of("flat")
    if not flats:
        return ["no flat field: lens shading and noise by pairs are not measured (flat_* or alsc_<cct>k_*)"]
    found = []
    known = sorted({s.cct_k for s in flats if s.cct_k > 0})
    if any(s.cct_k == 0 for s in flats):
        found.append("flats without a color temperature: name them alsc_<cct>k_1.dng, so that shading knows its light")
    if _distinct(known) < 2:
        found.append("you still need flats at a second color temperature: color shading changes with the light")
    return found


def _gains(inventory: Inventory) -> list[str]:
    by_iso: dict[float, list[float]] = {}
    for series in inventory.series("flat"):
        by_iso.setdefault(series[0].iso, []).extend(a.look.level for a, _ in pairs(series))
    found = []
    alone = sorted(iso for iso, levels in by_iso.items() if not levels)
    if alone:
        found.append(f"only single flats at {_isos(alone)}: noise needs two of the same exposure and light")
    narrow = sorted(iso for iso, levels in by_iso.items() if levels and min(levels) > _EXPOSURES * max(levels))
    if narrow and not inventory.of("dark"):
        found.append(f"flats of one brightness at {_isos(narrow)}: O needs dark frames or a second, darker exposure")
    gains = {s.iso for s in inventory.shots if s.kind in ("dark", "flat") and s.iso > 0}
    if len(gains) == 1:
        found.append(f"everything was shot at {_isos(sorted(gains))}: noise and black level at other gains are unknown")
    if any(s.iso == 0 for s in inventory.shots):
        found.append("shots without an ISO: add iso<value> to their names or to shots.yaml")
    return found


def _charts(inventory: Inventory) -> list[str]:
    charts = inventory.of("chart")
    if not charts:
        return ["no ColorChecker picture: color matrix and white balance are not measured (chart_* or <cct>k_<lux>l)"]
    found = []
    if any(s.cct_k == 0 for s in charts):
        found.append("charts without a color temperature: name them chart_<cct>k or after their light (D65, A, TL84)")
    if _distinct(sorted({s.cct_k for s in charts if s.cct_k > 0})) < 2:
        found.append("you still need a chart under a second light: the white-balance curve has one point only")
    return found


def _psf(inventory: Inventory) -> list[str]:
    return [] if inventory.of("psf") else ["no noise chart (psf_*): the point spread function is not measured"]


def _distinct(temperatures: list[float]) -> int:
    """How many lights, counting those within 5 % as one."""
    count, last = 0, 0.0
    for cct in temperatures:
        if cct > last * (1 + _SAME_LIGHT):
            count, last = count + 1, cct
    return count


def _isos(values: list[float]) -> str:
    return "ISO " + ", ".join(f"{v:g}" for v in values)
