"""When is a KPI worse: every sense of good, both ways, and tolerances from a file."""

from __future__ import annotations

import math

import pytest

from ispkit.bench.tolerances import DEFAULTS, Tolerance, compare_results, load_tolerances
from ispkit.core.errors import FileError
from ispkit.kpi.result import Kpi, Result

LIMIT = (("*", Tolerance(0.1)),)


def verdict(better, a, b, limits=LIMIT, name="x.y"):
    results = (Result((Kpi(name, value, "px", better),)) for value in (a, b))
    return compare_results(*results, limits or DEFAULTS)[0].verdict


@pytest.mark.parametrize(
    ("better", "good", "bad"),
    [("higher", 1.0, 0.8), ("lower", 0.8, 1.0), ("zero", 0.1, -0.3), ("one", 1.1, 0.7)],
)
def test_each_sense_of_good_is_judged_both_ways(better, good, bad):
    assert verdict(better, good, bad) == "worse"
    assert verdict(better, bad, good) == "better"
    assert verdict(better, good, good) == "same"


def test_a_change_within_the_tolerance_is_the_same():
    assert verdict("higher", 1.0, 0.91) == "same"
    assert verdict("higher", 1.0, 0.89) == "worse"


def test_a_relative_tolerance_grows_with_the_value():
    limits = (("*", Tolerance(0.0, 0.1)),)
    assert verdict("lower", 100.0, 109.0, limits) == "same"
    assert verdict("lower", 1.0, 1.2, limits) == "worse"


def test_a_number_that_can_no_longer_be_measured_is_lost():
    assert verdict("lower", 1.0, math.nan) == "lost"
    assert verdict("lower", math.nan, 1.0) == "gained"
    assert verdict("lower", math.nan, math.nan) == "same"


def test_mere_facts_are_not_judged():
    assert verdict("none", 1.0, 99.0) == "fact"


def test_the_first_pattern_that_fits_counts_and_a_file_goes_before_the_defaults(tmp_path):
    path = tmp_path / "iq.yaml"
    path.write_text('sfr.mtf50: {absolute: 0.3}\n"noise.*": 2\n')
    limits = load_tolerances(path)
    a, b = (
        Result((Kpi("sfr.mtf50", v, "cy/px", "higher"), Kpi("sfr.mtf10", v, "cy/px", "higher"))) for v in (0.5, 0.3)
    )
    assert [c.verdict for c in compare_results(a, b, (*limits, *DEFAULTS))] == ["same", "worse"]
    assert limits[1] == ("noise.*", Tolerance(2.0))


@pytest.mark.parametrize(
    "text", ["- 1", "sfr: {sideways: 1}", "sfr: much", "sfr: -1", "sfr: {}", "sfr: [", "sfr: true"]
)
def test_a_wrong_file_is_named(tmp_path, text):
    path = tmp_path / "iq.yaml"
    path.write_text(text)
    with pytest.raises(FileError, match=r"iq\.yaml"):
        load_tolerances(path)


def test_regions_of_one_kpi_are_told_apart():
    a = Result((Kpi("x.y", 1.0, "", "higher", "left"), Kpi("x.y", 2.0, "", "higher", "right")))
    b = Result((Kpi("x.y", 2.0, "", "higher", "right"), Kpi("x.y", 0.5, "", "higher", "left")))
    assert [c.verdict for c in compare_results(a, b, LIMIT)] == ["worse", "same"]


def test_a_kpi_that_one_result_does_not_hold_was_not_measured_there():
    a, b = Result((Kpi("star.mtf50", 0.4, "cy/px", "higher", "star"),)), Result((Kpi("x.y", 1.0, "px", "lower"),))
    assert [c.verdict for c in compare_results(a, b, LIMIT)] == ["lost", "gained"]
    assert compare_results(a, Result(), LIMIT)[0].verdict == "lost"


@pytest.mark.parametrize(
    ("name", "better", "good", "bad"),
    [
        ("sfr.mtf50", "higher", 0.35, 0.30),
        ("texture.acutance_cross", "one", 0.95, 1.2),
        ("color.delta_e00.mean", "lower", 2.0, 3.0),
        ("color.saturation", "one", 1.0, 0.9),
        ("wb.angular_error_deg", "lower", 0.3, 1.0),
        ("noise.snr_db.r", "higher", 30.0, 29.0),
        ("noise.visual_noise", "lower", 2.0, 3.0),
        ("tone.dynamic_range.snr10", "higher", 7.0, 6.5),
        ("cdp.michelson", "higher", 0.95, 0.90),
        ("shading.corner", "one", 0.97, 0.90),
        ("shading.color", "lower", 1.0, 3.0),
        ("moire.integral", "lower", 10.0, 13.0),
        ("zipper.share", "lower", 10.0, 15.0),
        ("scielab.mean", "lower", 1.0, 2.0),
    ],
)
def test_the_default_tolerances_see_what_people_see(name, better, good, bad):
    assert verdict(better, good, bad, None, name) == "worse"
    assert verdict(better, good, good + (bad - good) / 50, None, name) == "same"
