"""One pair from its files: RAW and pictures turned alike, of one size, in known colors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import FileError, ParamError, ShapeError, nearest
from ispkit.core.frame import UPRIGHT, Domain, Frame
from ispkit.data.burst import merge_burst
from ispkit.data.pairs_files import PairFiles
from ispkit.data.samples import Sample
from ispkit.data.targets import auto_enhance, finished, linear_frame, restored
from ispkit.io.containers import RAW_SUFFIXES
from ispkit.io.load import load
from ispkit.io.pictures import read_picture
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.recipe import PRESETS, load_recipe, preset
from ispkit.ops.color_spaces import apply_matrix, linear_srgb_to
from ispkit.ops.encode import encode_for, srgb_encode
from ispkit.ops.luma import luminance

Restore = Literal["given", "own", "burst", "none"]
Finish = Literal["picture", "auto", "encode"]
_GRID = 1 << 16
_COARSE = 24  # cells a side that tell which way up a picture is
_CLEARLY = 0.05


@dataclass(frozen=True)
class Reading:
    """What is made of a pair's files."""

    restore: Restore = "given"
    """given: where the data set has its source; own: else of the RAW itself; burst: else of the burst merged; none"""
    finish: Finish = "picture"
    """picture: the data set's, else `auto`; auto: `auto_enhance` of the restored picture; encode: its sRGB encoding"""
    denoise: float = 0.0
    """strength of the RAW denoiser for a restored picture that is made of a RAW file"""
    method: str = "menon2007"
    """of demosaicing, likewise"""
    border: int = 64
    """rows and columns in all that RAW and picture may differ by; the larger is cut to its middle"""
    look: str | None = None
    """a preset or recipe file: its part after the color matrix finishes the restored picture, in place of `finish`"""

    def __post_init__(self) -> None:
        for name, known in (("restore", get_args(Restore)), ("finish", get_args(Finish))):
            if getattr(self, name) not in known:
                raise ParamError(f"{name}={getattr(self, name)!r} is not known; {nearest(getattr(self, name), known)}")
        if self.border < 0 or not 0 <= self.denoise <= 1:
            raise ParamError(f"border={self.border} must not be negative, denoise={self.denoise} in [0, 1]")


def read_pair(files: PairFiles, reading: Reading | None = None) -> Sample:
    """The whole pictures of a pair, on the sensor's grid: the finished picture is turned as the RAW is stored.

    `frame.meta.baseline_exposure` becomes the pair's `ev` where the data set tells it. Raises `FileError` for files
    that are missing, damaged or no RAW, `ShapeError` for sizes that differ by more than `reading.border`.
    """
    how = reading or Reading()
    frame = raw_of(files)
    picture = _picture(files, how, frame)
    clean = _restored(files, how, frame)
    if picture is None:
        picture = _made(files, how, clean)
    frame, (target, truth) = fitted(files.name, frame, (picture, clean), how.border)
    if "ev" in files.facts:
        frame = frame.with_data(frame.data, baseline_exposure=torch.tensor([float(files.facts["ev"])]))
    if target is None:
        raise FileError(f"{files.name}: has no picture to learn from")
    return _unshifted(Sample((files.name,), frame, target, truth), files)


def raw_of(files: PairFiles) -> Frame:
    """The RAW frame that is read. Raises `FileError` where it has no mosaic."""
    frame = load(_there(files.raws[0]), geometry=files.geometry)
    if frame.domain is not Domain.RAW:
        raise FileError(f"{files.raws[0]}: holds {frame.domain.value}, no Bayer mosaic; pairs are learned from mosaics")
    return frame


def read_srgb(path: Path) -> Tensor:
    """A finished picture (1, 3, H, W), encoded sRGB in [0, 1]; Adobe RGB, Display P3 and ProPhoto are converted."""
    picture = read_picture(_there(path))
    if picture.color_space is None and picture.profile_name is not None:
        raise FileError(f"{path}: its color profile {picture.profile_name!r} is not known; convert it to sRGB first")
    pixels = _planes(picture.pixels)
    space = picture.color_space or "srgb"
    if picture.linear or space not in ("srgb", "linear-srgb"):
        light = pixels if picture.linear else _decoded(pixels, space)
        pixels = srgb_encode(apply_matrix(light, torch.linalg.inv(linear_srgb_to(space))))
    return pixels


def on_sensor(picture: Tensor, frame: Frame, border: int = 64) -> Tensor:
    """An upright picture (1, 3, H, W) turned as the RAW is stored.

    Not every program turns pictures upright: one that fits the RAW better as it is, by its size or else by where it is
    bright, is left as it is.
    """
    transpose, rows, columns = UPRIGHT[frame.meta.orientation[0]]
    dims = [d for d, on in ((-2, rows), (-1, columns)) if on]
    turned = picture.flip(dims)
    turned = turned.transpose(-1, -2) if transpose else turned
    fits = [all(abs(a - b) <= border for a, b in zip(p.shape[-2:], frame.size, strict=True)) for p in (turned, picture)]
    if fits == [True, True] and frame.meta.orientation[0] != 1:
        raw = _coarse(frame.data)
        alike = [float(torch.corrcoef(torch.stack([raw, _coarse(luminance(p))]))[0, 1]) for p in (turned, picture)]
        return picture if alike[1] > alike[0] + _CLEARLY else turned
    return picture if fits == [False, True] else turned


