"""Picture files as encoded sRGB, so that pictures of different color spaces can be compared."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import FileError
from ispkit.io.binary import Source, name_of
from ispkit.io.read_pictures import read_picture
from ispkit.ops.color_spaces import apply_matrix, linear_srgb_to
from ispkit.ops.encode import srgb_decode, srgb_encode

_ADOBE_GAMMA = 563 / 256
_ROMM_KNEE = 16 / 512


def load_srgb(source: Source) -> NDArray[np.float32]:
    """A PNG, JPEG or TIFF file, or its bytes, as (H, W, 3) float32 encoded sRGB in [0, 1], at its full depth.

    Files without an ICC profile count as sRGB, other known color spaces are converted (colors outside sRGB
    are clipped). Raises `FileError`, also for a profile that is not known.
    """
    picture = read_picture(source)
    space, linear = picture.color_space, picture.linear
    if space is None and picture.profile_name is not None:
        profile = repr(picture.profile_name)
        raise FileError(f"{name_of(source)}: its color profile {profile} is not known; convert the picture to sRGB")
    if space in (None, "srgb") and not linear:
        return picture.pixels
    encoded = torch.from_numpy(picture.pixels).permute(2, 0, 1)[None]
    light = encoded if linear else decode_for(encoded, space or "srgb")
    srgb = apply_matrix(light, torch.linalg.inv(linear_srgb_to(space or "srgb")))
    return srgb_encode(srgb)[0].permute(1, 2, 0).contiguous().numpy()


def decode_for(encoded: Tensor, space: str) -> Tensor:
    """Encoded RGB of `space` -> linear RGB of it; inverse of `encode_for`."""
    if space in ("srgb", "display-p3"):
        return srgb_decode(encoded)
    if space == "adobe-rgb":
        return encoded.clamp(min=0) ** _ADOBE_GAMMA
    if space == "prophoto-rgb":
        return torch.where(encoded < _ROMM_KNEE, encoded / 16, encoded.clamp(min=_ROMM_KNEE) ** 1.8)
    return encoded
