"""Calibration against the truth of simulated shots, beside Raspberry Pi's tool rpi-ctt on the same files.

    python benchmarks/calibrate.py [--ctt PYTHON] [--seeds 10] [--data ../shared/data]
                                   [--json benchmarks/results/calibrate.json]

PYTHON is the interpreter of an environment in which `pip install rpi-ctt` was run; without it that column is
left out. Both results are read from Raspberry Pi JSON files (ours is exported) and judged by the same code;
S and O come from our profile and from the file's square-root law. Also real files: a dark frame and two
ColorChecker scenes beside hand-tuned values. Writes docs/benchmarks/calibrate.md beside the JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from calibrate_judge import mean_delta_e
from calibrate_real import real_sections
from calibrate_sets import BITS, BLACK, HEIGHT, LIGHTS_K, READ, SHOT, WIDTH, Truth, linear_truth, make_set
from common import finish, table
from ispkit.calibrate.color import fit_light
from ispkit.calibrate.run import Calibration, calibrate
from ispkit.charts.colorchecker import reference_linear_srgb
from ispkit.core.profile import CameraProfile
from ispkit.io.tuning import RpiTuning, export, parse_tuning, read_tuning, to_profile
from ispkit.io.tuning.base import cell_centers
from ispkit.io.tuning.rpi import GRIDS
from ispkit.io.tuning.rpi_export import SLOPE_MARGIN
from ispkit.kpi.color import lab_of_linear_srgb

Numbers = dict[str, float]
SPAN = 2.0**BITS - 1 - BLACK
TRUE_READ = READ + 1 / 12 / SPAN**2  # the sensor also rounds
WANTED = {
    "black level, DN": 0.5,
    "noise S, %": 3.0,
    "noise O, %": 10.0,
    "AWB gains, worst, %": 0.5,
    "shading corner, worst, %": 1.0,
}
DELTA_E = "ΔE00 after the matrix, maker's reference"
DELTA_E_THEIRS = "ΔE00 after the matrix, rpi-ctt's reference"
DELTA_E_REFIT = "ΔE00 after the matrix, fitted to rpi-ctt's reference"
_REFERENCE_OF_CTT = "import json; from ctt.algorithms.ccm import MACBETH_RGB as m; print(json.dumps(m))"


def judge(tuning: RpiTuning, truth: Truth, references: dict[str, torch.Tensor]) -> Numbers:
    """Errors of one result against the truth."""
    profile = to_profile(tuning, cfa="RGGB", size=(HEIGHT, WIDTH))
    black = tuning.black_level
    found = {"black level, DN": max(abs(b - BLACK) for b in black) if black else float("nan")}
    found |= _white_errors(profile, truth) | _shading_errors(tuning, truth)
    for name, reference in references.items():
        errors = [_matrix_error(profile, truth, cct, reference) for cct in LIGHTS_K]
        found[name] = float(np.mean(errors))
    return found


def _light(profile: CameraProfile, cct: int) -> Any:
    return min(profile.colors, key=lambda c: abs(c.cct_k - cct), default=None)


def _white_errors(profile: CameraProfile, truth: Truth) -> Numbers:
    errors = []
    for cct in LIGHTS_K:
        light = _light(profile, cct)
        if light is None or abs(light.cct_k - cct) > 1:
            continue  # a light that the tool dropped
        white = np.array(light.neutral) / light.neutral[1]
        errors += (100 * abs(truth.neutrals[cct] / white - 1))[[0, 2]].tolist()
    return {
        "AWB gains, mean, %": float(np.mean(errors)) if errors else float("nan"),
        "AWB gains, worst, %": max(errors, default=float("nan")),
        "lights in the file": len(errors) / 2,
    }


def _shading_errors(
    tuning: RpiTuning, truth: Truth, at: list[NDArray[np.float64]] | None = None, where: str = ""
) -> Numbers:
    """Gain at the corner cells' centers over that at the four middle cells, R, G, B under each light."""
    shading, grid = tuning.shading, GRIDS[tuning.target]
    names = [f"shading corner{where}, {kind}, %" for kind in ("mean", "worst")]
    if shading is None or shading.luminance is None:
        return dict.fromkeys(names, float("nan"))
    at = at or [cell_centers(n) for n in grid]
    errors = []
    for (cct, red), (_, blue) in zip(shading.cr, shading.cb, strict=True):
        true = truth.shading(round(cct), *at)
        measured = np.stack([red * shading.luminance, shading.luminance, blue * shading.luminance])
        errors.append(_corner_ratio(measured) / _corner_ratio(true) - 1)
    size = 100 * np.abs(errors)
    return dict(zip(names, (float(size.mean()), float(size.max())), strict=True))