def fitted(
    name: str, frame: Frame, pictures: Sequence[Tensor | None], border: int
) -> tuple[Frame, list[Tensor | None]]:
    """Frame and pictures cut to the size that all have, each to its middle; the CFA follows.

    Raises `ShapeError` where sizes differ by more than `border`.
    """
    sizes = [frame.size, *((int(p.shape[-2]), int(p.shape[-1])) for p in pictures if p is not None)]
    height, width = (min(s[axis] for s in sizes) for axis in (0, 1))
    for found in sizes:
        if found[0] - height > border or found[1] - width > border:
            told = ", ".join(f"{h}x{w}" for h, w in sizes)
            raise ShapeError(
                f"{name}: RAW and pictures of {told} pixels differ by more than {border}; are they a pair?"
            )
    cut = [None if p is None else _middle(p, (height, width)) for p in pictures]
    y, x = ((have - want) // 2 for have, want in zip(frame.size, (height, width), strict=True))
    return frame.crop(y, x, height, width), cut


def _unshifted(sample: Sample, files: PairFiles) -> Sample:
    """The part that RAW and picture both show, where the picture lies beside its RAW by `facts["shift"]`."""
    shift = files.facts.get("shift", (0, 0))
    if not any(shift) or files.picture is None:
        return sample
    height, width = sample.frame.size
    if abs(shift[0]) >= height or abs(shift[1]) >= width:
        raise ShapeError(f"{files.name}: shift={tuple(shift)} leaves nothing of {height}x{width} pixels")
    size = (height - abs(shift[0]), width - abs(shift[1]))
    rows, columns = (slice(max(s, 0), max(s, 0) + n) for s, n in zip(shift, size, strict=True))
    kept = sample.crop(max(-shift[0], 0), max(-shift[1], 0), *size)
    return replace(kept, target=sample.target[..., rows, columns])


def _coarse(plane: Tensor) -> Tensor:
    """Where a plane (1, 1, H, W) is bright."""
    return F.adaptive_avg_pool2d(plane.clamp(min=0).sqrt(), _COARSE).flatten()


def _picture(files: PairFiles, how: Reading, frame: Frame) -> Tensor | None:
    if files.picture is None or how.finish != "picture" or how.look is not None:
        return None
    return on_sensor(read_srgb(files.picture), frame, how.border)


def _made(files: PairFiles, how: Reading, clean: Tensor | None) -> Tensor:
    """The finished picture that is made of the restored one."""
    if clean is None:
        raise FileError(
            f"{files.name}: has no finished picture, and no restored one to make it of; give a folder of pictures, or "
            "restore='own'"
        )
    if how.look is not None:
        return finished(linear_frame(clean), _recipe(how.look)).data
    plain = how.finish == "encode" or files.facts.get("finish") == "encode"
    return srgb_encode(clean) if plain else auto_enhance(clean)


@cache
def _recipe(name: str) -> Pipeline:
    return preset(name) if name in PRESETS else load_recipe(name)


def _restored(files: PairFiles, how: Reading, frame: Frame) -> Tensor | None:
    if how.restore == "none":
        return None
    if files.restored is not None:
        if RAW_SUFFIXES.fullmatch(files.restored.suffix):
            return _developed(load(_there(files.restored)), how)
        return on_sensor(_linear(files.restored), frame, how.border)
    if how.restore == "burst" and len(files.raws) > 1:
        others = [load(_there(path), geometry=files.geometry) for path in files.raws[1:]]
        return _developed(merge_burst([frame, *others]), how)
    return None if how.restore == "given" else _developed(frame, how)


def _developed(frame: Frame, how: Reading) -> Tensor:
    return restored(frame, denoise=how.denoise, method=how.method).data


def _linear(path: Path) -> Tensor:
    """A picture whose numbers are linear light."""
    return _planes(read_picture(_there(path)).pixels)


def _planes(pixels: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def _middle(picture: Tensor, size: tuple[int, int]) -> Tensor:
    y, x = ((int(have) - want) // 2 for have, want in zip(picture.shape[-2:], size, strict=True))
    return picture[..., y : y + size[0], x : x + size[1]]


def _decoded(encoded: Tensor, space: str) -> Tensor:
    light, curve = _curve(space)
    return torch.from_numpy(np.interp(encoded.numpy(), curve, light).astype(np.float32))


@cache
def _curve(space: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Light, and what a space encodes it as."""
    light = torch.linspace(0, 1, _GRID, dtype=torch.float64)
    return light.numpy(), encode_for(light, space).numpy()


def _there(path: Path) -> Path:
    if not path.is_file():
        raise FileError(f"{path}: this file of the pair is missing")
    return path
