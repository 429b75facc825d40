"""Experiment e: c71 tuned through a screen and a camera, tested with injection on natural pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ispkit.bench.c71 import at_gain
from ispkit.bench.c71_parts import (
    C71Bench,
    Found,
    StagedSearch,
    baseline,
    compare,
    kpi_table,
    lower,
    natural_scenes,
    relative_gain,
    relative_kpis,
)
from ispkit.bench.experiment import Claim, Experiment, Table
from ispkit.bench.rig_scenes import LIGHTS_K, RigSetup, exposure_matching, rig_scenes
from ispkit.data.scenes import Scene
from ispkit.isp.anchored import AnchoredISP
from ispkit.isp.c71 import C71
from ispkit.tune.plan import Hooks
from ispkit.tune.problem import PictureProblem

FOLLOWING = ("white_balance.*", "color.*")
"""knobs that depend on the light, so they have a value for each"""
_WANTED = 0.8
_TESTED_K = 6504.0
_SHARES = {"pixels": 0.4, "kpis": 0.4, "colors": 0.2}  # of the budget


@dataclass(frozen=True)
class RigResult:
    """One gain: tuned through the rig, and by injection, on the same held-out natural scenes."""

    gain: float
    rows: list[dict[str, Any]]
    share: float
    injected_share: float
    seconds: float
    """of the search through the rig"""


def run_c71_rig(out: Path, bench: C71Bench, *, command: str, hooks: Callable[[str], Hooks] | None = None) -> Experiment:
    """Tune c71 on the rainbow chart through the simulated rig, beside `run_c71`, whose folders it uses if it can."""
    began = time.monotonic()
    found = [_at_gain(out, gain, bench, hooks) for gain in bench.gains]
    return _experiment(found, bench, command, max(sum(f.seconds for f in found), time.monotonic() - began))


def _at_gain(out: Path, gain: float, bench: C71Bench, hooks: Callable[[str], Hooks] | None) -> RigResult:
    injected = at_gain(out / f"gain-{gain:g}", gain, bench, hooks)
    _, held = natural_scenes(bench, gain)
    isp, through = C71(), _through_rig(out / f"rig-gain-{gain:g}", gain, bench, hooks)
    values = through.values
    old, new = kpi_table(isp, held, baseline()), kpi_table(isp, held, values)
    direct = kpi_table(isp, held, injected.found.values)
    rows = []
    for change, other in zip(compare(old, new, seed=bench.seed), injected.changes, strict=True):
        rows.append({**change.row(), "tuned by injection": other.new})
    return RigResult(gain, rows, relative_gain(old, new), relative_gain(old, direct), through.seconds)


def _through_rig(folder: Path, gain: float, bench: C71Bench, hooks: Callable[[str], Hooks] | None) -> Found:
    """Settings for daylight, found on the screen alone, from a random start; the other lights' colors come last."""
    scenes = _rig_scenes(bench, gain)
    plain = C71()
    isp = AnchoredISP(plain, knobs=FOLLOWING, anchors={"cct_k": sorted(LIGHTS_K.values())})
    daylight, others = ([s for s in scenes if (s.conditions["cct_k"] == _TESTED_K) is day] for day in (True, False))
    search = StagedSearch(folder, bench, hooks, _SHARES)
    near = search.pixels(plain, daylight, part=len(daylight) / len(scenes))
    found = search.kpis(plain, daylight, near, part=len(daylight) / len(scenes))
    # the baseline knows one light; what it does under the others is no goal
    goal = {name: values * len(others) for name, values in kpi_table(plain, daylight, baseline()).items()}
    space = isp.space.with_defaults(isp.spread(found.values))
    problem = PictureProblem(isp, others, relative_kpis(others, goal), space=space)
    elsewhere = [f"*@cct_k={kelvin:g}" for kelvin in LIGHTS_K.values() if kelvin != _TESTED_K]
    found = search.colors(problem, found, unlock=elsewhere, part=len(others) / len(scenes))
    return replace(found, values=isp.settings(found.values, {"cct_k": _TESTED_K, "gain": gain}))


def _rig_scenes(bench: C71Bench, gain: float) -> list[Scene]:
    """The rig, exposed so that daylight's white is that of the injected shots."""
    setup = exposure_matching(RigSetup(bench.camera(), seed=bench.seed), "D65")
    return rig_scenes(setup, gains=(gain,), chart_seed=bench.seed)


def _experiment(found: Sequence[RigResult], bench: C71Bench, command: str, seconds: float) -> Experiment:
    tables = [
        Table(
            f"Gain {f.gain:g}, held-out natural scenes under D65",
            f.rows,
            f"All five together {lower(f.share)} than the baseline's; by injection {lower(f.injected_share)}.",
        )
        for f in found
    ]
    claims = [
        Claim(
            f"at least 80 % of what tuning by injection gains, at gain {f.gain:g}",
            f"{lower(f.share)}, by injection {lower(f.injected_share)}",
            f.injected_share > 0 and f.share >= _WANTED * f.injected_share,
        )
        for f in found
    ]
    lights = ", ".join(f"{name} ({kelvin:g} K)" for name, kelvin in LIGHTS_K.items())
    return Experiment(
        name="c71-rig",
        title="c71 through a screen and a camera",
        question="Can an ISP be tuned without access to its RAW input, by showing it a chart on a screen?",
        command=command,
        data=f"tuned on the rainbow chart through the simulated rig, lights {lights}; tested on {bench.data}",
        seed=bench.seed,
        budget=f"{bench.budget} renders of the set at each gain, all included",
        seconds=seconds,
        tables=tables,
        claims=claims,
        notes=_NOTES,
        details=_facts(found),
    )


_NOTES = (
    "Targets are the chart itself, resampled to the camera's pixels by the measured light transport.",
    "White balance and matrix have a value at each light and are interpolated between; all other knobs are shared. "
    "They are found in daylight, pixels first, then KPIs, where a render costs a third of one of the whole set; then "
    "the colors under the other lights alone.",
    "The KPIs to reach under every light are those of the baseline in daylight, the one light that it was made for.",
    "Daylight on the screen is the light of the injected shots: 6504 K on the Planckian locus. Standard D65 is a "
    "greener white: what is tuned in one light is not right in the other.",
    "The rig's exposure is set once so that the screen's white reads like the white of the injected shots.",
)


def _facts(found: Sequence[RigResult]) -> Mapping[str, Any]:
    return {
        f"gain {f.gain:g}": {"relative_gain": f.share, "by_injection": f.injected_share, "seconds": f.seconds}
        for f in found
    }
