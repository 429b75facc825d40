"""Experiment f: RawTherapee tuned for low light, against its defaults, its own profile for high ISO and one slider."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ispkit.bench.experiment import Claim, Experiment, Table
from ispkit.bench.picture_scores import PictureScores, best_of_sweep, gain_over, gap_rows, score_setting
from ispkit.bench.rawtherapee_scenes import Size, composite, pictures_of, shots_with_targets
from ispkit.core.errors import FileError
from ispkit.core.param import Knob, Param, Value, Values
from ispkit.core.space import ParamSpace
from ispkit.data.scenes import Scene
from ispkit.data.tuning_sets import Shooting, split
from ispkit.io.tuning.pp3 import IniText, read_pp3
from ispkit.isp.external.command import CommandISP
from ispkit.isp.external.start import values_in
from ispkit.isp.pipeline import ISP
from ispkit.sensor.catalog import load_sensor
from ispkit.tune.objectives.grammar import parse_objectives
from ispkit.tune.plan import Hooks, Plan
from ispkit.tune.problem import PictureProblem, Settings
from ispkit.tune.result import Result
from ispkit.tune.study import tune

LUMA = "denoise.luma"
AUTO_PROFILE = "Auto-Matched Curve - ISO High.pp3"
PROFILE_FOLDERS = (
    "/usr/share/rawtherapee/profiles",
    "/usr/local/share/rawtherapee/profiles",
    "/Applications/RawTherapee.app/Contents/Resources/share/profiles",
)
FREE = (
    "raw.method", "raw.false_color_steps", "raw.lmmse_iterations", "raw.line_denoise", "raw.hot_pixels",
    "raw.hot_pixel_threshold", "denoise.*", "impulse.*", "sharpening.amount", "sharpening.radius",
    "sharpening.contrast", "sharpening.method", "microcontrast.strength", "detail.*", "exposure.compensation",
    "exposure.black", "exposure.contrast", "exposure.saturation", "lab.chromaticity",
)  # fmt: skip
"""what may be turned; colors, lens, haze, compression of the range and local contrast have no business here"""
_TUNED = "tuned"
_BATCH_PIXELS = 1 << 23  # all pictures at once, so that no worker waits


@dataclass(frozen=True, kw_only=True)
class RawTherapeeBench:
    """Settings of the experiment."""

    pictures: tuple[str, ...] = ()
    """folders of finished pictures; none: the toolkit's own"""
    count: int = 12
    """pictures taken of each folder, or made"""
    gain: float = 64.0
    """ISO / 100"""
    sensor: str = "sidd-google-pixel"
    crop: Size = (512, 512)
    """window of each picture; smaller pictures are continued by reflection"""
    held_out: float = 0.5
    """share of the pictures"""
    objective: str = "psnr"
    method: str = "auto"
    budget: float = 150.0
    """renders of the tuning set"""
    seed: int = 0
    workers: int = 2
    """renders at a time"""
    free: tuple[str, ...] = FREE
    """patterns of the knobs to turn"""
    luma: tuple[float, ...] = tuple(10.0 * i for i in range(11))
    """of the sweep"""
    profile: Path | None = None
    """the rival profile; None: RawTherapee's own for high ISO"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """of the method"""

    @property
    def data(self) -> str:
        """What the pictures are, for a table."""
        where = " + ".join(Path(p).name for p in self.pictures) or "pictures made by the toolkit"
        size = f"{self.crop[0]}x{self.crop[1]}"
        return f"{where}: windows of {size}, RAW of {self.sensor} at {self.gain:g}x gain; {self.held_out:.0%} held out"


def run_rawtherapee(
    out: Path, bench: RawTherapeeBench, *, command: str, hooks: Callable[[str], Hooks] | None = None
) -> Experiment:
    """Tune RawTherapee on some shots and judge it on others; `out` keeps the study of each gain and every render.

    Can be gone on with. Raises `BlackBoxError` if the program is not there, `FileError` without a rival profile.
    """
    began = time.monotonic()
    isp = open_rawtherapee(out / "renders", bench.workers)
    profile = read_pp3(bench.profile or bundled_profile())
    tuned_on, held = scenes_of(isp, bench)
    problem = problem_of(isp, tuned_on, bench)
    luma, sweep = best_of_sweep(problem, LUMA, bench.luma)
    known = [{LUMA: v} for v in bench.luma if v] + [profile_values(isp, profile, problem.space)]
    plan = Plan(
        method=bench.method, budget=bench.budget, seed=bench.seed, options=bench.options, noisy=False, enqueue=known
    )
    told = hooks("RawTherapee") if hooks is not None else None
    result = tune(problem, out / f"gain-{bench.gain:g}", plan, held_out=problem_of(isp, held, bench), hooks=told)
    settings: dict[str, tuple[ISP, Values]] = {
        "default": (isp, {}),
        "auto profile": (with_profile(isp, profile), {}),
        "luma sweep": (isp, {LUMA: luma}),
        _TUNED: (isp, result.best.values),
    }
    scores = {name: score_setting(box, values, held) for name, (box, values) in settings.items()}
    return _experiment(bench, scores, (result, luma, sweep), (command, max(result.seconds, time.monotonic() - began)))


def rawtherapee_problem(
    bench: RawTherapeeBench, seed: int, *, cache: Path | None = None
) -> tuple[PictureProblem, PictureProblem]:
    """The same task in two renders: nine windows of nine pictures each, in one shot to tune on and one held out.

    The windows are a third of `bench.crop`. Made for comparisons of methods over many renders; about a third of
    a second each at 384 x 384. `seed` draws windows and noise.
    """
    isp = open_rawtherapee(cache, 1)
    side = min(bench.crop) // 6 * 2
    found = list(pictures_of(bench.pictures, (side, side), count=18, seed=seed).values())
    if len(found) < 18:
        raise FileError(f"{', '.join(bench.pictures)}: {len(found)} pictures; 18 are needed, nine on each side")
    sensor = load_sensor(bench.sensor)
    sides: list[PictureProblem] = []
    for k, name in enumerate(("tuning", "held-out")):
        picture: Tensor = composite(found[k:18:2], side, seed=2 * seed + k)
        shooting = Shooting((bench.gain,), seed=2 * seed + k)
        sides.append(problem_of(isp, shots_with_targets(isp, {name: picture}, sensor, shooting), bench))
    return sides[0], sides[1]


def open_rawtherapee(cache: Path | None, workers: int) -> CommandISP:
    """The preset. Raises `BlackBoxError` if the program is not there."""
    isp = CommandISP("rawtherapee", cache=cache, workers=workers)
    isp.check()
    return isp


def scenes_of(isp: ISP, bench: RawTherapeeBench) -> tuple[list[Scene], list[Scene]]:
    """Shots to tune on and held out, of different pictures."""
    pictures = pictures_of(bench.pictures, bench.crop, count=bench.count, seed=bench.seed)
    shooting = Shooting((bench.gain,), crop=bench.crop, seed=bench.seed)
    return split(shots_with_targets(isp, pictures, load_sensor(bench.sensor), shooting), bench.held_out)


def problem_of(isp: ISP, scenes: Sequence[Scene], bench: RawTherapeeBench) -> PictureProblem:
    """The free knobs on some scenes."""
    settings = Settings(batch_pixels=_BATCH_PIXELS)
    judges = parse_objectives(bench.objective)
    return PictureProblem(isp, scenes, judges, space=isp.space.select(*bench.free), settings=settings)


def with_profile(isp: CommandISP, profile: IniText) -> CommandISP:
    """The program with a profile as it stands; it has no knobs."""
    params = replace(isp.spec.params, template=profile.text)
    spec = replace(isp.spec, params=params, knobs={}, space=ParamSpace({}))
    return CommandISP(spec, cache=isp.cache, workers=isp.workers)


def profile_values(isp: CommandISP, profile: IniText, space: ParamSpace) -> dict[str, Value]:
    """What a profile says of the free knobs, cut to their ranges; what it leaves to the program keeps its default."""
    found = values_in(isp.spec.knobs, isp.spec.params.format, profile.text)
    values = {name: value for name, value in found.items() if name in space}
    return {name: v if isinstance(v, str) else _within(space[name], v) for name, v in values.items()}


def _within(knob: Knob, value: float) -> float:
    return min(max(value, knob.low), knob.high) if isinstance(knob, Param) else value


def bundled_profile(name: str = AUTO_PROFILE) -> Path:
    """A profile that comes with RawTherapee. Raises `FileError` where it is not found."""
    found = [Path(folder) / name for folder in PROFILE_FOLDERS if (Path(folder) / name).is_file()]
    if not found:
        raise FileError(f"{name}: not in {', '.join(PROFILE_FOLDERS)}; say where RawTherapee's profile is")
    return found[0]


def _experiment(
    bench: RawTherapeeBench,
    scores: Mapping[str, PictureScores],
    search: tuple[Result, float, list[dict[str, float]]],
    run: tuple[str, float],
) -> Experiment:
    result, luma, sweep = search
    free = len(result.knobs)
    changed = [{"knob": k.name, "default": k.old, "tuned": k.new} for k in result.changed if k.active]
    judged = Table(
        f"{len(scores[_TUNED].values['psnr'])} held-out pictures",
        [s.row(name) for name, s in scores.items()],
        f"The sweep chose luma {luma:g}; tuned: {free} knobs, {result.spent:.0f} renders of {len(result.pictures)} "
        f"pictures, {result.seconds:.0f} s, method {result.method}, objective {bench.objective}.",
    )
    gaps = Table(
        "What tuning gained on them",
        gap_rows(scores, _TUNED, seed=bench.seed),
        "Means over the pictures with 95 % paired bootstrap intervals; NLPD: lower is better.",
    )
    tables = [judged, gaps] + ([Table("Knobs that act and were changed", changed)] if changed else [])
    return Experiment(
        name=f"rawtherapee-{bench.gain:g}x",
        title=f"RawTherapee tuned for low light, gain {bench.gain:g}",
        question="Does tuning many sliders together beat RawTherapee's defaults, the profile it brings for high ISO, "
        "and the best position of the denoising slider, on pictures that none of them saw?",
        command=run[0],
        data=bench.data,
        seed=bench.seed,
        budget=f"{bench.budget:g} renders of the tuning set; the sweep is a part of them",
        seconds=run[1],
        tables=tables,
        claims=[_claim(scores, rival, bench.seed) for rival in scores if rival != _TUNED],
        notes=(
            "The target is RawTherapee's picture of the same shot without noise, by its neutral profile: what is "
            "measured is what noise did, and how much of it was undone without harm.",
            f"auto profile: '{(bench.profile or Path(AUTO_PROFILE)).name}' as it comes; its curve matches the "
            "JPEG inside a RAW file, of which these have none, so the tone stays that of the target.",
            "The search begins with what a user would try first, in its own budget: the positions of the sweep, and "
            "what the profile says of its knobs.",
        ),
        details={
            "tuned": dict(result.best.values),
            "warnings": list(result.warnings),
            "sweep": sweep,
            "tuning pictures": [name.partition("@")[0] for name in result.pictures],
            "scores": {name: dict(s.values) for name, s in scores.items()},
        },
    )


def _claim(scores: Mapping[str, PictureScores], rival: str, seed: int) -> Claim:
    gap = gain_over(scores[_TUNED], scores[rival], "psnr", seed=seed)
    measured = f"{gap.value:+.2f} dB, 95 % [{gap.low:+.2f}, {gap.high:+.2f}]"
    return Claim(f"at least +1 dB PSNR over {rival} on held-out pictures", measured, gap.value >= 1.0)


__all__ = ["FREE", "RawTherapeeBench", "rawtherapee_problem", "run_rawtherapee"]
