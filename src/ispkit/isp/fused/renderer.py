"""`render_fused`: plan a chain, compile it once per structure, run it with the numbers of this picture."""

from __future__ import annotations

from collections.abc import Hashable
from importlib.util import find_spec
from threading import Lock
from typing import Any

import numpy as np
import torch

from ispkit.core.errors import MissingExtraError, ParamError
from ispkit.core.frame import Frame
from ispkit.core.param import Values
from ispkit.isp.fused.chain import Plan, plan
from ispkit.isp.fused.steps import one_torch_thread
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.tiled import Codes, render_tiled

_compiled: dict[Hashable, Any] = {}
_compiling = Lock()


def available() -> bool:
    """Whether Halide is installed (`pip install ispkit[fast]`)."""
    return find_spec("halide") is not None


def render_fused(
    pipeline: Pipeline, frame: Frame, values: Values | None = None, *, bits: int = 8, threads: int | None = None
) -> Codes:
    """One mosaic to encoded integers (H, W, 3), within one 8-bit code of the torch stages.

    The first call with a chain of new structure compiles it (seconds); knobs, matrices, curves, sizes
    and CFA patterns are numbers given at run time. `threads` defaults to `torch.get_num_threads()`.
    Raises `DoesNotFitError` (see `chain.plan`), `MissingExtraError`, `ParamError`.
    """
    return run(plan(pipeline, frame, values), frame, bits=bits, threads=threads)


def run(chain: Plan, frame: Frame, *, bits: int = 8, threads: int | None = None) -> Codes:
    """Execute a plan on the frame that it was made for."""
    if bits not in (8, 16):
        raise ParamError(f"bits={bits} is not a picture's depth; use 8 or 16")
    if not available():
        raise MissingExtraError("the fused renderer needs Halide: pip install 'ispkit[fast]', or executor='torch'")
    import halide as hl

    kernel = _kernel(chain, bits)
    if chain.head is not None:
        frame = render_tiled(chain.head, frame)
    height, width = frame.size
    out = np.empty((height, width, 3), np.uint8 if bits == 8 else np.uint16)
    mosaic, codes = hl.Buffer(frame.data[0, 0].contiguous().numpy()), hl.Buffer(out)
    top, left = chain.red_at
    mosaic.set_min([left, top])
    codes.set_min([0, left, top])
    with one_torch_thread():
        arrays = [hl.Buffer(a) for step in chain.steps for a in step.arrays]
    jobs = max(1, threads or torch.get_num_threads())
    kernel(mosaic, -(-height // (2 * jobs)) * 2, *arrays, codes)
    return out


def _kernel(chain: Plan, bits: int) -> Any:
    from ispkit.isp.fused.kernels import compile_chain

    key = _key(chain, bits)
    with _compiling:
        if key not in _compiled:
            _compiled[key] = compile_chain(chain.steps, bits)
    return _compiled[key]


def _key(chain: Plan, bits: int) -> Hashable:
    return (bits, *(step.variant for step in chain.steps))
