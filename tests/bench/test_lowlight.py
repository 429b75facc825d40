"""The low-light protocol: equal conditions for all methods, trainings taken up again, a page that tells all."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from ispkit.bench import lowlight_people
from ispkit.bench.learned_parts import LearnedBench
from ispkit.bench.lowlight_methods import ABLATIONS, CLEAN, METHODS, OURS, MaskedMosaic, Method, methods
from ispkit.bench.lowlight_parts import Condition, LowLightBench, Trial
from ispkit.bench.lowlight_pictures import front_of
from ispkit.core.errors import DomainError
from ispkit.core.frame import Domain
from ispkit.data.classes import read_classes
from ispkit.io.dng_writer import write_dng
from ispkit.isp.recipe import preset
from ispkit.perceive.heads import open_head

HEAD = {"name": "mobilenet-v1", "width": 0.25, "size": 0, "stem_stride": 1, "names": ["blue", "red"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Reddish and bluish pictures, a folder each."""
    room = tmp_path_factory.mktemp("pictures")
    chance = np.random.default_rng(0)
    for name, color in (("blue", (200, 80, 60)), ("red", (60, 80, 200))):
        (room / name).mkdir()
        for i in range(12):
            noise = chance.normal(0, 30, (32, 32, 3))
            cv2.imwrite(str(room / name / f"{i}.png"), np.clip(noise + color, 0, 255).astype(np.uint8))
    return room


def bench_of(folder, **changes) -> LowLightBench:
    base = {"pictures": read_classes(folder), "told": "colors", "head": HEAD, "levels": ("2-200 lux",), "folds": 3}
    return LowLightBench(**{**base, "seconds": 1.0, "seeds": 1, "most": 8, "renders": 10, "batch": 8, **changes})


def test_every_method_is_judged_on_the_same_light_and_noise(folder, tmp_path):
    bench = bench_of(folder)
    trial = Trial(bench, Condition("2-20 lux"), 0, tmp_path)
    seen = {m.name: trial.data(m, learning=False) for m in METHODS}
    for data in seen.values():
        data.set_epoch(0)
    plain, behind = seen[OURS][3], seen["preset low-light"].data[3]
    assert torch.equal(plain.frame.data, behind.frame.data)
    assert torch.equal(seen[CLEAN][3].frame.data, plain.target)
    assert [int(d[3].labels) for d in seen.values()] == [int(plain.labels)] * len(seen)


def test_what_is_judged_on_is_never_learned_from(folder, tmp_path):
    held = []
    for k in range(3):
        learned, judged = Trial(bench_of(folder, seeds=3), Condition("3 lux"), k, tmp_path).sides
        assert not {i.name for i in learned} & {i.name for i in judged}
        held += [i.name for i in judged]
    assert len(set(held)) == len(read_classes(folder))


def test_the_masked_mosaic_keeps_every_photosite_and_nothing_else(folder, tmp_path):
    frame = Trial(bench_of(folder), Condition("20-200 lux"), 0, tmp_path).data(METHODS[-1], learning=False)[0].frame
    made = MaskedMosaic()(frame)
    assert made.domain is Domain.DISPLAY_RGB
    black, white = frame.meta.black_level[0, 0], frame.meta.white_level[0, 0]
    level = ((frame.data - black) / (white - black)).clamp(0, 1)
    assert torch.allclose(made.data.sum(1, keepdim=True), level, atol=1e-6)
    assert bool(((made.data > 0).sum(1) <= 1).all())
    with pytest.raises(DomainError, match="raw or mosaic"):
        MaskedMosaic()(made)


def test_conditions_say_what_the_raw_is(folder):
    settings = bench_of(folder).settings(Condition("2-20 lux", "semco", "GRBG", 1.5))
    assert settings.gain == (100.0, 1000.0)
    assert (settings.sensor.cfa, settings.sensor.blur_px) == ("GRBG", 1.5)
    assert Condition("2-20 lux", "semco", "GRBG", 1.5).name == "2-20 lux, semco, GRBG, blurred 1.5 px"


@pytest.mark.slow
def test_a_head_learns_from_clean_pictures_once_for_all_conditions(folder, tmp_path):
    ours = next(m for m in METHODS if m.name == OURS)
    conditions = (Condition("3 lux"), Condition("2-20 lux"), Condition("3 lux", blur_px=1.2))
    heads = [Trial(bench_of(folder), condition, 0, tmp_path).head_of(ours) for condition in conditions]
    assert heads[0] == heads[1] == heads[2]
    assert len(list(tmp_path.glob("clean*"))) == 1


def test_fresh_heads_know_as_many_classes_as_the_weights(folder, tmp_path):
    options = {k: v for k, v in HEAD.items() if k != "name"}
    torch.save(open_head("mobilenet-v1", **options).net.state_dict(), tmp_path / "head.pth")
    weights = {**HEAD, "weights": [str(tmp_path / "head.pth")]}
    bench = bench_of(folder, head=weights, other={**HEAD, "name": "mobilenet-v2"})
    trial = Trial(bench, Condition("3 lux"), 0, tmp_path)
    for name in ("RAW, from scratch", "RAW, another network from scratch", CLEAN):
        spec = trial.head_of(next(m for m in METHODS if m.name == name))
        assert ("weights" in spec) is (name == CLEAN)
        assert open_head(spec.pop("name"), **spec).names == ("blue", "red")


def test_another_division_of_the_pictures_is_another_training(folder, tmp_path):
    benches = [bench_of(folder, folds=n, seeds=2) for n in (2, 3)]
    folds = {Trial(bench, Condition("3 lux"), k, tmp_path).fold for bench in benches for k in (0, 1)}
    assert len(folds) == 4


