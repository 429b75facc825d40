"""Are the colors right? ColorChecker scenes against the chart, camera DNGs against LibRaw.

    python benchmarks/color.py [--data ../shared/data] [--json benchmarks/results/color.json]

Charts: mean and worst CIEDE2000 of the 24 patches under D50 after one exposure factor on the gray row.
DNGs: median and 95 % CIEDE2000 of 64-px block means against LibRaw (AHD, camera white balance, linear),
after one global exposure factor. Writes docs/benchmarks/color.md beside the JSON.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rawpy
import torch

from common import finish, table
from ispkit.charts.colorchecker import COLUMNS, LAB_D50, ROWS, reference_linear_srgb, reference_xyz
from ispkit.core.frame import Frame
from ispkit.io.dng_writer import write_dng
from ispkit.io.load import load
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.recipe import from_recipe
from ispkit.metrics.color import ciede2000
from ispkit.ops.color_spaces import D50_XY, linear_srgb_to, xy_to_xyz
from ispkit.ops.lab import xyz_to_lab

# Centers of the corner patches (x, y) in px of the upright picture: dark skin, bluish green, white, black.
CHARTS = {
    "Indoor1": ((627, 1181), (1058, 1185), (634, 1435), (1064, 1437)),
    "Outdoor1": ((1649, 678), (1817, 682), (1645, 777), (1813, 782)),
}
DNGS = ("raw_gopro_hero7/gopro_hero7_GOPR9231.dng", "raw_dng/Blackmagic.dng")
GRAY = slice(18, 24)
BLOCK = 64
D50 = xy_to_xyz(torch.tensor(D50_XY, dtype=torch.float64))
LINEAR = [
    "linearize",
    "lens_shading",
    {"white_balance": {"mode": "as_shot"}},
    {"highlights": {"mode": "clip"}},
    {"demosaic": {"method": "malvar2004"}},
]


def patch_means(picture: torch.Tensor, corners) -> torch.Tensor:
    """Means (24, 3) over the middle of each patch of a picture (1, 3, H, W)."""
    tl, tr, bl, br = (np.array(c, dtype=float) for c in corners)
    radius = int(0.25 * np.linalg.norm(tr - tl) / (COLUMNS - 1))
    means = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            v, u = row / (ROWS - 1), column / (COLUMNS - 1)
            x, y = ((1 - v) * ((1 - u) * tl + u * tr) + v * ((1 - u) * bl + u * br)).round().astype(int)
            means.append(picture[0, :, y - radius : y + radius, x - radius : x + radius].mean((-2, -1)))
    return torch.stack(means).double()


def camera_rgb(frame: Frame) -> torch.Tensor:
    """Demosaiced sensor colors without white balance."""
    stages = ["linearize", {"demosaic": {"method": "malvar2004"}}]
    return from_recipe({"version": 1, "stages": stages})(frame).data


def chart_neutral(frame: Frame, corners) -> torch.Tensor:
    """The light's color from the gray patches that are neither dark nor clipped."""
    means = patch_means(camera_rgb(frame), corners)[19:23]
    white = (means / means[:, 1:2]).mean(0)
    return (white / white.max()).float()[None]


def score(linear_srgb: torch.Tensor) -> tuple[float, float]:
    """Mean and worst CIEDE2000 of 24 linear colors, exposure fitted on the gray row's luminance."""
    reference = reference_xyz()
    xyz = linear_srgb @ linear_srgb_to("xyz").T
    xyz = xyz * (reference[GRAY, 1].sum() / xyz[GRAY, 1].sum())
    target = torch.tensor(list(LAB_D50.values()), dtype=torch.float64)
    error = ciede2000(xyz_to_lab(xyz, D50), target)
    return float(error.mean()), float(error.max())


def fitted_matrix(balanced: torch.Tensor) -> torch.Tensor:
    """White-preserving least-squares matrix from balanced sensor colors (24, 3) to the chart."""
    reference = reference_linear_srgb()
    scale = reference[GRAY].mean() / balanced[GRAY].mean()
    x, y = balanced * scale, reference
    # rows sum to 1: solve for the off-diagonal weights of channel differences
    rows = []
    for i in range(3):
        others = [j for j in range(3) if j != i]
        a = torch.stack([x[:, j] - x[:, i] for j in others], -1)
        w = torch.linalg.lstsq(a, (y[:, i] - x[:, i])[:, None]).solution[:, 0]
        row = torch.zeros(3, dtype=torch.float64)
        row[others] = w
        row[i] = 1 - w.sum()
        rows.append(row)
    return torch.stack(rows)


