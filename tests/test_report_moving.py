"""The parts of a report that a reader can move, driven as text; the browser's view is in test_report_tune.py."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from ispkit.report.moving import Dot, heat_table, range_bar, scatter, wipe

GRAY = np.full((4, 6, 3), 120, np.uint8)


def test_scatter_places_dots_and_escapes_their_text():
    dots = [Dot(0, 1.0, "a <b>", "expert", shows="k"), Dot(1, 3.0, "b"), Dot(2, math.nan, "failed", "failed")]
    svg = scatter(dots, labels=("renders", "score & more"), pane="p", line=[(0, 1.0), (1, 1.0)])
    marks = ET.fromstring(svg).findall(".//circle")
    assert [m.get("data-text") for m in marks] == ["b", "a <b>"]  # the expert is drawn on top, NaN is left out
    assert float(marks[0].get("cy")) < float(marks[1].get("cy"))  # larger is higher
    assert marks[1].get("data-shows") == "k"
    assert marks[0].get("data-shows") is None


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0], [0.0, 0.0], [1e-9, 2e-9], [-1e6, 1e6]])
def test_axes_of_any_extent_have_ticks_inside(values):
    svg = scatter([Dot(i, v, "") for i, v in enumerate(values)], labels=("x", "y"))
    for circle in ET.fromstring(svg).findall(".//circle"):
        assert 0 < float(circle.get("cx")) < 560
        assert 0 < float(circle.get("cy")) < 330
    assert svg.count('class="grid"') >= 2


def test_nothing_finite_gives_no_plot():
    assert scatter([Dot(0, math.inf, "")], labels=("x", "y")) == ""


def test_wipe_holds_both_pictures_and_works_from_the_keyboard():
    html = wipe(GRAY, GRAY + 1, "held out <1>", names=("expert", "tuned"), width=60)
    assert html.count("data:image/png;base64,") == 2
    assert 'tabindex="0"' in html
    assert "held out &lt;1&gt;" in html


def test_heat_is_relative_to_its_column():
    html = heat_table(["a", "b"], {"psnr": [1.0, 4.0], "zero": [0.0, None]}, head="knob")
    assert re.findall(r"--h:([\d.]+)", html) == ["0.250", "0.000", "1.000"]
    assert "–" in html


def test_range_bar_stays_inside():
    assert "left:0.0%" in range_bar(-0.2, 1.3)
    assert "left:100.0%" in range_bar(-0.2, 1.3)
