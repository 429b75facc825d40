"""Labelled pictures photographed off a screen: RAW shots, with targets and boxes where the camera sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.bench.rig_scenes import RigSetup, characterized, window_of
from ispkit.data.boxes import Boxes
from ispkit.data.scenes import Scene
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.rig.align import align, capture_of
from ispkit.rig.display_color import emulate, render
from ispkit.rig.light_transport import LightTransport

_BESIDE = 0.1  # linear light of the screen beside a picture that does not fill it
_NAMED_LIGHT = "D65"


def photographed(
    pictures: Mapping[str, Tensor], labels: Mapping[str, Boxes], setup: RigSetup, *, gain: float
) -> list[Scene]:
    """Pictures (1, 3, H, W), encoded sRGB in [0, 1], each shown as large as the screen allows and captured at a gain.

    The screen pretends to be lit by D65. Targets and boxes are moved to the camera's pixels by the measured light
    transport; both are cut to the largest middle window in which every pixel sees the screen.
    """
    base = setup.camera(100.0)
    transport, color = align(base.display, base).transport, characterized(base)
    camera = replace(base, iso=100.0 * gain)
    window = window_of(transport.mask)
    y, x, height, width = window
    scenes = []
    for name, picture in pictures.items():
        shown, boxes = _on_screen(picture, labels[name], setup.screen)
        frame = capture_of(camera.display, camera, render(color, emulate(color, _NAMED_LIGHT), shown).encoded)
        target = srgb_encode(transport.target_on_camera(shown).clamp(0, 1))[None, :, y : y + height, x : x + width]
        seen = boxes_on_camera(boxes, transport).crop(*window)
        facts = {"gain": float(gain)}
        scenes.append(Scene(f"{name}@rig", frame.crop(*window), target=target, labels=seen, conditions=facts))
    return scenes


def boxes_on_camera(boxes: Boxes, transport: LightTransport) -> Boxes:
    """Boxes on the screen as boxes round the camera's pixels that look into them; unseen ones are dropped."""
    across, down = transport.positions
    found, labels = [], []
    for (left, top, right, bottom), label in zip(boxes.boxes.tolist(), boxes.labels.tolist(), strict=True):
        inside = transport.mask & (across >= left) & (across < right) & (down >= top) & (down < bottom)
        rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
        if len(rows):
            found.append((float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)))
            labels.append(label)
    return Boxes.make(found, labels)


def _on_screen(picture: Tensor, boxes: Boxes, screen: tuple[int, int]) -> tuple[Tensor, Boxes]:
    """Linear light of the whole screen (3, h, w) with the picture in its middle, and the boxes there."""
    height, width = int(picture.shape[-2]), int(picture.shape[-1])
    factor = min(screen[0] / height, screen[1] / width)
    size = (min(round(height * factor), screen[0]), min(round(width * factor), screen[1]))
    linear = F.interpolate(srgb_decode(picture), size, mode="bilinear", antialias=True, align_corners=False)[0]
    top, left = ((whole - part) // 2 for whole, part in zip(screen, size, strict=True))
    light = torch.full((3, *screen), _BESIDE)
    light[:, top : top + size[0], left : left + size[1]] = linear
    there = boxes.scale(size[0] / height, size[1] / width)
    return light, replace(there, boxes=there.boxes + there.boxes.new_tensor([left, top, left, top]))
