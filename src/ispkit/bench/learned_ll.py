"""Joint denoising and demosaicing: DeepISP's low-level half beside its rivals (Schwartz et al. 2018, section IV-A)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ispkit.bench.curves import draw_curves
from ispkit.bench.experiment import Claim, Experiment, Table
from ispkit.bench.learned_parts import (
    CAMERAS,
    Entrant,
    Entry,
    LearnedBench,
    PhasePlan,
    Pictures,
    Trainer,
    Watch,
    entry,
    over_seeds,
    sensor_of,
    steps_of,
    training_s,
)
from ispkit.charts.catalog import build as build_chart
from ispkit.core.errors import ShapeError
from ispkit.core.frame import Frame
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.data.synthetic_raw import SyntheticSettings
from ispkit.isp.pipeline import ISP
from ispkit.isp.recipe import from_recipe
from ispkit.kpi.moire import measure_moire, zone_plate_frequency
from ispkit.metrics.fidelity import psnr
from ispkit.ops.color_spaces import apply_matrix
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.sensor.unprocess import camera_of
from ispkit.train.loop import Sets

SIGMAS = (1.0, 5.0, 10.0)
"""of the noise, in 1/255 of white; training draws from 1 to 10"""
_WHOLE = (PhasePlan("isp", ("isp",), "l2"),)
RIVALS: Mapping[str, Entrant] = {
    "DeepISP-LL": Entrant("DeepISP-LL", {"name": "deepisp-ll", "preset": "small"}, _WHOLE),
    "NAFNet": Entrant("NAFNet", {"name": "nafnet", "preset": "small", "writes": "linear_rgb"}, _WHOLE),
}
OURS = "DeepISP-LL"
_THRESHOLDS = (0.8, 1.1, 1.4, 1.8, 2.3)  # of the RAW denoiser, tried on training pictures


@dataclass(frozen=True)
class Shot:
    """A mosaic and what it should become."""

    name: str
    camera: str
    """which of `CAMERAS`"""
    sigma: float
    frame: Frame
    wanted: Tensor
    """(1, 3, H, W) linear RGB of the camera"""

    def scores(self, made: Tensor) -> tuple[float, float]:
        """PSNR in dB of the camera's linear RGB, and of it as encoded sRGB."""
        linear = psnr(made.clamp(0, 1), self.wanted, data_range=1.0)
        encoded = psnr(as_srgb(made, self.camera), as_srgb(self.wanted, self.camera), data_range=1.0)
        return float(linear), float(encoded)


def run_learned_ll(
    out: Path, bench: LearnedBench, *, command: str, curves: bool = True, watch: Watch | None = None
) -> Experiment:
    """Train, test on both cameras at each noise level; run folders lie under `out`, and can be gone on with."""
    began = time.monotonic()
    learned, tested = bench.pictures()
    told = bench.synthetic(colors="srgb", sigma=[SIGMAS[0], SIGMAS[-1]])
    trainer = Trainer(out, bench, _sets(bench, learned, tested), told, watch)
    shots = [s for camera in CAMERAS for s in make_shots(tested, camera, bench)]
    found = [entry(name, [isp], partial(_scores, shots)) for name, isp in classical(learned, bench).items()]
    for entrant in RIVALS.values():
        runs = trainer.train_all(entrant)
        found.append(replace(entry(entrant.name, [r.isp for r in runs], partial(_scores, shots)), runs=tuple(runs)))
    sizes = _sizes(trainer, shots) if curves else []
    lines = {f"{c.name}, seed {bench.seed + k}": r.curve for c in found for k, r in enumerate(c.runs)}
    axes = ("processor time, s", "PSNR of held-out pictures, dB")
    draw_curves(out / "learned_ll.png", lines, labels=axes)
    seconds = max(training_s(found), time.monotonic() - began)
    return _experiment(found, sizes, bench, (command, seconds))


def seen_by(picture: Tensor, camera: str) -> Tensor:
    """An encoded sRGB picture (1, 3, H, W) as the same numbers of a camera's own RGB under D65, without white balance.

    So the data sets of demosaicing are: the camera's colors stay in the mosaic and in what it should become.
    """
    return srgb_encode(apply_matrix(srgb_decode(picture), _to_sensor(camera)).clamp(0, 1))


