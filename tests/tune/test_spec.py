"""A tuning job as data: grammar, round trips, what it builds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml

from ispkit.core.errors import IspkitError, ParamError, RecipeError
from ispkit.core.frame import Domain
from ispkit.data.project_pictures import project_pictures
from ispkit.data.tuning_sets import picture_of
from ispkit.io.pictures import write_picture
from ispkit.tune.spec import AnchorSpec, DataSpec, TuneSpec, build, from_dict, load_spec, save_spec, to_dict
from ispkit.tune.spec_data import scenes_from

SMALL = DataSpec(project=3, size=(64, 64), gains=(1.0, 8.0), crop=(48, 48))


def test_a_spec_comes_back_from_its_file(tmp_path):
    spec = TuneSpec(
        isp="neutral",
        data=SMALL,
        held_out=0.3,
        objective="l1+0.5*nlpd; delta_e00",
        constraints=("ssim >= 0.5",),
        method="cma",
        options={"population": 12},
        budget=50,
        lock=("tone.*",),
        anchors=AnchorSpec(("denoise.*",), gain=(1.0, 8.0), smoothness=0.1),
        guard=0.02,
        timeout_s=30.0,
    )
    save_spec(tmp_path / "job.yaml", spec)
    assert load_spec(tmp_path / "job.yaml") == spec
    assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(spec)))) == spec
    plain = to_dict(TuneSpec(isp="neutral", data=DataSpec(project=2)))
    assert plain == {"version": 1, "isp": "neutral", "data": {"project": 2}}


def test_the_plan_holds_what_the_study_needs():
    spec = TuneSpec(
        isp="neutral", data=SMALL, method="cma", budget=50, lock=("tone.*",), guard=0.02, timeout_s=3, workers=2
    )
    plan = spec.plan()
    assert (plan.method, plan.budget, plan.workers, plan.lock, plan.trial_timeout_s) == ("cma", 50, 2, ("tone.*",), 3)
    assert plan.guard.worse_by == 0.02
    assert from_dict(plan.spec) == spec


def test_it_builds_both_problems_and_the_same_ones_again():
    spec = TuneSpec(isp="neutral", data=SMALL, held_out=0.3, objective="psnr", constraints=("ssim >= 0.2",))
    tuned, held = build(spec)
    again, _ = build(spec)
    assert len(tuned.pictures) == 4
    assert len(held.pictures) == 2
    assert not {picture_of(s) for s in tuned.scenes} & {picture_of(s) for s in held.scenes}
    seen, repeated = tuned.measure({}), again.measure({})
    assert seen.scores == repeated.scores
    assert all(np.array_equal(a, b) for a, b in zip(seen.rendered, repeated.rendered, strict=True))
    assert set(seen.constraints) == {"ssim >= 0.2"}


def test_folders_are_found_beside_the_file(tmp_path):
    (tmp_path / "photos").mkdir()
    for name, picture in project_pictures(2, (64, 64)).items():
        write_picture(tmp_path / "photos" / f"{name}.png", picture[0].permute(1, 2, 0).numpy())
    (tmp_path / "start.yaml").write_text("{}\n")
    job = {"version": 1, "isp": "neutral", "data": "photos", "start": "start.yaml", "objective": ["mse", "ssim"]}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    spec = load_spec(tmp_path / "job.yaml")
    assert spec.data.pictures == str(tmp_path / "photos")
    tuned, held = build(spec)
    assert tuned.objectives == ("mse", "ssim")
    assert held is not None, "a quarter is held out where nothing is said"
    assert torch.isfinite(torch.tensor(list(tuned.measure({}).scores.values()))).all()


def test_the_start_is_the_expert_s_setting(tmp_path):
    plain, _ = build(TuneSpec(isp="low-light", data=SMALL))
    name = next(n for n, k in plain.space.items() if hasattr(k, "low"))
    value = plain.space[name].high
    (tmp_path / "start.yaml").write_text(yaml.safe_dump({name: value}))
    started, _ = build(TuneSpec(isp="low-light", data=SMALL, start=str(tmp_path / "start.yaml")))
    assert started.space.defaults() == {**plain.space.defaults(), name: value}
    anchored, _ = build(
        TuneSpec(
            isp="low-light",
            data=SMALL,
            start=str(tmp_path / "start.yaml"),
            anchors=AnchorSpec((name,), gain=(1.0, 8.0)),
        )
    )
    assert anchored.space.defaults()[f"{name}@gain=8"] == value
    assert len(anchored.space) == len(plain.space) + 1
    assert anchored.measure({}).scores == pytest.approx(started.measure({}).scores)


def test_charts_are_data_too():
    spec = TuneSpec(
        isp="neutral",
        data=DataSpec(charts=("zone_plate",), size=(128, 128), blur_px=0.5),
        objective="kpi:moire; kpi:table3",
    )
    assert build(spec)[0].measure({}).residual.size == 1


@pytest.mark.parametrize(("kind", "folder", "size"), [("yolo", "coco128", (256, 256)), ("kitti", "kitti3", (256, 512))])
def test_pictures_with_boxes_carry_them(shared, kind, folder, size):
    data = from_dict({**BASE, "data": {kind: str(shared / folder), "first": 2, "crop": list(size)}}).data
    scenes = scenes_from(data, Domain.RAW)
    assert len(scenes) == 2
    assert all(s.target.shape[-2:] == size for s in scenes)
    boxes = torch.cat([s.labels.boxes for s in scenes])
    assert len(boxes) > 0
    assert float(boxes.min()) >= 0
    assert float(boxes[:, 2:].max()) <= max(size)


BASE = {"version": 1, "isp": "neutral", "data": {"project": 2}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version 2"),
        ({"isp": None}, "isp is missing"),
        ({"data": None}, "data is missing"),
        ({"budgt": 3}, "did you mean 'budget'"),
        ({"budget": "many"}, "budget: 'many' should be a number"),
        ({"workers": 0}, "workers: 0 should be a whole number"),
        ({"register": 1}, "true or false"),
        ({"data": {"pictures": "nowhere"}}, r"data\.pictures: no such folder: nowhere"),
        ({"data": {"project": 2, "charts": ["lab"]}}, "exactly one of"),
        ({"data": {"project": 2, "gains": []}}, r"data\.gains: the list is empty"),
        ({"data": {"project": 2, "crop": [32]}}, r"data\.crop: \[32\] should be \[height, width\]"),
        ({"data": {"projects": 2}}, "did you mean 'project'"),
        ({"start": "none.yaml"}, "start: no such file"),
        ({"held_out": 1.5}, r"held_out: 1\.5 should be a number in \[0, 0\.9\]"),
        ({"anchors": {"gane": [1, 2]}}, "did you mean 'gain'"),
        ({"constraints": 3}, "list of words"),
    ],
)
def test_errors_name_the_field(change, says):
    content = {k: v for k, v in {**BASE, **change}.items() if v is not None}
    with pytest.raises(RecipeError, match=says):
        from_dict(content)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"isp": "c7l"}, "c7l"),
        ({"objective": "psrn"}, "did you mean 'psnr'"),
        ({"constraints": ["ssim"]}, "QUANTITY >= NUMBER"),
        ({"anchors": {"knobs": ["*"]}}, "give gain or cct_k"),
        ({"data": {"project": 1, "sensor": "nikon"}}, "nikon"),
        ({"held_out": ["sky"]}, "no picture sky"),
        ({"objective": "kpi:color"}, "has no chart"),
    ],
)
def test_what_does_not_fit_is_said_when_built(change, says):
    with pytest.raises(IspkitError, match=says):
        build(from_dict({**BASE, **change}))


def test_a_file_s_errors_name_the_file(tmp_path):
    (tmp_path / "job.yaml").write_text("version: 1\nisp: [")
    with pytest.raises(RecipeError, match=r"job\.yaml: cannot be read"):
        load_spec(tmp_path / "job.yaml")
    (tmp_path / "job.yaml").write_text("version: 1\nisp: c71\ndata: {pictures: photos}\n")
    with pytest.raises(RecipeError, match=r"job\.yaml: data\.pictures: no such folder: .*photos"):
        load_spec(tmp_path / "job.yaml")
    with pytest.raises(ParamError):
        build(TuneSpec(isp="neutral", data=SMALL, start=str(_written(tmp_path, "nope.knob: 1"))))


def _written(folder, text):
    (folder / "start.yaml").write_text(text)
    return folder / "start.yaml"
