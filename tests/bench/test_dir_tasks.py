"""Heads behind DiR: equal conditions for all methods, trainings taken up again, intervals over pictures, a page."""

from __future__ import annotations

import json
from functools import partial

import cv2
import numpy as np
import pytest
import torch

from ispkit.bench import dir_tasks
from ispkit.bench.dir import AUTO_LARGE, PLAIN
from ispkit.bench.dir import OURS as DIR
from ispkit.bench.dir_tasks import Outcome, OverTrainings, Seen, run_dir_tasks
from ispkit.bench.dir_tasks_methods import (
    AS_IS,
    BEFORE,
    CLEAN,
    JOINT_AUTO,
    OURS,
    PREDICTED,
    TUNED,
    BeforeIsp,
    Fold,
    TasksBench,
    methods,
    weights_in,
)
from ispkit.core.errors import FileError, ParamError
from ispkit.core.frame import Domain
from ispkit.data.boxes import Boxes
from ispkit.data.degrade import Degradation, Degrader
from ispkit.data.labelled_set import LabelledPicture, LabelledPictures
from ispkit.data.synthetic_raw import SyntheticSettings
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.weights import Card, save_learned
from ispkit.nets.fastestdet import FastestDet
from ispkit.perceive.heads import open_head
from ispkit.perceive.judge import Judged, Looked
from ispkit.train.learnable import learnable

NAMES = ("red", "blue")
TINY = {
    DIR: {"name": "dir", "preset": "small", "width": 8, "latent": 8, "features": 8},
    AUTO_LARGE: {"name": "auto-encoder", "preset": "small", "width": 8, "latent": 8},
    PLAIN: {"name": "unet-rgb", "channels": [4, 8]},
}


def picture_of(seed):
    chance = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 6, generator=chance)
    return torch.nn.functional.interpolate(coarse, (80, 96), mode="bicubic").clamp(0, 1)


def pictures(count=6):
    boxes = [Boxes.make([[10 + i, 12, 40 + i, 50]], [i % 2]) for i in range(count)]
    return LabelledPictures([LabelledPicture(f"p{i}", partial(picture_of, i), boxes[i]) for i in range(count)], NAMES)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """What `bench dir` leaves, with nets that learned nothing."""
    room = tmp_path_factory.mktemp("dir")
    torch.manual_seed(0)
    for name, isp in TINY.items():
        for seed in (0, 1):
            path = room / f"{name}, seed {seed}".lower().replace(", ", "-").replace(" ", "-") / "weights.safetensors"
            path.parent.mkdir()
            options = {k: v for k, v in isp.items() if k != "name"}
            save_learned(path, build(**isp), Card(isp["name"], options, {}, {}, {}, "tiny", None))
    return room


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("head") / "head.pth"
    torch.manual_seed(1)
    torch.save(FastestDet(len(NAMES)).state_dict(), path)
    return path


def bench_of(begun, weights, **changes) -> TasksBench:
    head = {"name": "fastestdet", "names": list(NAMES), "size": 64, "weights": [str(weights)]}
    base = {"pictures": pictures(), "told": "stand-ins", "head": head, "start": begun, "size": 64, "batch": 2}
    return TasksBench(**{**base, "seconds": 0.2, "seeds": 1, "renders": 4, "conditions": ("dark",), **changes})


def fold_of(bench, out, index=0, condition="dark") -> Fold:
    return Fold(bench, condition, index, out, bench.start)


def test_all_are_judged_on_the_same_pictures_light_and_noise(begun, weights, tmp_path):
    first, again = (fold_of(bench_of(begun, weights), tmp_path) for _ in range(2))
    for sees in ("display", "clean", "raw"):
        one, other = first.held(sees), again.held(sees)
        assert all(torch.equal(a.frame.data, b.frame.data) for a, b in zip(one, other, strict=True))
        assert all(torch.equal(a.target, b.target) for a, b in zip(one, first.held("clean"), strict=True))
        assert all(torch.equal(a.labels[0].boxes, b.labels[0].boxes) for a, b in zip(one, other, strict=True))
    assert torch.equal(first.held("clean")[0].frame.data, first.held("display")[0].target)
    assert first.held("raw")[0].frame.domain is not Domain.DISPLAY_RGB


