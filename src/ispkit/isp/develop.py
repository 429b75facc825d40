"""A file in, a finished picture out: the short way for people who come from rawpy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ispkit.core.errors import DomainError, ParamError, ShapeError
from ispkit.core.frame import UPRIGHT, Domain, Frame
from ispkit.core.param import Value, Values
from ispkit.io.exif import meta_facts
from ispkit.io.load import load
from ispkit.io.pictures import Look
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.recipe import load_recipe, preset
from ispkit.isp.render import render
from ispkit.isp.stages.encode import Encode
from ispkit.isp.tiled import Codes


class Window(NamedTuple):
    """A rectangle of the upright picture, in pixels."""

    x: int
    y: int
    width: int
    height: int


def develop(
    source: Any,
    *,
    preset: str = "neutral",
    recipe: str | Path | None = None,
    values: Mapping[str, Value] | None = None,
    bits: int = 8,
    half_size: bool = False,
    **knobs: Value,
) -> Codes:
    """Develop a RAW file (path, bytes or binary file) to an upright picture, (H, W, 3) uint8 or uint16.

    Knobs are given as `values={"sharpen.amount": 0.5}` or as `sharpen__amount=0.5`. Raises `FileError` for a
    file that is no RAW, `RecipeError` and `ParamError` for wrong names and values.

    ```python
    picture = ispkit.develop("IMG_0001.dng", preset="camera-like", exposure__ev=0.5)
    ```
    """
    pipeline = pipeline_for(preset, recipe)
    settings = {**(values or {}), **{name.replace("__", ".", 1): value for name, value in knobs.items()}}
    pipeline.check(settings)
    return develop_frame(load(source, half_size=half_size), pipeline, settings, bits=bits)


def pipeline_for(name: str, recipe: str | Path | None = None) -> Pipeline:
    """The pipeline of a recipe file if one is given, else of a preset."""
    return load_recipe(recipe) if recipe is not None else preset(name)


def develop_frame(
    frame: Frame,
    pipeline: Pipeline,
    values: Values | None = None,
    *,
    bits: int = 8,
    crop: Window | None = None,
    executor: str = "auto",
) -> Codes:
    """Render one frame and turn it upright; with `crop` only that window of the upright picture."""
    if frame.domain is Domain.CAMERA_RGB:
        frame = cut_at_white(frame)
    orientation = frame.meta.orientation[0]
    if crop is None:
        return turned(render(pipeline, frame, values, bits=bits, executor=executor), orientation)
    y, x, height, width = sensor_window(crop, frame.size, orientation)
    settings = pipeline.settings(values)
    entered = pipeline.entered_at(frame)
    stages = [(pipeline.stages[n], settings[n]) for n in entered]
    if any(stage.uses_statistics(own) for stage, own in stages):
        codes = render(pipeline, frame, values, bits=bits, executor=executor)
        return turned(codes[y : y + height, x : x + width], orientation)
    margin = sum(stage.support_for(frame, own, frame.size) for stage, own in stages)
    align = int(np.lcm.reduce([stage.align for stage, _ in stages]))
    top, left = (max(0, (start - margin) // align * align) for start in (y, x))
    bottom, right = min(frame.size[0], y + height + margin), min(frame.size[1], x + width + margin)
    window = frame.crop(top, left, bottom - top, right - left)
    codes = render(pipeline, window, values, bits=bits, executor=executor)
    return turned(codes[y - top : y - top + height, x - left : x - left + width], orientation)


def cut_at_white(frame: Frame) -> Frame:
    """Sensor colors cut where white clips, so that highlights stay neutral instead of turning magenta.

    A frame that enters at CAMERA_RGB skips the mosaic's white balance and `highlights`; this is what
    those two do to it under `mode="clip"`.
    """
    level = frame.meta.neutral * frame.meta.wb_gains
    return frame.with_data(torch.minimum(frame.data, level[:, :, None, None].to(frame.data)))


def look_of(frame: Frame, pipeline: Pipeline, values: Values | None = None) -> Look:
    """Color space, curve and EXIF of what the pipeline makes of this frame, for the written file.

    A plain power law is no standard curve, so such a picture carries no ICC profile. Raises `DomainError`
    for a pipeline that ends before there is a picture.
    """
    exif = meta_facts(frame.meta)
    if pipeline.writes is Domain.LINEAR_RGB:
        return Look("srgb", linear=True, exif=exif)
    if pipeline.writes is not Domain.DISPLAY_RGB:
        raise DomainError(f"this recipe ends with a {pipeline.writes.value} frame, not a picture; add 'encode'")
    settings = pipeline.settings(values)
    last = next(n for n in reversed(pipeline.stages) if isinstance(pipeline.stages[n], Encode))
    space = Encode.space.name(settings[last]["space"])
    if Encode.transfer.name(settings[last]["transfer"]) == "gamma":
        return Look(None, exif=exif)
    return Look(space, linear=space in ("xyz", "linear-srgb"), exif=exif)


def turned(codes: Codes, orientation: int) -> Codes:
    """Apply an EXIF orientation to pixels (H, W, C)."""
    import cv2  # its flip is several times faster than a strided copy

    transpose, rows, columns = UPRIGHT[orientation]
    picture = cv2.transpose(codes) if transpose else codes
    if rows or columns:
        picture = cv2.flip(picture, {(True, False): 0, (False, True): 1, (True, True): -1}[rows, columns])
    return np.ascontiguousarray(picture)


def sensor_window(crop: Window, size: tuple[int, int], orientation: int) -> tuple[int, int, int, int]:
    """Where a window of the upright picture lies on the frame as stored: y, x, height, width.

    >>> sensor_window(Window(0, 0, 3, 2), (10, 20), 6)
    (7, 0, 3, 2)
    """
    transpose, rows, columns = UPRIGHT[orientation]
    height, width = (size[1], size[0]) if transpose else size
    x, y, w, h = crop
    if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
        raise ShapeError(f"crop {x},{y},{w},{h} (x, y, width, height) leaves the {width}x{height} picture")
    x, y = (width - x - w if columns else x), (height - y - h if rows else y)
    return (x, y, w, h) if transpose else (y, x, h, w)


def scaled(codes: Codes, long_edge: int) -> Codes:
    """Shrink encoded pixels so that the longer edge has `long_edge` px, by area averages; never enlarges."""
    if long_edge < 1:
        raise ParamError(f"size={long_edge} must be at least 1 (unit: px)")
    height, width = codes.shape[:2]
    factor = long_edge / max(height, width)
    if factor >= 1:
        return codes
    import cv2

    target = (max(1, round(width * factor)), max(1, round(height * factor)))
    small: Codes = cv2.resize(codes, target, interpolation=cv2.INTER_AREA)
    return small
