"""The bootstrap interval against SciPy's, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from ispkit.core.errors import ParamError
from ispkit.metrics.intervals import mean_interval


def test_agrees_with_scipy():
    values = np.random.default_rng(3).normal(0.4, 1.0, 40)
    ours = mean_interval(values.tolist(), repeats=20_000)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_equal_values_leave_no_doubt_and_seeds_repeat():
    same = mean_interval([2.0, 2.0, 2.0])
    assert (same.low, same.value, same.high) == (2.0, 2.0, 2.0)
    assert mean_interval([1.0, 2.0, 4.0], seed=5) == mean_interval([1.0, 2.0, 4.0], seed=5)


def test_nothing_to_draw_from():
    with pytest.raises(ParamError, match="nothing to draw from"):
        mean_interval([])
