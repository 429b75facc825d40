"""Which part of a rendering costs what: the doors, the fused kernel with steps left out, the torch stages."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Timer = Callable[[Callable[[], Any]], dict[str, float]]

LEFT_OUT = {
    "neutral": {"lens shading": {"lens_shading.source": "off"}},
    "camera-like": {
        "defect pixels": {"defect_pixels.source": "off", "defect_pixels.detect": "off"},
        "lens shading": {"lens_shading.source": "off"},
        "sharpening": {"sharpen.amount": 0.0},
        "tone curve": {"tone_curve.style": "none"},
        "keeping hues in the tone curve": {"tone_curve.hue_preservation": 0.0},
        "saturation and vibrance": {"color_adjust.saturation": 1.0, "color_adjust.vibrance": 0.0},
    },
}


def parts(path: Path, runs: int, spent: Timer) -> dict[str, Any]:
    """CPU seconds by part, medians of warm runs."""
    import torch

    from ispkit.io.load import load
    from ispkit.isp.recipe import PRESETS, preset

    torch.set_num_threads(2)
    frame = load(path)
    found: dict[str, Any] = {"doors": doors(path, frame, runs, spent)}
    for name in ("neutral", "camera-like"):
        found[f"{name}, fused"] = fused(preset(name), frame, LEFT_OUT[name], runs, spent)
    for name in PRESETS:
        found[f"{name}, torch"] = torch_stages(preset(name), frame)
    return found


def doors(path: Path, frame: Any, runs: int, spent: Timer) -> dict[str, float]:
    from ispkit.io.load import load
    from ispkit.isp.develop import turned
    from ispkit.isp.fused.chain import plan
    from ispkit.isp.recipe import preset
    from ispkit.isp.render import render

    codes = render(preset("neutral"), frame)
    return {
        "read the file": median(lambda: load(path), runs, spent),
        "plan neutral": median(lambda: plan(preset("neutral"), frame), runs, spent),
        "turn upright": median(lambda: turned(codes, frame.meta.orientation[0]), runs, spent),
    }


def fused(pipeline: Any, frame: Any, left_out: dict[str, Any], runs: int, spent: Timer) -> dict[str, float]:
    """The whole kernel, and what is saved when a step is left out (steps overlap, so it is no sum)."""
    from ispkit.isp.fused.chain import plan
    from ispkit.isp.fused.renderer import run

    def kernel(values: dict[str, Any]) -> float:
        known = {k: v for k, v in values.items() if k in pipeline.space}
        chain = plan(pipeline, frame, known)
        run(chain, frame)
        return median(lambda: run(chain, frame), runs, spent)

    whole = kernel({})
    return {"all": whole, **{f"without {name}": kernel(values) for name, values in left_out.items()}}


def torch_stages(pipeline: Any, frame: Any, edge: int = 1024) -> dict[str, float]:
    """CPU seconds per megapixel of each torch stage on one large tile."""
    import torch

    tile = frame.crop(0, 0, min(edge, frame.size[0]), min(edge, frame.size[1]))
    megapixels = tile.size[0] * tile.size[1] / 1e6
    seconds: dict[str, float] = {}
    with torch.no_grad():
        for _ in range(2):
            before = time.process_time()
            for name, _after in pipeline.steps(tile):
                seconds[name] = (time.process_time() - before) / megapixels
                before = time.process_time()
    return seconds


def median(work: Callable[[], Any], runs: int, spent: Timer) -> float:
    return statistics.median(spent(work)["cpu_s"] for _ in range(runs))