def test_the_classical_isp_is_given_the_raw_that_the_pictures_were_made_of():
    """Developed with what the degradation drew it is the degraded picture, but for its 8 bits."""
    settings = Degradation(SyntheticSettings(), {"exposure.ev": (-0.5, 0.5), "sharpen.amount": 1.0})
    degrader = Degrader(settings)
    picture = picture_of(3)[..., :64, :64]

    def made(maker):
        drawn = [maker.draw(torch.Generator().manual_seed(5))]
        return drawn[0], maker.make(picture, drawn)[0]

    (drawn, shown), (_, raw) = made(degrader), made(BeforeIsp(degrader))
    developed = degrader.isp(raw, {"exposure.ev": torch.tensor([drawn.knobs["exposure.ev"]])})
    assert (developed.data - shown.data).abs().max() <= 0.5 / 255 + 1e-6


def test_every_picture_is_held_out_once_and_never_learned_from(begun, weights, tmp_path):
    folds = [fold_of(bench_of(begun, weights, folds=3), tmp_path, k) for k in range(3)]
    held = [{s.names[0] for s in f.held("display")} for f in folds]
    assert sorted(n for names in held for n in names) == [f"p{i}" for i in range(6)]
    for fold, names in zip(folds, held, strict=True):
        assert not names & {scene.name for scene in fold._scenes}


def test_networks_without_the_parts_of_dir_learn_by_the_same_loss():
    plans = {m.name: m.plan for m in methods("segment") if m.plan}
    assert plans[OURS].loss == ["alignment", {"name": "task", "weight": 5.0}, "l1"]
    assert [p.loss for n, p in plans.items() if not n.startswith(DIR)] == [[{"name": "task", "weight": 5.0}, "l1"]] * 2
    with pytest.raises(ParamError, match="can classify"):
        methods("classify")


@pytest.mark.slow
def test_jointly_the_alignment_alone_learns_and_goes_on_from_the_given_weights(begun, weights, tmp_path):
    fold = fold_of(bench_of(begun, weights), tmp_path)
    rows = {m.name: m for m in methods("detect")}
    before = fold.run(rows[BEFORE], 0).isp
    first, again = (fold.run(rows[OURS], 0) for _ in range(2))
    assert first.steps > 0
    for name in ("isp.dir", "isp.dfr", "isp.decoder"):
        mine, theirs = (learnable(isp, name).state_dict() for isp in (before, first.isp))
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    changed = [learnable(isp, "isp.align").state_dict() for isp in (before, first.isp, again.isp)]
    assert any(not torch.equal(changed[0][key], changed[1][key]) for key in changed[0])
    assert all(torch.equal(changed[1][key], changed[2][key]) for key in changed[1]), "taken as it is"


def test_weights_that_are_not_there_are_told(begun):
    with pytest.raises(FileError, match=r"of seed 7 was not trained there; run `ispkit bench dir`"):
        weights_in(begun, DIR, 7)


def looked(right, count=8):
    """Detections of single objects: of the first `right` pictures exact, of the others elsewhere."""
    found = []
    for i in range(count):
        place = [[0.0, 0, 10, 10]] if i < right else [[50.0, 50, 60, 60]]
        found.append(Looked(boxes=(Boxes.make(place, [0], [0.9]), Boxes.make([[0.0, 0, 10, 10]], [0]))))
    return found


