"""Pipelines, recipes and presets: joins are checked, recipes round-trip, gray stays gray, knobs can learn."""

from __future__ import annotations

import pytest
import torch
import yaml

from conftest import make_frame
from ispkit.core.cfa import CFA_PATTERNS
from ispkit.core.errors import DomainError, IspkitError, ParamError, RecipeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.isp.learnable import LearnableISP
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.recipe import PRESETS, from_recipe, load_recipe, preset, to_recipe
from ispkit.ops.cfa import spread_channels

SHORT = {"version": 1, "stages": ["linearize", "white_balance", "demosaic", "color_matrix", "exposure", "encode"]}
CAMERA = ((0.7866, -0.2108, -0.0555), (-0.4869, 1.2483, 0.2681), (-0.1176, 0.2069, 0.7501))


def gray_frame(cfa="RGGB", level=0.4, size=(48, 64), **facts) -> Frame:
    """A flat neutral wall under a warm light, as a camera with a real matrix sees it."""
    neutral = torch.tensor([[0.55, 1.0, 0.62]])
    data = spread_channels(neutral * level, cfa, size) * (4095 - 256) + 256
    known = {"black_level": 256.0, "white_level": 4095.0, "neutral": neutral[0].tolist(), "color_matrices": [CAMERA]}
    return Frame(data, Domain.RAW, CameraMeta.make(cfa, size, **(known | facts)))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_neutral_gray_stays_neutral_in_every_preset(name, cfa):
    for level in (0.05, 0.4, 1.3):
        out = preset(name)(gray_frame(cfa, level, noise_profile=[(1e-5, 1e-8)])).data
        assert float((out.amax(1) - out.amin(1)).max()) < 2e-3, f"level {level}"
        assert float(out.std((-2, -1)).max()) < 1e-3


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_batched_and_deterministic(name):
    isp, frame = preset(name), make_frame(Domain.RAW, (64, 64), 2)
    both = isp(frame).data
    assert torch.equal(isp(frame).data, both)
    alone = torch.cat([isp(frame.select([i])).data for i in range(2)])
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["neutral", "camera-like"])
def test_mosaic_roll_and_cfa_change_give_the_same_picture(name):
    """The physics: shifting the sensor by one pixel changes the pattern, not the scene."""
    frame = make_frame(Domain.RAW, (64, 66), 1)
    whole = preset(name)(frame).data
    for dy, dx in ((0, 1), (1, 0), (1, 1)):
        moved = preset(name)(frame.crop(dy, dx, 64 - dy, 66 - dx)).data
        expected = whole[..., dy:, dx:]
        inner = (..., slice(12, -12), slice(12, -12))
        torch.testing.assert_close(moved[inner], expected[inner], rtol=1e-4, atol=2e-5)


def test_a_recipe_round_trips_with_its_values():
    isp = from_recipe({"version": 1, "stages": [*SHORT["stages"][:-1], {"sharpen@fine": {"amount": 1.5}}, "encode"]})
    again = from_recipe(yaml.safe_load(yaml.safe_dump(to_recipe(isp, {"exposure.ev": 0.5}))))
    assert again.space.defaults() == isp.space.defaults() | {"exposure.ev": 0.5}
    assert list(again.stages) == list(isp.stages)


