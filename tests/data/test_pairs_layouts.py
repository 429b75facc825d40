"""Every published layout of pairs, on a tiny tree of its own."""

from __future__ import annotations

import math

import pytest
import torch
from pairs_stand_ins import SIZE, fits, put_mosaic, put_picture, put_raw, shots

from ispkit.core.errors import ParamError
from ispkit.data.pairs import open_pairs, pair_files
from ispkit.data.pairs_files import PairFiles
from ispkit.data.pairs_read import Reading, read_pair
from ispkit.data.targets import auto_enhance, restored
from ispkit.io.pictures import Look
from ispkit.ops.color_spaces import apply_matrix, linear_srgb_to
from ispkit.ops.encode import encode_for, srgb_decode, srgb_encode


def test_s7_isp(tmp_path):
    dark, bright = shots(3, cfa="GRBG", exposure=0.25), shots(3, cfa="GRBG")
    for name, low, full in zip(("20161107_000000", "20161110_125321", "20161110_130812"), dark, bright, strict=True):
        put_raw(tmp_path / name / "short_exposure1.dng", low.frame)
        put_raw(tmp_path / name / "medium_exposure.dng", full.frame)
        put_picture(tmp_path / name / "medium_exposure.jpg", full.target)
        put_picture(tmp_path / name / "short_exposure.jpg", low.target)
    for split, name in (("train", "20161107_000000"), ("val", "20161110_125321"), ("test", "20161110_130812")):
        (sample,) = open_pairs("s7-isp", tmp_path, split=split, crop=(96, 96))
        assert sample.names == (name,)
        assert float(sample.frame.meta.baseline_exposure) == 2.0
        assert fits(sample, 20.0)
        assert (srgb_encode(sample.restored) - sample.target).abs().mean() < 0.03
    medium = open_pairs("s7-isp", tmp_path, options={"exposure": "medium"})
    assert medium.files[0].raws[0].name == "medium_exposure.dng"
    with pytest.raises(ParamError, match="'short' or 'medium'"):
        open_pairs("s7-isp", tmp_path, options={"exposure": "long"})


@pytest.mark.parametrize("with_lists", [True, False])
def test_sid(tmp_path, with_lists):
    low, full = shots(3, exposure=0.25), shots(3)
    made = []
    for scene, a, b in zip(("00001", "10003", "20007"), low, full, strict=True):
        short = put_raw(tmp_path / f"Sony/short/{scene}_00_0.1s.ARW", a.frame)
        long = put_raw(tmp_path / f"Sony/long/{scene}_00_10s.ARW", b.frame)
        made.append(f"./{short.relative_to(tmp_path)} ./{long.relative_to(tmp_path)} ISO200 F8")
    if with_lists:
        for split, line in zip(("train", "test", "val"), made, strict=True):
            (tmp_path / f"Sony_{split}_list.txt").write_text(line + "\n")
    for split, scene in (("train", "00001"), ("test", "10003"), ("val", "20007")):
        (pair,) = pair_files("sid", tmp_path, split=split)
        assert pair.name == f"{scene}_00_0.1s"
        assert pair.facts["ratio"] == pytest.approx(100)
        assert pair.facts["ev"] == pytest.approx(math.log2(100))
        assert pair.facts.get("iso") == ("200" if with_lists else None)
        sample = read_pair(pair)
        assert torch.equal(sample.target, auto_enhance(sample.restored))
        assert float(sample.frame.meta.baseline_exposure) == pytest.approx(math.log2(100))
    plain = read_pair(pair, Reading(finish="encode"))
    assert torch.equal(plain.target, srgb_encode(plain.restored))
    looked = read_pair(pair, Reading(look="camera-like"))
    assert not torch.allclose(looked.target, plain.target, atol=0.02)