def _cells_of_ctt(count: int, pixels: int) -> NDArray[np.float64]:
    """Centers of the cells that rpi-ctt averages: whole steps, and what is left over as the last."""
    edges = np.append(np.arange(count) * ((pixels - 1) // (count - 1)), pixels)
    return (edges[1:] + edges[:-1]) / 2 / pixels


def corner_costs() -> Numbers:
    """What cells and median filter of rpi-ctt do to the corners of the noise-free shading, worst, in %."""
    truth = linear_truth()
    equal = [cell_centers(n) for n in GRIDS["bcm2835"]]
    own = [_cells_of_ctt(n, pixels // 2) for n, pixels in zip(GRIDS["bcm2835"], (HEIGHT, WIDTH), strict=True)]
    costs = {}
    for name, made, judged, is_filtered in (
        ("filtered", equal, equal, True),
        ("shifted", own, equal, False),
        ("both", own, equal, True),
    ):
        worst = []
        for cct in LIGHTS_K:
            red, green, blue = truth.shading(cct, *made)
            tables = np.stack([red / green, green, blue / green])
            if is_filtered:
                tables = np.stack([cv2.medianBlur(t.astype(np.float32), 3) for t in tables])
            tables[[0, 2]] *= tables[1]
            error = _corner_ratio(tables) / _corner_ratio(truth.shading(cct, *judged)) - 1
            worst.append(100 * float(np.abs(error).max()))
        costs[name] = max(worst)
    return costs


def _corner_ratio(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    y, x = planes.shape[1] // 2, planes.shape[2] // 2
    middle = planes[:, y - 1 : y + 1, x - 1 : x + 1].mean((1, 2))
    return planes[:, :: planes.shape[1] - 1, :: planes.shape[2] - 1] / middle[:, None, None]


def _matrix_error(profile: CameraProfile, truth: Truth, cct: int, reference: torch.Tensor) -> float:
    """Mean ΔE00 of the noise-free patches: white as it truly is, the file's matrix, the best exposure."""
    light = _light(profile, cct)
    if light is None:
        return float("nan")
    balanced = torch.tensor(truth.patches[cct] / truth.neutrals[cct])
    return mean_delta_e(balanced @ torch.tensor(light.ccm, dtype=torch.float64).T, reference)


def _noise_errors(shot: float, read: float) -> Numbers:
    return {"noise S, %": 100 * abs(shot / SHOT - 1), "noise O, %": 100 * abs(read / TRUE_READ - 1)}


def ours(folder: Path, truth: Truth, references: dict[str, torch.Tensor]) -> Numbers:
    """Our calibration of one set."""
    start = time.perf_counter()
    calibration = calibrate(folder)
    profile = calibration.profile
    seconds = time.perf_counter() - start
    found = judge(parse_tuning(export(profile, "rpi-vc4"), "ours"), truth, references)
    if DELTA_E_THEIRS in references:
        found[DELTA_E_REFIT] = _refitted(calibration, truth, references[DELTA_E_THEIRS])
    points = [p for p in profile.noise if p.method == "flat_pairs"] or list(profile.noise)
    noise = [
        _noise_errors(shot, read)
        for p in points[:1]
        for shot, read in zip(p.shot, p.read, strict=True)
    ]  # fmt: skip
    worst = {k: max((n[k] for n in noise), default=float("nan")) for k in ("noise S, %", "noise O, %")}
    return found | worst | {"time, s": seconds}


def _refitted(calibration: Calibration, truth: Truth, reference: torch.Tensor) -> float:
    """Mean ΔE00 when our fit, too, aims at `reference` (linear sRGB)."""
    errors = []
    for light in calibration.evidence.lights:
        cct, white = light.color.cct_k, light.color.neutral
        lab = lab_of_linear_srgb(reference)
        ccm = fit_light(light.sensor_rgb, lab, light=light.color.name, cct_k=cct, white=white).color.ccm
        balanced = torch.tensor(truth.patches[round(cct)] / truth.neutrals[round(cct)])
        errors.append(mean_delta_e(balanced @ torch.tensor(ccm, dtype=torch.float64).T, reference))
    return float(np.mean(errors))


def theirs(folder: Path, truth: Truth, references: dict[str, torch.Tensor], python: Path) -> Numbers:
    """rpi-ctt on the same set, target vc4."""
    with TemporaryDirectory() as room:
        command = [str(python), "-m", "ctt", "-i", str(folder), "-o", room, "--name", "set", "-t", "vc4"]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        file = Path(room) / "set_vc4.json"
        if not file.exists():
            raise SystemExit(f"rpi-ctt wrote no file: {(done.stdout + done.stderr)[-800:]}")
        tuning = read_tuning(file)
    found = judge(tuning, truth, references)
    own_cells = [_cells_of_ctt(n, pixels // 2) for n, pixels in zip(GRIDS[tuning.target], (HEIGHT, WIDTH), strict=True)]
    found |= _shading_errors(tuning, truth, own_cells, " at its own cells")
    if tuning.noise is not None:
        slope = tuning.noise.slope / SLOPE_MARGIN
        found |= _noise_errors(slope**2 / SPAN, (tuning.noise.constant / SPAN) ** 2)
    return found | {"time, s": seconds}


def references_of(python: Path | None) -> dict[str, torch.Tensor]:
    """Linear sRGB (24, 3) of the chart by name."""
    found = {DELTA_E: reference_linear_srgb()}
    if python is not None:
        text = subprocess.run([str(python), "-c", _REFERENCE_OF_CTT], capture_output=True, text=True, check=True).stdout
        code = torch.tensor(json.loads(text), dtype=torch.float64) / 255
        found[DELTA_E_THEIRS] = torch.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    return found


def run(kind: str, seeds: int, data: Path, python: Path | None) -> dict[str, list[Numbers]]:
    """All seeds of one kind through both tools."""
    tools: dict[str, Callable[..., Numbers]] = {"ispkit": ours}
    if python is not None:
        tools["rpi-ctt"] = lambda *a: theirs(*a, python)
    references, results = references_of(python), {name: [] for name in tools}
    for seed in range(seeds):
        with TemporaryDirectory() as room:
            truth = make_set(Path(room), seed, kind, data)
            for name, tool in tools.items():
                results[name].append(tool(Path(room), truth, references))
                line = ", ".join(f"{k} {v:.3g}" for k, v in results[name][-1].items())
                print(f"{kind} {seed} ({truth.camera}) {name}: {line}", flush=True)
    return results


def summary(results: dict[str, list[Numbers]]) -> str:
    """Median and worst of each number, and how often the wanted bound is met."""
    keys = list(dict.fromkeys(k for runs in results.values() for r in runs for k in r))
    rows = []
    for key in keys:
        row: dict[str, Any] = {"error": key, "wanted": WANTED.get(key, "")}
        for name, runs in results.items():
            values = np.array([r.get(key, np.nan) for r in runs])
            known = values[~np.isnan(values)]
            row[f"{name}: median"] = float(np.median(known)) if len(known) else "not measured"
            row[f"{name}: worst"] = float(known.max()) if len(known) else "not measured"
            if key in WANTED:
                row[f"{name}: met"] = f"{int((known <= WANTED[key]).sum())} of {len(values)}"
            else:
                row[f"{name}: met"] = ""
        rows.append(row)
    return table(rows)


def matrix_verdict(results: dict[str, list[Numbers]]) -> str:
    """In how many sets our matrix is not worse."""
    if "rpi-ctt" not in results:
        return "rpi-ctt was not given (`--ctt PYTHON`), so its column is missing."
    lines = []
    for key in (DELTA_E, DELTA_E_THEIRS, DELTA_E_REFIT):
        other = DELTA_E_THEIRS if key == DELTA_E_REFIT else key
        pairs = [(a[key], b[other]) for a, b in zip(results["ispkit"], results["rpi-ctt"], strict=True)]
        known = [(a, b) for a, b in pairs if not np.isnan(a)]
        better = sum(a <= b for a, b in known)
        lines.append(f"- {key}: not worse than rpi-ctt in {better} of {len(known)} sets.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ctt", type=Path, default=None, metavar="PYTHON")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/calibrate.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {kind: run(kind, options.seeds, options.data, options.ctt) for kind in KINDS}
    real, real_text = real_sections(options.data)
    sections = {"Simulated shots": SETUP.format(seeds=options.seeds)}
    for kind, heading in KINDS.items():
        sections[heading] = summary(results[kind]) + "\n\n" + matrix_verdict(results[kind])
    sections |= {**real_text, "How to read it": READING.format(**corner_costs())}
    numbers = {"seeds": results, "real": real}
    command = "python benchmarks/calibrate.py" + (" --ctt PYTHON" if options.ctt else "")
    finish("Calibration", options.json, numbers, sections, command)


KINDS = {
    "linear": "Colors that a matrix can reach: errors against the truth",
    "spectral": "Ten cameras' measured spectral sensitivities: errors against the truth",
}
SETUP = f"""{{seeds}} seeds of each kind, {HEIGHT}x{WIDTH} px, 16 bits, black level {BLACK:.0f}, S {SHOT:g},
O {READ:g}, green corner gain 1.47, red and blue shading that change with the light. Per seed 4 ColorChecker shots and 8
flats at {", ".join(map(str, LIGHTS_K))} K, 4 dark frames, and 5 flat pairs in a subfolder, where rpi-ctt does not look
(it has no use for them). rpi-ctt runs with target vc4 and its defaults on the same folder."""
READING = """- Both results are Raspberry Pi JSON (ours is exported), read by one reader and judged by one code.
- The color matrix is judged on the noise-free patch colors of the simulation: white as it truly is, the matrix from the
  file, the exposure that suits it best; mean over 24 patches and 4 lights. The tools aim at different reference values
  of the chart, so both are judged against both: the maker's since November 2014, and the table that rpi-ctt uses; and
  once our fit aims at rpi-ctt's table, too.
- In the spectral sets the truth of AWB is the light's white, which the chart's gray patches only approximate.
- rpi-ctt fits a standard deviation c + m sqrt(mean) over the chart's patches and writes 1.4 m; the factor is taken
  out here, S = m^2 / range, O = (c / range)^2. Its law has no S and O of its own, so its two noise rows are a
  translation.
- rpi-ctt averages its shading over cells whose last row and column are narrower than the others, and passes the tables
  through a 3x3 median filter. Without any noise that costs {filtered:.1f} % in the worst corner by the filter,
  {shifted:.1f} % by the cells, {both:.1f} % together, for libcamera applies the tables at the centers of equal cells.
  The rows "at its own cells" leave the shift out.
- rpi-ctt takes the gray patches for neutral. The maker's white 9.5 is not (b* = 2.93), which our fit allows for.
- Time is that of one run of each tool on shared cores."""


if __name__ == "__main__":
    main()
