"""Make the pictures of the README and the guide: python docs/pictures.py writes docs/images/.

All of them come from the simulated camera. Those of report pages need Chromium and are left as they are without it.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from ispkit.charts.catalog import build
from ispkit.data.demo import write_demo_raws
from ispkit.io.load import load
from ispkit.io.pictures import write_picture
from ispkit.isp.develop import Window, develop_frame, scaled
from ispkit.isp.intermediates import stage_pictures
from ispkit.isp.recipe import preset
from ispkit.isp.tiled import Codes
from ispkit.ops.encode import srgb_encode

IMAGES = Path(__file__).parent / "images"
GAP = 8
BROWSER = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
WORSE = """version: 1
stages: [linearize, lens_shading, {white_balance: {mode: as_shot}}, {highlights: {mode: clip}},
  {demosaic: {method: bilinear}}, color_matrix, exposure, {denoise: {luma: 0.8}},
  {color_adjust: {saturation: 1.25}}, {encode: {space: srgb}}]
"""


def beside(pictures: list[Codes]) -> Codes:
    """Pictures of one height in a row, with white between them."""
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for p in pictures for part in (gap, p)][1:], axis=1)


def looks(raw: Path) -> Codes:
    """The same file as `neutral` and as `camera-like`."""
    frame = load(raw)
    return beside([scaled(develop_frame(frame, preset(name)), 720) for name in ("neutral", "camera-like")])


def low_light(raw: Path) -> Codes:
    """A crop at ISO 6400, twice as large, as `camera-like` and as `low-light`."""
    frame, crop = load(raw), Window(60, 500, 360, 300)
    crops = [develop_frame(frame, preset(name), crop=crop) for name in ("camera-like", "low-light")]
    return beside([c.repeat(2, 0).repeat(2, 1) for c in crops])


def stages(raw: Path) -> Codes:
    """A corner of the chart after some stages of `camera-like`."""
    frame = load(raw).crop(40, 500, 320, 240)
    wanted = ("linearize", "white_balance", "demosaic", "color_matrix", "tone_curve", "encode")
    steps = dict(stage_pictures(preset("camera-like"), frame))
    return beside([steps[name] for name in wanted])


def chart(name: str) -> Codes:
    """A chart as a screen shows it."""
    shown = srgb_encode(build(name).picture.clamp(0, 1)).permute(1, 2, 0)
    return scaled((shown * 255).round().byte().numpy(), 1200)


def ispkit(*words: str, cwd: Path) -> None:
    """Run one command; exit code 1 is a verdict, not a failure."""
    done = subprocess.run([sys.executable, "-m", "ispkit.cli.main", *words], cwd=cwd, check=False)
    if done.returncode > 1:
        raise SystemExit(f"ispkit {' '.join(words)} failed")


def page(path: Path, height: int) -> Codes:
    """The upper part of an HTML page as Chromium shows it, 1240 pixels wide."""
    shot = path.with_suffix(".png")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size=1240,{height}"]
    command = [str(BROWSER), *flags, f"--screenshot={shot}", f"file://{path}"]
    subprocess.run(command, check=True, capture_output=True)
    return np.asarray(Image.open(io.BytesIO(shot.read_bytes())).convert("RGB"))


def report_pages(room: Path) -> dict[str, Codes]:
    """The pages of `ispkit kpi`, `regress` and `tune` for simulated shots; none without Chromium."""
    if BROWSER is None:
        print("Chromium is missing: the pictures of the report pages stay as they are")
        return {}
    (room / "mine.yaml").write_text(WORSE)
    ispkit("chart", "lab", "-o", "charts", "--raw", "--iso", "200", cwd=room)
    ispkit("kpi", "charts/lab.dng", "-o", "kpi.html", cwd=room)
    ispkit("regress", "neutral", "mine.yaml", "--iso", "100", "-o", "regress.html", cwd=room)
    ispkit("tune", "c71", "--data", "project", "--gains", "16", "--budget", "150", "-o", "run", cwd=room)
    pages = {
        "kpi_page": ("kpi.html", 1700),
        "regress_page": ("regress.html", 1500),
        "tune_page": ("run/report.html", 1500),
    }
    return {name: page(room / path, height) for name, (path, height) in pages.items()}


def main() -> None:
    """Write all pictures."""
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory() as room:
        daylight, _, dim = write_demo_raws(Path(room))
        for name, picture in (("looks", looks(daylight)), ("low_light", low_light(dim)), ("stages", stages(daylight))):
            write_picture(IMAGES / f"{name}.jpg", picture, quality=88)
        for name in ("lab", "rainbow"):
            write_picture(IMAGES / f"chart_{name}.jpg", chart(name), quality=88)
        for name, picture in report_pages(Path(room)).items():
            write_picture(IMAGES / f"{name}.jpg", scaled(picture, 1100), quality=85)


if __name__ == "__main__":
    main()
