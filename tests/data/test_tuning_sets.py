"""Scenes to tune on: geometry, noise by gain, names and splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ispkit.charts import catalog
from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.data.project_pictures import KINDS, project_pictures
from ispkit.data.tuning_sets import (
    FolderScenes,
    Shooting,
    chart_scenes,
    from_folder,
    from_pictures,
    picture_of,
    read_pictures,
    split,
)
from ispkit.io.dng_writer import write_dng
from ispkit.io.pictures import write_picture
from ispkit.isp.recipe import preset
from ispkit.metrics import METRICS
from ispkit.metrics.color import delta_e00_map
from ispkit.sensor.catalog import load_sensor

SENSOR = load_sensor("default")


@pytest.fixture(scope="module")
def pictures():
    return project_pictures(3, (64, 96), seed=1)


def test_own_pictures_are_reproducible_different_and_in_range():
    made = project_pictures(2 * len(KINDS), (64, 80), seed=3)
    again = project_pictures(len(KINDS), (64, 80), seed=3)
    assert all(torch.equal(made[name], picture) for name, picture in again.items())
    for name, picture in made.items():
        assert picture.shape == (1, 3, 64, 80)
        assert picture.dtype == torch.float32
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1
        assert float(picture.std()) > 0.03, name
    assert not torch.equal(made["leaves-00"], made[f"leaves-{len(KINDS):02d}"])
    assert not torch.equal(made["leaves-00"], project_pictures(1, (64, 80), seed=4)["leaves-00"])


def test_a_simulated_shot_develops_to_its_target(pictures):
    for scene in from_pictures(pictures, SENSOR, Shooting(gains=(1.0,))):
        assert scene.frame.domain is Domain.RAW
        assert tuple(scene.target.shape) == (1, 3, *scene.frame.size)
        developed = preset("neutral")(scene.frame).data
        assert float(METRICS["psnr"](developed, scene.target, data_range=1.0)[0]) > 18
        shifted = scene.target.roll((4, 4), (-2, -1))
        assert ((developed - scene.target) ** 2).mean() < ((developed - shifted) ** 2).mean()


def test_gain_is_noise_at_the_same_brightness(pictures):
    scenes = from_pictures(pictures, SENSOR, Shooting(gains=(1, 16), cct_k=(3000, 6500), crop=(48, 64)))
    assert len(scenes) == 3 * 2 * 2
    first = [s for s in scenes if picture_of(s) == "leaves-00"]
    assert [dict(s.conditions) for s in first] == [{"gain": g, "cct_k": c} for g in (1, 16) for c in (3000, 6500)]
    assert first[0].name == "leaves-00@gain=1,cct_k=3000"
    assert all(torch.equal(s.target, first[0].target) for s in first)
    assert [float(s.frame.meta.iso[0]) for s in first] == [100, 100, 1600, 1600]
    low, high = (s.frame.data - s.frame.meta.black_level.mean() for s in (first[1], first[3]))
    assert float(high.mean()) == pytest.approx(float(low.mean()), rel=0.02)
    assert float(first[3].frame.meta.noise_profile[0, 1, 0]) == pytest.approx(
        16 * float(first[1].frame.meta.noise_profile[0, 1, 0]), rel=1e-4
    )
    repeated = from_pictures(pictures, SENSOR, Shooting(gains=(1, 16), cct_k=(3000, 6500), crop=(48, 64)))
    assert all(torch.equal(a.frame.data, b.frame.data) for a, b in zip(scenes, repeated, strict=True))


def test_labels_are_cut_with_their_picture(pictures):
    class Box:
        def crop(self, y, x, height, width):
            return (y, x, height, width)

    scenes = from_pictures(pictures, SENSOR, Shooting(crop=(32, 32)), labels=dict.fromkeys(pictures, Box()))
    for scene, picture in zip(scenes, pictures.values(), strict=True):
        y, x, height, width = scene.labels
        assert torch.equal(picture[..., y : y + height, x : x + width], scene.target)


def test_charts_are_their_own_targets():
    chart = catalog.build("colorchecker", height=120, width=180)
    scenes = chart_scenes({"checker": chart}, SENSOR, Shooting(gains=(1, 4)))
    assert [s.name for s in scenes] == ["checker@gain=1", "checker@gain=4"]
    assert all(s.chart is chart for s in scenes)
    developed = preset("neutral")(scenes[0].frame).data
    assert float(delta_e00_map(developed, scenes[0].target, data_range=1.0).median()) < 4
    with pytest.raises(ParamError, match="whole"):
        chart_scenes({"checker": chart}, SENSOR, Shooting(crop=(32, 32)))


def test_a_split_keeps_a_picture_on_one_side(pictures):
    scenes = from_pictures(project_pictures(7, (64, 64)), SENSOR, Shooting(gains=(1, 4), crop=(32, 32)))
    for share, count in ((0.25, 2), (0.01, 1), (0.99, 6), (0, 0)):
        tuned, held = split(scenes, share)
        assert len({picture_of(s) for s in held}) == count
        assert not {picture_of(s) for s in tuned} & {picture_of(s) for s in held}
        assert len(tuned) + len(held) == len(scenes)
    tuned, held = split(scenes, ["clouds-02"])
    assert {picture_of(s) for s in held} == {"clouds-02"}
    with pytest.raises(ParamError, match="no picture sky"):
        split(scenes, ["sky"])


def test_raw_files_find_their_targets(tmp_path, pictures):
    scene = from_pictures(dict(list(pictures.items())[:1]), SENSOR)[0]
    write_dng(tmp_path / "shot.dng", scene.frame)
    with pytest.raises(FileError, match="pictures of the same names"):
        from_folder(tmp_path)
    (tmp_path / "shot.dng").rename(tmp_path / "shot.DNG")
    write_picture(tmp_path / "shot.png", scene.target[0].permute(1, 2, 0).numpy())
    read = from_folder(tmp_path)[0]
    assert read.name == "shot"
    assert torch.equal(read.frame.data, scene.frame.data)
    assert torch.allclose(read.target, scene.target, atol=0.51 / 255)
    assert read.conditions == {"gain": 1.0}
    cut = from_folder(tmp_path, crop=(32, 48))[0]
    assert torch.equal(cut.target, read.target[..., 16:48, 24:72])
    assert torch.equal(cut.frame.data, read.frame.data[..., 16:48, 24:72])
    write_picture(tmp_path / "shot.png", np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ShapeError, match="8x8"):
        from_folder(tmp_path)
    scenes = FolderScenes(tmp_path)
    with pytest.raises(FileError, match="none of 1 pairs"):
        list(scenes)
    assert set(scenes.bad) == {"shot"}


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(FileError, match="no such folder"):
        read_pictures(tmp_path / "none")
    with pytest.raises(FileError, match="no PNG"):
        read_pictures(tmp_path)
    with pytest.raises(FileError, match="expected RAW files"):
        from_folder(tmp_path)
    with pytest.raises(ShapeError, match="even"):
        Shooting(crop=(33, 32))
    with pytest.raises(ParamError, match="gains"):
        Shooting(gains=(0,))
    with pytest.raises(ShapeError, match="less than crop"):
        from_pictures({"a": torch.zeros(1, 3, 16, 16)}, SENSOR, Shooting(crop=(32, 32)))
