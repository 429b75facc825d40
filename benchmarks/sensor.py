"""How fast is the sensor model on the fly, and how true is unprocessing?

    python benchmarks/sensor.py [--device cpu|cuda] [--data ../shared/data] [--json benchmarks/results/sensor.json]

Speed: samples a second of `capture` and `unprocess` in batches, pictures already in memory of the device, the median of
several runs; on a CPU with one thread, as a worker of a data loader has, in its own CPU time.
Truth: the error of unprocess -> `neutral` on real pictures, with and without the filter array.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from common import finish, table
from ispkit.core.frame import Domain, Frame
from ispkit.io.read_pictures import read_picture
from ispkit.isp.recipe import preset
from ispkit.sensor.catalog import iso_of, light_level, load_sensor
from ispkit.sensor.kim import draw_kim, unprocess_kim
from ispkit.sensor.simulate import Sensor, Shot, add_noise, capture, expose
from ispkit.sensor.unprocess import camera_of, draw_camera, draw_noise, unprocess

SIZES = {128: 64, 512: 8}  # side -> pictures in a batch
RUNS, SECONDS = 5, 0.5


def cases(pictures: torch.Tensor, generator: torch.Generator) -> dict[str, Callable[[], object]]:
    """What a training step may ask for: a batch of RAW with its truth."""
    count = len(pictures)
    phone, plain = load_sensor("nexus-6p-rear"), Sensor()
    level = light_level("2-200 lux")
    camera = camera_of(phone)
    settings = {"generator": generator, "space": "sensor"}

    def dirty_pixels(draw):
        return capture(pictures, phone, iso=iso_of(level.draw(count, generator)).cpu(), draw=draw, **settings)

    def brooks():
        frame, truth = unprocess(pictures, draw_camera(count, generator))
        return add_noise(frame.data, draw_noise(count, generator), frame.meta.cfa, generator), truth

    def kim():
        frame, truth = unprocess_kim(pictures, *draw_kim(count, generator))
        return add_noise(frame.data, draw_noise(count, generator), frame.meta.cfa, generator), truth

    def whole():
        truth = unprocess(pictures, camera)[1]
        shot = Shot(plain, camera.response(), torch.full((count,), 800.0, dtype=torch.float64), 0.01)
        return expose(truth.sensor_rgb, shot, generator)

    return {
        "Dirty Pixels: CFA, Poisson-Gaussian, 10 bits, own light each": lambda: dirty_pixels("poisson"),
        "the same, normal noise": lambda: dirty_pixels("normal"),
        "unprocess, own camera and noise each": brooks,
        "Kim's inverse, own camera, look and noise each": kim,
        "unprocess, then blur, falloff, CFA, noise, 14 bits": whole,
    }


def seconds_per_call(work: Callable[[], object], device: str) -> float:
    now = time.perf_counter if device == "cuda" else time.process_time

    def once() -> float:
        start, calls = now(), 0
        while calls == 0 or now() - start < SECONDS:
            work()
            calls += 1
        if device == "cuda":
            torch.cuda.synchronize()
        return (now() - start) / calls

    work()
    return median(once() for _ in range(RUNS))


def speed_rows(device: str) -> list[dict]:
    rows = []
    for side, count in SIZES.items():
        generator = torch.Generator(device).manual_seed(0)
        pictures = torch.rand(count, 3, side, side, device=device, generator=generator)
        for name, work in cases(pictures, generator).items():
            rows.append({"what": name, "side": side, "batch": count,
                         "samples_per_s": count / seconds_per_call(work, device)})  # fmt: skip
    return rows


def truth_rows(data: Path) -> list[dict]:
    neutral, generator, rows = preset("neutral"), torch.Generator().manual_seed(0), []
    for protect in (False, True):
        errors, dbs, touched = [], [], []
        for path in sorted((data / "kodak24").glob("*.png")):
            picture = torch.from_numpy(read_picture(path).pixels).permute(2, 0, 1)[None]
            frame, truth = unprocess(picture, draw_camera(1, generator), protect=protect)
            gains = 1 / frame.meta.neutral
            balanced = (truth.sensor_rgb * gains[..., None, None]).clamp(max=1)
            whole = neutral(Frame(balanced, Domain.CAMERA_RGB, replace(frame.meta, wb_gains=gains))).data
            error = (whole - picture).abs().amax(1)
            errors.append(float(error.max()))
            touched.append(float((error > 1 / 510).float().mean()))
            dbs.append(float(-10 * (neutral(frame).data - picture).square().mean().log10()))
        rows.append({
            "highlight protection": "on" if protect else "off",
            "largest error without filter array": max(errors),
            "pixels off by half an 8-bit code or more": sum(touched) / len(touched),
            "PSNR with filter array (malvar2004), dB": sum(dbs) / len(dbs),
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/sensor.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    speed, truth = speed_rows(options.device), truth_rows(options.data)
    device = torch.cuda.get_device_name() if options.device == "cuda" else "CPU, one thread, in its own CPU time"
    sections = {f"Samples a second on the fly ({device})": table(speed)}
    sections["Unprocess, then `neutral`: 12 Kodak pictures, encoded values in [0, 1]"] = table(truth)
    numbers = {"device": device, "speed": speed, "truth": truth}
    finish("Sensor model", options.json, numbers, sections, f"python benchmarks/sensor.py --device {options.device}")


if __name__ == "__main__":
    main()
