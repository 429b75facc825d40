"""What a pipeline does, stage by stage, as pictures one can look at."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Values
from ispkit.isp.develop import turned
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.tiled import Codes, codes
from ispkit.ops.encode import srgb_encode
from ispkit.ops.levels import linearize


@torch.no_grad()
def stage_pictures(pipeline: Pipeline, frame: Frame, values: Values | None = None) -> Iterator[tuple[str, Codes]]:
    """(stage name, upright 8-bit picture (H, W, 3)) after each stage of one frame.

    Linear data is shown with the sRGB curve, a mosaic as gray. For looking, not for measuring.
    """
    for name, step in pipeline.steps(frame, values):
        yield name, viewable(step)


def viewable(frame: Frame) -> Codes:
    """Any frame of one picture as 8-bit RGB."""
    data = frame.data
    if frame.domain is Domain.RAW:
        data = linearize(data, frame.meta.black_level, frame.meta.white_level)
    if frame.domain is not Domain.DISPLAY_RGB:
        data = srgb_encode(data)
    return turned(codes(data[0].expand(3, -1, -1)), frame.meta.orientation[0])
