"""Low-light RAW shots for RawTherapee, and what it should give: its own picture of the same shot without noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.core.errors import ShapeError
from ispkit.data.project_pictures import project_pictures
from ispkit.data.scenes import Scene
from ispkit.data.tuning_sets import Shooting, from_pictures, read_pictures
from ispkit.isp.pipeline import ISP
from ispkit.sensor.model import Sensor
from ispkit.tune.problem import as_codes, as_picture

Size = tuple[int, int]


def noise_free(sensor: Sensor) -> Sensor:
    """The same sensor with nothing that changes from shot to shot, and nothing that differs from pixel to pixel."""
    return replace(
        sensor, noise=(), shot_at_iso100=0.0, read_at_iso100=0.0, row_noise=(), column_pattern=0.0, prnu=0.0,
        dark_current_e_s=0.0, defects=(),
    )  # fmt: skip


def shots_with_targets(isp: ISP, pictures: Mapping[str, Tensor], sensor: Sensor, shooting: Shooting) -> list[Scene]:
    """Noisy shots of pictures (1, 3, H, W); the target is what `isp` makes of each without noise, by its defaults.

    Pictures smaller than the shooting's window are continued by their mirror image.
    """
    whole = pictures if shooting.crop is None else {n: mirrored(p, shooting.crop) for n, p in pictures.items()}
    noisy = from_pictures(whole, sensor, shooting)
    clean = from_pictures(whole, noise_free(sensor), shooting)
    targets = [as_picture(as_codes(isp(scene.frame).data[0])) for scene in clean]
    return [replace(scene, target=target) for scene, target in zip(noisy, targets, strict=True)]


def mirrored(picture: Tensor, least: Size) -> Tensor:
    """A picture (1, 3, H, W) of at least this size: the right and lower sides are continued by reflection."""
    height, width = picture.shape[-2:]
    down, right = max(0, least[0] - height), max(0, least[1] - width)
    if down >= height or right >= width:
        raise ShapeError(f"a picture of {height}x{width} is too small to be continued to {least[0]}x{least[1]}")
    return F.pad(picture, (0, right, 0, down), mode="reflect") if down or right else picture


def composite(pictures: Sequence[Tensor], side: int, *, seed: int) -> Tensor:
    """One window of each of n² pictures (1, 3, H, W), laid out as a square: (1, 3, n side, n side).

    Much variety in one render. Raises `ShapeError` where the count is no square or a picture is too small.
    """
    across = round(len(pictures) ** 0.5)
    if across * across != len(pictures) or not pictures:
        raise ShapeError(f"{len(pictures)} pictures make no square; give 1, 4, 9, ...")
    chance = torch.Generator().manual_seed(seed)
    parts = []
    for picture in pictures:
        room = [int(n) - side for n in picture.shape[-2:]]
        if min(room) < 0:
            raise ShapeError(f"a picture of {tuple(picture.shape[-2:])} has no window of {side} px")
        y, x = (int(torch.randint(r + 1, (), generator=chance)) for r in room)
        parts.append(picture[..., y : y + side, x : x + side])
    rows = [torch.cat(parts[k : k + across], dim=-1) for k in range(0, len(parts), across)]
    return torch.cat(rows, dim=-2)


def pictures_of(folders: Sequence[str], size: Size, *, count: int, seed: int) -> dict[str, Tensor]:
    """At most `count` pictures of each folder, by name; without folders so many of the toolkit's own, of `size`."""
    if not folders:
        return project_pictures(count, size, seed=seed)
    found: dict[str, Tensor] = {}
    for folder in folders:
        found |= dict(list(read_pictures(folder).items())[:count])
    return found
