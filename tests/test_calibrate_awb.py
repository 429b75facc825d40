"""The white-balance curve of simulated lights, and the margins that a light beside it asks for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ispkit.calibrate.awb import AwbPoint, awb_curve, measure_awb
from ispkit.calibrate.color import measure_lights
from ispkit.calibrate.summary import summary
from ispkit.core.errors import ParamError
from ispkit.core.profile import BlackPoint, CameraProfile
from ispkit.sensor.color import response
from test_calibrate_color import SENSOR, relative, shot

POINTS = [AwbPoint(2800, 0.9, 0.3), AwbPoint(4000, 0.7, 0.45), AwbPoint(6500, 0.5, 0.6)]


def test_the_curve_follows_the_lights():
    ccts = (2300.0, 2856.0, 4000.0, 5000.0, 6504.0)
    curve = measure_awb([measure_lights([shot(c, int(c))])[0].color for c in ccts])
    for cct_k in (2500.0, 3400.0, 4500.0, 5800.0):
        truth = relative(response(SENSOR, cct_k).neutral[0])
        r, b = curve.at(cct_k)
        assert (r, b) == pytest.approx((float(truth[0]), float(truth[2])), rel=0.01)
        on_curve, distance = curve.nearest(r, b)
        assert on_curve.cct_k == pytest.approx(cct_k, rel=0.01)
        assert abs(distance) < 1e-3
        assert curve.nearest(r + 0.02, b + 0.02)[1] == pytest.approx(0.02, rel=0.5)
    cct_k, whites = curve.sampled(100)
    assert (cct_k[0], cct_k[-1]) == pytest.approx((2300, 6504))
    assert (np.diff(whites[:, 0]) < 0).all()
    assert (np.diff(whites[:, 1]) > 0).all()
    np.testing.assert_allclose(curve.at(1000.0), whites[0], rtol=1e-9)


def test_a_light_off_the_curve_widens_the_margin():
    plain = awb_curve(POINTS)
    assert (plain.transverse_pos, plain.transverse_neg) == (0.01, 0.01)
    greenish = awb_curve([*POINTS, AwbPoint(4020, 0.64, 0.39)])  # averaged with its neighbor: half the step remains
    assert greenish.transverse_neg == pytest.approx(1.1 * math.hypot(0.03, 0.03), rel=0.05)
    crooked = awb_curve([AwbPoint(2800, 0.9, 0.3), AwbPoint(4000, 0.92, 0.45), AwbPoint(6500, 0.5, 0.6)])
    assert [p.r for p in crooked.points] == pytest.approx([0.91, 0.91, 0.5])
    alone = awb_curve(POINTS[:1])
    np.testing.assert_allclose(alone.at(np.array([2000.0, 9000.0])), [[0.9, 0.3]] * 2, rtol=1e-12)


@pytest.mark.parametrize("points", [[], [AwbPoint(0.0, 0.5, 0.5)], [AwbPoint(5000, 0.0, 0.5)]])
def test_no_white_is_no_curve(points):
    with pytest.raises(ParamError, match="needs one or more whites"):
        awb_curve(points)


def test_the_summary_tells_the_margins():
    color = measure_lights([shot(4000.0)])[0].color
    off = replace(color, cct_k=4010.0, neutral=(color.neutral[0] * 0.9, color.neutral[1], color.neutral[2] * 0.9))
    black = (BlackPoint(100.0, 0.01, (0.0,) * 4, (0.0,) * 4),)
    profile = CameraProfile("x", "RGGB", (8, 8), 1023.0, black, colors=(color, off))
    curve, told = measure_awb([color, off]), summary(profile)["awb"]
    assert told == {"transverse_pos": round(curve.transverse_pos, 5), "transverse_neg": round(curve.transverse_neg, 5)}
    assert told["transverse_pos"] > 0.02
    for fewer in ((color,), (color, replace(off, cct_k=0.0))):  # a light without a temperature has no place on it
        assert summary(replace(profile, colors=fewer))["awb"] is None
