"""Recipes: what ships can be built, what is wrong is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from stand_ins import recipe_data

from ispkit.core.errors import RecipeError
from ispkit.isp.learned.catalog import build
from ispkit.train.loop import steps_of
from ispkit.train.objective import Objective
from ispkit.train.recipe import changed, identity, load_recipe, read_recipe, recipe_names, to_data, to_recipe
from ispkit.train.sources import open_sets, source_of


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_fit_their_isp_and_read_back(name, tmp_path):
    recipe = load_recipe(name)
    assert identity(to_recipe(yaml.safe_load(yaml.safe_dump(to_data(recipe))))) == identity(recipe)
    isp = build(recipe.isp.name, **{**recipe.isp.options, "preset": "small"})
    for phase in recipe.phases:
        assert Objective(isp, phase).trained()
        assert steps_of(phase, 10) > 0
    for spec in (recipe.data, recipe.judged):
        source_of("data", spec.source, spec.options)
    with pytest.raises(RecipeError, match="pass --data DIR"):
        open_sets(recipe, tmp_path)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("phasse=[]", r"phasse: unknown name; did you mean 'phases'"),
        ("phases.0.optimizer.learning_rat=1", r"phases\[0\].optimizer.learning_rat: .*'learning_rate'"),
        ("phases.0.optimizer.betas=[0.9]", r"betas: \[0.9\] should be a list of 2"),
        ("phases.0.loss=l7", r"phases\[0\].loss\[0\]: no loss 'l7'; known: deepisp"),
        ("phases.0.loss={name: restoration, epps: 1}", r"loss\[0\].epps: unknown name; did you mean 'eps'"),
        ("phases.0.loss={name: restoration, eps: -1}", r"loss\[0\]: eps=-1"),
        ("phases.0.steps=lots", r"phases\[0\].steps: 'lots' should be a whole number"),
        ("phases.0.seconds=60", r"phases\[0\]: give exactly one of steps, epochs, seconds"),
        ("phases.1.name=restore", "phases need names of their own"),
        ("phases.0.schedule.kind=cosin", r"schedule.kind: 'cosin' is unknown; did you mean 'cosine'"),
        ("precision=fp8", "precision: 'fp8' is unknown"),
        ("version=2", "version: 2"),
        ("phases.9.steps=1", "--set phases.9.steps=1: '9' should be a position"),
        ("phases", "write PLACE=VALUE"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(setting, said):
    with pytest.raises(RecipeError, match=said):
        to_recipe(changed(recipe_data(), [setting]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": "pears"}, "did you mean 'pairs'"),
        ({"source": "pairs", "crops": [64, 64]}, "data.crops: .*'crop'"),
        ({"source": "synthetic", "sigmma": [1, 2]}, "data.sigmma: .*'sigma'"),
        ({"source": "synthetic", "sigma": [2, 1]}, "data: .*sigma"),
    ],
)
def test_wrong_data_are_named(options, said, tmp_path):
    with pytest.raises(RecipeError, match=said):
        open_sets(to_recipe(recipe_data(data=options)), tmp_path)


def test_settings_change_a_copy_and_numbers_may_be_written_as_powers():
    content = recipe_data()
    recipe = to_recipe(changed(content, ["phases.0.optimizer.learning_rate=1e-4", "held_out.split=test"]))
    assert recipe.phases[0].optimizer.learning_rate == 1e-4
    assert recipe.judged.options == {"split": "test"}
    assert content == recipe_data()


def test_files_are_found_and_their_paths_are_their_own(tmp_path, monkeypatch):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(recipe_data(data={"source": "pairs", "folder": "raws"})))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_recipe(file).data.options["folder"] == str(tmp_path / "raws")
    assert load_recipe(file, ["data.folder=here"]).data.options["folder"] == str(Path.cwd() / "here")
    for name, said in (("deepips", "did you mean 'deepisp'"), ("gone.yaml", "cannot be read")):
        with pytest.raises(RecipeError, match=said):
            read_recipe(name)
    file.write_text("version: 7")
    with pytest.raises(RecipeError, match="version: 1"):
        read_recipe(file)


def test_finished_pictures_may_be_given_a_look_to_learn(tmp_path):
    options = {"source": "synthetic", "pictures": "project", "count": 2, "size": [64, 64], "patch": [32, 32]}
    plain, looked = (
        open_sets(to_recipe(recipe_data(data={**options, "held_out": 0, "finish": finish})), tmp_path).train[0]
        for finish in ("picture", "auto")
    )
    assert plain.frame.data.equal(looked.frame.data)
    assert (plain.target - looked.target).abs().mean() > 0.01