def test_bare_yaml_switches_are_the_words():
    isp = from_recipe(yaml.safe_load("{version: 1, stages: [linearize, white_balance: {mode: off}]}"))
    assert isp.space.defaults()["white_balance.mode"] == "off"


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ([], "a recipe is a mapping with 'version: 1'"),
        ({"version": 2, "stages": []}, "version is 2; this toolkit reads version 1"),
        ({"version": 1, "stages": [], "stage": 1}, "unknown key 'stage'; did you mean 'stages'"),
        ({"version": 1, "stages": []}, "needs at least one stage"),
        ({"version": 1, "stages": ["linearise"]}, r"stages\[0\]: no stage 'linearise'; did you mean 'linearize'"),
        ({"version": 1, "stages": ["linearize", "encode"]}, "'linearize' writes mosaic but 'encode' reads linear_rgb"),
        ({"version": 1, "stages": ["linearize", "linearize"]}, "comes twice; give the second a label"),
        ({"version": 1, "stages": [{"encode": {"gama": 2}}]}, "no parameter 'encode.gama'; did you mean 'gamma'"),
        ({"version": 1, "stages": [{"encode": {"gamma": 9}}]}, r"encode.gamma=9 is outside \[1, 3\]"),
        ({"version": 1, "stages": [{"encode": 3}]}, "neither a stage name"),
        ({"version": 1, "stages": [{"lut3d": {"file": "no-such.cube"}}]}, r"stages\[0\]: no-such.cube: cannot be read"),
    ],
)
def test_wrong_recipes_name_the_place_and_the_remedy(recipe, message):
    with pytest.raises(IspkitError, match=message):
        from_recipe(recipe)


def test_a_broken_recipe_file_is_one_clear_error(tmp_path):
    bad = tmp_path / "r.yaml"
    bad.write_text("stages: [")
    with pytest.raises(RecipeError, match=r"r.yaml: cannot be read as a YAML recipe"):
        load_recipe(bad)
    with pytest.raises(RecipeError, match="no preset 'neutrall'; did you mean 'neutral'"):
        preset("neutrall")


def test_a_frame_enters_where_its_domain_is_read():
    isp = from_recipe(SHORT)
    camera = make_frame(Domain.CAMERA_RGB, (16, 16), 1)
    assert isp.entered_at(camera) == ["color_matrix", "exposure", "encode"]
    assert isp(camera).domain is Domain.DISPLAY_RGB
    with pytest.raises(DomainError, match="no stage reads a display_rgb frame"):
        isp(make_frame(Domain.DISPLAY_RGB, (16, 16), 1))


def test_intermediate_frames_end_with_the_result():
    isp, frame = from_recipe(SHORT), make_frame(Domain.RAW, (32, 32), 1)
    steps = dict(isp.steps(frame))
    assert list(steps) == list(isp.stages)
    assert [f.domain for f in steps.values()] == [s.writes for s in isp.stages.values()]
    assert torch.equal(steps["encode"].data, isp(frame).data)


def test_a_batch_of_settings_over_one_frame():
    isp, frame = from_recipe(SHORT), make_frame(Domain.RAW, (32, 32), 1)
    values = isp.space.from_vector(torch.rand(3, isp.space.dim, generator=torch.Generator().manual_seed(2)))
    both = isp(frame, values).data
    for i in range(3):
        one = isp(frame, {k: torch.as_tensor(v)[i] for k, v in values.items()}).data
        torch.testing.assert_close(both[i : i + 1], one, rtol=1e-4, atol=3e-5)


@pytest.mark.slow
def test_knobs_are_learned_by_gradient():
    truth = {"exposure.ev": 0.8, "white_balance.red_trim": 1.3, "encode.gamma": 1.8}
    isp = from_recipe({**SHORT, "stages": [*SHORT["stages"][:-1], {"encode": {"transfer": "gamma"}}]})
    frame = make_frame(Domain.RAW, (16, 16), 1)
    target = isp(frame, truth).data
    model = LearnableISP(isp, isp.space.select(*truth))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(200):
        loss = (model(frame).data - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in truth.items():
        assert float(torch.as_tensor(model.values()[name]).detach()) == pytest.approx(value, rel=0.03)


def test_choices_cannot_be_learned():
    isp = from_recipe(SHORT)
    with pytest.raises(ParamError, match=r"not differentiable: demosaic.method"):
        LearnableISP(isp, isp.space.select("demosaic.method"))


def test_an_empty_pipeline_is_refused():
    with pytest.raises(DomainError, match="at least one stage"):
        Pipeline({})
