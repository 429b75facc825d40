"""The sensitivity map: what acts, what is dead, what sleeps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ispkit.core.errors import BlackBoxError
from ispkit.core.param import Choice, Param
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Measurement
from ispkit.tune.sensitivity import Sensitivity, sensitivity

SPACE = ParamSpace(
    {
        "a.gain": Param(default=1.0, low=0.0, high=4.0, doc=""),
        "a.mode": Choice(default="fast", options=("fast", "slow", "same"), doc=""),
        "a.radius": Param(default=2, low=1, high=9, step=1, differentiable=False, when=("mode", ("slow",)), doc=""),
        "b.ignored": Param(default=0.5, low=0.0, high=1.0, doc=""),
        "b.fragile": Param(default=0.0, low=0.0, high=1.0, doc=""),
    }
)


class Gray:
    """Renders a flat picture whose code is 10 * gain (+ 1 in slow mode); two pictures, the second 3 brighter."""

    space, objectives, pictures, megapixels = SPACE, ("dark", "level"), ("one", "two"), 8e-6

    def measure(self, values, *, pictures=None, seed=0):
        chosen = tuple(pictures) if pictures is not None else (0, 1)
        readable = SPACE.readable({**SPACE.defaults(), **values})
        if readable["b.fragile"] > 0.9:
            raise BlackBoxError("program exited with code 3")
        code = int(10 * readable["a.gain"]) + (readable["a.mode"] == "slow")
        shown = tuple(np.full((2, 2, 3), code + 3 * i, np.uint8) for i in chosen)
        level = [float(p.mean()) for p in shown]
        scores = {"dark": -float(np.mean(level)), "level": float(np.mean(level))}
        each = {"dark": [-v for v in level], "level": level}
        return Measurement(scores, each, chosen, rendered=shown, renders=len(chosen), megapixels=4e-6 * len(chosen))


def test_states_and_sizes():
    found = sensitivity(Gray())
    states = {e.name: e.state for e in found.effects}
    assert states == {
        "a.gain": "acts",
        "a.mode": "acts",
        "a.radius": "inactive",
        "b.ignored": "dead",
        "b.fragile": "failed",
    }
    gain, mode = found.effects[:2]
    assert gain.change == 30
    assert gain.swing("level") == 30
    assert [(p.value, p.scores["dark"]) for p in mode.probes] == [("slow", -1.0), ("same", 0.0)]
    assert found.ranked("level")[0].name == "a.gain"
    assert any("b.ignored" in line for line in found.warnings())
    assert any("code 3" in line for line in found.warnings())


def test_what_sleeps_at_the_defaults_is_not_dead():
    class Sharpening(Gray):
        """A radius that does nothing while the amount is 0, as it is by default."""

        space = ParamSpace(
            {
                "s.amount": Param(default=0.0, low=0.0, high=1.0, doc=""),
                "s.radius": Param(default=1.0, low=0.5, high=2.0, doc=""),
                "s.ignored": Param(default=0.5, low=0.0, high=1.0, doc=""),
            }
        )

        def measure(self, values, *, pictures=None, seed=0):
            shown = (np.full((2, 2, 3), int(100 * values["s.amount"] * values["s.radius"]), np.uint8),)
            return Measurement({"dark": 0.0, "level": 0.0}, {}, (0,), rendered=shown, renders=1, megapixels=4e-6)

    found = sensitivity(Sharpening())
    assert {e.name: e.state for e in found.effects} == {"s.amount": "acts", "s.radius": "inactive", "s.ignored": "dead"}
    assert "away from the defaults" in found.effects[1].reason
    # base, amount's other end, two ends each of radius and ignored; then two settings with two, one dead knobs
    assert found.megapixels == pytest.approx((6 + 3 + 2) * 4e-6)


def test_half_a_look_is_no_proof_of_death():
    class Halting(Gray):
        space = SPACE.select("a.gain", "b.ignored")

        def measure(self, values, *, pictures=None, seed=0):
            if values.get("b.ignored", 0.5) == 1.0:
                raise BlackBoxError("too bright")
            return super().measure(values, pictures=pictures, seed=seed)

    assert sensitivity(Halting()).effects[1].state == "failed"


def test_failed_probes_cost_too():
    found = sensitivity(Gray(), pictures=(1,))
    assert found.pictures == ("two",)
    # the base, two ends of gain, two modes, two ends of ignored, fragile's one that failed; then two settings at
    # which ignored, the only dead knob, is looked at again, after one that fails
    assert found.megapixels == pytest.approx((8 + 1 + 2 + 2) * 4e-6)


def test_a_program_that_fails_once_is_tried_again():
    class Flaky(Gray):
        failed = False

        def measure(self, values, *, pictures=None, seed=0):
            if not self.failed:
                self.failed = True
                raise BlackBoxError("busy")
            return super().measure(values, pictures=pictures, seed=seed)

    first, second = sensitivity(Flaky()), sensitivity(Gray())
    assert first.effects == second.effects
    assert first.megapixels == pytest.approx(second.megapixels + 8e-6), "the failure is paid for"


def test_a_knob_that_nobody_could_look_at_elsewhere_is_not_dead():
    class Brittle(Gray):
        """Fails away from the defaults of others."""

        space = SPACE.select("a.gain", "b.ignored")

        def measure(self, values, *, pictures=None, seed=0):
            if values["a.gain"] != 1.0 and values["b.ignored"] != 0.5:
                raise BlackBoxError("one at a time")
            return super().measure(values, pictures=pictures, seed=seed)

    ignored = sensitivity(Brittle()).effects[1]
    assert (ignored.state, "no other setting" in ignored.reason) == ("inactive", True)


def test_json_round_trip():
    found = sensitivity(Gray())
    assert Sensitivity.from_json(json.loads(json.dumps(found.to_json()))) == found
