"""The sensitivity map: what acts, what is dead, what sleeps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ispkit.core.errors import BlackBoxError, ParamError
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


def test_dead_knobs_leave_the_space_and_sleeping_ones_stay():
    assert tuple(sensitivity(Gray()).reduced(SPACE)) == ("a.gain", "a.mode", "a.radius", "b.fragile")


def test_cost_counts_only_what_was_rendered():
    found = sensitivity(Gray(), pictures=(1,))
    assert found.pictures == ("two",)
    # the base, two ends of gain, two modes, two ends of ignored; fragile's one probe failed
    assert found.megapixels == pytest.approx(7 * 4e-6)


def test_json_round_trip():
    found = sensitivity(Gray())
    assert Sensitivity.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_nothing_acts():
    class Deaf(Gray):
        space = SPACE.select("b.ignored")

    with pytest.raises(ParamError, match="no knob changes any picture"):
        sensitivity(Deaf()).reduced(Deaf.space)
