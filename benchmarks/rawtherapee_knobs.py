"""Does every knob of the RawTherapee preset act, and what does a render cost?

    python benchmarks/rawtherapee_knobs.py [--side 512] [--json benchmarks/results/rawtherapee_knobs.json]

A simulated picture of low light (dead leaves, ISO 1600) is rendered with each knob over its range while the knob's
own group is at work; the change of the picture is the greatest RMS difference from that base. "Alone" is the same from
the preset's own start, where a knob that depends on another one is dead.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch

from common import finish, table
from ispkit.charts.catalog import CHARTS
from ispkit.core.frame import Frame
from ispkit.core.param import Choice, Param, Value
from ispkit.isp.external.command import CommandISP
from ispkit.sensor.catalog import load_sensor
from ispkit.sensor.simulate import capture

RUNS = 20
ACTS = 0.05  # codes of 255, RMS
AWAKE: dict[str, Value] = {  # what a group needs for its knobs to act
    "raw.hot_pixels": "on",
    "raw.hot_pixel_threshold": 30.0,
    "capture_sharpening.enabled": "on",
    "denoise.luma": 30.0,
    "denoise.chroma": 20.0,
    "denoise.median": "Lab",
    "impulse.enabled": "on",
    "defringe.enabled": "on",
    "exposure.black": 500.0,
    "exposure.highlight_compression": 100.0,
    "tone.shadows": 40.0,
    "tone.highlights": 30.0,
    "local_contrast.amount": 0.4,
    "dynamic_range.amount": 30.0,
    "detail.level_0": 1.5,
    "sharpening.amount": 200.0,
    "sharpening.deconvolution": 60.0,
    "sharpening.halo_control": "on",
    "edges.strength": 30.0,
    "microcontrast.strength": 30.0,
}


def low_light(side: int) -> Frame:
    """A noisy RAW with texture, edges and colors."""
    scene = CHARTS["dead_leaves"](side, side, seed=3).picture[None]
    return capture(scene, load_sensor("nexus-6p-rear"), iso=1600.0, seed=1)


def positions(knob: Param | Choice) -> Iterator[Value]:
    """What a knob is tried at: all options, or ends and middle of the range."""
    if isinstance(knob, Choice):
        yield from knob.options
    else:
        for u in (0.0, 0.25, 0.5, 0.75, 1.0):
            yield float(knob.snap(knob.from_unit(u)))


def change(isp: CommandISP, frame: Frame, name: str, base: dict[str, Value]) -> float:
    """The greatest RMS difference in codes of 255 that the knob makes."""
    before = isp(frame, base).data
    moved = (isp(frame, base | {name: value}).data for value in positions(isp.space[name]))
    return max(float((picture - before).square().mean().sqrt()) for picture in moved) * 255


def base_for(isp: CommandISP, name: str) -> dict[str, Value]:
    """The knob's own group at work, its condition met; everything else at the preset's start."""
    group, when = name.rsplit(".", 1)[0], isp.space[name].when
    base = {n: v for n, v in AWAKE.items() if n.startswith(f"{group}.")}
    if when is not None and base.get(f"{group}.{when[0]}") not in when[1]:
        base[f"{group}.{when[0]}"] = when[1][0]
    return base


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "rawtherapee_knobs.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    isp = CommandISP("rawtherapee")
    isp.check()
    frame = low_light(options.side)
    changes = {n: (change(isp, frame, n, base_for(isp, n)), change(isp, frame, n, {})) for n in isp.space}
    dead = [name for name, (awake, _) in changes.items() if awake < ACTS]
    seconds = cost(isp, frame)
    rows = [
        {"knob": n, "key in the .pp3": isp.spec.knobs[n].key, "greatest change (codes)": a, "alone": b}
        for n, (a, b) in changes.items()
    ]
    found = f"{len(changes) - len(dead)} of {len(changes)} knobs act (more than {ACTS} codes). Dead: {dead or 'none'}."
    costs = [
        {"setting": name, "median ms, wall clock": 1000 * wall, "median ms, CPU": 1000 * cpu}
        for name, (wall, cpu) in seconds.items()
    ]
    finish(
        "The knobs of the RawTherapee preset",
        options.json,
        {"version": isp.version, "side": options.side, "rms_codes": changes, "dead": dead, "seconds": seconds},
        {
            "Change of the picture": found + "\n\n" + table(rows),
            f"One render of {options.side} x {options.side}": table(costs),
        },
        f"python benchmarks/rawtherapee_knobs.py --side {options.side}",
    )


def cost(isp: CommandISP, frame: Frame) -> dict[str, tuple[float, float]]:
    """Median seconds of one render, one after the other: wall clock, and CPU of program and adapter together."""
    generator = torch.Generator().manual_seed(0)
    drawn = isp.space.from_vector(torch.rand(RUNS, isp.space.dim, generator=generator))
    settings: dict[str, list[dict[str, Value]]] = {
        "neutral": [{}] * RUNS,
        "denoising (luma 30, chroma 20)": [{"denoise.luma": 30.0, "denoise.chroma": 20.0}] * RUNS,
        "all knobs drawn at random": [{n: v[i] for n, v in drawn.items()} for i in range(RUNS)],
    }
    medians = {}
    for name, listed in settings.items():
        wall, cpu = zip(*(_timed(isp, frame, values) for values in listed), strict=True)
        medians[name] = (median(wall), median(cpu))
    return medians


def _timed(isp: CommandISP, frame: Frame, values: dict[str, Value]) -> tuple[float, float]:
    start, used = time.perf_counter(), os.times()
    isp(frame, values)
    return time.perf_counter() - start, sum(b - a for a, b in zip(used[:4], os.times()[:4], strict=True))


if __name__ == "__main__":
    main()
