"""The restoration experiment on DiR, in small."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ispkit.bench import dir as dir_bench
from ispkit.bench import dir_sensitivity
from ispkit.bench.dir_parts import Condition, DirBench, conditions, scores
from ispkit.bench.dir_sensitivity import VARIATIONS
from ispkit.bench.learned_parts import Entry, Pictures
from ispkit.core.errors import ParamError
from ispkit.isp.learned.catalog import build
from ispkit.metrics.fidelity import psnr
from ispkit.metrics.niqe import NiqeModel
from ispkit.nets.dir import DirNet
from ispkit.train.learnable import learnable

TINY = DirBench(seconds=1.0, seeds=1, patch=32, batch=2, most=2, window=64, trials=2)


@pytest.fixture(scope="module")
def pictures() -> tuple[Pictures, Pictures]:
    return TINY.pictures()


def pairs(folder: Path) -> Path:
    chance = np.random.default_rng(0)
    folder.mkdir()
    for k in range(2):
        clean = chance.integers(40, 200, (72, 72, 3), dtype=np.uint8)
        noisy = np.clip(clean + chance.normal(0, 9, clean.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"a{k}_NOISY.png"), noisy)
        cv2.imwrite(str(folder / f"a{k}_GT.png"), clean)
    return folder


def test_conditions_are_the_same_for_every_method(tmp_path: Path, pictures: tuple[Pictures, Pictures]) -> None:
    """Seen, unseen and real; a picture's clean copy is its target."""
    bench = DirBench(**{**vars(TINY), "real": (str(pairs(tmp_path / "real")),)})
    first, again = (conditions(bench, pictures[1]) for _ in range(2))
    assert [c.name for c in first] == ["paper", "ablation", "real, real"]
    for a, b in zip(first, again, strict=True):
        assert all(torch.equal(x.frame.data, y.frame.data) for x, y in zip(a.shots, b.shots, strict=True))
    assert all(shot.frame.size == (64, 64) for c in first for shot in c.shots)
    noisy = first[2].shots[0]
    found = scores(first, None, lambda frame, values=None: frame)
    assert found["real, real: psnr"][0] == pytest.approx(float(psnr(noisy.frame.data, noisy.target, data_range=1.0)))