def as_srgb(linear: Tensor, camera: str) -> Tensor:
    """The camera's linear RGB as it would be shown: white-balanced, in sRGB, encoded."""
    return srgb_encode(apply_matrix(linear, torch.linalg.inv(_to_sensor(camera)))).clamp(0, 1)


def _to_sensor(camera: str) -> Tensor:
    matrix: Tensor = camera_of(sensor_of(camera)).to_sensor[0]
    return matrix


def make_shots(pictures: Pictures, camera: str, bench: LearnedBench) -> list[Shot]:
    """A window of each picture at each noise level; the same windows and noise for every method."""
    seen = {name: seen_by(p, camera) for name, p in pictures.items()}
    shots = []
    for sigma in SIGMAS:
        settings = SyntheticSettings(
            patch=(bench.window, bench.window), colors="srgb", sigma=(sigma, sigma), turn=False
        )
        pairs = SyntheticPairs(seen, settings, seed=bench.seed + 1_000_003)
        for name, sample in zip(seen, (pairs[i] for i in range(len(pairs))), strict=True):
            shots.append(Shot(name, camera, sigma, sample.frame, _wanted(sample.restored)))
    return shots


def _wanted(restored: Tensor | None) -> Tensor:
    if restored is None:
        raise ShapeError("a synthetic sample always has its linear light")
    return restored


def _sets(bench: LearnedBench, learned: Pictures, tested: Pictures) -> Sets:
    """Training on one camera; the held-out set draws the curves and decides nothing."""
    sides = []
    for pictures, side, windows in ((learned, bench.patch, 32), (tested, 96, 1)):
        settings = SyntheticSettings(patch=(side, side), colors="srgb", sigma=(SIGMAS[0], SIGMAS[-1]), windows=windows)
        seen = {name: seen_by(p, "trained on") for name, p in pictures.items()}
        sides.append(SyntheticPairs(seen, settings, seed=bench.seed))
    return Sets(*sides)


def classical(learned: Pictures, bench: LearnedBench) -> dict[str, ISP]:
    """Demosaicing alone, and after the RAW denoiser, its threshold the best on the training pictures."""
    methods = {"bilinear": "bilinear", "Malvar 2004": "malvar2004", "Menon 2007": "menon2007"}
    found: dict[str, ISP] = {name: _developer(method) for name, method in methods.items()}
    shots = make_shots(dict(list(learned.items())[:8]), "trained on", bench)

    def quality(threshold: float) -> float:
        isp = _developer("menon2007", threshold)
        return float(np.mean([s.scores(isp(s.frame).data)[0] for s in shots]))

    best = max(_THRESHOLDS, key=quality)
    return found | {f"RAW denoise ({best:g}) + Menon 2007": _developer("menon2007", best)}


def _developer(method: str, threshold: float | None = None) -> ISP:
    quiet = [] if threshold is None else [{"raw_denoise": {"luma": 1.0, "chroma": 1.0, "threshold": threshold}}]
    return from_recipe({"version": 1, "stages": [*quiet, {"demosaic": {"method": method}}]}, where="rival")


@torch.no_grad()
def _scores(shots: Sequence[Shot], isp: ISP) -> dict[str, list[float]]:
    """By measure: kind of PSNR, camera and noise level, one number a picture; and the false chroma, one for all."""
    found: dict[str, list[float]] = {"moire": [_moire(isp)]}
    for shot in shots:
        for kind, value in zip(_KINDS, shot.scores(isp(shot.frame).data), strict=True):
            found.setdefault(_measure(kind, shot.camera, shot.sigma), []).append(value)
    for kind in _KINDS:
        for camera in {s.camera for s in shots}:
            levels = [found[_measure(kind, camera, sigma)] for sigma in SIGMAS]
            found[_measure(kind, camera)] = over_seeds(levels)
    return found


def _measure(kind: str, camera: str, sigma: float | None = None) -> str:
    """Without a noise level: the mean over them, picture by picture."""
    return f"{kind}, {camera}" if sigma is None else f"{kind}, {camera}, sigma {sigma:g}"


@torch.no_grad()
def _moire(isp: ISP) -> float:
    """False chroma C*ab, summed over frequencies, of a gray zone plate without noise seen by the camera trained on."""
    chart = build_chart("zone_plate", height=256, width=256)
    plate = {"plate": seen_by(srgb_encode(chart.picture[None]), "trained on")}
    settings = SyntheticSettings(patch=(256, 256), colors="srgb", sigma=(0.0, 0.0), turn=False)
    made = isp(SyntheticPairs(plate, settings)[0].frame).data
    truth = chart.regions[0].truth
    frequency = zone_plate_frequency(
        (256, 256), center=truth["center"], radius=truth["radius"], frequency_max=truth["frequency_max"]
    )
    return measure_moire(srgb_decode(as_srgb(made, "trained on"))[0], frequency).integral


