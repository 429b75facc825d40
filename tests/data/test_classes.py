"""Labelled pictures: every layout gives the same kind of set; splits are even and reproducible."""

from __future__ import annotations

import pickle
import zipfile
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.data.boxes import Boxes
from ispkit.data.classes import CIFAR10, central, read_class_folders, read_class_table, read_classes
from ispkit.data.labelled import read_yolo
from ispkit.data.labelled_set import LabelledPicture, LabelledPictures
from ispkit.data.regions import CAMVID, COCO_AS_VOC, VOC, RegionLayout, read_regions


def png(color, size=(6, 4)):
    file = BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


def red(item):
    return round(float(item.picture()[0, 0, 0, 0]) * 255)


def test_a_folder_a_class(tmp_path):
    for name, color in (("train/n02/b.PNG", 30), ("train/n01/x/a.png", 10), ("train/n01/.hidden.png", 0)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png((color, 0, 0)))
    (tmp_path / "train/notes.txt").write_text("not a class")
    found = read_classes(tmp_path, split="train")
    assert (found.names, [i.name for i in found]) == (("n01", "n02"), ["n01/x/a.png", "n02/b.PNG"])
    assert [(i.label, red(i)) for i in found] == [(0, 10), (1, 30)]
    assert found[0].picture().shape == (1, 3, 4, 6)
    assert [i.label for i in read_class_folders(tmp_path / "train", names=["n00", "n02", "n01"])] == [2, 1]
    with pytest.raises(FileError, match="'n01' is not in the list"):
        read_class_folders(tmp_path / "train", names=["n02"])
    with pytest.raises(FileError, match="one folder a class"):
        read_classes(tmp_path / "train/n01/x")


def test_a_table_of_classes(tmp_path):
    (tmp_path / "a.png").write_bytes(png((9, 0, 0)))
    table = tmp_path / "labels.tsv"
    table.write_text("file\tclass_index_0based\twnid\tname\na.png\t2\tn1\thare\n")
    found = read_classes(tmp_path)
    assert found.names == ("class 0", "class 1", "hare")
    assert [(i.name, i.label, red(i)) for i in found] == [("a.png", 2, 9)]
    assert len(read_class_table(tmp_path, classes=1000).names) == 1000
    for text, reason in (
        ("file\tclass\n", "needs the columns"),
        ("file\tclass_index_0based\na.png\tx\n", r"labels.tsv:2: class 'x'"),
    ):
        table.write_text(text)
        with pytest.raises(FileError, match=reason):
            read_classes(tmp_path)


def test_a_zip_of_classes(tmp_path):
    file = tmp_path / "cifar10.zip"
    with zipfile.ZipFile(file, "w") as packed:
        for name, color in (("train/ship/0.png", 7), ("train/cat/1.png", 5), ("train/readme.txt", 0)):
            packed.writestr(name, png((color, 0, 0)) if name.endswith("png") else b"")
    found = read_classes(file)
    assert found.names == ("cat", "ship")
    assert [(i.label, red(i)) for i in pickle.loads(pickle.dumps(found))] == [(0, 5), (1, 7)]
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(FileError, match="as a zip of pictures"):
        read_classes(file)


def test_binary_batches_of_cifar(tmp_path):
    table = np.zeros((3, 3073), np.uint8)
    table[:, 0], table[:, 1], table[:, 1 + 1024] = [3, 9, 0], [10, 20, 30], 77
    (tmp_path / "data_batch_1.bin").write_bytes(table[:2].tobytes())
    (tmp_path / "data_batch_2.bin").write_bytes(table[2:].tobytes())
    found = read_classes(tmp_path)
    assert found.names == CIFAR10
    pictures, labels = found.stacked()
    assert (pictures.shape, pictures.dtype, labels.tolist()) == ((3, 3, 32, 32), torch.uint8, [3, 9, 0])
    assert pictures[:, :2, 0, 0].tolist() == [[10, 77], [20, 77], [30, 77]]
    with pytest.raises(FileError, match=r"no test_batch\.bin"):
        read_classes(tmp_path, split="test")
    (tmp_path / "test_batch.bin").write_bytes(table.tobytes()[:-1])
    with pytest.raises(FileError, match="truncated"):
        read_classes(tmp_path, split="test")
    table[1, 0] = 10
    (tmp_path / "test_batch.bin").write_bytes(table.tobytes())
    with pytest.raises(FileError, match="a label of 10"):
        read_classes(tmp_path, split="test")


def label_png(path, values, mode="L"):
    path.parent.mkdir(exist_ok=True)
    picture = Image.fromarray(np.array(values, np.uint8), "L")
    if mode == "P":
        picture = picture.convert("P")
        picture.putdata(np.array(values).ravel().tolist())
        picture.putpalette([v for i in range(256) for v in (255 - i, i, 7)])
    picture.save(path)


@pytest.mark.parametrize(
    ("pictures", "labels", "values", "regions", "names"),
    [
        ("images", "labels12", [[0, 11], [10, 3]], [[0, -1], [10, 3]], CAMVID),
        ("JPEGImages", "SegmentationClass", [[0, 255], [20, 3]], [[0, -1], [20, 3]], VOC),
        ("images", "semantic", [[0, 200], [7, 9]], [[-1, 1], [0, -1]], ("cat", "rug")),
    ],
)
def test_layouts_of_regions(tmp_path, pictures, labels, values, regions, names):
    (tmp_path / pictures).mkdir()
    (tmp_path / pictures / "a.png").write_bytes(png((1, 2, 3), (2, 2)))
    (tmp_path / "config.yaml").write_text("classes: {0: unlabeled, 7: cat, 200: rug}")
    for mode in ("L", "P"):
        label_png(tmp_path / labels / "a.png", values, mode)
        (one,) = found = read_regions(tmp_path)
        assert (one.name, found.names) == ("a.png", names)
        assert one.label.tolist() == regions
        assert one.label.dtype == torch.int64