def test_transparent_borders_are_no_picture(tmp_path: Path, pictures: tuple[Pictures, Pictures]) -> None:
    """What is scored is the opaque middle."""
    folder = tmp_path / "bare"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (160, 200, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[:20, :, 3] = 0
    cv2.imwrite(str(folder / "a.png"), pixels)
    model = tmp_path / "niqe.npz"
    NiqeModel(torch.zeros(36, dtype=torch.float64), torch.eye(36, dtype=torch.float64)).save(model)
    bench = DirBench(**{**vars(TINY), "bare": (str(folder),), "niqe": model})
    last = conditions(bench, pictures[1])[-1]
    assert last.bare
    assert last.shots[0].frame.size == (140, 200)
    wanted = torch.from_numpy(pixels[20:, :, 2::-1].copy()).permute(2, 0, 1)[None] / 255
    assert torch.equal(last.shots[0].target, wanted)


def test_what_cannot_be_tested_is_told() -> None:
    with pytest.raises(ParamError, match="no degradation 'papre'; did you mean 'paper'"):
        DirBench(**{**vars(TINY), "family": "papre"})
    with pytest.raises(ParamError, match="name its model with --niqe"):
        DirBench(**{**vars(TINY), "bare": ("a",)})


def test_folders_share_what_is_tested_and_are_never_learned_from(tmp_path: Path) -> None:
    """Also where the name of one begins with that of another."""
    chance = np.random.default_rng(0)
    for folder, count in (("a", 3), ("a_more", 3), ("own", 2)):
        (tmp_path / folder).mkdir()
        for k in range(count):
            cv2.imwrite(str(tmp_path / folder / f"{k}.png"), chance.integers(0, 255, (80, 80, 3), dtype=np.uint8))
    a, more, own = (str(tmp_path / name) for name in ("a", "a_more", "own"))
    bench = DirBench(**{**vars(TINY), "train": (own,), "test": (a, more), "most": 4})
    found = conditions(bench, bench.pictures()[1])
    assert [(c.name, len(c.shots)) for c in found[:2]] == [("paper, a", 2), ("paper, a_more", 2)]
    with pytest.raises(ParamError, match="given twice"):
        DirBench(**{**vars(TINY), "train": (a,), "test": (a,)}).pictures()


def test_what_is_lost_is_the_change_of_the_lead(tmp_path: Path) -> None:
    """By hand: leads of 1 dB on what was learned from, of 3 dB on the unseen."""
    shown = [Condition(name, ()) for name in ("paper, a", "ablation, a")]
    ours = Entry("DiR", {"paper, a: psnr": [[21.0, 22.0]], "ablation, a: psnr": [[20.0, 21.0]]})
    other = Entry("U", {"paper, a: psnr": [[20.0, 21.0]], "ablation, a: psnr": [[17.0, 18.0]]})
    told = dir_bench._change(ours, other, (shown[0], shown[1]))
    assert told["change, dB"].startswith("+2.00")


@pytest.mark.slow
def test_the_experiment_runs_to_its_page_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants share stage one; a second call takes what is finished."""
    small = {"width": 8, "latent": 8, "features": 8}
    first = dir_bench.Entrant("stage one", {**dir_bench.FIRST.isp, **small}, dir_bench.FIRST.plans)
    variants = [dir_bench.replace(e, isp={**e.isp, **small}) for e in dir_bench.VARIANTS]
    tiny = {"name": "auto-encoder", "preset": "small", "width": 8, "latent": 8}
    rivals = [dir_bench.replace(e, isp=tiny) for e in dir_bench.LEARNED_RIVALS[:2]]
    rivals.append(dir_bench.replace(dir_bench.LEARNED_RIVALS[2], isp={"name": "unet-rgb", "channels": [4, 8]}))
    monkeypatch.setattr(dir_bench, "FIRST", first)
    monkeypatch.setattr(dir_bench, "VARIANTS", tuple(variants))
    monkeypatch.setattr(dir_bench, "LEARNED_RIVALS", tuple(rivals))
    monkeypatch.setattr(dir_bench, "rivals", lambda *_, **__: {"as it is": lambda frame, values=None: frame})
    found = dir_bench.run_dir(tmp_path, TINY, command="test")
    assert found.name == "dir_paper"
    assert [c.text for c in found.claims] == [
        "ablation: DiR without the pilot is better than the baseline representation, decoded by D*",
        "ablation: DiR without the pilot is better than the baseline representation, by a decoder of its own",
        "ablation: DiR is better than DiR without the pilot",
        "ablation: DiR is better than the auto-encoder",
        "ablation: DiR is better than the auto-encoder, as large as DiR",
        "ablation: DiR is better than plain U-Net",
    ]
    assert found.tables[0].rows[0]["method"] == "as it is"
    methods = [row["method"] for row in found.tables[0].rows]
    assert methods[1:4] == [dir_bench.PILOT, dir_bench.READ, dir_bench.BASE]
    assert [row["representation"] for row in found.tables[-1].rows] == ["pixels", "r0", "pilot", "r+", "auto-encoder"]
    for suffix in ("", "_space", "_pictures"):
        assert (tmp_path / f"dir_paper{suffix}.png").is_file()
    again = dir_bench.run_dir(tmp_path, TINY, command="test")
    assert again.details == found.details


def test_the_variants_begin_with_stage_one() -> None:
    """Each has the parts that it takes, and its own alignment."""
    whole = build(**dir_bench.FIRST.isp)
    for entrant in dir_bench.VARIANTS:
        isp = build(**entrant.isp)
        assert entrant.after == dir_bench.FIRST.name
        for name in entrant.kept:
            mine, theirs = (learnable(i, name).state_dict() for i in (isp, whole))
            assert {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in theirs.items()}
        assert set(entrant.plans[0].parts).isdisjoint(entrant.kept)


def test_variations_change_one_thing_each() -> None:
    """Both stages can be built, the second begins with the first."""
    names = [v.name for v in VARIATIONS]
    assert len(set(names)) == len(names)
    assert names[0] == "as it ships"
    for variation in VARIATIONS:
        given = (variation.isp, variation.information, variation.reference, variation.pictures != 1)
        assert sum(map(bool, given)) == (0 if variation is VARIATIONS[0] else 2 if "posterior" in variation.name else 1)
        first, second = variation.entrants
        assert (second.after, dict(first.isp)) == (first.name, dict(second.isp))
        assert isinstance(build(**second.isp).named_parts["isp"].net, DirNet)


@pytest.mark.slow
def test_sensitivity_runs_to_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"width": 8, "latent": 8, "features": 8}
    some = [dir_bench.replace(v, isp={**small, **v.isp}) for v in VARIATIONS[:2]]
    monkeypatch.setattr(dir_sensitivity, "VARIATIONS", tuple(some))
    found = dir_sensitivity.run_sensitivity(tmp_path, TINY, command="test")
    assert [row["variation"] for row in found.tables[0].rows] == ["as it ships", "lambda 0.1"]
    assert found.tables[0].rows[0]["less as it ships"] == ""