def libraw_linear(path: Path, **options) -> torch.Tensor:
    """LibRaw's linear sRGB (1, 3, H, W) in [0, 1], as stored (no orientation)."""
    with rawpy.imread(str(path)) as raw:
        picture = raw.postprocess(
            use_camera_wb=True, no_auto_bright=True, gamma=(1, 1), output_bps=16, user_flip=0,
            adjust_maximum_thr=0.0, demosaic_algorithm=rawpy.DemosaicAlgorithm.AHD, **options,
        )  # fmt: skip
    return torch.from_numpy(picture.astype(np.float32) / 65535).permute(2, 0, 1)[None]


def chart_rows(data: Path) -> list[dict]:
    folder = data / "raw_infinite_isp_8bit_grbg"
    frames, balanced = {}, {}
    for name, corners in CHARTS.items():
        frame = load(
            folder / f"{name}_2592x1536_8bit_GRBG.raw", sidecar=folder / f"{name}_2592x1536_10bit_GRBG-configs.yml"
        )
        frames[name] = frame, frame.with_data(frame.data, neutral=chart_neutral(frame, corners))
        means = patch_means(camera_rgb(frame), corners)
        balanced[name] = means / frames[name][1].meta.neutral.double()
    to_linear = from_recipe({"version": 1, "stages": [*LINEAR, "color_matrix"]})
    rows = []
    for name, corners in CHARTS.items():
        by_hand, by_chart = frames[name]
        other = next(n for n in CHARTS if n != name)
        matrix = fitted_matrix(balanced[other])
        results = {
            "ispkit, white balance from the chart, the YAML's matrix": patch_means(to_linear(by_chart).data, corners),
            f"ispkit, white balance from the chart, matrix fitted on {other}": balanced[name] @ matrix.T,
            "hand-tuned YAML: its white balance and matrix": patch_means(to_linear(by_hand).data, corners),
        }
        with TemporaryDirectory() as room:
            path = Path(room) / "chart.dng"
            write_dng(path, by_chart)
            results["LibRaw, white balance from the chart, the same matrix as DNG tag"] = patch_means(
                libraw_linear(path), corners
            )
            results["LibRaw, white balance from the chart, no matrix"] = patch_means(
                libraw_linear(path, output_color=rawpy.ColorSpace.raw), corners
            )
        for label, means in results.items():
            mean, worst = score(means)
            rows.append({"scene": name, "method": label, "mean": mean, "worst": worst})
    return rows


def blocks(picture: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(picture, BLOCK).double()


def block_errors(ours: torch.Tensor, theirs: torch.Tensor, *, fit_exposure: bool = True) -> torch.Tensor:
    """CIEDE2000 of block means of two linear pictures, D65; optionally one exposure factor for all."""
    a, b = blocks(ours), blocks(theirs)
    if fit_exposure:
        a = a * (b.sum() / a.sum())
    labs = [xyz_to_lab(torch.einsum("ij,bjhw->bihw", linear_srgb_to("xyz"), x), D50) for x in (a, b)]
    return ciede2000(*labs).flatten()


def dng_rows(data: Path) -> list[dict]:
    variants = {
        "as neutral does it": {},
        "without the file's lens shading (LibRaw applies none)": {"lens_shading.source": "off"},
    }
    rows = []
    for name in DNGS:
        frame = load(data / name)
        theirs = libraw_linear(data / name)
        for label, values in variants.items():
            chain: Pipeline = from_recipe({"version": 1, "stages": [*LINEAR, "color_matrix"]})
            ours = chain(frame, values).data.clamp(0, 1)
            h, w = (min(a, b) for a, b in zip(ours.shape[-2:], theirs.shape[-2:], strict=True))
            error = block_errors(ours[..., :h, :w], theirs[..., :h, :w])
            plain = block_errors(ours[..., :h, :w], theirs[..., :h, :w], fit_exposure=False)
            rows.append(
                {
                    "file": Path(name).name,
                    "variant": label,
                    "median": float(error.median()),
                    "p95": float(error.quantile(0.95)),
                    "median_same_exposure": float(plain.median()),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/color.json"))
    options = parser.parse_args()
    charts, dngs = chart_rows(options.data), dng_rows(options.data)
    sections = {
        "ColorChecker scenes: CIEDE2000 of the 24 patches": table(charts),
        "Camera DNGs against LibRaw: CIEDE2000 of 64-px block means": table(dngs),
    }
    finish("Color", options.json, {"charts": charts, "dngs": dngs}, sections, "python benchmarks/color.py")


if __name__ == "__main__":
    main()
