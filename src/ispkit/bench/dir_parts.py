"""What the experiments on DiR share: what is learned from, what is tested on, and the scores of a restorer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ispkit.bench.bm3d_scenes import alternate, real, real_pairs
from ispkit.bench.learned_parts import LearnedBench, Pictures
from ispkit.core.errors import FileError, ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.data.degrade import Degrader, degradation
from ispkit.data.samples import Sample
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.io.pictures import FORMATS
from ispkit.isp.pipeline import ISP
from ispkit.metrics.fidelity import psnr, ssim
from ispkit.metrics.niqe import NiqeModel, niqe
from ispkit.metrics.perceptual import gmsd
from ispkit.train.loop import Sets

Measure = Callable[[Tensor, Tensor], Tensor]
MEASURES: Mapping[str, Measure] = {
    "psnr": partial(psnr, data_range=1.0),
    "ssim": partial(ssim, data_range=1.0),
    "gmsd": partial(gmsd, data_range=1.0),
}
TITLES = {"psnr": ("PSNR, dB", 2), "ssim": ("SSIM", 3), "gmsd": ("GMSD", 3), "niqe": ("NIQE", 2)}
_TEST_SEED = 1_000_003
_SEEN_OFTEN, _MANY = 8, 50  # pictures, and views of each
_NIQE_SIDE = 96  # px, a block of it; what is smaller has no NIQE


@dataclass(frozen=True, kw_only=True)
class DirBench(LearnedBench):
    """Settings of an experiment on DiR."""

    family: str = "paper"
    """of degradations to learn from, a name of `data.degrade.DEGRADATIONS`"""
    unseen: tuple[str, ...] = ("ablation",)
    """to be tested on besides those learned from"""
    real: tuple[str, ...] = ()
    """folders of really noisy pictures with clean ones (`bm3d_scenes.real_pairs`)"""
    bare: tuple[str, ...] = ()
    """folders of really noisy pictures alone"""
    niqe: Path | None = None
    """a file of `NiqeModel`"""
    views: int = 2
    """of each picture in the first stage"""
    trials: int = 40
    """of the tuning of classical rivals"""

    def __post_init__(self) -> None:
        for name in (self.family, *self.unseen):
            degradation(name)
        if self.bare and self.niqe is None:
            raise ParamError("--bare: pictures without clean ones are judged by NIQE alone; name its model with --niqe")


@dataclass(frozen=True)
class Condition:
    """Pictures that were spoiled in one way, by name and with what they should be."""

    name: str
    shots: tuple[Sample, ...]
    """one frame each; the target of a bare one is itself, and counts nothing"""
    bare: bool = False

    @property
    def measures(self) -> tuple[str, ...]:
        """What is measured of each."""
        return ("niqe",) if self.bare else tuple(MEASURES)

    def key(self, measure: str) -> str:
        """What its numbers are called among the scores of a method."""
        return f"{self.name}: {measure}"


def sets_of(bench: DirBench, pictures: tuple[Pictures, Pictures], *, views: int) -> Sets:
    """What is learned from; the held-out set draws the curves and decides nothing."""
    learned, tested = pictures
    train = _pairs(learned, bench.family, bench.patch, windows=32, seed=bench.seed, views=views)
    return Sets(train, _pairs(tested, bench.family, 96, turn=False, seed=bench.seed + 1))


def data_of(bench: DirBench, *, views: int) -> dict[str, Any]:
    """What `sets_of` is, as a recipe says it."""
    return {**bench.synthetic(), "source": "degraded", "degradation": bench.family, "views": views}


def known_shots(bench: DirBench, learned: Pictures, count: int) -> list[Sample]:
    """Windows of pictures that are learned from, for those who tune on a few."""
    fitting = {n: p for n, p in learned.items() if min(p.shape[-2:]) >= bench.window}
    return _shots(dict(list(fitting.items())[:count]), bench.family, bench)


def many_views(bench: DirBench, tested: Pictures) -> list[Sample]:
    """A window of each of some pictures, spoiled in many ways as those that are learned from."""
    some = dict(list(tested.items())[:_SEEN_OFTEN])
    pairs = _pairs(some, bench.family, 96, turn=False, seed=bench.seed + _TEST_SEED, views=_MANY)
    return [pairs[i] for i in range(len(pairs))]


def conditions(bench: DirBench, tested: Pictures) -> list[Condition]:
    """As learned from and unseen, for each folder of pictures; then the real ones. Raises `FileError`."""
    found = []
    folders = [Path(f).name for f in bench.test]
    for name in dict.fromkeys((bench.family, *bench.unseen)):
        shots = _shots(tested, name, bench)
        for folder in folders or [""]:
            own = tuple(s for s in shots if _folder_of(s, folders) == folder)
            found.append(Condition(f"{name}, {folder}" if folder else name, own))
    for folder in bench.real:
        found.append(Condition(f"real, {Path(folder).name}", tuple(_real(folder, bench))))
    if bench.niqe is not None:
        for folder in bench.bare:
            found.append(Condition(f"real, {Path(folder).name}", tuple(_bare(folder)), bare=True))
    return found


@torch.no_grad()
def scores(tested: Sequence[Condition], model: NiqeModel | None, isp: ISP) -> dict[str, list[float]]:
    """Every measure of every condition, a number a picture."""
    found: dict[str, list[float]] = {}
    for condition in tested:
        for shot in condition.shots:
            made = isp(shot.frame).data.clamp(0, 1)
            for measure in condition.measures:
                value = _value(measure, made, shot.target, model)
                found.setdefault(condition.key(measure), []).append(value)
    return found


def _folder_of(shot: Sample, folders: Sequence[str]) -> str:
    """Which folder the picture is of: pictures are called FOLDER-NAME."""
    return max((f for f in folders if shot.names[0].startswith(f"{f}-")), key=len, default="")


def _value(measure: str, made: Tensor, target: Tensor, model: NiqeModel | None) -> float:
    if measure in MEASURES:
        return float(MEASURES[measure](made, target))
    return float("nan") if model is None else float(niqe(made, data_range=1.0, model=model))


def _pairs(pictures: Pictures, family: str, side: int, *, seed: int, views: int = 1, **more: Any) -> SyntheticPairs:
    settings = degradation(family)
    raw = replace(settings.raw, patch=(side, side), **more)
    return SyntheticPairs(pictures, raw, seed=seed, maker=Degrader(settings), views=views)


def _shots(pictures: Pictures, family: str, bench: DirBench) -> list[Sample]:
    """A window of each picture that is large enough; the same windows and noise for every method."""
    pairs = _pairs(pictures, family, bench.window, turn=False, seed=bench.seed + _TEST_SEED)
    return [pairs[i] for i in range(len(pairs))]


def _real(folder: str, bench: DirBench) -> list[Sample]:
    levels = real(real_pairs(folder), crop=(bench.window, bench.window), levels=bench.most, least=1)
    scenes = alternate([s for own in levels.values() for s in own], bench.most)
    return [Sample((s.name,), s.frame, s.target) for s in scenes if s.target is not None]


def _bare(folder: str) -> list[Sample]:
    shots = []
    for path in sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in FORMATS):
        picture = _opaque(path)
        height, width = (int(n) for n in picture.shape[-2:])
        if min(height, width) >= _NIQE_SIDE:
            frame = Frame(picture, Domain.DISPLAY_RGB, CameraMeta.make("RGGB", (height, width)))
            shots.append(Sample((path.stem,), frame, picture))
    return shots


def _opaque(path: Path) -> Tensor:
    """An 8-bit picture without its transparent borders, as published thumbnails have them, (1, 3, H, W)."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise FileError(f"{path}: not an 8-bit color picture")
    if pixels.shape[2] == 4:
        shown = pixels[..., 3] == 255
        rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
        pixels = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else pixels[:0]
    rgb = np.ascontiguousarray(pixels[..., 2::-1])
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
