"""Recipes: what ships can be built, what is wrong is named with its place."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from stand_ins import recipe_data

from conftest import make_frame
from ispkit.core.errors import FileError, RecipeError
from ispkit.core.frame import Domain
from ispkit.io.dng_writer import write_dng
from ispkit.io.pictures import write_picture
from ispkit.train import recipe as recipes
from ispkit.train.loop import steps_of
from ispkit.train.objective import Objective
from ispkit.train.prepare import build_model
from ispkit.train.recipe import changed, identity, load_recipe, read_recipe, recipe_names, to_data, to_recipe
from ispkit.train.sources import open_sets, source_of


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_fit_their_isp_and_read_back(name, tmp_path):
    recipe = load_recipe(name)
    assert identity(to_recipe(yaml.safe_load(yaml.safe_dump(to_data(recipe))))) == identity(recipe)
    small = replace(recipe, isp=replace(recipe.isp, options={**recipe.isp.options, "preset": "small"}))
    for phase in recipe.phases:
        assert Objective(build_model(small), phase).trained()
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
        ("phases.0.loss=l7", r"phases\[0\].loss\[0\]: no loss 'l7'; known: alignment"),
        ("phases.0.loss={name: restoration, epps: 1}", r"loss\[0\].epps: unknown name; did you mean 'eps'"),
        ("phases.0.loss={name: restoration, eps: -1}", r"loss\[0\]: eps=-1"),
        ("phases.0.steps=lots", r"phases\[0\].steps: 'lots' should be a whole number"),
        ("phases.0.steps=null", r"phases\[0\]: give exactly one of steps, epochs, seconds: none of them is set"),
        ("phases.0={name: a, parts: a, loss: l1, steps: 6, epochs: 2}", "steps=6, epochs=2; .* such as epochs=null"),
        ("phases.0.seconds=-1", r"phases\[0\]: seconds=-1 must be positive"),
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
        ({"source": "synthetic", "crop": [64, 64]}, "data.crop: .*did you mean 'patch'"),
        ({"source": "mimic", "patch": [64, 64]}, "data.patch: .*did you mean 'crop'"),
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


def test_too_few_pictures_to_hold_some_out_name_the_remedy(tmp_path, caplog):
    one = {"source": "synthetic", "pictures": "project", "count": 1, "size": [64, 64], "patch": [32, 32]}
    write_dng(tmp_path / "A.DNG", make_frame(Domain.RAW, (32, 32), batch=1))
    write_dng(tmp_path / "alone.dng", make_frame(Domain.RAW, (32, 32), batch=1))
    write_picture(tmp_path / "A.PNG", make_frame(Domain.DISPLAY_RGB, (32, 32), batch=1))
    for options in (one, {"source": "pairs", "folder": str(tmp_path)}):
        with pytest.raises(FileError, match=r"held_out: .*more pairs, .*--set held_out=null"):
            open_sets(to_recipe(recipe_data(data=options, held_out={"split": "test"})), tmp_path)
        assert len(open_sets(to_recipe(recipe_data(data=options)), tmp_path).train) > 0
    told = [r.getMessage() for r in caplog.records]
    assert told == ["1 file is left out, without a picture of the same name: alone"] * 2  # once each time


def test_the_length_of_a_phase_put_in_replaces_the_one_it_had():
    first = to_recipe(changed(recipe_data(), ["phases.0.seconds=60"])).phases[0]
    assert (first.steps, first.seconds) == (None, 60)
    with pytest.raises(RecipeError, match="seconds=60"):  # both of the command line
        to_recipe(changed(recipe_data(), ["phases.0.seconds=60", "phases.0.steps=5"]))


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


def adam(rate, *betas, eps=1e-8):
    return (rate, betas or (0.9, 0.999), eps)


def released(start, fall):
    """A learning rate of start * 0.1^(epoch / fall), as the scripts have it."""
    return lambda epoch: start * 0.1 ** (epoch / fall)


def steps_down(start, epochs):
    return lambda epoch: start if epoch < 0.75 * epochs else 0.1 * start


PUBLISHED = {
    "cameranet-paper": [
        (1000, adam(1e-4, 0.9, 0.99), steps_down(1e-4, 1000), [("restoration", 1.0, 1e-4)]),
        (500, adam(1e-4, 0.9, 0.99), steps_down(1e-4, 500), [("l1", 1.0, None)]),
        (200, adam(1e-5, 0.9, 0.99), lambda _: 1e-5, [("restoration", 0.9, 1e-4), ("l1", 0.1, None)]),
    ],
    "cameranet-released": [
        (1000, adam(1e-4, 0.5, 0.999, eps=1e-4), released(1e-4, 800), [("restoration", 1.0, 1e-3)]),
        (500, adam(1e-4, 0.5, 0.999, eps=1e-4), released(1e-4, 300), [("l1", 1.0, None)]),
        (300, adam(5e-5, 0.5, 0.999, eps=1e-4), released(5e-5, 200), [("l1", 1.0, None), ("l1", 1.0, None)]),
    ],
    "deepisp-paper": [(700, adam(5e-5), lambda _: 5e-5, [("deepisp", 1.0, None)])],
    "deepisp-ll-paper": [(5000, adam(5e-5), lambda _: 5e-5, [("l2", 1.0, None)])],
}
"""Epochs, Adam, learning rate by epoch, losses with their weight and eps: Liang et al. 2021, section IV, and the
authors' HDR+ scripts; Schwartz et al. 2018, section IV"""


