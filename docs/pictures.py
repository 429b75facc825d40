"""Make the README's pictures from the simulated camera: python docs/pictures.py writes docs/images/."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ispkit.data.demo import write_demo_raws
from ispkit.io.load import load
from ispkit.io.pictures import write_picture
from ispkit.isp.develop import Window, develop_frame, scaled
from ispkit.isp.intermediates import stage_pictures
from ispkit.isp.recipe import preset
from ispkit.isp.tiled import Codes

IMAGES = Path(__file__).parent / "images"
GAP = 8


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


def main() -> None:
    """Write the three pictures."""
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory() as room:
        daylight, _, dim = write_demo_raws(Path(room))
        for name, picture in (("looks", looks(daylight)), ("low_light", low_light(dim)), ("stages", stages(daylight))):
            write_picture(IMAGES / f"{name}.jpg", picture, quality=88)


if __name__ == "__main__":
    main()
