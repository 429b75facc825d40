"""Seconds a megapixel and peak memory of restoring finished pictures: DiR, its rivals among nets, and classical ones.

    python benchmarks/restore.py [--sizes 1 12] [--limit 120] [--preset small] [--json benchmarks/results/restore.json]

What is timed is `restore_picture`, the work of `ispkit restore` between reading and writing a file, in tiles as the
command does it. Every figure comes from a process of its own, which is where its memory is read: the most that it held,
less what it held before the first picture. A picture that would take longer than `--limit` seconds, by an estimate on
0.25 megapixels, is not made; the table says so. Weights are random: they change no time. The table's first row, "read
and write", is a JPEG through the command without a net. BM3D needs its package. Writes docs/benchmarks/restore.md
beside the JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common import finish, table
from ispkit.bench.dir_rivals import BM3D, NLM, BlindNlm, missing
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.io.pictures import read_picture, write_picture
from ispkit.isp.external.bm3d import Bm3dISP
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.restore import restore_picture
from ispkit.isp.learned.tiles import Execution
from ispkit.nets.count import count, picture_shape
from learned import free_memory, resident, timed

RESULTS = Path(__file__).parent / "results" / "restore.json"
NETS = ("dir", "auto-encoder", "nafnet-rgb", "unet-rgb")
FILES = "read and write"
CLASSICAL = (NLM, BM3D)
PROBE_MP = 0.25
ASPECT = 4 / 3
GPU = {"fp32": {"channels_last": True}, "bf16": {"channels_last": True, "half": "bf16"}}


def size_of(megapixels: float) -> tuple[int, int]:
    """Height and width of a picture of 4:3, in whole 16 px as cameras have them."""
    height = round((megapixels * 1e6 / ASPECT) ** 0.5 / 16) * 16
    return height, round(height * ASPECT / 16) * 16


def picture_of(size: tuple[int, int]) -> NDArray[np.float32]:
    """Soft shapes with noise on them, (H, W, 3) in [0, 1]: BM3D and JPEG take longer where there is more to see."""
    chance = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 24, 32, generator=chance)
    soft = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    noisy = soft + 0.05 * torch.randn(soft.shape, generator=chance)
    return noisy.clamp(0, 1)[0].permute(1, 2, 0).contiguous().numpy()


def one(task: dict[str, Any]) -> dict[str, Any]:
    """One figure, in this process: seconds, and the memory that the work adds, GB."""
    device, pixels = task["device"], picture_of(tuple(task["size"]))
    run, net = runner(task, pixels)
    cuda = device == "cuda"
    if cuda:
        run()  # kernels are chosen once
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else resident()
    first, seconds = timed(run, task["repeats"], device)
    peak = torch.cuda.max_memory_allocated() if cuda else resident()
    return {"first_s": first, "seconds": seconds, "peak_gb": (peak - before) / 1e9, **net}


def runner(task: dict[str, Any], pixels: NDArray[np.float32]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """What is timed, and facts of the net."""
    name = task["name"]
    if name == FILES:
        return through_files(pixels), {}
    if name in CLASSICAL:
        isp = BlindNlm() if name == NLM else Bm3dISP()
        data = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
        frame = Frame(data, Domain.DISPLAY_RGB, CameraMeta.make("RGGB", pixels.shape[:2]))
        return lambda: isp(frame), {}
    torch.manual_seed(0)
    learned = build(name, preset=task["preset"]).eval().requires_grad_(False).to(task["device"])
    part = learned.named_parts["isp"]
    parts = count(part.net, picture_shape(part.net, *pixels.shape[:2]))
    facts = {"parameters": sum(p.numel() for p in learned.parameters()), "flops": float(parts.flops)}
    return lambda: restore_picture(pixels, learned, execution=Execution(**task["how"])), facts


def through_files(pixels: NDArray[np.float32]) -> Callable[[], Any]:
    """A JPEG read and written again."""
    room = Path(tempfile.mkdtemp())
    write_picture(room / "a.jpg", pixels)
    return lambda: write_picture(room / "b.jpg", read_picture(room / "a.jpg").pixels)


def apart(task: dict[str, Any]) -> dict[str, Any]:
    """`one` in a process of its own; a reason where it fails."""
    words = [sys.executable, __file__, "--one", json.dumps(task)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"failed": lines[-1][:160] if lines else f"killed (exit code {done.returncode})"}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measured(task: dict[str, Any], megapixels: float, limit: float) -> dict[str, Any]:
    """A row of the table at full size, or why there is none."""
    size = size_of(megapixels)
    row = {"restored by": task["name"], "how": task["label"], "picture": f"{size[1]}x{size[0]}"}
    probe = apart({**task, "size": size_of(PROBE_MP), "repeats": 1})
    if "failed" in probe:
        return {**row, "s": probe["failed"]}
    share = size[0] * size[1] / (size_of(PROBE_MP)[0] * size_of(PROBE_MP)[1])
    if probe["seconds"] * share > limit:
        return {**row, "s": f"left out: about {probe['seconds'] * share:.0f} s"}
    if task["device"] == "cpu" and probe["peak_gb"] * 1e9 > free_memory("cpu"):
        return {**row, "s": "left out: memory"}
    twice = probe["seconds"] * share * (1 + task["repeats"]) <= limit
    found = apart({**task, "size": size, "repeats": task["repeats"] if twice else 0})
    if "failed" in found:
        return {**row, "s": found["failed"]}
    real = size[0] * size[1] / 1e6
    row |= {"s": found["seconds"], "s a megapixel": found["seconds"] / real, "peak GB": found["peak_gb"]}
    if "flops" in found:
        row |= {"parameters, M": found["parameters"] / 1e6, "TFLOP": found["flops"] / 1e12}
    return row


def tasks(device: str, nets: list[str], preset: str) -> list[dict[str, Any]]:
    """What is measured on a device; classical rivals run on the CPU alone."""
    hows = GPU if device == "cuda" else {"fp32": {}}
    found = [
        {"name": net, "label": f"{device} {label}", "how": how, "preset": preset, "device": device}
        for net in nets
        for label, how in hows.items()
    ]
    if device == "cuda":
        return found
    others = [FILES, *(n for n in CLASSICAL if n != BM3D or not missing())]
    plain = [{"name": n, "label": "cpu", "how": {}, "preset": preset, "device": "cpu"} for n in others]
    return [plain[0], *found, *plain[1:]]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=float, default=[1.0, 12.0], help="megapixels")
    parser.add_argument("--nets", nargs="+", default=list(NETS))
    parser.add_argument("--preset", default="small")
    parser.add_argument("--devices", nargs="+", default=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that one figure may take")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(json.loads(args.one))))
        return
    rows = []
    for megapixels in args.sizes:
        for device in args.devices:
            for task in tasks(device, args.nets, args.preset):
                rows.append(measured({**task, "repeats": args.repeats}, megapixels, args.limit))
                print(rows[-1], flush=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    rows = [{key: row.get(key, "-") for key in columns} for row in rows]
    gpu = torch.cuda.get_device_name() if "cuda" in args.devices else "none"
    sizes = " ".join(f"{s:g}" for s in args.sizes)
    command = f"python benchmarks/restore.py --sizes {sizes} --preset {args.preset} --limit {args.limit:g}"
    threads = torch.get_num_threads()
    heading = f"Seconds a picture, preset {args.preset} ({threads} CPU threads; GPU: {gpu})"
    note = missing()
    finish(
        "Restoring finished pictures",
        args.json,
        {"gpu": gpu, "threads": threads, "preset": args.preset, "rows": rows},
        {heading: table(rows), **({"Note": note} if note else {})},
        command,
    )


if __name__ == "__main__":
    main()
