"""Are samples made faster than training eats them?

    python benchmarks/synthetic_pairs.py [--json benchmarks/results/synthetic_pairs.json]

Samples a second of `SyntheticPairs` in batches of 8, pictures in memory, and of training steps (forward, L1, backward,
Adam) of the small See-in-the-Dark U-Net on the same batches: one CPU thread each, its own CPU time, the median of runs
that alternate. Real pictures where `--data` is there, else pictures that the toolkit makes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn

from common import finish, table
from ispkit.data.project_pictures import project_pictures
from ispkit.data.samples import Sample
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.data.synthetic_raw import SyntheticSettings
from ispkit.data.tuning_sets import read_pictures
from ispkit.nets.sid_unet import PRESETS, SidUNet
from ispkit.ops.cfa import planes
from ispkit.ops.levels import linearize

PATCHES = (64, 128, 256)
BATCH, RUNS = 8, 9
QUARTER = {"sensor": "nexus-6p-rear", "exposure": (0.25, 0.25)}
KINDS = {
    "sensor's noise, counted photons, quarter exposure": QUARTER,
    "the same, normal noise": {**QUARTER, "draw": "normal"},
    "noise of Brooks et al.": {},
    "plain Gaussian, sigma 1-10 of 255": {"sigma": (1.0, 10.0), "colors": "srgb"},
}


def step_of(net: nn.Module) -> Callable[[Sample], None]:
    """One training step on a batch."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)

    def step(sample: Sample) -> None:
        meta = sample.frame.meta
        sites = planes(linearize(sample.frame.data, meta.black_level, meta.white_level))
        loss = (net(sites) - sample.target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def cpu_s(run: Callable[[], object]) -> float:
    """CPU seconds of this process for one run."""
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(pictures: dict[str, torch.Tensor], patch: int) -> list[dict[str, object]]:
    """Rows of one patch size."""
    net = SidUNet(shape=PRESETS["small"])
    step = step_of(net)
    sets = {
        kind: SyntheticPairs(pictures, SyntheticSettings(patch=(patch, patch), **options))
        for kind, options in KINDS.items()
    }
    indices = [i % len(pictures) for i in range(BATCH)]
    made: dict[str, list[float]] = {kind: [] for kind in sets}
    eaten: list[float] = []
    for run in range(RUNS + 1):  # the first warms up
        for kind, pairs in sets.items():
            pairs.set_epoch(run)
            made[kind].append(cpu_s(lambda pairs=pairs: pairs.batch(indices)))
        batch = pairs.batch(indices)
        eaten.append(cpu_s(lambda batch=batch: step(batch)))
    trained = BATCH / median(eaten[1:])
    return [
        {
            "patch": patch,
            "samples": kind,
            "made a second": round(BATCH / median(seconds[1:])),
            "eaten a second": round(trained, 1),
            "made for one eaten": round(BATCH / median(seconds[1:]) / trained, 1),
        }
        for kind, seconds in made.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/synthetic_pairs.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.data / "kodak24"
    pictures = read_pictures(folder) if folder.is_dir() else project_pictures(8, (512, 768))
    rows = [row for patch in PATCHES for row in measure(pictures, patch)]
    weights = sum(p.numel() for p in SidUNet(shape=PRESETS["small"]).parameters())
    numbers = {"batch": BATCH, "parameters": weights, "pictures": len(pictures), "rows": rows}
    heading = f"One thread each; the network is the small U-Net of {weights} parameters, batches of {BATCH}"
    finish("Synthetic pairs", options.json, numbers, {heading: table(rows)}, "python benchmarks/synthetic_pairs.py")


if __name__ == "__main__":
    main()
