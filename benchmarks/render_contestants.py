"""Who takes part in `benchmarks/render.py`: each entry prepares (imports) and returns the work to be timed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

Work = Callable[[], Any]
SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
# ColorMatrix2 (D65) of the benchmark's camera, from its DNG tags
COLOR_MATRIX = np.array([[1.0344, -0.4210, -0.0620], [-0.2315, 1.0625, 0.1948], [0.0093, 0.1058, 0.5541]])
FACTS: dict[str, float] = {}
"""what a contestant says of its own input"""


def threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", "2"))


def ispkit_render(preset_name: str, executor: str) -> Callable[[Path], Work]:
    def prepare(path: Path) -> Work:
        import torch

        from ispkit.io.load import load
        from ispkit.isp.develop import develop_frame
        from ispkit.isp.recipe import preset

        torch.set_num_threads(threads())
        pipeline = preset(preset_name)
        return lambda: develop_frame(load(path), pipeline, executor=executor)

    return prepare


def ispkit_decode(path: Path) -> Work:
    from ispkit.io.load import load

    return lambda: load(path)


def rawpy_decode(path: Path) -> Work:
    import rawpy

    def work():
        with rawpy.imread(str(path)) as raw:
            return raw.raw_image_visible.copy()

    return work


def rawpy_render(algorithm: str) -> Callable[[Path], Work]:
    def prepare(path: Path) -> Work:
        import rawpy

        method = rawpy.DemosaicAlgorithm[algorithm]

        def work():
            with rawpy.imread(str(path)) as raw:
                return raw.postprocess(demosaic_algorithm=method, use_camera_wb=True, no_auto_bright=True)

        return work

    return prepare


def opencv_ea(path: Path) -> Work:
    """Levels and white balance on the mosaic, OpenCV's edge-aware demosaic, matrix, sRGB by a table."""
    import cv2
    import rawpy

    cv2.setNumThreads(threads())

    def work():
        with rawpy.imread(str(path)) as raw:
            mosaic, gains, white = raw.raw_image_visible.astype(np.float32), raw.camera_whitebalance, raw.white_level
        mosaic *= balance(mosaic.shape, gains, 65535 / white)
        sixteen = np.minimum(mosaic, 65535).astype(np.uint16)
        rgb = cv2.demosaicing(sixteen, cv2.COLOR_BayerRGGB2RGB_EA)
        return look_up(cv2.transform(rgb, matrix(gains)))

    return work


def colour_demosaicing(name: str) -> Callable[[Path], Work]:
    def prepare(path: Path) -> Work:
        import colour_demosaicing
        import rawpy

        method = getattr(colour_demosaicing, f"demosaicing_CFA_Bayer_{name}")

        def work():
            with rawpy.imread(str(path)) as raw:
                mosaic, gains = raw.raw_image_visible.astype(np.float32), raw.camera_whitebalance
                mosaic *= balance(mosaic.shape, gains, 65535 / raw.white_level)
            rgb = method(np.minimum(mosaic, 65535), "RGGB")
            return look_up((np.clip(rgb, 0, 65535) @ matrix(gains).T).clip(0, 65535).astype(np.uint16))

        return work

    return prepare


def balance(shape: tuple[int, int], gains: Any, scale: float) -> Any:
    red, green, blue = (scale * g / min(gains[:3]) for g in gains[:3])
    return np.tile(np.array([[red, green], [green, blue]], np.float32), (shape[0] // 2, shape[1] // 2))


def matrix(gains: Any) -> Any:
    """White-balanced sensor RGB to linear sRGB, white to white."""
    camera = COLOR_MATRIX @ SRGB_TO_XYZ
    return np.linalg.inv(camera / camera.sum(1, keepdims=True)).astype(np.float32)


def look_up(linear: Any) -> Any:
    x = np.arange(65536) / 65535
    table = np.rint(255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)).astype(np.uint8)
    return table[linear]


def program(command: list[str]) -> Callable[[Path], Work]:
    """A command line that writes an 8-bit TIFF; `{in}` and `{out}` stand for the files."""

    def prepare(path: Path) -> Work:
        if shutil.which(command[0]) is None:
            raise ModuleNotFoundError(f"{command[0]} is not installed")
        folder = Path(tempfile.mkdtemp())

        def work():
            out = folder / "out.tif"
            out.unlink(missing_ok=True)
            places = {"{in}": str(path), "{out}": str(out), "{home}": str(folder)}
            filled = [places.get(word, word) for word in command]
            subprocess.run(filled, check=True, capture_output=True, env={**os.environ, "HOME": str(folder)})

        return work

    return prepare


def enlarged(path: Path, megapixels: float) -> Any:
    """A frame of this many megapixels: copies of the file's mosaic side by side, maps stretched over all."""
    import torch

    from ispkit.core.frame import Frame
    from ispkit.core.meta import View
    from ispkit.core.opcodes import GainMap
    from ispkit.io.load import load

    small = load(path)
    height, width = small.size
    factor = (megapixels * 1e6 / (height * width)) ** 0.5
    size = (round(height * factor / 2) * 2, round(width * factor / 2) * 2)
    data = torch.empty(1, 1, *size)
    for y in range(0, size[0], height):
        for x in range(0, size[1], width):
            part = data[..., y : y + height, x : x + width]
            part.copy_(small.data[..., : part.shape[-2], : part.shape[-1]])
    opcodes = tuple(
        replace(o, area=(*o.area[:2], *size)) if isinstance(o, GainMap) else o for o in small.meta.opcodes[0]
    )
    return Frame(data, small.domain, replace(small.meta, view=(View(size),), opcodes=(opcodes,)))


def scaling(preset_name: str, executor: str, megapixels: float) -> Callable[[Path], Work]:
    def prepare(path: Path) -> Work:
        import torch

        from ispkit.isp.recipe import preset
        from ispkit.isp.render import render

        torch.set_num_threads(threads())
        pipeline, frame = preset(preset_name), enlarged(path, megapixels)
        FACTS["megapixels"] = frame.size[0] * frame.size[1] / 1e6
        return lambda: render(pipeline, frame, executor=executor)

    return prepare


CONTESTANTS: dict[str, Callable[[Path], Work]] = {
    "ispkit neutral (fused)": ispkit_render("neutral", "fused"),
    "ispkit camera-like (fused)": ispkit_render("camera-like", "fused"),
    "ispkit neutral (torch)": ispkit_render("neutral", "torch"),
    "ispkit camera-like (torch)": ispkit_render("camera-like", "torch"),
    "rawpy AHD": rawpy_render("AHD"),
    "rawpy LINEAR": rawpy_render("LINEAR"),
    "OpenCV EA + table": opencv_ea,
    "colour-demosaicing Malvar + table": colour_demosaicing("Malvar2004"),
    "colour-demosaicing Menon + table": colour_demosaicing("Menon2007"),
    "RawTherapee neutral": program(["rawtherapee-cli", "-o", "{out}", "-t", "-b8", "-Y", "-c", "{in}"]),
    "darktable default": program(["darktable-cli", "{in}", "{out}", "--core", "--configdir", "{home}"]),
    "decode only: ispkit": ispkit_decode,
    "decode only: rawpy": rawpy_decode,
}
SIZES = (12, 24, 50, 100)
SCALING = {
    f"{preset_name} ({executor}), {size} MP": scaling(preset_name, executor, size)
    for preset_name, executor in (("neutral", "fused"), ("camera-like", "fused"), ("neutral", "torch"))
    for size in SIZES
}