def test_regions_that_are_wrong(tmp_path):
    with pytest.raises(FileError, match="none of the known pairs"):
        read_regions(tmp_path)
    for room in ("images", "labels"):
        (tmp_path / room).mkdir()
    with pytest.raises(FileError, match="`classes:`"):
        read_regions(tmp_path)
    layout = RegionLayout("images", "labels", ("a", "b"))
    with pytest.raises(FileError, match="no pictures"):
        read_regions(tmp_path, layout=layout)
    (tmp_path / "images/a.png").write_bytes(png((1, 2, 3)))
    with pytest.raises(FileError, match=r"no labels/a.png"):
        read_regions(tmp_path, layout=layout)
    (tmp_path / "labels/a.png").write_bytes(png((1, 2, 3)))
    (one,) = read_regions(tmp_path, layout=layout)
    with pytest.raises(FileError, match="this one is RGB"):
        _ = one.label
    (tmp_path / "labels/a.png").write_bytes(b"no picture")
    with pytest.raises(FileError, match="cannot be read as a PNG"):
        _ = one.label


def classes(labels):
    items = [LabelledPicture(str(i), lambda: torch.zeros(1, 3, 2, 2), k) for i, k in enumerate(labels)]
    return LabelledPictures(items, [f"c{k}" for k in range(10)])


def ids(part):
    return [int(i.name) for i in part]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.integers(2, 6), st.integers(0, 3))
def test_folds_hold_every_picture_out_once_and_classes_evenly(labels, count, seed):
    whole = classes(labels)
    if count > len(labels):
        with pytest.raises(ParamError, match="folds"):
            whole.folds(count)
        return
    folds = whole.folds(count, seed=seed)
    assert sorted(i for _, held in folds for i in ids(held)) == list(range(len(labels)))
    for learn, held in folds:
        assert sorted(ids(learn) + ids(held)) == list(range(len(labels)))
    for k in range(5):
        numbers = [sum(i.label == k for i in held) for _, held in folds]
        assert max(numbers) - min(numbers) <= 1
    assert [ids(h) for _, h in whole.folds(count, seed=seed)] == [ids(h) for _, h in folds]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.floats(0.05, 0.95), st.integers(0, 3))
def test_a_split_takes_its_share_of_each_class(labels, share, seed):
    first, second = classes(labels).split(share, seed=seed)
    assert sorted(ids(first) + ids(second)) == list(range(len(labels)))
    for k in set(labels):
        assert abs(sum(i.label == k for i in first) - share * labels.count(k)) <= 1 + 1e-9


def test_the_seed_decides_also_with_one_picture_a_class():
    whole = classes(range(10))
    parts = {tuple(ids(whole.split(0.5, seed=seed)[0])) for seed in range(8)}
    assert len(parts) > 4
    with pytest.raises(ParamError, match="share=1"):
        whole.split(1.0)


def test_other_names_for_labels():
    def regions():
        return torch.tensor([[0, 1], [2, -1]])

    picture = torch.zeros(1, 3, 4, 4)
    items = [
        LabelledPicture("a", lambda: picture, regions),
        LabelledPicture("b", lambda: picture, 2),
        LabelledPicture("c", lambda: picture, 1),
        LabelledPicture("d", lambda: picture, Boxes.make([(0, 0, 1, 1), (0, 0, 2, 2)], [0, 2])),
    ]
    found = LabelledPictures(items, ["tv", "lamp", "Cat"]).renamed(VOC, same=COCO_AS_VOC, other=0)
    assert [i.name for i in found] == ["a", "b", "d"]
    assert found[0].label.tolist() == [[20, 0], [8, -1]]
    assert found[1].label == 8
    assert found[2].label.labels.tolist() == [20, 8]
    with pytest.raises(ShapeError, match="a class each"):
        found.stacked()


def test_the_middle_of_a_picture():
    ramp = torch.linspace(0, 1, 40).expand(1, 3, 20, 40)
    middle = central(ramp, 10, share=0.5)
    assert middle.shape == (1, 3, 10, 10)
    torch.testing.assert_close(middle, ramp[..., 5:15, 15:25])
    assert central(ramp, 7, share=1.0).mean() == pytest.approx(0.5, abs=1e-5)
    with pytest.raises(ParamError, match="share=0"):
        central(ramp, 7, share=0.0)


def test_real_sets_are_read(shared):
    samples = read_classes(shared / "imagenet_samples")
    assert (len(samples), samples[0].label, samples.names[1]) == (254, 1, "goldfish")
    camvid, coco = read_regions(shared / "camvid"), read_regions(shared / "coco128")
    assert (len(camvid), len(coco)) == (12, 36)
    for one in (camvid[3], coco[5]):
        assert one.label.shape == one.picture().shape[-2:]
        assert one.label.max() > 0
    boxes = LabelledPictures.of_boxes(read_yolo(shared / "coco128"))
    assert isinstance(boxes[0].label, Boxes)


@pytest.mark.slow
def test_twenty_thousand_pictures_in_a_zip(shared):
    cifar = read_classes(shared / "cifar10/cifar10_train_2000_per_class_jpeg.zip")
    assert (len(cifar), cifar.names) == (20000, CIFAR10)
    assert cifar[12345].picture().shape == (1, 3, 32, 32)
    (learn, held), *_ = cifar.folds(5, seed=1)
    assert (len(learn), np.bincount([i.label for i in held]).tolist()) == (16000, [400] * 10)
