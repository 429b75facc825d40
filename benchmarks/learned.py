"""Seconds and peak memory of CameraNet and DeepISP at 12 megapixels, beside the papers' and the chip's limit.

    python benchmarks/learned.py [--size 3024x4032] [--limit 120] [--repeats 3] [--json benchmarks/results/learned.json]

Every figure comes from a process of its own, which is where its memory is read. A run that would last longer than
`--limit` seconds is made on a window of the same shape and its seconds are multiplied by the pixels; the table says
so. Tiles, whose overlap depends on the size, are always measured in full, once. Weights are random: they change no
time. Needs onnx, onnxscript and onnxruntime for their rows, openvino for its own. Writes docs/benchmarks/learned.md
beside the JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from common import finish, table
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.onnx_export import export_onnx, inputs_of
from ispkit.isp.learned.tiles import Execution
from ispkit.nets.count import count, picture_shape

RESULTS = Path(__file__).parent / "results" / "learned.json"
PAPER_S = {"cameranet": 0.892, "deepisp": 2.12}
"""on a Quadro GV100 at 4032x3024 (Liang et al. 2021, section IV-D)"""
SMALL = (768, 1024)
"""where speed and memory are estimated first, and what a window at least has"""
CPU = {
    "torch, whole": {"tile": "whole"},
    "torch, whole, channels_last": {"tile": "whole", "channels_last": True},
    "torch, tiles": {},
}
GPU = {
    "fp32": {"tile": "whole", "channels_last": True},
    "bf16": {"tile": "whole", "channels_last": True, "half": "bf16"},
    "fp32, compiled": {"tile": "whole", "channels_last": True, "compile": True},
    "bf16, compiled": {"tile": "whole", "channels_last": True, "compile": True, "half": "bf16"},
}


def frame_of(size: tuple[int, int], device: str) -> Frame:
    """A mosaic of noise."""
    data = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0))
    return Frame(data, Domain.MOSAIC, CameraMeta.make("RGGB", size)).to(device)


def fresh(name: str, preset: str, device: str) -> LearnedISP:
    """The net with random weights."""
    torch.manual_seed(0)
    return build(name, preset=preset).eval().requires_grad_(False).to(device)


def timed(run: Callable[[], Any], repeats: int, device: str) -> tuple[float, float]:
    """Seconds of the first call and the median of the others, which is the first where there are none."""
    seconds = []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return seconds[0], median(seconds[1:] or seconds)


def one(task: dict[str, Any]) -> dict[str, Any]:
    """One figure, in this process: seconds and the memory that the render adds, GB."""
    device, size = task["device"], tuple(task["size"])
    isp, frame = fresh(task["net"], task["preset"], device), frame_of(size, device)
    run = runner(task, isp, frame)
    before = resident()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    first, seconds = timed(run, task["repeats"], device)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else resident()
    return {"first_s": first, "seconds": seconds, "peak_gb": (peak - before) / 1e9}


def runner(task: dict[str, Any], isp: LearnedISP, frame: Frame) -> Callable[[], Any]:
    """What is timed: the whole ISP by torch, or its graph alone by another engine."""
    if task["engine"] == "torch":
        execution = Execution(**task["how"])
        return lambda: isp.render(frame, execution)
    x = inputs_of(isp, frame)
    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "isp.onnx"
        export_onnx(path, isp)
        if task["engine"] == "onnxruntime":
            import onnxruntime

            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            return lambda: session.run(None, {"x": x.numpy()})
        import openvino

        model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda: model([x.numpy()])


def resident() -> int:
    """The most memory that this process has held, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def apart(task: dict[str, Any]) -> dict[str, Any]:
    """`one` in a process of its own; a reason where it fails."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", json.dumps(task)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"failed": lines[-1][:200] if lines else f"killed (exit code {done.returncode})"}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measured(task: dict[str, Any], size: tuple[int, int], limit: float) -> dict[str, Any]:
    """A figure at full size, or on a window where time or memory would not do."""
    if task["engine"] == "torch" and task["how"].get("tile") != "whole":
        return in_tiles(task, size)
    small = (min(SMALL[0], size[0]), min(SMALL[1], size[1]))
    probe = apart({**task, "size": small, "repeats": 1})
    if "failed" in probe:
        return {"measured on": "-", "seconds": probe["failed"], "peak GB": "-"}
    share = size[0] * size[1] / (small[0] * small[1])
    room = free_memory(task["device"]) / 1e9 / (1.3 * max(probe["peak_gb"], 1e-3) * share)
    fits = min(1.0, room, limit / (probe["seconds"] * share * (task["repeats"] + 1)))
    window = (
        size
        if fits >= 1
        else tuple(max(s, int(n * math.sqrt(fits)) // 64 * 64) for n, s in zip(size, small, strict=True))
    )
    found = probe if window == small else apart({**task, "size": window})
    if "failed" in found:
        return {"measured on": f"{window[1]}x{window[0]}", "seconds": found["failed"], "peak GB": "-"}
    times = size[0] * size[1] / (window[0] * window[1])
    return {
        "measured on": f"{window[1]}x{window[0]}" + ("" if times == 1 else f", seconds times {times:.1f}"),
        "seconds": found["seconds"] * times,
        "first, s": found["first_s"],
        "peak GB": found["peak_gb"],
    }


def in_tiles(task: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """One call at full size."""
    found = apart({**task, "size": size, "repeats": 0})
    if "failed" in found:
        return {"measured on": "-", "seconds": found["failed"], "peak GB": "-"}
    return {"measured on": f"{size[1]}x{size[0]}, once", "seconds": found["seconds"], "peak GB": found["peak_gb"]}


def free_memory(device: str) -> float:
    """Bytes that may be used."""
    if device == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    return 0.8 * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def work(name: str, preset: str, size: tuple[int, int]) -> tuple[float, float]:
    """FLOPs (two a multiply-add), and values that layers read and write once each, of a picture."""
    isp, values = fresh(name, preset, "cpu"), 0
    flops = sum(count(part.net, picture_shape(part.net, *size)).flops for part in isp.named_parts.values())
    frame = frame_of((512, 512), "cpu")

    def add(_: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        nonlocal values
        values += inputs[0].numel() + output.numel()

    for layer in isp.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(add)
    isp.render(frame, Execution(tile="whole"))
    return float(flops), values * size[0] * size[1] / 512**2


def chip(device: str, dtype: torch.dtype) -> tuple[float, float]:
    """FLOP/s of a large matrix product and bytes/s of a large copy (read and written), of this machine now."""
    side = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    _, seconds = timed(lambda: a @ b, 10 if device == "cuda" else 5, device)
    source = torch.empty(2**28 if device == "cuda" else 2**26, device=device)
    target = torch.empty_like(source)
    _, copy = timed(lambda: target.copy_(source), 10, device)
    return 2 * side**3 / seconds, 2 * source.numel() * 4 / copy


def limits(nets: list[str], preset: str, size: tuple[int, int], device: str) -> list[dict[str, Any]]:
    """What the chip allows, by arithmetic and by memory traffic of layers that are not fused."""
    rows = []
    for label, dtype, width in (("fp32", torch.float32, 4), ("bf16", torch.bfloat16, 2)):
        if device == "cpu" and width == 2:
            continue
        flops_s, bytes_s = chip(device, dtype)
        for name in nets:
            flops, values = work(name, preset, size)
            by_flops, by_bytes = flops / flops_s, values * width / bytes_s
            rows.append(
                {
                    "net": name,
                    "device": f"{device} {label}",
                    "TFLOP": flops / 1e12,
                    "TFLOP/s": flops_s / 1e12,
                    "GB": values * width / 1e9,
                    "GB/s": bytes_s / 1e9,
                    "s by FLOPs": by_flops,
                    "s by bytes": by_bytes,
                    "bound by": "FLOPs" if by_flops > by_bytes else "bytes",
                }
            )
    return rows


def tasks(device: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(label, engine, execution)."""
    if device == "cuda":
        return [(label, "torch", how) for label, how in GPU.items()]
    others = [n for n in ("onnxruntime", "openvino") if importlib.util.find_spec(n)]
    return [*((label, "torch", how) for label, how in CPU.items()), *((f"{n}, nets only", n, {}) for n in others)]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="3024x4032", help="height x width")
    parser.add_argument("--nets", nargs="+", default=list(PAPER_S))
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--devices", nargs="+", default=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that one figure may take")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(json.loads(args.one))))
        return
    height, width = (int(n) for n in args.size.split("x"))
    rows, bounds = [], []
    for device in args.devices:
        for net in args.nets:
            for label, engine, how in tasks(device):
                task = {"net": net, "preset": args.preset, "device": device, "engine": engine, "how": how}
                found = measured({**task, "repeats": args.repeats}, (height, width), args.limit)
                rows.append({"net": net, "device": device, "how": label, **found, "paper, s": PAPER_S.get(net, "-")})
                print(rows[-1], flush=True)
        bounds += limits(args.nets, args.preset, (height, width), device)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    rows = [{key: row.get(key, "-") for key in columns} for row in rows]
    gpu = torch.cuda.get_device_name() if "cuda" in args.devices else "none"
    command = f"python benchmarks/learned.py --size {args.size} --limit {args.limit:g} --repeats {args.repeats}"
    finish(
        f"Learned ISPs at {width}x{height}",
        args.json,
        {"gpu": gpu, "threads": torch.get_num_threads(), "rows": rows, "limits": bounds},
        {
            f"Seconds a picture ({torch.get_num_threads()} CPU threads; GPU: {gpu})": table(rows),
            "Limits": table(bounds),
        },
        command,
    )


if __name__ == "__main__":
    main()
