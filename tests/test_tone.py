"""Tone curves: fixed points, monotone, smooth joins."""

from __future__ import annotations

import pytest
import torch

from ispkit.ops import tone

RAMP = torch.linspace(0, 3, 3001, dtype=torch.float64).reshape(1, 1, 1, -1)


def at(curve, value: float) -> float:
    return float(curve(torch.tensor(value, dtype=torch.float64).reshape(1, 1, 1, 1)))


@pytest.mark.parametrize("contrast", [1.0, 1.5, 4.0])
@pytest.mark.parametrize("pivot", [0.05, 0.18, 0.4])
@pytest.mark.parametrize("white", [1.0, 2.0, 16.0])
def test_sigmoid_keeps_black_pivot_and_white(contrast, pivot, white):
    def curve(x):
        return tone.sigmoid(x, contrast, pivot, white)

    assert at(curve, 0.0) == 0
    assert at(curve, pivot) == pytest.approx(pivot, rel=1e-4)
    assert at(curve, white) == pytest.approx(1, rel=1e-9)
    assert at(curve, 2 * white) == pytest.approx(1, rel=1e-9)
    assert bool((curve(RAMP).diff() >= 0).all())


def test_the_plainest_sigmoid_is_a_straight_line():
    inside = RAMP[..., :1001]
    torch.testing.assert_close(tone.sigmoid(inside, 1.0, 0.18, 1.0), inside, atol=1e-5, rtol=0)


@pytest.mark.parametrize("knee", [0.1, 0.5, 0.98])
@pytest.mark.parametrize("white", [1.0, 2.0, 16.0])
def test_knee_is_straight_then_reaches_white_without_a_corner(knee, white):
    def curve(x):
        return tone.knee_power(x, knee, white, 1.0)

    assert at(curve, 0.9 * knee) == pytest.approx(0.9 * knee)
    assert at(curve, white) == pytest.approx(1, abs=1e-3)
    slope = (at(curve, knee + 1e-5) - at(curve, knee)) / 1e-5
    assert slope == pytest.approx(1, abs=0.05)
    assert bool((curve(RAMP).diff() >= 0).all())


@pytest.mark.parametrize("amount", [-0.9, 0.5, 3.0])
def test_lifted_shadows_stay_in_order(amount):
    lifted = tone.lift_shadows(RAMP, amount)
    assert bool((lifted.diff() > 0).all())
    torch.testing.assert_close(lifted[..., 2000:], RAMP[..., 2000:], rtol=1e-6, atol=0)
    tiny = torch.full((1, 1, 1, 1), 1e-5, dtype=torch.float64)
    assert float(tone.lift_shadows(tiny, amount) / tiny) == pytest.approx(1 + amount, rel=2e-3)
