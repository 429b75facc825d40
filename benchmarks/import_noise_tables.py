"""Published noise tables -> the YAML sensors that ship with the package.

    python benchmarks/import_noise_tables.py [--data ../shared/data] [--out src/ispkit/sensor/profiles]

Only numbers are taken over: shot and read noise, row noise. What a table does not say (filter array, levels, colors)
is filled in and named as such in each file. The ELD files are numpy pickles: they are read with an unpickler that
knows arrays, scalars and containers, and nothing else.
"""

from __future__ import annotations

import argparse
import codecs
import json
import math
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray

from ispkit.core.errors import FileError
from ispkit.io.atomic import write_bytes

DIRTY_PIXELS = {
    "Nexus_6P_rear": "nexus-6p-rear", "Nexus_6P_front": "nexus-6p-front", "SEMCO": "semco", "OV2740": "ov2740",
    "Pixel": "pixel", "Pixel3x3": "pixel-3x3", "Pixel5x5": "pixel-5x5", "Pixel7x7": "pixel-7x7",
}  # fmt: skip
PIXEL_ISO = 8000.0  # the calibration of "Pixel" is an absolute one at this gain, the others are at ISO 100
LIGHT_LEVELS = {
    "3 lux": (0.0015, 0.0015),
    "6 lux": (0.003, 0.003),
    "2-20 lux": (0.001, 0.01),
    "2-200 lux": (0.001, 0.1),
}
ELD = {"CanonEOS700D": "canon-eos-700d", "CanonEOS70D": "canon-eos-70d", "SonyA7S2": "sony-a7s2"}
ELD_BLACK, ELD_WHITE = 800.0, 16383.0
ELD_ISO = (100.0, 6400.0)  # of Kmin and Kmax, which are a factor of 64 apart in all three files
SIDD = {"IP": "iphone-7", "GP": "google-pixel", "S6": "galaxy-s6-edge", "N6": "nexus-6", "G4": "lg-g4"}
NOT_SAID = "Colors, filter array and levels are not part of the table"
SAFE = {
    ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
    ("numpy.core.multiarray", "scalar"): multiarray.scalar,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


class NumbersOnly(pickle.Unpickler):
    """Reads arrays, numbers, text and containers; anything else in the file is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in SAFE:
            raise FileError(f"the file asks for {module}.{name}, which a table of numbers does not need")
        return SAFE[module, name]


def read_object_npy(path: Path) -> Any:
    """What a .npy file of one pickled object holds, if it is made of numbers."""
    stream = BytesIO(path.read_bytes())
    if np.lib.format.read_magic(stream) != (1, 0):
        raise FileError(f"{path}: not a NumPy file of version 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if shape != () or not dtype.hasobject:
        raise FileError(f"{path}: holds {dtype} of shape {shape}, not one object")
    return NumbersOnly(stream).load().item()


def dirty_pixels(data: Path) -> dict[str, dict[str, Any]]:
    """Poisson scale and Gaussian standard deviation, at ISO 100 but for one."""
    folder = data / "noise_dirtypixels"
    found = {}
    for key, name in DIRTY_PIXELS.items():
        scale, std = json.loads((folder / "sensors.json").read_text())[key]
        found[name] = {
            "name": key,
            "cfa": "BGGR",
            "bits": 10,
            "black_level": 64.0,
            "noise": [{"iso": PIXEL_ISO if key == "Pixel" else 100.0, "shot": scale, "read": std**2}],
            "source": source(folder, "sensors.json"),
            "doc": f"{NOT_SAID}: BGGR as in that code, 10 bits, black 64 invented.",
        }
    return found


def eld(data: Path) -> dict[str, dict[str, Any]]:
    """K, and lines of log standard deviation over log K, in DN of 14 bits less 800."""
    folder, found = data / "noise_params_eld", {}
    for key, name in ELD.items():
        table = read_object_npy(folder / f"{key}_params.npy")
        fit, span = table["Profile-1"], ELD_WHITE - ELD_BLACK
        points = list(zip(ELD_ISO, (table["Kmin"], table["Kmax"]), strict=True))
        found[name] = {
            "name": key,
            "cfa": "RGGB",
            "bits": 14,
            "black_level": ELD_BLACK,
            "noise": [{"iso": i, "shot": k / span, "read": (law(fit["g_scale"], k) / span) ** 2} for i, k in points],
            "row_noise": [[i, law(fit["R_scale"], k) / span] for i, k in points],
            "source": source(folder, f"{key}_params.npy"),
            "doc": f"Gaussian read noise and row noise on the fitted lines, without their scatter (log "
            f"std {float(fit['g_scale']['sigma']):.2f} and {float(fit['R_scale']['sigma']):.2f}). {NOT_SAID}: black "
            f"800 as in that code; Kmin is taken for ISO 100, Kmax for ISO 6400.",
        }
    return found


def law(fit: dict[str, Any], k: float) -> float:
    return math.exp(float(fit["slope"]) * math.log(k) + float(fit["bias"]))


def sidd(data: Path) -> dict[str, dict[str, Any]]:
    """Noise level functions: variance = beta1 x + beta2."""
    folder, rows = data / "noise_nlf_sidd", {}
    for line in (folder / "cam_iso_nlf_all.txt").read_text().splitlines()[1:]:
        where, shot, read = line.split(",")
        camera, iso = where.split("_")
        rows.setdefault(camera, []).append({"iso": float(iso), "shot": float(shot), "read": float(read)})
    return {
        f"sidd-{name}": {
            "name": f"SIDD {name}",
            "cfa": "RGGB",
            "bits": 10,
            "black_level": 64.0,
            "noise": rows[camera],
            "source": f"{source(folder, 'cam_iso_nlf_all.txt')}; the numbers are facts, measured by Abdelhamed et al., "
            "A High-Quality Denoising Dataset for Smartphone Cameras, CVPR 2018",
            "doc": f"{NOT_SAID}: RGGB, 10 bits, black 64 invented.",
        }
        for camera, name in SIDD.items()
    }


def light_levels() -> dict[str, Any]:
    return {
        "version": 1,
        "sensor": "nexus-6p-rear",
        "lux_per_light_level": 2000.0,
        "levels": {name: list(span) for name, span in LIGHT_LEVELS.items()},
        "source": "Diamond et al., Dirty Pixels, 2021; princeton-computational-imaging/DirtyPixels, MIT",
        "doc": "Light level ll, drawn log-uniformly per picture; ISO = 100 / ll, lux = 2000 ll. The paper calibrated a "
        "Nexus 5, its code uses the rear camera of the Nexus 6P.",
    }


def source(folder: Path, file: str) -> str:
    head, *rows = [line.split("\t") for line in (folder / "manifest.tsv").read_text().splitlines()]
    row = dict(zip(head, next(r for r in rows if r[0] == file), strict=True))
    return f"{row['repo']}, {row['path']}, commit {row['commit'][:12]}, {row['licence']}"


def sensors(data: Path) -> dict[str, dict[str, Any]]:
    """Every sensor by the name of its file; colors and optics are left to the default and to nothing."""
    bare = {"version": 1, "blur_px": 0.0, "vignetting": [0.0] * 5}
    return {name: bare | facts for name, facts in (dirty_pixels(data) | eld(data) | sidd(data)).items()}


def as_yaml(content: dict[str, Any]) -> str:
    """YAML in one line a key, floats with six digits."""
    return "".join(f"{key}: {_inline(value)}\n" for key, value in content.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float):
        text = f"{value:.6g}"
        return text if "." in text else text.replace("e", ".0e") if "e" in text else f"{text}.0"
    return json.dumps(value) if isinstance(value, str) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("src/ispkit/sensor/profiles"))
    options = parser.parse_args()
    for name, content in {**sensors(options.data), "light_levels": light_levels()}.items():
        note = "# made by benchmarks/import_noise_tables.py\n"
        write_bytes(options.out / f"{name}.yaml", (note + as_yaml(content)).encode())
        print(name)


if __name__ == "__main__":
    main()