def test_the_measure_is_the_mean_over_trainings_and_pictures_are_what_is_drawn():
    single, better = (Judged("detect", looked(n)) for n in (4, 8))
    assert OverTrainings([single]).summary() == pytest.approx(single.main)
    both = OverTrainings([single, better])
    assert both.summary() == pytest.approx((single.main + better.main) / 2)
    weights = np.array([0.0] * 4 + [2.0] * 4)
    assert both.summary(weights) == pytest.approx(0.5)
    one, three = (Outcome("m", "detect", [Seen(looked(4))] * n) for n in (1, 3))
    sure = Outcome("o", "detect", [Seen(looked(8))])
    gaps = [sure.above(o, seed=0) for o in (one, three)]
    assert (gaps[0].low, gaps[0].high) == pytest.approx((gaps[1].low, gaps[1].high)), "no more pictures than before"
    assert gaps[0].value == pytest.approx(100 * (1 - single.main))
    assert gaps[0].low <= gaps[0].value <= gaps[0].high


@pytest.mark.slow
def test_the_experiment_ends_with_a_table_a_condition_and_its_pictures(begun, weights, tmp_path, monkeypatch):
    some = tuple(m for m in methods("detect") if m.name in (AS_IS, OURS, JOINT_AUTO, TUNED))
    monkeypatch.setattr(dir_tasks, "methods", lambda task: some)
    found = run_dir_tasks(tmp_path, bench_of(begun, weights, seeds=2), command="ispkit")
    table, sizes = found.tables
    assert [row["method"] for row in table.rows] == [m.name for m in some]
    assert table.rows[1][f"{OURS}, less it: mAP@[.5:.95]"] == ""
    assert len(found.claims) == 3
    assert len(sizes.rows) == 2
    assert (tmp_path / "dir_tasks_detect_dark.png").is_file()
    assert len(found.details["dark"][OURS]["by_training"]) == 2
    assert len(found.details["dark"][AS_IS]["by_training"]) == 1
    assert len(found.details["dark"][AS_IS]["losses"][0]) == len(pictures())
    json.dumps(found.details)


@pytest.mark.slow
def test_the_command_segments_as_well(cli, begun, tmp_path, monkeypatch):
    some = tuple(m for m in methods("segment") if m.name in (CLEAN, AS_IS, OURS, JOINT_AUTO, TUNED, PREDICTED))
    monkeypatch.setattr(dir_tasks, "methods", lambda task: some)
    for folder in ("JPEGImages", "SegmentationClass"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for i in range(4):
        shade = (255 * picture_of(i)[0].permute(1, 2, 0)).byte().numpy()
        cv2.imwrite(str(tmp_path / "data/JPEGImages" / f"{i}.png"), shade)
        cv2.imwrite(str(tmp_path / "data/SegmentationClass" / f"{i}.png"), (shade[..., 0] > 128).astype(np.uint8) * 15)
    torch.save(open_head("deeplab-v3").net.state_dict(), tmp_path / "head.pth")
    words = ["bench", "dir-tasks", "--task", "segment", "--data", tmp_path / "data", "--start", begun, "--size", 64]
    words += ["--head-weights", tmp_path / "head.pth", "--seeds", 1, "--seconds", 1, "--renders", 10, "--batch", 2]
    words += ["--condition", "default", "--out", tmp_path / "out", "--results", tmp_path / "results"]
    code, out, err = cli(*words)
    assert code == 0, err
    assert all(m.name in out for m in some)
    assert "mIoU" in out
    page = (tmp_path / "results/dir_tasks_segment.md").read_text()
    assert "dir_tasks_segment_default.png" in page
    assert (tmp_path / "results/dir_tasks_segment_default.png").is_file()


def test_what_is_wrong_is_told_in_one_line(cli, begun, weights, tmp_path):
    for words, message in (
        (["--task", "classify", "--data", tmp_path], "--task: no 'classify'"),
        (["--task", "detect", "--data", tmp_path, "--start", "absent"], "--start: no such folder"),
    ):
        code, _, err = cli("bench", "dir-tasks", *words, "--head-weights", weights)
        assert (code, err.count("\n")) == (2, 1), err
        assert message in err
    with pytest.raises(ParamError, match="no degradation 'drak'; did you mean 'dark'"):
        bench_of(begun, weights, conditions=("drak",))