@pytest.mark.parametrize("name", PUBLISHED)
def test_schedules_are_the_published_ones(name):
    recipe = load_recipe(name)
    assert len(recipe.phases) == len(PUBLISHED[name])
    for phase, (epochs, optimizer, rate, losses) in zip(recipe.phases, PUBLISHED[name], strict=True):
        said = phase.optimizer
        assert (phase.epochs, phase.batch, phase.ema) == (epochs, 1, None)
        assert (said.learning_rate, tuple(said.betas), said.eps) == optimizer
        assert (said.weight_decay, said.clip) == (0, None)
        assert [(t.name, t.weight, t.options.get("eps")) for t in phase.loss] == losses
        for epoch in (0, 0.3 * epochs, 0.74 * epochs, 0.76 * epochs, epochs):
            assert said.learning_rate * phase.schedule.rate(epoch / epochs) == pytest.approx(rate(epoch), rel=1e-5)
    if name == "deepisp-paper":
        assert (recipe.w_init, phase.loss[0].loss().alpha, recipe.data.options["crop"]) == ("mean", 0.5, [1024, 1024])
    if name == "cameranet-released":
        assert [t.reads for t in phase.loss] == ["restored", "frame"]  # Enhance(G) and Enhance(Restore(x))


def put_pair(raw: Path, picture: Path, seed: int) -> None:
    for path in (raw, picture):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_dng(raw, make_frame(Domain.RAW, (64, 64), batch=1, seed=seed))
    write_picture(picture, torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(seed)).numpy())


def hdr_plus_tree(room: Path) -> None:
    for i in range(4):
        put_pair(room / f"bursts/s{i}/payload_N000.dng", room / f"results_20171023/s{i}/final.jpg", i)
        write_dng(room / f"results_20171023/s{i}/merged.dng", make_frame(Domain.RAW, (64, 64), batch=1, seed=i))


def fivek_tree(room: Path) -> None:
    for i in range(4):
        put_pair(room / f"raw_photos/a{i}.dng", room / f"tiff16_c/a{i}.tif", i)


def told(name: str) -> list[list[str]]:
    """The settings that a recipe's comment gives, a list for each paragraph."""
    text = (Path(recipes.__file__).parent / "recipes" / f"{name}.yaml").read_text()
    blocks = re.findall(r"((?:^#   \S+=.*\n)+)", text, re.MULTILINE)
    return [block.replace("#", "").split() for block in blocks]


@pytest.mark.parametrize(
    ("which", "tree", "restored_for", "share"), [(0, hdr_plus_tree, 4000, 0.5), (1, fivek_tree, 2000, 0.1)]
)
def test_the_other_data_sets_of_cameranet_open_as_the_comment_says(tmp_path, which, tree, restored_for, share):
    tree(tmp_path)
    settings = told("cameranet-paper")[which]
    recipe = load_recipe("cameranet-paper", [f"data.folder={tmp_path}", *settings, "data.crop=[32,32]"])
    sets = open_sets(recipe, tmp_path / "targets")
    assert (len(sets.train), len(sets.held_out)) == (3, 1)
    for sample in (sets.train[0], sets.held_out[0]):
        assert sample.restored.shape == sample.target.shape == (1, 3, 32, 32)
    assert recipe.phases[0].epochs == restored_for
    assert [t.weight for t in recipe.phases[2].loss] == [share, 1 - share]


def test_windows_of_the_paper_s_low_level_pictures_are_mirrored_and_keep_their_cfa(tmp_path):
    """132x220: room for all four mirrored windows, none of them transposed."""
    room = tmp_path / "bayer_panasonic"
    for place in ("input", "groundtruth"):
        (room / place).mkdir(parents=True)
    codes = torch.arange(132 * 220).reshape(132, 220).numpy().astype("uint16")
    for number, split in enumerate(("train", "validation")):
        write_picture(room / f"input/{number}.png", codes)
        write_picture(room / f"groundtruth/{number}.png", torch.rand(132, 220, 3).numpy(), bits=16)
        (room / f"{split}.txt").write_text(f"{number}\n")
    data = open_sets(load_recipe("deepisp-ll-paper", [f"data.folder={room}"]), tmp_path).train
    corners = set()
    for epoch in range(24):
        data.set_epoch(epoch)
        mosaic = data[0].frame.data[0, 0]
        assert (mosaic.shape, data[0].frame.meta.cfa) == ((130, 218), "RGGB")
        corners.add((bool(mosaic[0, 0] > mosaic[-1, 0]), bool(mosaic[0, 0] > mosaic[0, -1])))
    assert len(corners) == 4
    assert not data.bad


def test_a_sensor_is_named_and_a_folder_of_pictures_is_read_with_its_noise(tmp_path):
    settings = [
        "data.pictures=project",
        "data.count=4",
        "data.size=[160, 160]",
        "data.sensor=semco",
        "data.gain=[2, 4]",
    ]
    frame = open_sets(load_recipe("anscombe", [*settings, "held_out=null"]), tmp_path).train[0].frame
    assert frame.domain is Domain.RAW
    assert 200 <= float(frame.meta.iso[0]) <= 400
