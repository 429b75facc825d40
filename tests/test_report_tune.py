"""The tuning report in a browser: wipes, points that show their picture, nothing loaded, narrow windows; and fronts."""

from __future__ import annotations

import re

import pytest

import browser
from ispkit.report.tune_page import write_tune_page
from ispkit.report.tune_trials import TrialRow, near_front, non_dominated
from ispkit.tune.job import run_job
from ispkit.tune.spec import from_dict
from tuning_cli import JOB


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    import yaml

    folder = tmp_path_factory.mktemp("report") / "run"
    run_job(from_dict(yaml.safe_load(JOB)), folder)
    return write_tune_page(folder)


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if browser.EXECUTABLE is None:
        pytest.skip("needs Chromium")
    opened = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def test_the_front_holds_what_no_trial_beats_and_feasible_ones_first():
    scores = [(1, 3), (2, 2), (3, 1), (3, 3), (2, 2), (0, 0)]
    rows = [TrialRow(i, "complete", i, {"a": a, "b": b}) for i, (a, b) in enumerate(scores[:5])]
    rows.append(TrialRow(5, "complete", 5, {"a": 0, "b": 0}, violation=1.0))
    assert non_dominated(rows, ["a", "b"]) == {0, 1, 2, 4}
    assert non_dominated([], ["a", "b"]) == set()


def test_trials_far_behind_the_front_do_not_stretch_its_plot():
    at = {0: (4.0, 4.0), 1: (1.0, 3.0), 2: (3.0, 1.0), 3: (7.0, 2.0), 4: (7.1, 2.0), 5: (2.0, 50.0)}
    assert near_front(at, {0, 1, 2}) == {0, 1, 2, 3}
    assert near_front(at, {0}) == set(at), "one marked trial has no span"
    assert near_front(at, set()) == set(at)


def test_the_page_is_one_file_and_marks_the_front(page):
    html = page.read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', html), "the page loads nothing"
    front = html[html.index('data-pane="at-front-0"') :]
    assert 'class="good"' in front[: front.index("</svg>")]


def test_the_page_moves(page, tab):
    script = "window.faults = []; addEventListener('error', (e) => faults.push(e.message));"
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=script)
    tab.open(page.as_uri(), (1100, 900))
    box = tab.run(
        "(() => { const w = document.querySelector('.wipe'); w.scrollIntoView();"
        "const r = w.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()"
    )
    x, y, width, height = box
    tab.drag((x + width / 2, y + height / 2), (x + width / 4, y + height / 2))
    at = tab.run("document.querySelector('.wipe').style.getPropertyValue('--at')")
    assert float(at.rstrip("%")) == pytest.approx(25, abs=1)
    for pane in ("at-convergence", "at-front-0"):
        tab.run(f"document.querySelector('svg[data-pane={pane}]').scrollIntoView()")
        tab.click(f"svg[data-pane={pane}] circle.expert[data-shows]")
        shown = tab.run(
            f"document.querySelector('#{pane} img')?.complete && document.querySelector('#{pane}').innerText"
        )
        assert "expert" in shown
    assert tab.run("faults") == []
    assert tab.run("performance.getEntriesByType('resource').filter((r) => !r.name.startsWith('data:')).length") == 0


def test_a_narrow_window_does_not_scroll_sideways(page, tab):
    tab.open(page.as_uri(), (420, 900))
    assert tab.run("document.documentElement.scrollWidth") <= 420