def _sizes(trainer: Trainer, shots: Sequence[Shot]) -> list[dict[str, Any]]:
    """DeepISP-LL by depth and by width, one training each, the same time for all."""
    rows: list[dict[str, Any]] = []
    for knob, values in (("depth", (3, 6, 11, 18)), ("width", (8, 16, 32, 48))):
        for value in values:
            isp = {"name": "deepisp-ll", "preset": "small", knob: value}
            entrant = Entrant(f"DeepISP-LL {knob} {value}", isp, _WHOLE)
            run = trainer.train(entrant, trainer.bench.seed)
            scores = _scores([s for s in shots if s.camera == "trained on"], run.isp)
            linear = {
                f"linear, sigma {s:g}": float(np.mean(scores[_measure("linear", "trained on", s)])) for s in SIGMAS
            }
            rows.append({"knob": f"{knob} {value}", "parameters": run.parameters, "steps": run.steps, **linear})
    return rows


def _experiment(
    found: Sequence[Entry], sizes: Sequence[Mapping[str, Any]], bench: LearnedBench, run: tuple[str, float]
) -> Experiment:
    ours = next(e for e in found if e.name == OURS)
    tables = [
        Table(f"{title}, camera: {camera}", [_row(e, ours, (kind, camera), bench.seed) for e in found], _NOTE)
        for camera in CAMERAS
        for kind, title in _KINDS.items()
    ]
    chroma = [{"method": e.name, "moiré, C*ab": e.mean("moire")} for e in found]
    tables += [Table("False chroma of a zone plate", chroma), Table("Sizes and steps", steps_of(found))]
    if sizes:
        tables.append(Table("DeepISP-LL by depth and width, PSNR in dB", sizes, "One training each, the same time."))
    return Experiment(
        name="learned-ll",
        title="Joint denoising and demosaicing",
        question="Does one network do better than a denoiser and a demosaicer in a row, also for another camera?",
        command=run[0],
        data=f"{bench.data}; cameras {', '.join(f'{v} ({k})' for k, v in CAMERAS.items())}, noise 1 to 10 of 255",
        seed=bench.seed,
        budget=bench.budget,
        seconds=run[1],
        tables=tables,
        claims=[_claim(found, ours, camera) for camera in CAMERAS],
        notes=(
            "![held-out PSNR of each training](learned_ll.png)",
            "Linear: PSNR of the camera's own RGB; encoded: after white balance, matrix and the sRGB curve.",
            "Nobody but the RAW denoiser is told the noise level; its threshold is the best on training pictures.",
            "The paper (MSR Panasonic, linear / sRGB): bilinear-like 34.2 / 27.6, FlexISP 38.3 / 31.8, "
            "DeepISP-LL 39.3 / 33.7; on Canon, not trained on, 36.4 / 29.1, 40.7 / 33.4 and 41.7 / 35.4.",
        ),
        details={"scores": {e.name: e.scores for e in found}},
    )


_KINDS = {"linear": "Linear PSNR in dB", "encoded": "Encoded PSNR in dB"}
_NOTE = "Difference: DeepISP-LL less the method over the same pictures and noise levels, mean of trainings, 95 %."


def _row(method: Entry, ours: Entry, which: tuple[str, str], seed: int) -> dict[str, Any]:
    titles = {_measure(*which, sigma): (f"sigma {sigma:g}", 2) for sigma in SIGMAS}
    return {**method.row(titles), "DeepISP-LL less it": ours.less(method, _measure(*which), seed=seed)}


def _claim(found: Sequence[Entry], ours: Entry, camera: str) -> Claim:
    mean = {e.name: e.mean(_measure("linear", camera)) for e in found}
    rivals = {n: v for n, v in mean.items() if n != OURS and n not in RIVALS}
    best = max(rivals, key=lambda n: rivals[n])
    return Claim(
        f"DeepISP-LL above every classical method in linear PSNR, camera: {camera}",
        f"{mean[OURS]:.2f} dB, {best} {rivals[best]:.2f} dB",
        mean[OURS] > rivals[best],
    )
