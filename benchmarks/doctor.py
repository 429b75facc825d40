"""How well `ispkit doctor` finds what a headerless dump holds: rank of the truth and margin, every dump.

The dumps of the shared data under another name, and dumps made from its DNG mosaics: other packings,
byte orders, paddings, headers and odd crops. Run from the checkout: `python benchmarks/doctor.py`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from common import finish, table
from ispkit.core.cfa import CFA_PATTERNS
from ispkit.doctor.dump_search import Candidate, DumpSearch, likely_depths, search_dump
from ispkit.doctor.phase import find_phase
from ispkit.doctor.sites import Mosaic
from ispkit.io.pictures import read_picture
from ispkit.io.raw import read_raw

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
Samples = NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """What a dump holds."""

    width: int
    height: int
    encoding: str
    bits: int
    stride: int
    cfa: str
    offset: int = 0


REAL = (
    ("raw_infinite_isp_8bit_grbg/Indoor1_2592x1536_8bit_GRBG.raw", Truth(2592, 1536, "u8", 8, 2592, "GRBG")),
    ("raw_infinite_isp_8bit_grbg/Outdoor1_2592x1536_8bit_GRBG.raw", Truth(2592, 1536, "u8", 8, 2592, "GRBG")),
    ("raw_openisp_chart/test_1920x1080_10bit_RGGB_u16le.RAW", Truth(1920, 1080, "u16le", 10, 3840, "RGGB")),
    ("raw_nikon_dsc1339_14bit/DSC_1339_768x512_grbg.raw", Truth(768, 512, "u16le", 14, 1536, "GRBG")),
    ("raw_nikon_dsc1339_14bit/DSC_1339_768x512_rggb.raw", Truth(768, 512, "u16le", 14, 1536, "RGGB")),
    ("raw_nikon_dsc1339_14bit/DSC_1339_768x512_rggb_bpc_test.raw", Truth(768, 512, "u16le", 14, 1536, "RGGB")),
    ("raw_black_frame/BlackImage_1920x1080_12bits_BGGR.raw", Truth(1920, 1080, "u16le", 12, 3840, "undeterminable")),
)
BITS = {
    "u8": 8, "u16le": 14, "u16be": 14, "mipi10": 10, "mipi12": 12, "mipi14": 14, "packed10": 10, "packed12": 12,
    "packed14": 14, "packed10be": 10, "packed12be": 12, "packed14be": 14, "gige10": 10, "gige12": 12,
}  # fmt: skip


CROSSTALK = np.array([[0.70, 0.16, 0.04], [0.26, 0.70, 0.24], [0.04, 0.14, 0.72]])
"""linear sRGB -> sensor colors, rows summing to what neutral makes of them"""
NOTE = """

