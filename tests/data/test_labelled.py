"""Boxes move with their picture; YOLO and KITTI files are read, wrong ones refused with the place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.data.boxes import Boxes, overlap
from ispkit.data.labelled import KITTI, KITTI_AS_COCO, read_kitti, read_yolo

TWO = Boxes.make([(2, 3, 10, 9), (20, 4, 28, 12)], [0, 1], [0.5, 0.25])


def make_yolo(folder, text="1 0.5 0.25 0.5 0.5\n", names="names: {0: cat, 1: dog}\n"):
    for room in ("images", "boxes_yolo"):
        (folder / room).mkdir()
    Image.new("RGB", (40, 20), (10, 20, 30)).save(folder / "images/a.png")
    Image.new("RGB", (8, 8)).save(folder / "images/b.jpg")
    (folder / "boxes_yolo/a.txt").write_text(text)
    (folder / "config.yaml").write_text(names)
    return folder


def test_yolo_boxes_are_in_pixels(tmp_path):
    first, second = read_yolo(make_yolo(tmp_path))
    assert (first.path.name, first.names) == ("a.png", ("cat", "dog"))
    assert first.boxes.boxes.tolist() == [[10.0, 0.0, 30.0, 10.0]]
    assert first.boxes.labels.tolist() == [1]
    assert first.picture().shape == (1, 3, 20, 40)
    assert len(second.boxes) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 0.5 0.25 0.5\n", r"a.txt:1: 4 values"),
        ("\n2 0.5 0.25 0.5 0.5\n", r"a.txt:2: class '2' is not one of 0..1"),
        ("1 0.5 0.25 0.5 50\n", r"a.txt:1: .*in \[0, 1\]"),
        ("1 0.5 x 0.5 0.5\n", r"a.txt:1: 'x' is not a number"),
        ("1 0.5 nan 0.5 0.5\n", r"'nan' is not a number"),
    ],
)
def test_wrong_yolo_lines_are_refused_with_their_place(tmp_path, text, reason):
    with pytest.raises(FileError, match=reason):
        read_yolo(make_yolo(tmp_path, text))


def test_yolo_needs_names_and_pictures(tmp_path):
    make_yolo(tmp_path, names="other: 1\n")
    with pytest.raises(FileError, match="names"):
        read_yolo(tmp_path)
    assert read_yolo(tmp_path, names=["a", "b"])[0].names == ("a", "b")
    with pytest.raises(FileError, match="no pictures"):
        read_yolo(tmp_path / "elsewhere", names=["a"])


def make_kitti(folder, *lines):
    for room in ("image_2", "label_2"):
        (folder / room).mkdir()
    Image.new("RGB", (40, 20)).save(folder / "image_2/000001.png")
    (folder / "label_2/000001.txt").write_text("\n".join(lines))
    return folder


def test_kitti_leaves_out_what_nobody_cares_for(tmp_path):
    car = "Car 0.00 0 1.85 3.5 4 20 12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"
    (one,) = read_kitti(make_kitti(tmp_path, car, "DontCare -1 -1 -10 1 1 5 5 -1 -1 -1 -1000 -1000 -1000 -10"))
    assert one.boxes.boxes.tolist() == [[3.5, 4.0, 20.0, 12.0]]
    assert one.names[int(one.boxes.labels[0])] == "Car"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Bus 0 0 0 1 1 5 5", "'Bus' is no class of KITTI"),
        ("Car 0 0 0 9 1 5 5", "corners mixed up"),
        ("Car 0 0 0 1 1 5", "7 values"),
    ],
)
def test_wrong_kitti_lines_are_refused(tmp_path, line, reason):
    with pytest.raises(FileError, match=reason):
        read_kitti(make_kitti(tmp_path, line))


def test_kitti_needs_a_label_file_for_every_picture(tmp_path):
    make_kitti(tmp_path)
    (tmp_path / "label_2/000001.txt").unlink()
    with pytest.raises(FileError, match="every picture needs its labels"):
        read_kitti(tmp_path)


def test_real_sets_are_read(shared):
    coco, kitti = read_yolo(shared / "coco128"), read_kitti(shared / "kitti3")
    assert (len(coco), sum(len(one.boxes) for one in coco)) == (36, 264)
    assert [len(one.boxes) for one in kitti] == [1, 3, 2]
    as_coco = kitti[1].boxes.renamed(KITTI, coco[0].names, KITTI_AS_COCO)
    assert [coco[0].names[i] for i in as_coco.labels] == ["truck", "car", "person"]


def test_crop_moves_cuts_and_drops():
    seen = TWO.crop(4, 4, 10, 20)
    assert seen.boxes.tolist() == [[0.0, 0.0, 6.0, 5.0], [16.0, 0.0, 20.0, 8.0]]
    assert seen.scores.tolist() == [0.5, 0.25]
    assert len(TWO.crop(4, 4, 10, 20, keep=0.55)) == 1
    assert len(TWO.crop(100, 0, 5, 5)) == 0


@given(st.booleans(), st.booleans())
def test_a_flip_twice_changes_nothing(rows, columns):
    twice = TWO.flip((20, 40), rows=rows, columns=columns).flip((20, 40), rows=rows, columns=columns)
    torch.testing.assert_close(twice.boxes, TWO.boxes)


def test_boxes_follow_the_pixels():
    picture = torch.zeros(20, 40)
    left, top, right, bottom = (int(v) for v in TWO.boxes[0])
    picture[top:bottom, left:right] = 1
    left, top, right, bottom = (int(v) for v in TWO.flip((20, 40), rows=True, columns=True).boxes[0])
    assert picture.flip([0, 1])[top:bottom, left:right].sum() == picture.sum() == (bottom - top) * (right - left)


def test_overlap_does_not_change_with_scale():
    a, b = TWO.boxes[0], torch.tensor([4.0, 3.0, 12.0, 9.0])
    wide = Boxes.make([b.tolist()], [0]).scale(2, 3).boxes[0]
    torch.testing.assert_close(overlap(a, b), overlap(TWO.scale(2, 3).boxes[0], wide))
    assert float(overlap(a, b)) == pytest.approx(36 / 60)


def test_classes_without_a_counterpart_are_dropped():
    other = TWO.renamed(["Cat", "Unicorn"], ["dog", "cat"])
    assert (other.labels.tolist(), other.scores.tolist()) == ([1], [0.5])


def test_wrong_boxes_are_refused():
    with pytest.raises(ShapeError, match=r"\(N, 4\)"):
        Boxes(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ShapeError, match="scores"):
        Boxes(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64), torch.zeros(3))
    with pytest.raises(ParamError, match="left <= right"):
        Boxes.make([(5, 0, 4, 9)], [0])
    with pytest.raises(ParamError, match="positive"):
        TWO.scale(0)
