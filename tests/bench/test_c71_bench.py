"""Experiments (d) and (e): scenes of two sides, a goal in units of the baseline, tables that say what was gained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ispkit.bench.c71 import run_c71
from ispkit.bench.c71_parts import (
    KPIS,
    C71Bench,
    baseline,
    kpi_table,
    natural_scenes,
    random_start,
    relative_gain,
    relative_kpis,
)
from ispkit.bench.c71_rig import run_c71_rig
from ispkit.bench.rig_scenes import LIGHTS_K, RigSetup, exposure_matching, rig_scenes
from ispkit.data.tuning_sets import picture_of
from ispkit.isp.c71 import C71
from ispkit.ops.cfa import planes
from ispkit.ops.encode import srgb_decode
from ispkit.ops.levels import linearize
from ispkit.sensor.unprocess import camera_of
from ispkit.tune.objectives.reference import REFERENCE
from ispkit.tune.problem import PictureProblem, as_picture

TINY = C71Bench(gains=(4.0,), crop=(48, 48), budget=6, method="random")


@pytest.fixture(scope="module")
def sides():
    return natural_scenes(TINY, 4.0)


@pytest.fixture(scope="module")
def scenes(sides):
    return sides[0][-3:]  # two pictures and the color chart


def test_sides_share_no_picture_and_each_has_a_color_chart(sides):
    tuned, held = sides
    assert not {picture_of(s) for s in tuned} & {picture_of(s) for s in held}
    assert all(side[-1].chart is not None and len(side) == 9 for side in (tuned, held))


def test_what_is_good_enough_counts_nothing(scenes):
    table = kpi_table(C71(), scenes, baseline())
    goal = relative_kpis(scenes, table)
    numbers = {name: table[name][1] for name in KPIS}
    assert set(goal.judged({n: 0.8 * v for n, v in numbers.items()}, scenes[1]).values()) == {0.0}
    worse = goal.judged(numbers | {"detail": 2 * numbers["detail"]}, scenes[1])
    assert worse["detail"] > goal.judged(numbers, scenes[1])["detail"] > 0
    assert goal.score(scenes[1].target, scenes[1]) == 0


def test_the_residual_of_the_goal_has_the_length_of_its_score(scenes):
    table = kpi_table(C71(), scenes, baseline())
    goal = relative_kpis(scenes, {name: [0.1 * v for v in values] for name, values in table.items()})
    problem = PictureProblem(C71(), scenes, goal)
    for scene, codes in zip(scenes, problem.render(baseline(), range(len(scenes))), strict=True):
        picture = as_picture(codes)
        length = float(np.square(goal.residual(picture, scene), dtype=np.float64).sum())
        assert length == pytest.approx(goal.score(picture, scene), rel=1e-5)


def test_relative_gain_is_the_mean_over_the_kpis():
    old = {name: [2.0, 2.0] for name in KPIS}
    assert relative_gain(old, old) == 0
    assert relative_gain(old, old | {"color": [1.0, 1.0]}) == pytest.approx(0.1)


def test_a_random_start_is_far_from_the_baseline_and_the_same_again(scenes):
    isp = C71()
    psnr = PictureProblem(isp, scenes, REFERENCE["psnr"])
    known, start = (psnr.measure(v).scores["psnr"] for v in (baseline(), random_start(isp, 5)))
    assert start > known + 5
    assert random_start(isp, 5) == random_start(isp, 5) != random_start(isp, 6)


@pytest.fixture(scope="module")
def rig():
    setup = RigSetup(TINY.camera(), screen=(360, 640), view=(144, 256))
    return rig_scenes(exposure_matching(setup), gains=(1.0,))


def test_the_rig_gives_one_scene_a_light_with_its_target_on_it(rig):
    assert [s.conditions["cct_k"] for s in rig] == list(LIGHTS_K.values())
    shown = rig[-1]  # D65: what c71's baseline is made for
    moved = replace(shown, target=torch.roll(shown.target, 2, -1))
    placed, off = (
        PictureProblem(C71(), [s], REFERENCE["psnr"]).measure(baseline()).scores["psnr"] for s in (shown, moved)
    )
    assert placed < -20
    assert off > placed + 2


@pytest.mark.slow
def test_both_experiments_leave_tables_and_go_on_where_they_stopped(tmp_path):
    first = run_c71(tmp_path, TINY, command="ispkit bench c71")
    again = run_c71(tmp_path, TINY, command="ispkit bench c71")
    assert [t.rows for t in first.tables] == [t.rows for t in again.tables]
    assert [row["KPI"] for row in first.tables[0].rows] == list(KPIS)
    assert not first.claims[0].met  # six random settings
    through = run_c71_rig(tmp_path, TINY, command="ispkit bench c71-rig")
    assert [row["tuned by injection"] for row in through.tables[0].rows] == [
        row["tuned"] for row in again.tables[0].rows
    ]


def test_daylight_on_the_screen_is_the_light_and_the_exposure_of_injected_shots():
    sensor = TINY.camera()
    setup = exposure_matching(RigSetup(sensor, screen=(360, 640), view=(144, 256)), "D65")
    scene = next(s for s in rig_scenes(setup, gains=(1.0,)) if s.conditions["cct_k"] == LIGHTS_K["D65"])
    meta = scene.frame.meta
    sites = planes(linearize(scene.frame.data, meta.black_level, meta.white_level))[0].mean((1, 2))
    assert meta.cfa == "RGGB"
    seen = torch.stack([sites[0], sites[1:3].mean(), sites[3]]).double()
    injected = camera_of(sensor).to_sensor[0] @ srgb_decode(scene.target)[0].double().mean((1, 2))
    torch.testing.assert_close(seen, injected, rtol=0.01, atol=0)