"Phase first" counts red and blue as well, which pixels can only make likely; "greens right" is what they can tell. The
dark frame has no phase to be found, and none is claimed. The photographs have been used to weigh the color cues of the
phase (not its greens, nor anything of the geometry), without a lens: the sharpness cue is silent there.
Margin: nats between the truth and the best other candidate. CPU seconds on one thread.
"""


def packed(mosaic: Samples, encoding: str) -> NDArray[np.uint8]:
    """Rows of samples as rows of bytes."""
    height, bits = len(mosaic), BITS[encoding]
    if encoding.startswith("u"):
        kind = {"u8": "u1", "u16le": "<u2", "u16be": ">u2"}[encoding]
        return np.ascontiguousarray(mosaic.astype(kind)).view(np.uint8).reshape(height, -1)
    if encoding.startswith("packed"):
        big = encoding.endswith("be")
        order = range(bits - 1, -1, -1) if big else range(bits)
        stream = (mosaic[..., None] >> np.array(list(order)) & 1).astype(np.uint8).reshape(height, -1)
        return np.packbits(stream, axis=1, bitorder="big" if big else "little")
    if encoding.startswith("gige"):
        a, b, low = mosaic[:, 0::2], mosaic[:, 1::2], bits - 8
        mask = (1 << low) - 1
        groups = np.stack([a >> low, a & mask | (b & mask) << 4, b >> low], axis=-1)
        return groups.astype(np.uint8).reshape(height, -1)
    pixels, low = (2 if bits == 12 else 4), bits - 8
    group = mosaic.reshape(height, -1, pixels)
    rest = sum((group[..., i] & ((1 << low) - 1)) << low * i for i in range(pixels))
    tail = [rest >> 8 * i & 255 for i in range(pixels * low // 8)]
    groups = np.stack([*(group[..., i] >> low for i in range(pixels)), *tail], axis=-1)
    return groups.astype(np.uint8).reshape(height, -1)


def dump(mosaic: Samples, encoding: str, *, stride: int | None = None, header: int = 0) -> NDArray[np.uint8]:
    """A file: header of random bytes, then rows padded with zeros to `stride`."""
    rows = packed(mosaic, encoding)
    if stride is not None:
        rows = np.pad(rows, ((0, 0), (0, stride - rows.shape[1])))
    head = np.random.default_rng(0).integers(0, 256, header).astype(np.uint8)
    head[header // 4 :] = 0
    return np.concatenate([head, rows.ravel()])


def examine(data: NDArray[np.uint8], truth: Truth) -> dict[str, object]:
    """Rank of the truth among the candidates, and by how much it leads or trails."""
    start = time.process_time()
    search = search_dump(data)
    seconds = time.process_time() - start
    rank = next((i for i, c in enumerate(search.candidates, 1) if matches(c, truth)), 0)
    best = search.candidates[0]
    depth = likely_depths(data, best)[0].depth
    phase = find_phase(Mosaic(best.samples(data).astype(np.float32)))
    order = list(phase.probabilities) if phase.determinable else ["undeterminable"]
    return {
        "rank": rank,
        "margin nats": margin(search, rank),
        "basis": search.basis,
        "bits": "ok" if depth.bits == truth.bits else f"{depth.bits} for {truth.bits}",
        "phase rank": order.index(truth.cfa) + 1 if truth.cfa in order else 0,
        "phase probability": phase.probabilities.get(truth.cfa, 0.0) if phase.determinable else "-",
        "CPU s": seconds,
    }


def matches(candidate: Candidate, truth: Truth) -> bool:
    """Whether size, encoding, stride and header are the true ones."""
    place = candidate.layout
    found = (place.width, place.height, candidate.encoding.name, place.stride, place.offset)
    return found == (truth.width, truth.height, truth.encoding, truth.stride, truth.offset)


def margin(search: DumpSearch, rank: int) -> float:
    """Nats between the truth and the best other candidate; negative if that is better."""
    if not rank:
        return float("nan")
    others = [c.log_score for i, c in enumerate(search.candidates, 1) if i != rank]
    return search.candidates[rank - 1].log_score - max(others, default=float("-inf"))


def made() -> list[tuple[str, Samples, str, int, int]]:
    """Dumps to be made: name, mosaic of 14 bits, encoding, padding granularity, header."""
    gopro = mosaic("raw_gopro_hero7/gopro_hero7_GOPR9231.dng")
    magic = mosaic("raw_dng/Blackmagic.dng") >> 2
    scenes = {
        "GoPro 4000x3000": gopro,
        "Blackmagic 4128x2176": magic,
        "GoPro 1232x870": gopro[500:1370, 200:1432],
        "Blackmagic 1000x750": magic[800:1550, 1000:2000],
    }
    layouts = ((0, 0), (64, 0), (0, 4096), (256, 1024))
    cases = []
    for name, pixels in scenes.items():
        for k, encoding in enumerate(BITS):
            chosen = layouts[k % 2 :: 2] if "x870" in name or "x750" in name else (layouts[k % 4],)
            cases += [(name, pixels, encoding, align, header) for align, header in chosen]
    return cases


def mosaic(name: str) -> Samples:
    """The mosaic of a DNG in stored numbers."""
    return read_raw(SHARED / name).data[0, 0].numpy().astype(np.int64)


def run_made() -> list[dict[str, object]]:
    """One row per scene and encoding."""
    rows = []
    for name, pixels, encoding, align, header in made():
        samples = pixels[: len(pixels) // 2 * 2] >> (14 - BITS[encoding])
        tight = packed(samples[:2], encoding).shape[1]
        stride = -(-(tight + 8) // align) * align if align else tight
        height, width = samples.shape
        truth = Truth(width, height, encoding, BITS[encoding], stride, "RGGB", header)
        found = examine(dump(samples, encoding, stride=stride, header=header), truth)
        rows.append({"scene": name, "encoding": encoding, "padding": stride - tight, "header": header, **found})
        print(rows[-1], flush=True)
    return rows


def photographs() -> list[Path]:
    """Clean pictures of the shared data that stand in for other scenes."""
    folders = ("hires_misc", "hires_polyu_mean_2784x1856", "kodak24", "mcmaster18", "urban100")
    files = [f for folder in folders for f in sorted((SHARED / folder).iterdir())]
    return [f for f in files if f.suffix.lower() in (".png", ".jpg", ".tif")]


def seen(path: Path, rng: np.random.Generator) -> tuple[NDArray[np.float64], str]:
    """A photograph through a made-up sensor: mosaic in [0, 1] with noise, and its pattern."""
    rgb = read_picture(path).pixels.astype(np.float64)
    rgb = np.where(rgb < 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    rgb = rgb[: len(rgb) // 4 * 4, : rgb.shape[1] // 4 * 4]
    warm = rng.random()  # from daylight to lamp
    neutral = np.array([0.45 + 0.4 * warm, 1.0, 0.72 - 0.35 * warm]) * np.exp(rng.normal(0, 0.1, 3))
    raw = np.clip(rgb @ CROSSTALK * neutral * rng.uniform(0.3, 1.2), 0, 1)
    cfa = CFA_PATTERNS[rng.integers(4)]
    mosaic = np.zeros(raw.shape[:2])
    for i, color in enumerate(cfa):
        mosaic[i // 2 :: 2, i % 2 :: 2] = raw[i // 2 :: 2, i % 2 :: 2, "RGB".index(color)]
    gain = 10 ** rng.uniform(-4.5, -2.5)
    return mosaic + rng.normal(0, 1, mosaic.shape) * np.sqrt(mosaic * gain + gain**2), cfa


def run_simulated() -> list[dict[str, object]]:
    """One row per photograph: random pattern, light, noise, encoding, padding and header."""
    rows = []
    for k, path in enumerate(photographs()):
        rng = np.random.default_rng(k)
        light, cfa = seen(path, rng)
        encoding = list(BITS)[rng.integers(len(BITS))]
        top = 2 ** BITS[encoding] - 1
        samples = np.clip(np.rint((0.06 + 0.94 * light) * top), 0, top).astype(np.int64)
        tight = packed(samples[:2], encoding).shape[1]
        stride = int(rng.choice([tight, -(-(tight + 4) // 64) * 64]))
        header = int(rng.choice([0, 0, 512, 4096]))
        truth = Truth(samples.shape[1], len(samples), encoding, BITS[encoding], stride, cfa, header)
        found = examine(dump(samples, encoding, stride=stride, header=header), truth)
        rows.append(
            {"picture": path.stem[:24], "encoding": encoding, "padding": stride - tight, "header": header, **found}
        )
        print(rows[-1], flush=True)
    return rows


def counted(rows: list[dict[str, object]]) -> dict[str, int]:
    """How often the truth came first."""
    return {
        "dumps": len(rows),
        "geometry first": sum(r["rank"] == 1 for r in rows),
        "bits right": sum(r["bits"] == "ok" for r in rows),
        "greens right": sum(r["phase rank"] in (1, 2) for r in rows),
        "phase first": sum(r["phase rank"] == 1 for r in rows),
    }


def main() -> None:
    """Both tables, to `benchmarks/results/doctor.json` and `docs/benchmarks/doctor.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "doctor.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    real = [{"dump": Path(f).name, **examine(np.fromfile(SHARED / f, np.uint8), truth)} for f, truth in REAL]
    artificial = run_made()
    simulated = run_simulated()
    groups = {"shared dumps": real, "made from DNG mosaics": artificial, "photographs, simulated sensors": simulated}
    summary = {name: counted(rows) for name, rows in groups.items()}
    sections = {
        "How often the truth comes first": table([{"": name, **counts} for name, counts in summary.items()]) + NOTE,
        "Dumps of the shared data, renamed": table(real),
        "Dumps made from DNG mosaics": table(artificial),
        "Photographs through simulated sensors": table(simulated),
    }
    numbers = {"summary": summary, "real": real, "made": artificial, "simulated": simulated}
    title = "Doctor: what a headerless dump holds"
    finish(title, arguments.output, numbers, sections, "python benchmarks/doctor.py")


if __name__ == "__main__":
    main()
