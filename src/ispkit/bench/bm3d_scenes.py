"""Noisy pictures for denoisers, by noise level: developed from simulated RAW, or real ones with their means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ispkit.bench.rawtherapee_scenes import Size, pictures_of
from ispkit.core.errors import FileError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.data.scenes import Scene
from ispkit.data.tuning_sets import Shooting, from_pictures, picture_of
from ispkit.io.pictures import FORMATS, read_picture
from ispkit.isp.recipe import preset
from ispkit.sensor.model import Sensor

MARKS = (("_real", "_mean"), ("_NOISY", "_GT"))
"""how names of a noisy picture and its clean one end: PolyU (Xu et al. 2018), SIDD (Abdelhamed et al. 2018)"""
_WANTED = " or ".join(f"NAME{noisy}.png with NAME{clean}.png" for noisy, clean in MARKS)
_NAME = re.compile(
    r"(?P<camera>[A-Za-z0-9]+)_(?P<stop>[\d-]+)_(?P<shutter>\d+)_(?P<iso>\d+)_(?P<scene>.+?)_?_(?P<n>\d+)"
)


@dataclass(frozen=True)
class Pair:
    """Two files of one scene."""

    noisy: Path
    clean: Path
    level: str
    """camera and ISO where the name tells them, else "all" """
    scene: str
    """what is in the picture; windows of one scene stay on one side of a split"""


def simulated(folders: Sequence[str], sensor: Sensor, shooting: Shooting, *, count: int) -> dict[str, list[Scene]]:
    """Level -> scenes: shots of at most `count` pictures of each folder, developed by the preset `neutral`.

    Demosaicing makes the noise correlated, as it is in any camera's picture. Without folders the toolkit's pictures.
    """
    size = shooting.crop or (256, 256)
    pictures = pictures_of(folders, size, count=count, seed=shooting.seed)
    neutral, levels = preset("neutral"), {}
    for gain in shooting.gains:
        shots = from_pictures(pictures, sensor, replace(shooting, gains=(gain,)))
        levels[f"simulated, gain {gain:g}"] = [replace(s, frame=_finished(neutral(s.frame))) for s in shots]
    return levels


def real_pairs(folder: str | Path) -> list[Pair]:
    """Pairs NAME_real.EXT and NAME_mean.EXT of a folder, or those of other `MARKS`. Raises `FileError`.

    PolyU's NAME is CAMERA_F-NUMBER_SHUTTER_ISO_SCENE_NUMBER; names of another form make one level, each a scene of
    its own.
    """
    room = Path(folder)
    if not room.is_dir():
        raise FileError(f"{folder}: no such folder; give one with pairs {_WANTED}")
    files = {p.stem: p for p in sorted(room.iterdir()) if p.suffix.lower() in FORMATS}
    pairs = []
    for stem, path in files.items():
        name, clean = _clean_of(stem)
        if not clean:
            continue
        if clean not in files:
            raise FileError(f"{path}: its clean picture {clean} is not in this folder")
        known = _NAME.fullmatch(name)
        level = f"{known['camera']} ISO {known['iso']}" if known else "all"
        pairs.append(Pair(path, files[clean], level, known["scene"].rstrip("_") if known else name))
    if not pairs:
        raise FileError(f"{folder}: no noisy picture of a pair; a pair is {_WANTED}")
    return pairs


def _clean_of(stem: str) -> tuple[str, str]:
    """The name of a pair, and of its clean file, by that of its noisy one; empty for any other file."""
    for noisy, clean in MARKS:
        if stem.endswith(noisy):
            name = stem.removesuffix(noisy)
            return name, name + clean
    return "", ""


def real(pairs: Sequence[Pair], *, crop: Size, levels: int, least: int = 4) -> dict[str, list[Scene]]:
    """Level -> scenes: the `levels` levels with the most scenes, those with fewer than `least` scenes left out.

    `crop` is the window in the middle of each picture. Raises `FileError` where no level has enough scenes.
    """
    by_level: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_level.setdefault(pair.level, []).append(pair)
    enough = [name for name, own in by_level.items() if len({p.scene for p in own}) >= least]
    if not enough:
        raise FileError(f"{pairs[0].noisy.parent}: no noise level has {least} scenes, so none can be kept for the end")
    most = sorted(enough, key=lambda name: (-len({p.scene for p in by_level[name]}), -len(by_level[name]), name))
    return {f"real, {n}": [_scene(p, crop) for p in by_level[n]] for n in most[:levels]}


def alternate(scenes: Sequence[Scene], most: int) -> list[Scene]:
    """At most `most` scenes, one of each picture in turn, so that few stand for all."""
    by_picture: dict[str, list[Scene]] = {}
    for scene in scenes:
        by_picture.setdefault(picture_of(scene), []).append(scene)
    rounds = max((len(own) for own in by_picture.values()), default=0)
    return [own[k] for k in range(rounds) for own in by_picture.values() if k < len(own)][:most]


def _scene(pair: Pair, crop: Size) -> Scene:
    noisy, clean = (_read(p) for p in (pair.noisy, pair.clean))
    if noisy.shape != clean.shape:
        raise ShapeError(f"{pair.noisy} and {pair.clean.name} have different sizes; a pair shows the same pixels")
    room = [int(have) - want for have, want in zip(noisy.shape[-2:], crop, strict=True)]
    if min(room) < 0:
        have = "x".join(map(str, noisy.shape[-2:]))
        raise ShapeError(f"{pair.noisy}: {have} pixels, less than crop {crop[0]}x{crop[1]}")
    y, x = (r // 2 for r in room)
    noisy, clean = (p[..., y : y + crop[0], x : x + crop[1]].contiguous() for p in (noisy, clean))
    number = _clean_of(pair.noisy.stem)[0].rpartition("_")[2]
    return Scene(f"{pair.scene}@{number}", Frame(noisy, Domain.DISPLAY_RGB, CameraMeta.make("RGGB", crop)), clean)


def _read(path: Path) -> Tensor:
    picture = read_picture(path)
    if picture.linear or picture.pixels.ndim != 3:
        raise FileError(f"{path}: a linear or gray picture; pairs are encoded RGB")
    return torch.from_numpy(picture.pixels).permute(2, 0, 1)[None]


def _finished(frame: Frame) -> Frame:
    """Cut to [0, 1], as a stored picture is."""
    return frame.with_data(frame.data.clamp(0, 1))
