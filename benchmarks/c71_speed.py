"""Time of one render of c71 on one thread, beside the two settings that cost least and most.

    python benchmarks/c71_speed.py [--side 128] [--repeats 200] [--json benchmarks/results/c71_speed.json]

A simulated crop is rendered again and again; the median counts. Writes docs/benchmarks/c71_speed.md beside the JSON.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import cv2
import torch

from common import finish, table
from ispkit.charts.scene import studio_scene
from ispkit.core.frame import Frame
from ispkit.core.param import Values
from ispkit.isp.c71 import C71
from ispkit.sensor.catalog import load_sensor
from ispkit.sensor.simulate import capture

RESULTS = Path(__file__).parent / "results" / "c71_speed.json"
OFF = {"denoise.thresh_long": 0.0, "demosaic.fc_slope": 0.0, "demosaic.np_offset": 0.0}
ALL = {"denoise.thresh_long": 48.0, "demosaic.fc_slope": 130.0, "demosaic.np_offset": 40.0}


def timed(isp: C71, frame: Frame, values: Values, repeats: int) -> dict[str, Any]:
    """Milliseconds of a render."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        isp(frame, values)
        seconds.append(1e3 * (time.perf_counter() - began))
    tenths = quantiles(seconds, n=10)
    return {"ms, median": round(median(seconds), 2), "ms, 10 %": round(tenths[0], 2), "ms, 90 %": round(tenths[-1], 2)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    frame = capture(studio_scene(512, 768), load_sensor("sidd-google-pixel"), iso=400.0).crop(
        0, 0, args.side, args.side
    )
    isp, rows = C71(), []
    for name, values in (("baseline", {}), ("everything on", ALL), ("what can be is off", OFF)):
        timed(isp, frame, values, 10)
        rows.append({"setting": name, "crop": f"{args.side}x{args.side}", **timed(isp, frame, values, args.repeats)})
    command = f"python benchmarks/c71_speed.py --side {args.side} --repeats {args.repeats}"
    finish("c71: speed", args.json, {"rows": rows}, {"One render, one thread": table(rows)}, command)


if __name__ == "__main__":
    main()
