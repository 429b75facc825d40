"""The part of `ispkit render` that learned ISPs need: a recipe that names weights, and its work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ispkit.core.errors import ParamError
from ispkit.core.frame import Frame

if TYPE_CHECKING:
    from ispkit.isp.learned.learned_isp import LearnedISP
    from ispkit.isp.learned.tiles import Execution
    from ispkit.isp.tiled import Codes

HALVES = ("bf16", "fp16")


def learned_look(
    isp: Path, refused: Mapping[str, Any], *, device: str = "cpu", half: str | None = None
) -> dict[str, Any]:
    """The resolved recipe of a learned ISP. `refused`: options that make no sense with it, by name.

    Raises `ParamError`, and `FileError` for a file that holds no learned ISP.
    """
    for option, value in refused.items():
        if value:
            raise ParamError(f"{option} does not go with --isp: a learned ISP has no stages and no knobs; leave it out")
    if half is not None and half not in HALVES:
        raise ParamError(f"--half {half!r} is unknown; use {' or '.join(HALVES)}, with --device cuda")
    recipe = {"version": 1, "isp": str(isp), "device": device, "half": half}
    _execution(recipe).runner(_isp(recipe))  # a bad file or device is told before the work
    return recipe


def is_learned(recipe: Mapping[str, Any]) -> bool:
    """Whether a resolved recipe is that of a learned ISP."""
    return "isp" in recipe


def develop(
    recipe: Mapping[str, Any], frame: Frame, *, bits: int, crop: Sequence[int] | None, stages: str | None
) -> tuple[Codes, Any]:
    """One RAW frame to codes, and the look of the file; the whole picture after each part goes to `stages`."""
    from ispkit.isp.develop import Window
    from ispkit.isp.learned.develop import codes_of, develop_learned, learned_look

    isp = _isp(recipe)
    look = learned_look(frame, isp)
    window = Window(*crop) if crop else None
    execution = _execution(recipe)
    if stages:
        finished = _write_parts(isp, frame, Path(stages), execution)
        return codes_of(finished, bits=bits, crop=window), look
    return develop_learned(frame, isp, bits=bits, crop=window, execution=execution), look


def _write_parts(isp: LearnedISP, frame: Frame, folder: Path, execution: Execution) -> Frame:
    """Write the picture after each part; the last one is the result."""
    from ispkit.cli.jobs import make_folder
    from ispkit.io.pictures import write_picture
    from ispkit.isp.intermediates import viewable

    make_folder(folder)
    for i, (name, step) in enumerate(isp.rendered_steps(frame, execution)):
        write_picture(folder / f"{i:02d}_{name}.png", viewable(step))
        frame = step
    return frame


def _execution(recipe: Mapping[str, Any]) -> Execution:
    from ispkit.isp.learned.tiles import Execution

    return Execution(half=recipe["half"], channels_last=recipe["device"] != "cpu")


def _isp(recipe: Mapping[str, Any]) -> LearnedISP:
    stamp = os.stat(recipe["isp"]).st_mtime_ns if Path(recipe["isp"]).is_file() else 0
    return _opened(recipe["isp"], recipe["device"], stamp)


@lru_cache(maxsize=1)
def _opened(path: str, device: str, stamp: int) -> LearnedISP:
    """One ISP a process; `stamp` changes with the file."""
    from ispkit.isp.learned.weights import load_learned

    isp, _ = load_learned(path)
    try:
        return isp.to(device)
    except (RuntimeError, AssertionError) as error:
        brief = " ".join(str(error).split())[:120]
        raise ParamError(f"--device {device!r}: torch cannot use it here ({brief}); use cpu") from error
