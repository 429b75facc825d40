"""Demosaicing methods on Kodak and McMaster: CPSNR and CPU time, ours beside other implementations.

Example:
    python benchmarks/demosaic.py --data ../shared/data --json benchmarks/results/demosaic.json \
        --doc docs/benchmarks/demosaic.md
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import io
import json
import os
import platform
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import rawpy
import tifffile
import torch

from ispkit.ops.cfa import mosaic as sample
from ispkit.ops.demosaic import METHODS, demosaic
from ispkit.ops.false_color import suppress_false_color

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # colour-science warns of plotting back ends that are not installed
    import colour_demosaicing as peers

Array = np.ndarray
CFA, BORDER = "RGGB", 10
SETS = {"Kodak": "kodak24/*.png", "McMaster": "mcmaster18/*.tif"}
XYZ_TO_SRGB = (3.2404542, -1.5371385, -0.4985314, -0.9692660, 1.8760108, 0.0415560, 0.0556434, -0.2040259, 1.0572252)


def ours(method: str) -> Callable[[Array], Array]:
    def run(mosaic: Array) -> Array:
        tensor = torch.from_numpy(mosaic.astype(np.float32) / 255)[None, None]
        return demosaic(tensor, CFA, method)[0].permute(1, 2, 0).numpy()

    return run


def ours_with_false_color(method: str) -> Callable[[Array], Array]:
    def run(mosaic: Array) -> Array:
        rgb = torch.from_numpy(ours(method)(mosaic)).permute(2, 0, 1)[None]
        return suppress_false_color(rgb, 1.0)[0].permute(1, 2, 0).numpy()

    return run


def peer(function: Callable[..., Array]) -> Callable[[Array], Array]:
    return lambda mosaic: function(mosaic / 255.0, CFA)


def opencv_ea(mosaic: Array) -> Array:
    return cv2.demosaicing(mosaic.astype(np.uint16) * 257, cv2.COLOR_BayerRGGB2RGB_EA) / 65535.0


def libraw(dng: bytes, algorithm: rawpy.DemosaicAlgorithm) -> Array:
    """LibRaw's own chain with everything but the demosaicing neutral."""
    with rawpy.imread(io.BytesIO(dng)) as raw:
        picture = raw.postprocess(
            demosaic_algorithm=algorithm,
            output_color=rawpy.ColorSpace.raw,
            output_bps=16,
            gamma=(1, 1),
            no_auto_bright=True,
            user_wb=[1, 1, 1, 1],
            adjust_maximum_thr=0,
        )
    return picture / 65535.0


def write_dng(mosaic: Array) -> bytes:
    """A 16-bit DNG of the mosaic: black 0, white 65535, neutral white balance, primaries of sRGB."""
    matrix = [n for v in XYZ_TO_SRGB for n in (round(v * 10000), 10000)]
    tags = [
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50708, "s", 0, "ispkit benchmark", True),
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, tuple("RGB".index(c) for c in CFA), True),
        (50714, "H", 1, 0, True),
        (50717, "H", 1, 65535, True),
        (50721, "2i", 9, matrix, True),
        (50778, "H", 1, 21, True),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),
    ]
    file = io.BytesIO()
    data = mosaic.astype(np.uint16) * 257
    tifffile.imwrite(file, data, photometric=32803, rowsperstrip=len(data), extratags=tags, metadata=None)
    return file.getvalue()


def contestants() -> dict[str, tuple[Callable, Callable]]:
    """name -> (prepare the mosaic, not timed; demosaic, timed)."""
    plain = {f"ispkit {m}": ours(m) for m in METHODS}
    plain |= {
        **{f"ispkit {m} + false color": ours_with_false_color(m) for m in ("malvar2004", "rcd", "mlri")},
        "colour-demosaicing bilinear": peer(peers.demosaicing_CFA_Bayer_bilinear),
        "colour-demosaicing Malvar2004": peer(peers.demosaicing_CFA_Bayer_Malvar2004),
        "colour-demosaicing Menon2007": peer(peers.demosaicing_CFA_Bayer_Menon2007),
        "OpenCV EA": opencv_ea,
    }
    found: dict[str, tuple[Callable, Callable]] = {name: (lambda m: m, run) for name, run in plain.items()}
    ahd = rawpy.DemosaicAlgorithm.AHD
    found["LibRaw AHD"] = (write_dng, lambda dng: libraw(dng, ahd))
    return found


def cpsnr(picture: Array, truth: Array) -> float:
    """PSNR of the error pooled over the three channels, after rounding to 8 bit, border left out."""
    inner = slice(BORDER, -BORDER)
    rounded = np.clip(np.round(picture * 255), 0, 255)
    error = (rounded - truth)[inner, inner]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def read(path: Path) -> tuple[Array, Array]:
    """The picture (H, W, 3) in 8-bit codes, and its mosaic."""
    truth = (tifffile.imread(path) if path.suffix == ".tif" else cv2.imread(str(path))[..., ::-1]).astype(float)
    mosaic = sample(torch.from_numpy(truth.transpose(2, 0, 1).copy())[None], CFA)[0, 0].numpy().astype(np.uint8)
    return truth, mosaic


