"""`ispkit export`: a learned ISP as ONNX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from ispkit.isp.learned.learned_isp import LearnedISP

_MOST_PICTURES = 8
_SIDE = 512
"""px of the middle of each calibration picture"""


def export(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="A learned ISP (.safetensors).")],
    out: Annotated[Path, typer.Option("--out", "-o", "--onnx", metavar="FILE.onnx", help="What to write.")],
    part: Annotated[str | None, typer.Option("--part", help="One part, such as restore; default: all in one.")] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Weights and sums in half precision.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Convolutions in 8 bits; needs --calibrate.")] = False,
    calibrate: Annotated[
        Path | None, typer.Option("--calibrate", metavar="FOLDER", help="RAW files that set the scales of int8.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Write a learned ISP as one ONNX file for pictures of any size.

    The file is run in onnxruntime and compared with torch before it is kept. Its metadata says what it reads: planes
    of a mosaic, black 0 and white 1, or a demosaiced picture. Reduced precision is judged by its PSNR against float32.

    Examples:
    ispkit export cameranet.safetensors -o isp.onnx

    ispkit export cameranet.safetensors -o restore.onnx --part restore --int8 --calibrate shoot/
    """
    from dataclasses import asdict

    from ispkit.cli.guards import check_outputs, refuse_overwriting
    from ispkit.core.errors import ParamError
    from ispkit.isp.learned.onnx_export import Precision, export_onnx
    from ispkit.isp.learned.weights import load_learned

    if fp16 and int8:
        raise ParamError("--fp16 and --int8 exclude each other; export twice")
    if out.suffix.lower() != ".onnx":
        raise ParamError(f"-o {out}: ONNX files end in .onnx")
    check_outputs(out)
    refuse_overwriting(out, weights)
    isp, _ = load_learned(weights)
    precision: Precision = "fp16" if fp16 else "int8" if int8 else "float32"
    seen = [] if calibrate is None else _pictures(isp, calibrate, part)
    made = export_onnx(out, isp, part=part, precision=precision, calibration=seen)
    if as_json:
        print(json.dumps({"file": str(out), **asdict(made)}, indent=1))
        return
    print(f"{out}: {made.megabytes:.2f} MB, {precision}, {' + '.join(made.parts)} -> {made.writes}")
    print(f"input: {made.channels} channels, sides in multiples of {made.multiple} px, at least {made.least}")
    print(f"largest difference from torch: {made.difference:.3g}")
    if made.psnr_db is not None:
        print(f"{precision} against float32: {made.psnr_db:.2f} dB")


def _pictures(isp: LearnedISP, folder: Path, part: str | None) -> list[Tensor]:
    """Inputs of the graph from the middle of the first RAW files of a folder."""
    from ispkit.core.errors import FileError
    from ispkit.io.containers import RAW_SUFFIXES
    from ispkit.io.load import load
    from ispkit.isp.learned.onnx_export import inputs_of

    if not folder.is_dir():
        raise FileError(f"{folder}: no such folder; give one of RAW files as the camera writes them")
    paths = sorted(p for p in folder.iterdir() if RAW_SUFFIXES.fullmatch(p.suffix))[:_MOST_PICTURES]
    if not paths:
        raise FileError(f"{folder}: no RAW file in this folder; put some of the camera's there")
    found = []
    for path in paths:
        frame = load(path)
        height, width = (min(_SIDE, side) for side in frame.size)
        y, x = ((side - want) // 4 * 2 for side, want in zip(frame.size, (height, width), strict=True))
        found.append(inputs_of(isp, frame.crop(y, x, height, width), part))
    return found
