"""Freeze the expert setting of c71: calibrate, fit the tone table, then sweep one register at a time.

    python benchmarks/c71_baseline.py [--check] [--seed 0]

What a tuning engineer does, without an optimizer:
1. White balance and matrix from one simulated ColorChecker shot under D65 (`ispkit.calibrate`), as codes.
2. Everything else starts at the paper's expert values (Tseng et al. 2019, table 1). The three tone registers are set so
   that the tone table is nearest to the sRGB curve (sweeps of the table alone, no picture).
3. Two passes over the other registers and the tone, one at a time: nine values spread over the whole range, then nine
   over a quarter of it around the best; the present value competes. Judged on chart shots at base gain and four times
   base gain together: mean PSNR to the chart in dB less a quarter of the gap in gradient energy in dB at base gain (an
   engineer wants edges as sharp as the chart's, not only a small error).
Writes src/ispkit/isp/c71/baseline.yaml with the hash of the sources. `--check` writes nothing and compares.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from ispkit.calibrate.color import ChartShot, measure_lights
from ispkit.charts.catalog import build
from ispkit.charts.scene import studio_scene
from ispkit.core.frame import Frame
from ispkit.io.atomic import write_bytes
from ispkit.isp.c71 import C71, PAPER_EXPERT, REGISTERS, read_baseline, source_hash
from ispkit.isp.c71.fixed import WHITE
from ispkit.isp.c71.registers import COEF_ZERO, Register
from ispkit.isp.c71.tone import tone_table
from ispkit.metrics.fidelity import psnr
from ispkit.ops.encode import srgb_encode
from ispkit.sensor.catalog import load_sensor
from ispkit.sensor.model import Sensor
from ispkit.sensor.simulate import capture

SENSOR, CCT_K, ISOS = "sidd-google-pixel", 6504.0, (100.0, 400.0)
BLUR_PX = 0.45  # lens and pixel, as the default sensor has; the catalog's phone states none
FILE = Path(__file__).parents[1] / "src" / "ispkit" / "isp" / "c71" / "baseline.yaml"
CALIBRATED = ("white_balance.", "color.")
PASSES, STEPS = 2, 9
SIDE = 128
LEAVES = {"height": 256, "width": 256, "r_min": 1.0, "contrast": 10.0, "color": True, "flats": False}
# chart, its parameters, top-left corners of the shots; colored leaves are what natural texture is nearest to
SHOTS: tuple[tuple[str, dict[str, Any], tuple[tuple[int, int], ...]], ...] = (
    ("rainbow", {"height": 1080, "width": 1920}, ((840, 300), (300, 900), (560, 1300))),
    ("dead_leaves", LEAVES, ((0, 0), (0, 128), (128, 64))),
    ("siemens_star", {"height": 192, "width": 192}, ((32, 32),)),
    ("studio", {"height": 512, "width": 768}, ((290, 120), (320, 500))),
)
Setting = dict[str, float]
Score = Callable[[Mapping[str, float]], float]


@dataclass(frozen=True)
class Shot:
    """A RAW crop and what it should become."""

    frame: Frame
    target: Tensor
    base: bool
    """taken at base gain"""


def calibrated(sensor: Sensor, seed: int) -> Setting:
    """Gains and coefficients as codes, from one chart shot; the smallest gain is 1."""
    chart = build("colorchecker", height=480, width=720)
    frame = capture(chart.picture[None], sensor, cct_k=CCT_K, iso=ISOS[0], seed=seed)
    color = measure_lights([ChartShot(frame, "D65", CCT_K)])[0].color
    names = ("gain_00", "gain_01", "gain_11")
    setting = {
        f"white_balance.{name}": float(round(256 * max(color.neutral) / n))
        for name, n in zip(names, color.neutral, strict=True)
    }
    for i, row in enumerate(color.ccm):
        for j in (0, 1):
            setting[f"color.coef_a_{i + 1}{j + 1}"] = float(COEF_ZERO + round(256 * row[j]))
    return setting


def chart_shots(sensor: Sensor, seed: int) -> list[Shot]:
    """Every crop at every gain."""
    shots = []
    for name, parameters, corners in SHOTS:
        studio = name == "studio"
        picture = studio_scene(**parameters, seed=seed) if studio else build(name, **parameters).picture[None]
        target = srgb_encode(picture.clamp(0, 1))
        for iso in ISOS:
            frame = capture(picture, sensor, cct_k=CCT_K, iso=iso, seed=seed)
            for y, x in corners:
                window = (..., slice(y, y + SIDE), slice(x, x + SIDE))
                shots.append(Shot(frame.crop(y, x, SIDE, SIDE), target[window], iso == ISOS[0]))
    return shots


def gradient_energy_db(picture: Tensor) -> float:
    """Of green, in dB."""
    green = picture[:, 1]
    return 10 * float(torch.log10(green.diff(dim=-1).square().mean() + green.diff(dim=-2).square().mean()))


def judge(isp: C71, shots: list[Shot]) -> Score:
    """Higher is better."""

    def score(setting: Mapping[str, float]) -> float:
        marks = []
        for shot in shots:
            picture = isp(shot.frame, setting).data
            mark = float(psnr(picture, shot.target, data_range=1.0))
            if shot.base:
                mark -= 0.25 * abs(gradient_energy_db(picture) - gradient_energy_db(shot.target))
            marks.append(mark)
        return float(np.mean(marks))

    return score


def tone_score(setting: Mapping[str, float]) -> float:
    """Minus the RMS difference of the tone table from the sRGB curve, over evenly spread sRGB codes."""
    codes = torch.arange(256, dtype=torch.float64) / 255
    linear = torch.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    knee, power, shadow = (round(setting[f"tone.lut_{n}"]) for n in ("knee", "power", "shadow"))
    table = torch.from_numpy(tone_table(knee, power, shadow).astype(np.float64))
    return -float((table[(linear * WHITE).round().long()] - 255 * codes).square().mean().sqrt())


def swept(setting: Setting, register: Register, score: Score) -> tuple[Setting, float]:
    """The best of a coarse and of a finer sweep of one register."""
    best, span = setting[register.name], float(register.high - register.low)
    tried = {best: score(setting)}
    for low, high in ((register.low, register.high), (None, None)):
        a, b = (best - span / 8, best + span / 8) if low is None else (float(low), float(high))
        for value in np.linspace(max(a, register.low), min(b, register.high), STEPS).round():
            if float(value) not in tried:
                tried[float(value)] = score({**setting, register.name: float(value)})
        best = max(tried, key=lambda v: tried[v])  # the first of equals: a register that does nothing stays
    return {**setting, register.name: best}, tried[best]


def engineered(start: Setting, score: Score) -> Setting:
    """Tone table, then the passes."""
    tone = [r for r in REGISTERS if r.name.startswith("tone.")]
    setting = start
    for _ in range(6):
        for register in tone:
            setting, _fit = swept(setting, register, tone_score)
    print(f"tone table: RMS {-tone_score(setting):.2f} codes from sRGB; score {score(setting):.3f}", flush=True)
    for step in range(PASSES):
        for register in REGISTERS:
            if register.name.startswith(CALIBRATED):
                continue
            before = setting[register.name]
            setting, mark = swept(setting, register, score)
            print(
                f"pass {step + 1} {register.name:28} {before:5.0f} -> {setting[register.name]:5.0f}  {mark:.3f}",
                flush=True,
            )
    return setting


def main() -> None:
    """Run the procedure; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, isp = time.perf_counter(), C71(PAPER_EXPERT)
    sensor = replace(load_sensor(SENSOR), blur_px=BLUR_PX)
    colors = calibrated(sensor, args.seed)
    score = judge(isp, chart_shots(sensor, args.seed))
    start = {**PAPER_EXPERT, **colors}
    print(f"paper {score(PAPER_EXPERT):.3f}, with calibrated colors {score(start):.3f}", flush=True)
    setting = engineered(start, score)
    if args.check:
        wrong = {n: (v, read_baseline().values[n]) for n, v in setting.items() if read_baseline().values[n] != v}
        print("the same as the file" if not wrong else f"differs (made, in the file): {wrong}")
        sys.exit(bool(wrong))
    content = {
        "version": 1,
        "doc": "The frozen expert setting of c71: the defaults of its space. Do not edit; make it again.",
        "procedure": " ".join((__doc__ or "").split("\n\n", 2)[2].split()),
        "command": f"python benchmarks/c71_baseline.py --seed {args.seed}",
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(time.perf_counter() - began),
        "sensor": f"{sensor.name} with a blur of {BLUR_PX} px, {CCT_K:g} K, ISO {' and '.join(f'{i:g}' for i in ISOS)}",
        "score": {"paper": score(PAPER_EXPERT), "calibrated": score(start), "baseline": score(setting)},
        "source_hash": source_hash(),
        "values": {name: int(value) for name, value in setting.items()},
    }
    write_bytes(FILE, yaml.safe_dump(content, sort_keys=False, width=110).encode())


if __name__ == "__main__":
    main()
