"""A space in Optuna's words: nothing is lost on the way there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from study_problems import REGISTERS, SPACE, Bowl

from ispkit.core.errors import ParamError
from ispkit.tune.distributions import complete, distributions, from_point, legal, setting_key, to_params, to_point
from ispkit.tune.lock import LockedProblem

points = st.lists(st.floats(0, 1), min_size=REGISTERS.dim, max_size=REGISTERS.dim).map(np.array)


def test_every_kind_of_knob_has_its_distribution():
    found = distributions(REGISTERS)
    assert found["r.gain"] == FloatDistribution(0.01, 100.0, log=True)
    assert found["r.level"] == IntDistribution(0, 15)
    assert found["r.mode"] == CategoricalDistribution(("off", "soft", "hard"))
    assert found["r.soft"] == FloatDistribution(0.0, 1.0, step=0.25)
    assert found["r.odd"] == FloatDistribution(0.0, 11.0)  # its steps do not end at 11
    assert found["r.shift"] == IntDistribution(1, 64, log=True)


@settings(max_examples=60, deadline=None)
@given(points)
def test_a_point_survives_the_trip_through_a_trial(point):
    values = from_point(REGISTERS, point)
    params = to_params(REGISTERS, values)
    for name, distribution in distributions(REGISTERS).items():
        assert distribution._contains(distribution.to_internal_repr(params[name]))
    assert legal(REGISTERS, params) == values
    again = to_point(REGISTERS, values)
    assert setting_key(REGISTERS, from_point(REGISTERS, again)) == setting_key(REGISTERS, values)
    np.testing.assert_allclose(to_point(REGISTERS, from_point(REGISTERS, again)), again, rtol=0, atol=1e-14)


@settings(max_examples=30, deadline=None)
@given(points)
def test_values_are_those_of_the_space(point):
    ours = from_point(REGISTERS, point)
    theirs = REGISTERS.readable(REGISTERS.from_vector(torch.from_numpy(point)))
    assert ours == theirs
    assert ours["r.low"] <= ours["r.high"]
    REGISTERS.check(ours)


def test_settings_that_render_the_same_have_one_key():
    base = from_point(REGISTERS, to_point(REGISTERS, REGISTERS.defaults()))
    assert setting_key(REGISTERS, base) == setting_key(REGISTERS, {**base, "r.soft": 1.0})  # mode is off
    soft = {**base, "r.mode": "soft"}
    assert setting_key(REGISTERS, soft) != setting_key(REGISTERS, {**soft, "r.soft": 1.0})
    assert setting_key(REGISTERS, base) != setting_key(REGISTERS, {**base, "r.level": 4.0})


def test_settings_of_another_study_are_made_legal():
    taken = complete(REGISTERS, {"r.level": 99.2, "r.mode": "gone", "r.low": 0.9, "other": 1.0})
    assert (taken["r.level"], taken["r.mode"], taken["r.high"]) == (15.0, "off", 0.9)


def test_locked_knobs_stay_and_free_ones_give_way():
    locked = LockedProblem(Bowl(space=REGISTERS), lock=("r.*",), unlock=("r.low", "r.level"))
    assert list(locked.space) == ["r.level", "r.low"]
    full = locked.full({"r.level": 5.0, "r.low": 1.0})
    assert (full["r.low"], full["r.high"], full["r.gain"]) == (0.8, 0.8, 1.0)
    with pytest.raises(ParamError, match="every knob is locked"):
        LockedProblem(Bowl(), lock=("a.*",))
    with pytest.raises(ParamError, match=r"pattern 'b\.\*'"):
        LockedProblem(Bowl(space=SPACE), lock=("b.*",))
