"""Pairs from files: windows that fit, pictures laid on the sensor, bad pairs named and passed over."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from pairs_stand_ins import SIZE, fits, put_picture, put_raw, shots
from torch.utils.data import DataLoader

from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.core.frame import UPRIGHT, Domain
from ispkit.data.pairs import PairSettings, RawPairs, open_pairs, pair_files
from ispkit.data.pairs_check import check_pairs, phase_correlation
from ispkit.data.pairs_files import PairFiles, chosen
from ispkit.data.pairs_layouts import LAYOUTS
from ispkit.data.pairs_read import Reading, read_pair, read_srgb
from ispkit.data.project_pictures import project_pictures
from ispkit.data.samples import Sample
from ispkit.data.targets import restored
from ispkit.io.pictures import Look
from ispkit.ops.color_spaces import apply_matrix, linear_srgb_to
from ispkit.ops.encode import encode_for, srgb_decode


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory) -> Path:
    """RAW + JPEG as a camera writes them, in two folders of a card."""
    card = tmp_path_factory.mktemp("card")
    for i, sample in enumerate(shots(4)):
        put_raw(card / f"DCIM/10{i // 2}CANON/IMG_{i:04d}.DNG", sample.frame)
        put_picture(card / f"DCIM/10{i // 2}CANON/IMG_{i:04d}.JPG", sample.target, quality=95)
    return card


def test_raw_and_jpeg_side_by_side(side_by_side):
    pairs = open_pairs("folder", side_by_side, split=None, crop=(64, 64), seed=3)
    assert [f.name for f in pairs.files] == [f"DCIM/10{i // 2}CANON/IMG_{i:04d}" for i in range(4)]
    for sample in pairs:
        assert sample.frame.domain is Domain.RAW
        assert sample.target.shape == (1, 3, 64, 64)
        assert sample.restored is None
        assert fits(sample)
    train, test = (pair_files("folder", side_by_side, split=s) for s in ("train", "test"))
    assert (len(train), len(test)) == (3, 1)
    assert not {p.name for p in train} & {p.name for p in test}


def test_windows_depend_on_seed_epoch_and_index_alone_and_all_turns_fit(side_by_side):
    settings = PairSettings(crop=(64, 64), turn=True, windows=3, cfa="GBRG", reading=Reading(restore="own"))
    first, again = (open_pairs("folder", side_by_side, split=None, seed=5, settings=settings) for _ in range(2))
    assert len(first) == 12
    for index in (7, 2, 11):
        a, b = first[index], again[index]
        assert torch.equal(a.frame.data, b.frame.data)
        assert torch.equal(a.target, b.target)
        assert torch.equal(a.restored, b.restored)
    for epoch in range(4):
        first.set_epoch(epoch)
        sample = first[4]
        assert sample.frame.meta.cfa == "GBRG"
        assert fits(sample)
        assert (restored(sample.frame).data - sample.restored).abs().mean() < 0.01
    before = first[4].frame.data
    first.set_epoch(0)
    assert not torch.equal(before, first[4].frame.data)
    small = RawPairs(first.files, PairSettings(crop=(64, 64), turn=True, windows=3, cfa="GBRG", keep_mb=0), seed=5)
    assert torch.equal(small[7].target, again[7].target)
    assert len(small._kept) == 1
    middle = RawPairs(first.files, PairSettings(crop=(64, 64)))
    assert torch.equal(middle[0].frame.data, middle[0].frame.data)
    assert middle[0].frame.meta.view[0].origin == (64, 96)


def test_whole_pictures_without_a_crop(side_by_side):
    sample = open_pairs("folder", side_by_side, split=None)[1]
    assert sample.frame.size == SIZE
    other = RawPairs(open_pairs("folder", side_by_side, split=None).files, PairSettings(cfa="BGGR"))[1]
    assert other.frame.size == (SIZE[0] - 2, SIZE[1] - 2)
    assert fits(other)


def test_pictures_and_restored_in_folders_of_their_own_and_lists(tmp_path, caplog):
    noisy, clean = shots(3, gain=16), shots(3)
    for i, (a, b) in enumerate(zip(noisy, clean, strict=True)):
        put_raw(tmp_path / f"raw/{i}.dng", a.frame)
        put_picture(tmp_path / f"shown/{i}.png", b.target)
        put_picture(tmp_path / f"clean/{i}.png", b.restored, bits=16, look=Look("srgb", linear=True))
    put_raw(tmp_path / "raw/alone.dng", noisy[0].frame)
    (tmp_path / "raw/train.txt").write_text("0.dng\n1\n")
    (tmp_path / "raw/val.txt").write_text("2\n")
    options = {"pictures": tmp_path / "shown", "restored": tmp_path / "clean"}
    pairs = open_pairs("folder", tmp_path / "raw", split="val", options=options)
    assert [p.name for p in pairs.files] == ["2"]
    assert [r.getMessage() for r in caplog.records] == ["1 file is left out, without a picture of the same name: alone"]
    sample = pairs[0]
    assert torch.allclose(sample.restored, clean[2].restored, atol=1e-3)
    assert torch.allclose(sample.target, clean[2].target, atol=0.003)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("turned", [True, False])
def test_a_picture_is_laid_on_the_sensor_whether_a_program_turned_it_or_not(tmp_path, orientation, turned):
    sample = shots(1)[0]
    transpose, rows, columns = UPRIGHT[orientation] if turned else UPRIGHT[1]
    upright = sample.target.transpose(-1, -2) if transpose else sample.target
    upright = upright.flip([d for d, on in ((-2, rows), (-1, columns)) if on])
    raw = put_raw(tmp_path / "a.dng", sample.frame.with_data(sample.frame.data, orientation=(orientation,)))
    read = read_pair(PairFiles("a", (raw,), put_picture(tmp_path / "a.png", upright)))
    assert torch.allclose(read.target, sample.target, atol=0.003)


def test_a_picture_of_a_smaller_border_fits_its_middle(tmp_path):
    sample = shots(1, cfa="GRBG")[0]
    raw = put_raw(tmp_path / "a.dng", sample.frame)
    picture = put_picture(tmp_path / "a.png", sample.target[..., 3:-4, 5:-5])
    pair = PairFiles("a", (raw,), picture)
    read = RawPairs([pair])[0]
    assert read.frame.meta.cfa == "RGGB"
    assert fits(read)
    assert not check_pairs([pair]).counts.get("misaligned")
    with pytest.raises(ShapeError, match="differ by more than 4"):
        read_pair(pair, Reading(border=4))


def test_adobe_rgb_is_converted(tmp_path):
    picture = project_pictures(1, (64, 64))["leaves-00"]
    wide = encode_for(apply_matrix(srgb_decode(picture), linear_srgb_to("adobe-rgb")), "adobe-rgb")
    path = put_picture(tmp_path / "a.tif", wide, bits=16, look=Look("adobe-rgb"))
    assert torch.allclose(read_srgb(path), picture, atol=1e-3)


def test_bad_pairs_are_reported_skipped_and_counted(tmp_path, caplog):
    samples = shots(5)
    for i, sample in enumerate(samples):
        put_raw(tmp_path / f"{i}.dng", sample.frame)
        put_picture(tmp_path / f"{i}.png", sample.target)
    put_picture(tmp_path / "1.png", samples[1].target.roll((6, -9), (-2, -1)))
    (tmp_path / "2.dng").write_bytes((tmp_path / "2.dng").read_bytes()[:4000])
    put_picture(tmp_path / "3.png", samples[3].target[..., :100, :])
    put_picture(tmp_path / "4.png", samples[0].target.flip(-1))
    files = [*pair_files("folder", tmp_path, split=None), PairFiles("5", (tmp_path / "5.dng",), tmp_path / "5.png")]
    seen: list[tuple[int, int]] = []
    report = check_pairs(files, progress=lambda done, all_: seen.append((done, all_)))
    assert seen[-1] == (6, 6)
    assert {c.name: c.status for c in report.checks} == {
        "0": "ok",
        "1": "misaligned",
        "2": "corrupt",
        "3": "size",
        "4": "different",
        "5": "missing",
    }
    found = report.checks[1].alignment
    assert found.shift == pytest.approx((6.0, -9.0), abs=0.3)
    assert "+6.0 px down, -9.0 px right" in report.text()
    assert report.text().startswith("6 pairs: 1 ok, 1 missing, 1 corrupt, 1 size, 1 different, 1 misaligned")
    assert json.loads(json.dumps(report.facts()))["counts"]["ok"] == 1
    assert [f.name for f in report.usable(files)] == ["0"]
    assert [f.name for f in report.usable(files, misaligned=True)] == ["0", "1"]
    again = check_pairs(report.corrected(files))
    assert again.counts == {"ok": 2}
    assert max(map(abs, again.checks[1].alignment.shift)) < 0.3
    assert fits(read_pair(report.corrected(files)[1]).crop(16, 16, 128, 128))

    pairs = RawPairs(files, PairSettings(crop=(64, 64)), seed=1)
    names = [pairs[i].names[0] for i in range(len(pairs))]
    assert names == ["0", "1", "4", "4", "4", "0"]
    assert set(pairs.bad) == {"2", "3", "5"}
    assert [r.levelname for r in caplog.records] == ["WARNING"] * 3  # one line each, however often they come up
    assert [pairs[i].names[0] for i in range(len(pairs))] == names
    assert len(caplog.records) == 3
    broken = RawPairs([files[2], files[5]], PairSettings(crop=(64, 64)))
    with pytest.raises(FileError, match=r"none of 2 pairs gives a window.*2\.dng"):
        broken[0]
    with pytest.raises(FileError, match="none of 1 pairs is usable"):
        report.usable([files[2]])


def test_phase_correlation_finds_shifts_of_odd_and_even_sides_to_a_fraction():
    plane = torch.nn.functional.interpolate(
        torch.rand(1, 1, 60, 60, generator=torch.Generator().manual_seed(1)), scale_factor=4, mode="bicubic"
    )[0, 0].numpy()
    window = np.outer(np.hanning(75), np.hanning(90))
    for dy, dx in ((0, 0), (4, -8), (-2, 1)):
        a, b = plane[60:135, 60:150], plane[60 - dy : 135 - dy, 60 - dx : 150 - dx]
        found, response = phase_correlation((a - a.mean()) * window, (b - b.mean()) * window)
        assert found == pytest.approx((dy, dx), abs=0.1)
        assert response > 0.5


def test_unknown_names_and_empty_folders_are_told(tmp_path, side_by_side):
    for kind in LAYOUTS:
        with pytest.raises(FileError):
            open_pairs(kind, tmp_path / "nowhere")
        with pytest.raises(FileError):
            open_pairs(kind, tmp_path)
    with pytest.raises(ParamError, match="s7-isp"):
        open_pairs("s7isp", tmp_path)
    with pytest.raises(ParamError, match="did you mean 'pictures'"):
        open_pairs("folder", side_by_side, options={"picturs": "x"})
    with pytest.raises(ParamError, match="no split 'trian'"):
        open_pairs("folder", side_by_side, split="trian")
    with pytest.raises(ShapeError, match="even"):
        PairSettings(crop=(33, 32))
    with pytest.raises(ParamError, match="held_out"):
        chosen([PairFiles("a", (tmp_path,))], None, 1.5)
    with pytest.raises(FileError, match="no pairs of split 'val'"):
        open_pairs("folder", side_by_side, split="val")
    with pytest.raises(ParamError, match="finish"):
        Reading(finish="autoo")
    with pytest.raises(IndexError):
        open_pairs("folder", side_by_side)[99]


@pytest.fixture(scope="module")
def of_many_sizes(tmp_path_factory) -> list[PairFiles]:
    """Two pairs of exactly 64x64, a smaller one, a damaged one and two large ones."""
    room = tmp_path_factory.mktemp("sizes")
    made = {cfa: shots(1, cfa=cfa)[0] for cfa in ("RGGB", "GRBG")}
    for i, side in enumerate((256, 64, 62, 64, 128, 256)):
        sample = made["GRBG" if i == 3 else "RGGB"]
        put_raw(room / f"{i}.dng", sample.frame.crop(0, 0, min(side, SIZE[0]), side))
        put_picture(room / f"{i}.png", sample.target[..., : min(side, SIZE[0]), :side])
    (room / "4.dng").write_bytes((room / "4.dng").read_bytes()[:3000])
    return pair_files("folder", room, split=None)


def same(a: Sample, b: Sample) -> bool:
    return a.names == b.names and torch.equal(a.frame.data, b.frame.data) and torch.equal(a.target, b.target)


def test_items_are_the_same_whatever_was_read_before(of_many_sizes):
    """Pairs of a window's size, smaller and damaged ones among larger: fresh, resumed and in any order."""
    how = PairSettings(crop=(64, 64), turn=True, windows=2)
    whole = RawPairs(of_many_sizes, how, seed=4)
    items = {}
    for epoch in range(6):
        whole.set_epoch(epoch)
        items |= {(epoch, i): whole[i] for i in range(len(whole))}
    # 3 reads GRBG: of its own size it holds no window of RGGB unless it is mirrored
    assert [items[0, 2 * i].names[0] for i in range(6)] == ["0", "1", "3", "3", "5", "5"]
    assert set(whole.bad) == {"2", "4"}
    for epoch in range(6):
        fresh = RawPairs(of_many_sizes, how, seed=4)
        fresh.set_epoch(epoch)
        for i in reversed(range(len(fresh))):
            assert same(fresh[i], items[epoch, i]), (epoch, i)
    own = {tuple(items[e, i].target[0, :, 0, -1].tolist()) for e in range(6) for i in (2, 3)}
    assert len(own) == 2  # of the eight turns two fit: as it is and transposed
    assert all(items[e, i].frame.meta.cfa == "RGGB" and fits(items[e, i], 18.0) for e in range(6) for i in (2, 6))


def test_a_pair_that_shares_the_name_of_a_bad_one_is_read(of_many_sizes):
    good, damaged = of_many_sizes[0], of_many_sizes[4]
    pairs = RawPairs([damaged, PairFiles(damaged.name, good.raws, good.picture)], PairSettings(crop=(64, 64)))
    assert pairs[0].names == (damaged.name,)
    assert pairs[1].target.equal(pairs[0].target)


@pytest.mark.slow
def test_worker_processes_read_the_same_items(of_many_sizes):
    how = PairSettings(crop=(64, 64), turn=True, windows=2)
    alone = RawPairs(of_many_sizes, how, seed=4)
    alone.set_epoch(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking a process that has threads
        loader = DataLoader(alone, batch_size=1, num_workers=2, collate_fn=Sample.cat)
        read = list(loader)
    assert all(same(sample, alone[i]) for i, sample in enumerate(read))