def test_without_another_network_there_is_no_row_for_it():
    assert [m.name for m in METHODS if m not in methods(other=False)] == ["RAW, another network from scratch"]


def test_encoded_light_goes_through_classical_isps_without_a_second_curve(folder, tmp_path):
    trial = Trial(bench_of(folder, light="encoded"), Condition("1000-2000 lux"), 0, tmp_path)
    sample = trial.data(Method("preset neutral", through="neutral"), learning=False)[0]
    assert abs(float(sample.frame.data.mean() - sample.target.mean())) < 0.02


def test_the_front_holds_what_is_best_at_something():
    points = [("a", 20.0, 0.5), ("b", 25.0, 0.4), ("c", 19.0, 0.45), ("d", 25.0, 0.3), ("e", 30.0, 0.1)]
    assert [name for name, _, _ in front_of(points)] == ["a", "b", "e"]


@pytest.mark.slow
def test_a_training_that_is_over_is_taken_as_it_is(folder, tmp_path):
    ours = next(m for m in METHODS if m.name == OURS)
    weights = []
    for _ in range(2):
        model = Trial(bench_of(folder), Condition("2-200 lux"), 0, tmp_path).model(ours)
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
    told = next(m for m in ABLATIONS if m.noise_factor > 1)
    same = Trial(bench_of(folder), Condition("2-200 lux"), 0, tmp_path).model(told)
    assert torch.equal(weights[0], torch.cat([p.flatten() for p in same.parameters()]))


@pytest.mark.slow
def test_the_command_compares_all_methods_and_draws_what_they_saw(cli, folder, tmp_path):
    shots = tmp_path / "shots"
    data = Trial(bench_of(folder), Condition("20-200 lux"), 0, tmp_path).data(METHODS[-1], learning=False)
    for i in range(4):
        (shots / ("blue", "red")[int(data[i].labels)]).mkdir(parents=True, exist_ok=True)
        write_dng(shots / ("blue", "red")[int(data[i].labels)] / f"{i}.dng", data[i].frame)
    words = ["lowlight", str(folder), "--size", "32", "--seconds", "1", "--seeds", "1", "--folds", "3", "--most", "8"]
    words += ["--option", "width=0.25", "--option", "size=0", "--option", "stem_stride=1", "--other", "mobilenet-v2"]
    words += [
        "--captured",
        str(shots),
        "--captured-noise",
        "0.001,0.002",
        "--renders",
        "10",
        "--batch",
        "8",
        "--level",
        "2-200 lux",
        "--no-ablations",
        "--json",
    ]
    code, text, err = cli(*words, "-o", str(tmp_path / "out"), "--results", str(tmp_path / "page"))
    assert code == 0, err
    facts = json.loads(text)
    assert [row["method"] for row in facts["tables"][0]["rows"]] == [m.name for m in METHODS]
    assert all(claim["met"] is False or "[+" in claim["measured"] for claim in facts["claims"])
    assert facts["tables"][-1]["heading"] == "4 captured RAW files"
    assert {row["top-5"] for row in facts["tables"][-1]["rows"]} == {"100.0"}
    page = (tmp_path / "page" / "lowlight.md").read_text()
    for picture in ("lowlight_front.png", "lowlight_2_200_lux.png"):
        assert picture in page
        assert (tmp_path / "page" / picture).is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--kind", "clases"], "classes"),
        (["--level", "dark"], "2-20 lux"),
        (["--option", "width"], "NAME=VALUE"),
        (["--head", "mobilnet-v1"], "mobilenet-v1"),
        (["--isp", "rawterapee"], "rawtherapee"),
        (["--other", "resnet"], "mobilenet-v2"),
    ],
)
def test_bad_input_is_told_at_once(cli, folder, tmp_path, words, told):
    code, _, err = cli("lowlight", str(folder), *words, "-o", str(tmp_path / "out"), "--seconds", "1")
    assert (code, told in err) == (2, True), err


def test_other_isps_are_judged_as_they_come_and_fine_tuned(folder, tmp_path):
    names = [m.name for m in methods(["libraw"])]
    assert names.index("libraw, head fine-tuned") == names.index("libraw") + 1
    trial = Trial(bench_of(folder, also=("libraw",)), Condition("20-200 lux"), 0, tmp_path)
    shown = trial.data(Method("libraw", through="libraw"), learning=True)
    assert shown[0].frame.domain is Domain.DISPLAY_RGB
    assert torch.equal(shown[0].frame.data, shown.batch([0]).frame.data)


def test_a_method_without_a_way_to_learn_has_no_run_folder(folder, tmp_path):
    head = {**HEAD, "weights": ""}
    trial = Trial(bench_of(folder, head={k: v for k, v in head.items() if v}), Condition("3 lux"), 0, tmp_path)
    fresh = Method("fresh", through="neutral", head="fresh")
    trial.model(fresh)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_low_light_for_people_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(lowlight_people, "ENTRANTS", lowlight_people.ENTRANTS[:2])
    monkeypatch.setattr(lowlight_people, "tuned_classical", lambda *_, **__: preset("neutral"))
    bench = LearnedBench(seconds=0.3, seeds=1, patch=32, batch=2, window=64)
    found = lowlight_people.run_people(tmp_path, bench, command="test")
    names = [row["method"] for row in found.tables[0].rows]
    assert names == ["low-light, as it comes", "low-light, tuned", *(e.name for e in lowlight_people.ENTRANTS[:2])]
    assert (tmp_path / "lowlight_people.png").is_file()
