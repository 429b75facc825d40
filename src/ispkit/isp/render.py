"""`render`: a finished picture as integers, by whichever executor is the faster one for the job."""

from __future__ import annotations

from ispkit.core.errors import ParamError, nearest
from ispkit.core.frame import Frame
from ispkit.core.param import Values
from ispkit.isp.fused.chain import plan
from ispkit.isp.fused.renderer import available, run
from ispkit.isp.fused.steps import DoesNotFitError
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.tiled import TILE, Codes, render_codes

EXECUTORS = ("auto", "torch", "fused")

WORTH_COMPILING = 2_000_000
"""pixels from which the fused renderer's compilation, once a process, is repaid by the first picture"""


def render(
    pipeline: Pipeline,
    frame: Frame,
    values: Values | None = None,
    *,
    executor: str = "auto",
    bits: int = 8,
    tile: int = TILE,
    threads: int | None = None,
) -> Codes:
    """One frame to encoded integers, (H, W, 3) uint8 or uint16.

    `torch` runs the stages tile by tile; `fused` runs one compiled loop nest on the CPU, within one 8-bit
    code of it; `auto` takes `fused` where Halide is installed, the chain fits and the picture is large,
    so the choice depends on the job alone and not on what ran before. `threads` limits `fused` (default
    and the limit of `torch`: `torch.get_num_threads()`). Raises `DoesNotFitError` or `MissingExtraError`
    only if `fused` is asked for.
    """
    if executor not in EXECUTORS:
        raise ParamError(f"executor={executor!r} is unknown; {nearest(executor, EXECUTORS)}")
    height, width = frame.size
    wanted = executor == "fused" or (executor == "auto" and available() and height * width >= WORTH_COMPILING)
    if wanted:
        try:
            return run(plan(pipeline, frame, values), frame, bits=bits, threads=threads)
        except DoesNotFitError:
            if executor == "fused":
                raise
    return render_codes(pipeline, frame, values, bits=bits, tile=tile)
