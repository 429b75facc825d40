"""Frames a second of a joint network beside those of its head alone: what the Anscombe network costs.

    python benchmarks/lowlight_speed.py [--devices cpu] [--json benchmarks/results/lowlight_speed.json]

The head is MobileNet-v1 1.0 (1000 classes), the joint network the released Anscombe network (N = 1) before it, both
from tensors on the device, at the same precision, both compiled with torch.compile. A frame is a mosaic, whose planes
(noise, masks, range) are made inside the clock, not compiled; the head alone reads finished pictures. Seconds are the
median of calls that alternate between the two. The paper has 60 frames a second for the joint network and 80 for the
head, 128x128, on a K80. At 2 megapixels the head still reads 224x224, as heads do.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from common import finish, table
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.part import Part
from ispkit.perceive.heads import open_head

RESULTS = Path(__file__).parent / "results" / "lowlight_speed.json"
SIZES = ((128, 128), (224, 224), (1216, 1664))
BATCHES = (1, 32)
PAPER = 60 / 80
_MOST_PIXELS = {"cpu": 4_000_000, "cuda": 80_000_000}


class Inner(nn.Module):
    """Planes of a mosaic to logits: what is compiled."""

    def __init__(self, part: Part, head: nn.Module) -> None:
        super().__init__()
        self.net, self.adapter, self.head = part.net, part.adapter, head

    def forward(self, planes: Tensor) -> Tensor:
        """(B, 8, H, W) -> (B, 1000)."""
        picture = self.adapter.leave(self.net(self.adapter.enter(planes)))
        logits: Tensor = self.head(picture.clamp(0, 1))
        return logits


def mosaic(batch: int, size: tuple[int, int], device: str) -> Frame:
    """Noise, with a noise profile."""
    data = torch.rand(batch, 1, *size, generator=torch.Generator().manual_seed(0))
    one = Frame(data[:1], Domain.MOSAIC, CameraMeta.make("RGGB", size, noise_profile=[(0.02, 1e-3)]))
    return Frame.cat([one.with_data(d[None]) for d in data]).to(device)


def seconds_of(runs: dict[str, Callable[[], Any]], repeats: int, device: str) -> dict[str, float]:
    """Median seconds of each, one after the other in turns, after two calls to warm up."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 2):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn >= 2:
                spent[name].append(time.perf_counter() - began)
    return {name: median(each) for name, each in spent.items()}


@torch.no_grad()
def measure(device: str, precision: str, *, compiled: bool, repeats: int) -> list[dict[str, Any]]:
    """Rows of one device and precision."""
    rows = []
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    for size in SIZES:
        side = min(size) if max(size) <= 224 else 224
        head = open_head("mobilenet-v1", size=side).eval().to(device)
        part = build("anscombe", preset="released").eval().to(device).named_parts["isp"]
        inner = Inner(part, head).eval()
        for batch in BATCHES:
            if batch * size[0] * size[1] > _MOST_PIXELS[device]:
                continue
            frame = mosaic(batch, size, device)
            picture = frame.data.expand(-1, 3, -1, -1).contiguous()
            nets = [torch.compile(n) if compiled else n for n in (head, inner)]
            with torch.autocast(device, dtype, enabled=precision != "fp32"):
                found = seconds_of(
                    {
                        "head": lambda n=nets[0], p=picture: n(p),
                        "joint": lambda n=nets[1], f=frame, a=part.adapter: n(a.gather(f)),
                    },
                    repeats,
                    device,
                )
            rows.append(
                {
                    "device": f"{device} {precision}" + (", compiled" if compiled else ""),
                    "frame": f"{size[1]}x{size[0]}",
                    "batch": batch,
                    "head, frames/s": batch / found["head"],
                    "joint, frames/s": batch / found["joint"],
                    "joint / head": found["head"] / found["joint"],
                    "paper": PAPER if size == (128, 128) else "-",
                }
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", default=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = []
    for device in options.devices:
        for precision in ("fp32", "bf16") if device == "cuda" else ("fp32",):
            for compiled in (False, True):
                rows += measure(device, precision, compiled=compiled, repeats=options.repeats)
    gpu = torch.cuda.get_device_name() if "cuda" in options.devices else "none"
    heading = f"{torch.get_num_threads()} CPU threads; GPU: {gpu}"
    command = f"python benchmarks/lowlight_speed.py --repeats {options.repeats}"
    finish("Frames a second in the dark", options.json, {"gpu": gpu, "rows": rows}, {heading: table(rows)}, command)


if __name__ == "__main__":
    main()
