"""Degradations as recipes write them: a name, or a mapping that may start from a name.

```yaml
degradation: ablation
degradation: {like: paper, jpeg: [5, 20], knobs: {exposure.ev: [-2, 0], tone_curve.power: null}}
degradation: {raw: {sensor: nexus-6p-rear, gain: [1, 16]}, knobs: {denoise.luma: 0.5}, jpeg: 75}
```
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ispkit.core.errors import ParamError
from ispkit.data.degrade import Degradation, Degrader, degradation
from ispkit.train.fields import build, plain

Given = Mapping[str, Any] | str
"""a name, or fields of `data.degrade.Degradation` and `like`, a name whose fields are taken where none is given"""


def degrader_of(given: Given, device: str) -> Degrader:
    """What spoils pictures on a device. Raises `ParamError` where torch cannot use it, and as `read_degradation`."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        brief = " ".join(str(error).split())[:120]
        raise ParamError(f"data.device={device!r}: torch cannot use it here ({brief}); take cpu") from error
    return Degrader(read_degradation(given), device=device)


def read_degradation(given: Given) -> Degradation:
    """The settings that a recipe means; a knob of null is not drawn. Raises `ParamError`, `RecipeError`."""
    if isinstance(given, str):
        return degradation(given)
    content = {key: value for key, value in given.items() if key != "like"}
    if "like" in given:
        base = plain(degradation(given["like"]))
        inner = {
            key: {**base[key], **content[key]} for key in ("raw", "knobs") if isinstance(content.get(key), Mapping)
        }
        content = {**base, **content, **inner}
    if isinstance(content.get("knobs"), Mapping):
        content["knobs"] = {name: value for name, value in content["knobs"].items() if value is not None}
    if "jpeg" in content and isinstance(content["jpeg"], int | float):
        content["jpeg"] = [content["jpeg"]] * 2
    return build(Degradation, "degradation", content)
