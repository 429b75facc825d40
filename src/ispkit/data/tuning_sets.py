"""Scenes to tune on: pictures seen by a simulated sensor, RAW files with their targets, charts; and how they are split.

A scene's name begins with its picture, "kodim01@gain=4": what comes from one picture stays on one side of a split.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ispkit.charts.chart import Chart
from ispkit.core.errors import FileError, IspkitError, ParamError, ShapeError
from ispkit.data.pairs_files import PairFiles, held_out_names
from ispkit.data.pairs_layouts import raw_and_pictures
from ispkit.data.pairs_read import Reading, read_pair
from ispkit.data.samples import Sample
from ispkit.data.scenes import Scene
from ispkit.io.pictures import FORMATS, read_picture
from ispkit.ops.encode import srgb_encode
from ispkit.sensor.model import Sensor
from ispkit.sensor.simulate import capture
from ispkit.sensor.synthesize import Settings, synthesize

_LOG = logging.getLogger(__name__)
Size = tuple[int, int]
_D65_CCT_K = 6504.0


@dataclass(frozen=True)
class Shooting:
    """How a simulated camera takes its pictures: every gain under every light."""

    gains: tuple[float, ...] = (1.0,)
    """ISO / 100; more gain is more noise at the same brightness"""
    cct_k: tuple[float, ...] = (_D65_CCT_K,)
    crop: Size | None = None
    """height, width (even) of a window of each picture, drawn once a picture; None: whole, cut to even sides"""
    seed: int = 0
    """of windows and noise"""

    def __post_init__(self) -> None:
        if not self.gains or min(self.gains) <= 0 or not all(map(math.isfinite, self.gains)):
            raise ParamError(f"gains={list(self.gains)} must be positive numbers, such as 1, 4, 16")
        if not self.cct_k:
            raise ParamError("cct_k is empty; give at least one color temperature, such as 6504")
        if self.crop is not None and (min(self.crop) < 2 or any(side % 2 for side in self.crop)):
            raise ShapeError(f"crop={self.crop} must be even numbers of at least 2, so that windows keep their CFA")

    def settings(self) -> list[tuple[float, float]]:
        """Every (gain, cct_k)."""
        return list(itertools.product(self.gains, self.cct_k))


def from_pictures(
    pictures: Mapping[str, Tensor],
    sensor: Sensor,
    shooting: Shooting | None = None,
    *,
    labels: Mapping[str, Any] | None = None,
) -> list[Scene]:
    """Finished pictures (1, 3, H, W), encoded sRGB in [0, 1], as RAW shots of `sensor` with the pictures as targets.

    Unprocessing of Brooks et al. 2019 with the sensor's own colors under each light and its noise at ISO 100 x gain;
    its blur stays in the RAW. `labels` by name go along, cut by their own `crop`. Each shot has noise of its own.
    """
    shooting = shooting or Shooting()
    scenes = []
    for index, (name, picture) in enumerate(pictures.items()):
        if picture.ndim != 4 or picture.shape[:2] != (1, 3):
            raise ShapeError(f"picture {name!r} must be (1, 3, H, W), got {tuple(picture.shape)}")
        window = _window(name, (int(picture.shape[-2]), int(picture.shape[-1])), shooting, index)
        y, x, height, width = window
        part = picture[..., y : y + height, x : x + width].clamp(0, 1)
        found = None if labels is None else labels[name].crop(*window)
        for shot, (gain, cct_k) in enumerate(shooting.settings()):
            taken = Settings(iso=100 * gain, cct_k=cct_k, seed=_seed(shooting.seed, index, shot))
            raw = synthesize(part, sensor, taken).raw
            told = {"gain": gain, "cct_k": cct_k}
            scenes.append(Scene(_named(name, told, shooting), raw, part, labels=found, conditions=told))
    return scenes


def chart_scenes(charts: Mapping[str, Chart], sensor: Sensor, shooting: Shooting | None = None) -> list[Scene]:
    """Charts that fill the frame of `sensor`; the target is the chart itself, encoded. No crops."""
    shooting = shooting or Shooting()
    if shooting.crop is not None:
        raise ParamError(f"crop={shooting.crop}: charts are measured whole; leave crop out")
    scenes = []
    for index, (name, chart) in enumerate(charts.items()):
        linear = chart.picture[None]
        target = srgb_encode(linear.clamp(0, 1)).clamp(0, 1)
        for shot, (gain, cct_k) in enumerate(shooting.settings()):
            seed = _seed(shooting.seed, index, shot)
            frame = capture(linear, sensor, cct_k=cct_k, iso=100 * gain, seed=seed)
            told = {"gain": gain, "cct_k": cct_k}
            scenes.append(Scene(_named(name, told, shooting), frame, target, chart, conditions=told))
    return scenes


class FolderScenes:
    """The RAW files of a folder with their finished pictures as scenes, read one after another, none kept.

    Pairs are those that networks learn from: found by `pairs_layouts.raw_and_pictures`, read by `pairs_read.read_pair`,
    so the picture lies as the RAW is stored and both are cut to the size that they share. Going through the scenes
    tells a pair that cannot be read by one warning of the log, keeps it in `bad` (name -> reason), and goes on. Raises
    `FileError` for a folder without pairs, and at the end where none could be read.
    """

    def __init__(self, raws: str | Path, targets: str | Path | None = None, *, crop: Size | None = None) -> None:
        self.files, self.crop = raw_and_pictures(raws, pictures=targets), crop
        self.bad: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Scene]:
        self.bad.clear()
        for pair in self.files:
            try:
                scene = scene_of(pair, self.crop)
            except (IspkitError, OSError) as error:
                self.bad[pair.name] = str(error)
                _LOG.warning("pair %s is skipped: %s", pair.name, error)
                continue
            yield scene
        if len(self.bad) == len(self.files):
            raise FileError(f"none of {len(self.files)} pairs can be used; the first: {next(iter(self.bad.values()))}")


def from_folder(raws: str | Path, targets: str | Path | None = None, *, crop: Size | None = None) -> list[Scene]:
    """All scenes of a folder of RAW files with the pictures of the same names, from `targets` or beside them.

    As `FolderScenes`, but the first pair that cannot be read ends it. `crop` (height, width) takes the middle of each.
    `conditions` holds the gain (ISO / 100) where the file tells it. Raises `FileError`, `ShapeError`.
    """
    return [scene_of(pair, crop) for pair in FolderScenes(raws, targets).files]


def scene_of(pair: PairFiles, crop: Size | None = None) -> Scene:
    """A pair of files as a scene; `crop` (height, width) takes its middle. Raises `FileError`, `ShapeError`."""
    sample = read_pair(pair, Reading(restore="none"))
    if crop is not None:
        sample = _middle(sample, crop)
    iso = float(sample.frame.meta.iso[0])
    return Scene(pair.name, sample.frame, sample.target, conditions={"gain": iso / 100} if iso > 0 else {})


def read_pictures(folder: str | Path) -> dict[str, Tensor]:
    """The finished pictures of a folder by name, (1, 3, H, W) encoded in [0, 1]. Raises `FileError`."""
    room = Path(folder)
    if not room.is_dir():
        raise FileError(f"{folder}: no such folder; give a folder of finished pictures (PNG, TIFF, JPEG)")
    paths = sorted(p for p in room.iterdir() if p.suffix.lower() in FORMATS)
    if not paths:
        raise FileError(f"{folder}: no PNG, TIFF or JPEG in this folder; put finished pictures there")
    return {path.stem: _read(path) for path in paths}


def split(scenes: Sequence[Scene], held_out: float | Sequence[str]) -> tuple[list[Scene], list[Scene]]:
    """Scenes to tune on and scenes held out, by picture; never a crop or gain of one picture on both sides.

    `held_out` is a share of the pictures (every k-th in order, at least one, not all; 0: none), or their names.
    """
    names = list(dict.fromkeys(picture_of(s) for s in scenes))
    if isinstance(held_out, float | int):
        if not 0 <= held_out < 1:
            raise ParamError(f"held_out={held_out} must be a share of the pictures in [0, 1)")
        kept = held_out_names(names, held_out)
    else:
        kept = set(held_out)
        if unknown := kept - set(names):
            raise ParamError(f"held_out: no picture {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    tuned = [s for s in scenes if picture_of(s) not in kept]
    return tuned, [s for s in scenes if picture_of(s) in kept]


def picture_of(scene: Scene) -> str:
    """The name of the picture that a scene comes from."""
    return scene.name.partition("@")[0]


def _middle(sample: Sample, crop: Size) -> Sample:
    (have_height, have_width), (height, width) = sample.frame.size, crop
    if height > have_height or width > have_width or any(side < 2 or side % 2 for side in crop):
        raise ShapeError(
            f"{sample.names[0]}: a crop {width} px wide and {height} high must have even sides and fit the picture, "
            f"{have_width} px wide and {have_height} high"
        )
    return sample.crop((have_height - height) // 4 * 2, (have_width - width) // 4 * 2, height, width)


def _window(name: str, size: Size, shooting: Shooting, index: int) -> tuple[int, int, int, int]:
    """Top, left, height, width, all even."""
    wanted = shooting.crop or (size[0] // 2 * 2, size[1] // 2 * 2)
    room = [(have - want) // 2 for have, want in zip(size, wanted, strict=True)]
    if min(room) < 0:
        raise ShapeError(f"picture {name!r} has {size[0]}x{size[1]} pixels, less than crop {wanted[0]}x{wanted[1]}")
    chance = np.random.default_rng([shooting.seed, index])
    y, x = (2 * int(chance.integers(r + 1)) for r in room)
    return y, x, *wanted


def _seed(seed: int, picture: int, shot: int) -> int:
    return int(np.random.SeedSequence([seed, picture, shot]).generate_state(1)[0])


def _named(name: str, told: Mapping[str, float], shooting: Shooting) -> str:
    several = {"gain": True, "cct_k": len(shooting.cct_k) > 1}
    return f"{name.replace('@', '-')}@{','.join(f'{k}={v:g}' for k, v in told.items() if several[k])}"


def _read(path: Path) -> Tensor:
    picture = read_picture(path)
    if picture.linear:
        raise FileError(f"{path}: a linear picture; targets are encoded sRGB")
    if picture.color_space not in (None, "srgb"):
        raise FileError(f"{path}: its color space is {picture.color_space}, targets are sRGB; convert it first")
    return torch.from_numpy(picture.pixels).permute(2, 0, 1)[None].contiguous()
