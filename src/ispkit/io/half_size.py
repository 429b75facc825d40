"""Half-size previews of a mosaic without demosaicing."""

from __future__ import annotations

import torch

from ispkit.core.errors import ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import View


def halved(frame: Frame) -> Frame:
    """A `Frame(RAW)` at half size in CAMERA_RGB, black 0, white 1: red, the mean of the greens, blue.

    An odd last line is dropped; opcodes go, for their coordinates would no longer fit.
    """
    height, width = (n // 2 for n in frame.size)
    if not height or not width:
        raise ShapeError(f"a picture of {frame.size[0]}x{frame.size[1]} is too small to be halved")
    meta = frame.meta
    black, white = (level.reshape(-1, 4, 1, 1) for level in (meta.black_level, meta.white_level))
    sites = torch.nn.functional.pixel_unshuffle(frame.data[..., : 2 * height, : 2 * width], 2)
    linear = (sites - black) / (white - black)
    colors = [linear[:, [i for i, c in enumerate(meta.cfa) if c == color]].mean(1) for color in "RGB"]
    # the mean of two greens has half their variance
    noise = meta.noise_profile * meta.noise_profile.new_tensor([1.0, 0.5, 1.0])[:, None]
    return frame.with_data(
        torch.stack(colors, 1),
        Domain.CAMERA_RGB,
        black_level=torch.zeros_like(meta.black_level),
        white_level=torch.ones_like(meta.white_level),
        noise_profile=noise,
        view=(View((height, width)),) * meta.batch,
        opcodes=((),) * meta.batch,
    )
