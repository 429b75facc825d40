"""Count sketch: a long residual as a short one with the same lengths and angles, nearly."""

from __future__ import annotations

import numpy as np

from ispkit.core.errors import ParamError
from ispkit.tune.contracts import Residual

LIMIT = 8192
"""numbers that the residual of a whole problem may have"""


def count_sketch(vector: Residual, size: int, *, seed: int, stream: int = 0) -> Residual:
    """At most `size` numbers (m,) -> (min(m, size),) whose inner products estimate those of the long vectors.

    Each position has a bucket and a sign, drawn once for (`seed`, `stream`): the same for every vector, so sketches
    add and subtract as the vectors do. The estimate of <a, b> has no bias and a standard deviation of about
    |a| |b| / sqrt(size). A vector that is short enough stays as it is. Source: Charikar, Chen, Farach-Colton,
    Finding frequent items in data streams, 2002. Raises `ParamError` for a size below 1.
    """
    if size < 1:
        raise ParamError(f"count_sketch: size={size} must be at least 1")
    if len(vector) <= size:
        return vector.astype(np.float32, copy=False)
    drawn = np.random.PCG64([seed, stream]).random_raw(len(vector))
    bucket = (drawn >> np.uint64(1)) % np.uint64(size)
    signed = np.where(drawn & np.uint64(1), vector, -vector)
    short: Residual = np.bincount(bucket.astype(np.intp), weights=signed, minlength=size).astype(np.float32)
    return short