def test_hdr_plus(tmp_path):
    clean = shots(1)[0]
    for i, noisy in enumerate(shots(1, gain=g)[0] for g in (8, 9, 10)):
        put_raw(tmp_path / f"bursts/0006_2016/payload_N{i:03d}.dng", noisy.frame)
    results = tmp_path / "results_20171023/0006_2016"
    put_raw(results / "merged.dng", clean.frame)
    put_picture(results / "final.jpg", clean.target)
    (results / "reference_frame.txt").write_text("1\n")
    (pair,) = pair_files("hdr+", tmp_path, split=None)
    assert [p.name for p in pair.raws] == ["payload_N001.dng", "payload_N000.dng", "payload_N002.dng"]
    sample = read_pair(pair)
    assert fits(sample, 20.0)
    truth = restored(clean.frame).data
    assert torch.allclose(sample.restored, truth, atol=1e-5)
    (merged,) = pair_files("hdr+", tmp_path, split=None, options={"source": "merged"})
    assert merged.raws == (results / "merged.dng",)
    own = PairFiles(pair.name, pair.raws, pair.picture)
    rough, quiet = (read_pair(own, Reading(restore=how)).restored for how in ("own", "burst"))
    assert (quiet - truth).square().mean() < 0.6 * (rough - truth).square().mean()


def test_fivek(tmp_path):
    for i, sample in enumerate(shots(3)):
        name = f"a000{i + 1}-jmac_DSC{i}"
        put_raw(tmp_path / f"raw_photos/HQa1to700/photos/{name}.dng", sample.frame)
        wide = encode_for(apply_matrix(srgb_decode(sample.target), linear_srgb_to("prophoto-rgb")), "prophoto-rgb")
        put_picture(tmp_path / f"tiff16_c/{name}.tif", wide, bits=16, look=Look("prophoto-rgb"))
    (tmp_path / "train.txt").write_text("a0001-jmac_DSC0\na0002-jmac_DSC1\n")
    (tmp_path / "test.txt").write_text("a0003-jmac_DSC2\n")
    pairs = open_pairs("fivek", tmp_path, crop=(64, 64))
    assert [p.name for p in pairs.files] == ["a0001-jmac_DSC0", "a0002-jmac_DSC1"]
    assert fits(pairs[0])
    assert (restored(pairs[0].frame).data - pairs[0].restored).abs().mean() < 0.01
    with pytest.raises(ParamError, match="one of a, b, c"):
        pair_files("fivek", tmp_path, options={"expert": "f"})


def test_msr(tmp_path):
    room = tmp_path / "Dataset_LINEAR_with_noise/bayer_panasonic"
    for i, sample in enumerate(shots(3, sigma=4.0)):
        put_mosaic(room / f"input/{i}.png", sample.frame, 65535)
        put_picture(room / f"groundtruth/{i}.png", sample.restored, bits=16)
    for split, number in (("train", 0), ("validation", 1), ("test", 2)):
        (room / f"{split}.txt").write_text(f"{number}\n")
    (sample,) = open_pairs("msr", room, split="val", crop=(64, 64), seed=None)
    assert sample.names == ("1",)
    noise = restored(sample.frame, method="bilinear").data - sample.restored
    assert noise.abs().mean() < 0.02
    assert torch.allclose(sample.target, srgb_encode(sample.restored), atol=2e-3)
    assert sample.frame.meta.white_level.tolist() == [[65535.0] * 4]


def test_zurich(tmp_path):
    for split in ("train", "test"):
        for i, sample in enumerate(shots(2, sigma=1.0)):
            put_mosaic(tmp_path / split / f"huawei_raw/{i}.png", sample.frame, 1023)
            put_picture(tmp_path / split / f"canon/{i}.jpg", sample.target)
    pairs = open_pairs("zurich", tmp_path, split="test")
    assert [p.name for p in pairs.files] == ["test-0", "test-1"]
    assert pairs[0].frame.meta.white_level.tolist() == [[1023.0] * 4]
    assert pairs[0].frame.size == SIZE
    assert fits(pairs[0])
