#!/usr/bin/env python3
"""How exactly the rig knows which point of the screen a camera pixel sees: ten random simulated poses, and limits.

The simulated camera's pose and lens are known, so the map's error is measured at every pixel that sees the
screen, in camera pixels.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from common import finish, table
from ispkit.isp.recipe import preset
from ispkit.rig.align import align, true_error_px
from ispkit.rig.simulated import SimulatedCamera, random_rig

DISPLAY, CAMERA = (1080, 1920), (540, 960)
SMALL_DISPLAY, SMALL_CAMERA = (540, 960), (270, 480)
LARGE_DISPLAY, LARGE_CAMERA = (1440, 2560), (1080, 1920)


def measured(camera: SimulatedCamera) -> dict:
    """One calibration and its true error."""
    result = align(camera.display, camera)
    error = true_error_px(camera, result.transport)
    found = result.transport.alignment
    return {
        "median": float(np.median(error)),
        "95 %": float(np.quantile(error, 0.95)),
        "largest": float(error.max()),
        "borders median": found.median_px,
        "borders 95 %": found.p95_px,
        "camera coverage": found.camera_coverage,
        "display px a camera px": found.display_px_per_camera_px,
        "decode and fit, s": round(result.seconds, 2),
    }


def pose_rows(count: int) -> list[dict]:
    rows = []
    for seed in range(count):
        camera = random_rig(seed, DISPLAY, CAMERA, iso=400)
        pose = camera.pose
        facts = {
            "seed": seed,
            "yaw, pitch, roll": f"{pose.yaw_deg:.1f}, {pose.pitch_deg:.1f}, {pose.roll_deg:.1f}",
            "k1": camera.lens.radial[0],
        }
        rows.append(facts | measured(camera))
        print(rows[-1], flush=True)
    return rows


def limit_rows() -> list[dict]:
    """The same pose under worse conditions, one at a time."""
    base = random_rig(0, SMALL_DISPLAY, SMALL_CAMERA, iso=400)
    straight = replace(base.lens, radial=(0.0, 0.0, 0.0), tangential=(0.0, 0.0))
    grid = replace(base, display=type(base.display)(SMALL_DISPLAY, fill=0.8))
    cases = {
        "as above, ISO 400": base,
        "ISO 100": replace(base, iso=100.0),
        "ISO 1600": replace(base, iso=1600.0),
        "ISO 6400": replace(base, iso=6400.0),
        "4 stops darker": replace(base, exposure_ev=-4.5),
        "no distortion": replace(base, lens=straight),
        "lens blur 1.0 px instead of 0.45": replace(base, sensor=replace(base.sensor, blur_px=1.0)),
        "5 % of ambient light": replace(base, ambient=0.05),
        "dark grid between the screen's pixels (80 %)": grid,
        "pictures by the neutral ISP instead of RAW": replace(base, isp=preset("neutral")),
        "turned by 30 degrees": replace(base, pose=replace(base.pose, yaw_deg=30.0)),
        "rolled by 90 degrees": replace(base, pose=replace(base.pose, roll_deg=90.0)),
        "three times as far": replace(base, pose=replace(base.pose, distance=3 * base.pose.distance)),
    }
    rows = []
    for name, camera in cases.items():
        rows.append({"case": name} | measured(camera))
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=int, default=10)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/rig.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    poses = pose_rows(options.poses)
    limits = limit_rows()
    large = measured(random_rig(0, LARGE_DISPLAY, LARGE_CAMERA, iso=400))
    medians = [row["median"] for row in poses]
    worst = f"Worst of {len(poses)}: median {max(medians):.4f} px, 95 % {max(r['95 %'] for r in poses):.4f} px."
    sizes = f"Camera {CAMERA[1]}x{CAMERA[0]}, screen {DISPLAY[1]}x{DISPLAY[0]}, ISO 400, all errors in camera pixels."
    note = "`borders` are the distances of single measured stripe borders from the fitted map, which need no truth."
    sections = {
        "Random poses with distortion and noise": f"{sizes} {worst} {note}\n\n{table(poses)}",
        "One condition at a time": (
            f"Seed 0, camera {SMALL_CAMERA[1]}x{SMALL_CAMERA[0]}, screen {SMALL_DISPLAY[1]}x{SMALL_DISPLAY[0]}.\n\n"
            f"{table(limits)}"
        ),
        "A 1080p camera": f"Screen {LARGE_DISPLAY[1]}x{LARGE_DISPLAY[0]}, one thread.\n\n{table([large])}",
    }
    numbers = {"poses": poses, "limits": limits, "large": large}
    finish("Rig", options.json, numbers, sections, "python benchmarks/rig.py")


if __name__ == "__main__":
    main()
