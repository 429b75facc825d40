"""Experiment b: BM3D tuned per noise level, against its default, its sigma alone, and a small network (section 5.1)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ispkit.bench.bm3d_scenes import alternate, real, real_pairs, simulated
from ispkit.bench.experiment import Claim, Experiment, Table
from ispkit.bench.picture_scores import (
    PictureScores,
    best_of_sweep,
    gain_over,
    gap_rows,
    score_pictures,
    score_setting,
    worst_gap,
)
from ispkit.bench.rawtherapee_scenes import Size
from ispkit.bench.small_denoiser import DenoiserPlan, denoise, kept_denoiser
from ispkit.core.errors import ParamError
from ispkit.core.param import Values
from ispkit.data.scenes import Scene
from ispkit.data.tuning_sets import Shooting, split
from ispkit.isp.external.bm3d import Bm3dISP
from ispkit.isp.pipeline import ISP
from ispkit.sensor.catalog import load_sensor
from ispkit.tune.objectives.base import target_of
from ispkit.tune.objectives.reference import REFERENCE
from ispkit.tune.plan import Guard, Hooks, Plan
from ispkit.tune.problem import PictureProblem
from ispkit.tune.result import Result
from ispkit.tune.study import tune

SIGMA = "bm3d.sigma_scale"
MOST_LOSS_DB = 0.1
_DEFAULT, _SWEEP, _TUNED, _NETWORK = "default, sigma estimated", "sigma sweep", "tuned", "small network"


@dataclass(frozen=True, kw_only=True)
class Bm3dBench:
    """Settings of the experiment."""

    pictures: tuple[str, ...] = ()
    """folders of finished pictures to simulate from; none: the toolkit's own"""
    count: int = 16
    """pictures taken of each folder, or made; half of them are held out"""
    gains: tuple[float, ...] = (4.0, 16.0, 64.0)
    """noise levels; empty: none is simulated"""
    sensor: str = "sidd-google-pixel"
    real: Path | None = None
    """a folder of pairs NAME_real and NAME_mean"""
    real_levels: int = 3
    """so many of its noise levels, those with the most scenes"""
    crop: Size = (112, 112)
    most: int = 10
    """pictures of a level on each side"""
    method: str = "auto"
    budget: float = 80.0
    """renders of a level's tuning pictures, those of the sweep among them"""
    seed: int = 0
    sweep: tuple[float, ...] = ()
    """factors on the estimated sigma; none: 15 over the whole range of the knob"""
    guard_db: float = 0.0
    """no tuning picture may fall below the default by more"""
    network: bool = True
    """train the learned rival, for as long as each search took"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """of the method"""

    @property
    def data(self) -> str:
        """What the pictures are, for a table."""
        where = " + ".join(Path(p).name for p in self.pictures) or "pictures made by the toolkit"
        gains = ", ".join(f"{g:g}" for g in self.gains)
        parts = [f"{where} as shots of {self.sensor} at gain {gains}, developed by the preset neutral"]
        parts = parts if self.gains else []
        parts += [f"pairs of {self.real.name}, {self.real_levels} levels"] if self.real is not None else []
        return "; ".join([*parts, f"windows of {self.crop[0]}x{self.crop[1]}, half of the scenes held out"])


@dataclass(frozen=True)
class LevelResult:
    """One noise level."""

    level: str
    scores: Mapping[str, PictureScores]
    """contestant -> on the held-out pictures"""
    result: Result
    scale: float
    """of the sigma sweep"""
    sweep: Sequence[Mapping[str, float]]
    training: str
    """of the network; empty without one"""

    @property
    def worst(self) -> float:
        """PSNR of the held-out picture that does worst against the default, dB."""
        return worst_gap(self.scores[_TUNED], self.scores[_DEFAULT])


def run_bm3d(out: Path, bench: Bm3dBench, *, command: str, hooks: Callable[[str], Hooks] | None = None) -> Experiment:
    """Tune BM3D at each noise level and judge it on other pictures; studies lie under `out`. Can be gone on with.

    Raises `MissingExtraError` without the package bm3d, `FileError`, `ParamError`.
    """
    began, isp = time.monotonic(), Bm3dISP()
    if not bench.sweep:
        knob = isp.space.select(SIGMA)
        steps = [knob.from_vector(u)[SIGMA] for u in torch.linspace(0, 1, 15, dtype=torch.float64)[:, None]]
        bench = replace(bench, sweep=tuple(float(v) for v in steps))
    if bench.budget < len(bench.sweep) + 2:
        raise ParamError(f"budget={bench.budget:g} must leave 2 renders beside the sweep's {len(bench.sweep)}")
    found = []
    for name, scenes in levels_of(bench).items():
        told = hooks(name) if hooks is not None else None
        found.append(at_level(out / _folder(name), (name, scenes), isp, bench, hooks=told))
    searched = sum(level.result.seconds for level in found)
    return _experiment(found, bench, command, max(searched, time.monotonic() - began))


def levels_of(bench: Bm3dBench) -> dict[str, list[Scene]]:
    """Noise level -> scenes, simulated and real. Raises `ParamError` if there is none."""
    levels: dict[str, list[Scene]] = {}
    if bench.gains:
        shooting = Shooting(bench.gains, crop=bench.crop, seed=bench.seed)
        levels |= simulated(bench.pictures, load_sensor(bench.sensor), shooting, count=bench.count)
    if bench.real is not None:
        levels |= real(real_pairs(bench.real), crop=bench.crop, levels=bench.real_levels)
    if not levels:
        raise ParamError("gains is empty and there is no folder of real pairs; give one of both")
    return levels


def at_level(
    folder: Path, level: tuple[str, Sequence[Scene]], isp: ISP, bench: Bm3dBench, *, hooks: Hooks | None = None
) -> LevelResult:
    """Sweep, search and network on the tuning scenes, all of them on those held out."""
    name, scenes = level
    tuned_on, held = (alternate(side, bench.most) for side in split(scenes, 0.5))
    problem = PictureProblem(isp, tuned_on, REFERENCE["psnr"])
    scale, sweep = best_of_sweep(problem, SIGMA, bench.sweep, keep=folder.with_name(f"{folder.name}-sweep.json"))
    held_out = PictureProblem(isp, held, REFERENCE["psnr"])
    result = tune(problem, folder, _plan(bench, scale), held_out=held_out, hooks=hooks)
    settings: dict[str, Values] = {_DEFAULT: {}, _SWEEP: {SIGMA: scale}, _TUNED: dict(result.best.values)}
    scores = {"noisy": score_pictures([s.frame.data for s in held], held)}
    scores |= {who: score_setting(isp, values, held) for who, values in settings.items()}
    training = ""
    if bench.network:
        scores[_NETWORK], training = _network(folder, (tuned_on, held), result.seconds, bench)
    return LevelResult(name, scores, result, scale, sweep, training)


def _plan(bench: Bm3dBench, scale: float) -> Plan:
    """The search begins at the best of the sweep, whose renders are a part of the budget."""
    return Plan(
        method=bench.method,
        budget=bench.budget - len(bench.sweep),
        seed=bench.seed,
        options=bench.options,
        enqueue=[{SIGMA: scale}],
        guard=Guard(bench.guard_db, relative=False),
        noisy=False,
    )


def _network(
    folder: Path, sides: tuple[Sequence[Scene], Sequence[Scene]], seconds: float, bench: Bm3dBench
) -> tuple[PictureScores, str]:
    tuned_on, held = sides
    noisy, clean = [s.frame.data for s in tuned_on], [target_of(s) for s in tuned_on]
    plan = DenoiserPlan(seconds, patch=min(48, *bench.crop), seed=bench.seed)
    place = folder.with_name(f"{folder.name}-network.pt")
    trained = kept_denoiser(place, noisy, clean, plan, names=[s.name for s in tuned_on])
    pictures = denoise(trained.network, [s.frame.data for s in held])
    return score_pictures(pictures, held), f"{trained.steps} steps in {trained.seconds:.0f} s"


def _experiment(found: Sequence[LevelResult], bench: Bm3dBench, command: str, seconds: float) -> Experiment:
    return Experiment(
        name="bm3d",
        title="BM3D tuned per noise level",
        question="Beside its one strength, are the other knobs of a classical denoiser worth turning, and does a tuned "
        "one keep up with a network that learns from the same pictures for as long?",
        command=command,
        data=bench.data,
        seed=bench.seed,
        budget=f"{bench.budget:g} renders of a level's tuning pictures, the sweep's {len(bench.sweep)} among them",
        seconds=seconds,
        tables=[table for one in found for table in _tables(one, bench)],
        claims=[claim for one in found for claim in _claims(one, bench)],
        notes=(
            "sigma estimated: the median of diagonal details, which takes noise for white; demosaicing correlates it, "
            "so the estimate is low, and most of every gain is one factor on it. The sweep is the honest rival; the "
            "search begins at its best.",
            f"Worst-picture guard of every search: no tuning picture below the default by more than "
            f"{bench.guard_db:g} dB.",
            "small network: DnCNN without batch normalization, trained on the same tuning pictures in the wall time of "
            "the search; its steps depend on the machine. BM3D is free for non-commercial use only.",
        ),
        details={one.level: _facts(one) for one in found},
    )


def _tables(one: LevelResult, bench: Bm3dBench) -> list[Table]:
    count, result = len(one.scores[_TUNED].values["psnr"]), one.result
    judged = Table(
        f"{one.level}: {count} held-out pictures",
        [s.row(name) for name, s in one.scores.items()],
        f"The sweep chose {one.scale:g} times the estimated sigma. {result.spent:.0f} more renders of "
        f"{len(result.pictures)} pictures, {result.seconds:.0f} s, method {result.method}."
        + (f" Network: {one.training}." if one.training else ""),
    )
    gaps = gap_rows({n: s for n, s in one.scores.items() if n != "noisy"}, _TUNED, seed=bench.seed)
    return [judged, Table(f"{one.level}: what tuning gained", gaps, "95 % paired bootstrap intervals over pictures.")]


def _claims(one: LevelResult, bench: Bm3dBench) -> list[Claim]:
    tuned, swept = one.scores[_TUNED], one.scores[_SWEEP]
    gap = gain_over(tuned, swept, "psnr", seed=bench.seed)
    gained = f"{gap.value:+.3f} dB, 95 % [{gap.low:+.3f}, {gap.high:+.3f}]"
    return [
        Claim(f"{one.level}: held-out PSNR above that of the sigma sweep", gained, gap.value > 0),
        Claim(
            f"{one.level}: no held-out picture below the default by more than {MOST_LOSS_DB:g} dB",
            f"worst {one.worst:+.2f} dB",
            one.worst >= -MOST_LOSS_DB,
        ),
    ]


def _facts(one: LevelResult) -> dict[str, Any]:
    guard = one.result.guard
    return {
        "tuned": dict(one.result.best.values),
        "warnings": list(one.result.warnings),
        "guard": None if guard is None else {"refused": guard.refused, "cost_db": guard.cost},
        "sweep": [dict(row) for row in one.sweep],
        "scores": {name: dict(s.values) for name, s in one.scores.items()},
    }


def _folder(level: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in level).strip("-")
