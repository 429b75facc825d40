"""Are degraded views made faster than training eats them?

    python benchmarks/degradations.py [--device cuda] [--json benchmarks/results/degradations.json]

Views a second of `SyntheticPairs` with a `Degrader`, pictures in memory, by degradation, patch, batch and views of each
picture, and of training steps (forward, L1, backward, Adam) of small restoration networks on the same batches. On a
CPU one thread each and its own CPU time; with `--device cuda` both run there and wall time counts, chance and noise
still being drawn by one CPU thread. Medians of runs that alternate. Real pictures where `--data` is there, else
pictures that the toolkit makes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from common import finish, table
from ispkit.data.degrade import DEGRADATIONS, Degrader
from ispkit.data.project_pictures import project_pictures
from ispkit.data.samples import Sample
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.data.synthetic_raw import SyntheticSettings
from ispkit.data.tuning_sets import read_pictures
from ispkit.nets import nafnet, picture_unet

SIZES = ((64, 16), (128, 4), (128, 16), (256, 4))
"""(patch, pictures of a batch)"""
VIEWS = (1, 2)
RUNS = 5
NETS: Mapping[str, Callable[[], nn.Module]] = {
    "U-Net": lambda: picture_unet.PictureUNet(picture_unet.PRESETS["small"]),
    "NAFNet": lambda: nafnet.NafNet(3, nafnet.PRESETS["small"]),
}


def step_of(net: nn.Module) -> Callable[[Sample], None]:
    """One training step on a batch."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)

    def step(sample: Sample) -> None:
        loss = (net(sample.frame.data) - sample.target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def clock_s(device: str) -> float:
    """CPU seconds of this process, or on a GPU the time of day when all is done there."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def seconds(run: Callable[[], object], device: str) -> float:
    """Of one run."""
    start = clock_s(device)
    run()
    return clock_s(device) - start


def measure(pictures: dict[str, Tensor], size: tuple[int, int], views: int, device: str) -> list[dict[str, object]]:
    """Rows of one patch, batch and number of views."""
    patch, batch = size
    settings = SyntheticSettings(patch=(patch, patch))
    sets = {
        name: SyntheticPairs(pictures, settings, maker=Degrader(degradation, device=device), views=views)
        for name, degradation in DEGRADATIONS.items()
    }
    steps = {name: step_of(net().to(device)) for name, net in NETS.items()}
    indices = [i % len(pictures) for i in range(batch)]
    made: dict[str, list[float]] = {name: [] for name in sets}
    eaten: dict[str, list[float]] = {name: [] for name in steps}
    for run in range(RUNS + 1):  # the first warms up
        for name, pairs in sets.items():
            pairs.set_epoch(run)
            made[name].append(seconds(lambda pairs=pairs: pairs.batch(indices), device))
        sample = pairs.batch(indices)
        for name, step in steps.items():
            eaten[name].append(seconds(lambda step=step, sample=sample: step(sample), device))
    trained = {name: batch * views / median(own[1:]) for name, own in eaten.items()}
    return [_row(name, size, views, batch * views / median(own[1:]), trained) for name, own in made.items()]


def _row(name: str, size: tuple[int, int], views: int, made: float, trained: Mapping[str, float]) -> dict[str, object]:
    return {
        "patch": size[0],
        "pictures": size[1],
        "views": views,
        "degradation": name,
        "made a second": round(made, 1),
        **{f"{net} eats a second": round(eaten, 1) for net, eaten in trained.items()},
        "made for one eaten by the faster": round(made / max(trained.values()), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/degradations.json"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.data / "kodak24"
    pictures = read_pictures(folder) if folder.is_dir() else project_pictures(8, (512, 768))
    rows = [row for size in SIZES for views in VIEWS for row in measure(pictures, size, views, options.device)]
    weights = {name: sum(p.numel() for p in net().parameters()) for name, net in NETS.items()}
    numbers = {"device": options.device, "parameters": weights, "pictures": len(pictures), "rows": rows}
    said = ", ".join(f"{name} of {count} parameters" for name, count in weights.items())
    heading = f"On {options.device}, one CPU thread; the networks are small: {said}"
    command = "python benchmarks/degradations.py" + ("" if options.device == "cpu" else f" --device {options.device}")
    finish("Degradations", options.json, numbers, {heading: table(rows)}, command)


if __name__ == "__main__":
    main()