def agreement(files: list[Path]) -> dict[str, float]:
    """Largest difference from colour-demosaicing, in 8-bit codes, and how often it is not rounding.

    The same float64 numbers go into both. Their malvar2004 repeats the edge pixel, so 2 px are left out.
    """
    pairs = {
        "malvar2004": (peers.demosaicing_CFA_Bayer_Malvar2004, slice(2, -2)),
        "menon2007": (peers.demosaicing_CFA_Bayer_Menon2007, slice(None)),
    }
    found: dict[str, float] = {}
    for path in files:
        for method, (function, inner) in pairs.items():
            for kind, scale in (("codes", 1.0), ("codes / 255", 255.0)):
                mosaic = read(path)[1] / scale
                rgb = demosaic(torch.from_numpy(mosaic)[None, None], CFA, method)[0].permute(1, 2, 0).numpy()
                error = np.abs(rgb - function(mosaic, CFA))[inner, inner] * scale
                for name, value in (("max", error.max()), ("pixels off", (error.max(axis=-1) > 1e-9).mean())):
                    key = f"{method}, {kind}: {name}"
                    found[key] = max(found.get(key, 0.0), float(value))
    return found


def measure(files: list[Path], only: str) -> dict[str, dict[str, list[float]]]:
    rows: dict[str, dict[str, list[float]]] = {}
    for number, path in enumerate(files):
        truth, mosaic = read(path)
        for name, (prepare, run) in contestants().items():
            if only not in name:
                continue
            ready = prepare(mosaic)
            if number == 0:
                run(ready)
            start = time.process_time()
            picture = run(ready)
            seconds = time.process_time() - start
            row = rows.setdefault(name, {"cpsnr": [], "cpu": []})
            row["cpsnr"].append(cpsnr(picture, truth))
            row["cpu"].append(seconds / mosaic.size * 1e6)
    return rows


def environment() -> dict[str, str]:
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = next((ln.split(":")[1].strip() for ln in facts.splitlines() if "model name" in ln), platform.processor())
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    packages = ("torch", "numpy", "colour-demosaicing", "rawpy", "opencv-python-headless")
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "cpu": cpu,
        "python": platform.python_version(),
        **{p: importlib.metadata.version(p) for p in packages},
        "libraw": ".".join(map(str, rawpy.libraw_version)),
    }


def summary(results: dict[str, dict]) -> list[dict[str, float | str]]:
    names = next(iter(results.values()))
    return [
        {
            "method": name,
            **{s: statistics.fmean(rows[name]["cpsnr"]) for s, rows in results.items()},
            "cpu_s_per_mp": statistics.median(t for rows in results.values() for t in rows[name]["cpu"]),
        }
        for name in names
    ]


def markdown(table: list[dict[str, float | str]], counts: dict[str, int]) -> str:
    heads = [f"{s} ({n})" for s, n in counts.items()]
    lines = ["| method | " + " | ".join(heads) + " | CPU s/MP |", "|---|" + "---:|" * (len(heads) + 1)]
    best = {s: max(float(row[s]) for row in table) for s in counts}
    for row in table:
        cells = [f"**{row[s]:.2f}**" if row[s] == best[s] else f"{row[s]:.2f}" for s in counts]
        lines.append(f"| {row['method']} | " + " | ".join(cells) + f" | {row['cpu_s_per_mp']:.3f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with kodak24, mcmaster18")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--doc", type=Path, help="put the table between the markers of this page")
    parser.add_argument("--only", default="", help="only methods whose name contains this")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    found = {name: sorted(args.data.glob(pattern)) for name, pattern in SETS.items()}
    results = {name: measure(files, args.only) for name, files in found.items()}
    table = summary(results)
    text = markdown(table, {s: len(f) for s, f in found.items()})
    print(text)
    record = {"environment": environment(), "cfa": CFA, "border": BORDER, "table": table, "pictures": results}
    if args.json:
        record["agreement with colour-demosaicing"] = agreement([f for files in found.values() for f in files])
        record["files"] = {s: [f.name for f in files] for s, files in found.items()}
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    if args.doc:
        head, _, rest = args.doc.read_text().partition("<!-- table -->")
        about = ", ".join(f"{k} {v}" for k, v in record["environment"].items())
        args.doc.write_text(
            f"{head}<!-- table -->\n{text}\n\nMeasured: {about}.\n<!-- end -->" + rest.partition("<!-- end -->")[2]
        )


if __name__ == "__main__":
    main()
