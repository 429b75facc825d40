"""`auto` in a study models the pictures only where their loss is what the study minimizes."""

from __future__ import annotations

import pytest

from ispkit.core.errors import ParamError
from ispkit.data.project_pictures import project_pictures
from ispkit.data.tuning_sets import Shooting, from_pictures
from ispkit.isp.catalog import open_isp
from ispkit.sensor.catalog import load_sensor
from ispkit.tune.auto.composed import ComposedSearcher
from ispkit.tune.auto.residual import ResidualSearcher
from ispkit.tune.auto.scalar import ScalarSearcher
from ispkit.tune.objectives.constraints import parse_constraint
from ispkit.tune.objectives.grammar import parse_objectives
from ispkit.tune.plan import Plan
from ispkit.tune.problem import PictureProblem, Settings
from ispkit.tune.study import tune


@pytest.fixture(scope="module")
def scenes():
    return from_pictures(project_pictures(1, (64, 64)), load_sensor("default"), Shooting())


def chosen(scenes, folder, *, objective="psnr; style:flat", constraints=(), **settings):
    isp = open_isp("neutral")
    limits = tuple(parse_constraint(text) for text in constraints)
    space = isp.space.select("exposure.ev")
    problem = PictureProblem(
        isp, scenes, parse_objectives(objective), space=space, settings=Settings(constraints=limits)
    )
    result = tune(problem, folder, Plan(budget=4, noisy=False, **settings))
    return result.study.sampler.searcher.chosen


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"weights": {"psnr": 1.0}}, ResidualSearcher),
        ({"weights": {"psnr": 0.0, "style:flat": 1.0}}, ScalarSearcher),
        ({"weights": {"psnr": 1.0, "style:flat": 1.0}}, ScalarSearcher),
        ({"objective": "ssim"}, ComposedSearcher),
        ({"objective": "psnr", "constraints": ["ssim >= 0.01"]}, ScalarSearcher),
    ],
    ids=["first alone", "second alone", "both", "a loss", "a constraint"],
)
def test_what_is_modeled_is_what_is_minimized(scenes, tmp_path, settings, method):
    assert type(chosen(scenes, tmp_path / "run", **settings)) is method


@pytest.mark.parametrize("settings", [{"weights": {"psnr": 1.0, "style:flat": 1.0}}, {"prune": True}])
def test_the_proxy_refuses_what_it_could_not_model(scenes, tmp_path, settings):
    with pytest.raises(ParamError, match="neither weights nor pruning"):
        chosen(scenes, tmp_path / "run", objective="psnr; style:flat", method="proxy", **settings)
