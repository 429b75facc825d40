"""The published data sets' folders, each as a list of `PairFiles`; nothing is opened but lists of names."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ispkit.core.errors import FileError, ParamError
from ispkit.data.pairs_files import PairFiles, folder_of, lines, listed, tell_left_out, unique
from ispkit.io.containers import RAW_SUFFIXES
from ispkit.io.geometry import Facts
from ispkit.io.pictures import FORMATS

_S7_VAL = (
    "20161110_125321 20161109_131627 20161109_225318 20161110_124727 20161109_130903 20161109_222408 20161107_234316 "
    "20161109_132214 20161109_161410 20161109_140043"
)
_S7_TEST = (
    "20161110_130812 20161110_120803 20161109_224347 20161109_155348 20161110_122918 20161109_183259 20161109_184304 "
    "20161109_131033 20161110_130117 20161109_134017"
)
_SID_NAME = re.compile(r"(?P<scene>\d+)_(?P<shot>\d+)_(?P<seconds>[\d.]+)s\.(ARW|RAF)", re.IGNORECASE)
_SID_RATIO = 300.0
_SID_SPLITS = {"0": "train", "1": "test", "2": "val"}


def s7_isp(folder: str | Path, *, exposure: str = "short") -> list[PairFiles]:
    """S7-ISP of Schwartz et al. 2018: one folder a scene, 110 of them, taken by a Samsung S7.

    `SCENE/short_exposure1.dng` (a quarter of the light) or, with `exposure="medium"`, `medium_exposure.dng`; the target
    is `medium_exposure.jpg`, the restored picture is made of `medium_exposure.dng`. Validation and test scenes are
    those of the public lists that CURL and DIFAR use (sjmoran/curl-image-enhancement). Layout: Kaggle
    knn165897/s7-isp-dataset and the authors' loader (EliSchwartz/deepisp-theano).
    """
    room = folder_of(folder, "the folder of S7-ISP's scenes")
    raws = {"short": ("short_exposure1.dng", 2.0), "medium": ("medium_exposure.dng", 0.0)}
    if exposure not in raws:
        raise ParamError(f"exposure={exposure!r} of S7-ISP must be 'short' or 'medium'")
    file, ev = raws[exposure]
    splits = dict.fromkeys(_S7_VAL.split(), "val") | dict.fromkeys(_S7_TEST.split(), "test")
    scenes = (p for p in room.iterdir() if p.is_dir() and (p / "medium_exposure.jpg").exists() | (p / file).exists())
    return unique(
        (
            PairFiles(
                scene.name,
                (scene / file,),
                scene / "medium_exposure.jpg",
                scene / "medium_exposure.dng",
                splits.get(scene.name, "train"),
                facts={"ev": ev},
            )
            for scene in scenes
        ),
        room,
        "SCENE/short_exposure1.dng, medium_exposure.dng and medium_exposure.jpg",
    )


def sid(folder: str | Path, *, camera: str = "Sony") -> list[PairFiles]:
    """See-in-the-Dark of Chen et al. 2018: short exposures in the dark and long ones of the same scene.

    Pairs are the lines of `CAMERA_{train,val,test}_list.txt` ("./Sony/short/00001_00_0.04s.ARW
    ./Sony/long/00001_00_10s.ARW ISO200 F8") where they are there; else every file of `CAMERA/short` with the long
    exposure of its scene, scenes 0... for training, 1... for testing, 2... for validation. `facts["ratio"]` is that of
    the exposure times, at most 300 as in the authors' code (cchen156/Learning-to-See-in-the-Dark), `ev` its logarithm.
    There is no finished picture: it is made of the restored one. `camera` is Sony (Bayer) or Fuji (X-Trans, not read).
    """
    room = folder_of(folder, "the folder that holds SID's lists and Sony/short, Sony/long")
    lists = {split: room / f"{camera}_{split}_list.txt" for split in ("train", "val", "test")}
    found: list[PairFiles] = []
    for split, path in lists.items():
        for line in lines(path) if path.is_file() else ():
            words = line.split()
            if len(words) < 2:
                raise FileError(f"{path}: {line!r} must name a short and a long exposure")
            pair = _sid_pair(room / words[0], room / words[1], split)
            told = {"iso": words[2].removeprefix("ISO")} if len(words) > 2 else {}
            found.append(replace(pair, facts={**pair.facts, **told}))
    if not any(path.is_file() for path in lists.values()):
        found = list(_sid_folders(room / camera))
    return unique(found, room, f"{camera}_train_list.txt, or {camera}/short and {camera}/long")


def hdr_plus(folder: str | Path, *, source: str = "payload") -> list[PairFiles]:
    """HDR+ bursts of Hasinoff et al. 2016: `bursts/ID/payload_N00M.dng`, `results_*/ID/merged.dng` and `final.jpg`.

    With `source="payload"` the RAW is the burst's reference frame (`reference_frame.txt` beside the results, else the
    first), its other frames come after it, and the restored picture is made of the merged RAW; with `source="merged"`
    the merged RAW is what is read, too. Layout: the public bucket gs://hdrplusdata/20171106 (hdrplusdata.org).
    """
    room = folder_of(folder, "the folder that holds HDR+'s bursts and results_20171023")
    if source not in ("payload", "merged"):
        raise ParamError(f"source={source!r} of HDR+ must be 'payload' or 'merged'")
    results = sorted(p for p in room.glob("results_*") if p.is_dir())
    splits = listed(room)
    pairs = []
    for scene in (s for r in results[-1:] for s in sorted(r.iterdir()) if s.is_dir()):
        frames = sorted((room / "bursts" / scene.name).glob("payload_N*.dng"))
        first = _reference(scene / "reference_frame.txt")
        if 0 < first < len(frames):
            frames = [frames[first], *frames[:first], *frames[first + 1 :]]
        merged = scene / "merged.dng"
        raws = (merged,) if source == "merged" else tuple(frames)
        if raws:
            split = splits.get(scene.name, "")
            pairs.append(PairFiles(scene.name, raws, scene / "final.jpg", merged, split, facts={"ev": 0.0}))
    return unique(pairs, room, "bursts/ID/payload_N000.dng and results_20171023/ID/merged.dng, final.jpg")


def fivek(folder: str | Path, *, expert: str = "c") -> list[PairFiles]:
    """MIT-Adobe FiveK of Bychkovsky et al. 2011: DNG files and their retouched 16-bit TIFF of one of five experts.

    DNG files anywhere below the folder (`raw_photos/HQa1to700/photos/a0001-jmac_DSC1459.dng` in the archive), pictures
    in a folder `tiff16_c` (as data.csail.mit.edu/graphics/fivek serves them) of the same names. Splits by lists of
    names (train.txt, test.txt) in the folder. The restored picture is made of the RAW itself.
    """
    room = folder_of(folder, "the folder that holds FiveK's DNG files and tiff16_c")
    if expert.lower() not in tuple("abcde"):
        raise ParamError(f"expert={expert!r} of FiveK must be one of a, b, c, d, e")
    pictures = {p.stem: p for p in sorted(room.rglob(f"tiff16_{expert.lower()}/*.tif"))}
    raws = {p.stem: p for p in sorted(room.rglob("*.dng"))}
    splits = listed(room)
    tell_left_out(set(raws) - set(pictures) if pictures and not splits else (), "without a picture of the expert")
    goal = f"tiff16_{expert.lower()}"
    pairs = (
        PairFiles(
            name,
            (raw,),
            pictures.get(name, room / goal / f"{name}.tif"),
            raw,
            splits.get(name, ""),
            facts={"ev": 0.0},
        )
        for name, raw in raws.items()
        if (name in splits if splits else name in pictures or not pictures)
    )
    return unique(pairs, room, f"*.dng and tiff16_{expert.lower()}/*.tif of the same names")


def msr(folder: str | Path) -> list[PairFiles]:
    """MSR demosaicing of Khashabi et al. 2014: small linear pictures and their noisy mosaic, 16-bit PNG.

    The folder is one camera's, as `Dataset_LINEAR_with_noise/bayer_panasonic`: `input/N.png` (gray, RGGB, black 0,
    white 65535), `groundtruth/N.png` (linear RGB of the same size), `train.txt`, `validation.txt`, `test.txt` with one
    number a line. The linear picture is the restored one; the finished one is its sRGB encoding, without white balance.
    Layout: Microsoft download 52535 and its public readers.
    """
    room = folder_of(folder, "one camera's folder of MSR, such as Dataset_LINEAR_with_noise/bayer_panasonic")
    splits = listed(room)
    inputs = folder_of(room / "input", "the folder that holds MSR's input and groundtruth")
    facts = Facts(cfa="RGGB", bits=16, black_level=0.0)
    pairs = (
        PairFiles(
            path.stem,
            (path,),
            None,
            room / "groundtruth" / path.name,
            splits.get(path.stem, ""),
            facts,
            {"ev": 0.0, "finish": "encode"},
        )
        for path in inputs.glob("*.png")
    )
    return unique(pairs, room, "input/N.png and groundtruth/N.png")


def zurich(folder: str | Path) -> list[PairFiles]:
    """Zurich RAW to RGB of Ignatov et al. 2020 (PyNET): patches of a Huawei P20 and of a Canon 5D Mark IV.

    `train/huawei_raw/N.png` (448x448, gray, 10 bits in 16, RGGB) with `train/canon/N.jpg`, the same under `test`. The
    two cameras' patches are matched by the authors and only nearly aligned. Levels: the authors' loader divides by 1020
    and subtracts nothing; here white is 1023. Layout: aiff22/PyNET-PyTorch.
    """
    room = folder_of(folder, "the folder that holds Zurich's train and test")
    facts = Facts(cfa="RGGB", bits=10, black_level=0.0)
    pairs = [
        PairFiles(f"{split}-{raw.stem}", (raw,), room / split / "canon" / f"{raw.stem}.jpg", None, split, facts)
        for split in ("train", "val", "test")
        for raw in (room / split / "huawei_raw").glob("*.png")
    ]
    return unique(pairs, room, "train/huawei_raw/N.png and train/canon/N.jpg")


def raw_and_pictures(
    folder: str | Path, *, pictures: str | Path | None = None, restored: str | Path | None = None
) -> list[PairFiles]:
    """RAW files and finished pictures of the same names, side by side as cameras write them or in two folders.

    Folders within are searched, too (DCIM/100CANON). `restored` is a folder of RAW files of little noise (long
    exposures) of the same names, or of linear 16-bit pictures. A RAW file without a picture is left out, unless
    `restored` has one for it. Splits by lists of names (train.txt, val.txt, test.txt) in the folder.
    """
    room = folder_of(folder, "a folder of RAW files and pictures")
    shown = room if pictures is None else folder_of(pictures, "a folder of finished pictures")
    clean = None if restored is None else folder_of(restored, "a folder of restored pictures")
    raws = {_key(p, room): p for p in _files(room, lambda s: RAW_SUFFIXES.fullmatch(s) is not None)}
    goals = {_key(p, shown): p for p in reversed(list(_files(shown, lambda s: s.lower() in FORMATS)))}
    truths = {} if clean is None else {_key(p, clean): p for p in _files(clean, _readable)}
    splits = listed(room)
    tell_left_out(set(raws) - set(goals) - set(truths), "without a picture of the same name")
    pairs = (
        PairFiles(key, (raw,), goals.get(key), truths.get(key), splits.get(Path(key).stem, ""))
        for key, raw in raws.items()
        if key in goals or key in truths
    )
    return unique(pairs, room, f"RAW files, and pictures of the same names in {shown}")


LAYOUTS: Mapping[str, Callable[..., list[PairFiles]]] = {
    "s7-isp": s7_isp,
    "sid": sid,
    "hdr+": hdr_plus,
    "fivek": fivek,
    "msr": msr,
    "zurich": zurich,
    "folder": raw_and_pictures,
}
"""name -> function(folder, options of its own)"""


def _sid_folders(room: Path) -> Iterable[PairFiles]:
    longs: dict[str, Path] = {}
    for path in sorted((room / "long").glob("*")):
        if match := _SID_NAME.fullmatch(path.name):
            longs.setdefault(match["scene"], path)
    for path in sorted((room / "short").glob("*")):
        match = _SID_NAME.fullmatch(path.name)
        if match and match["scene"] in longs:
            yield _sid_pair(path, longs[match["scene"]], _SID_SPLITS.get(match["scene"][0], "train"))


def _sid_pair(short: Path, long: Path, split: str) -> PairFiles:
    seconds = []
    for path in (short, long):
        match = _SID_NAME.fullmatch(path.name)
        if match is None:
            raise FileError(f"{path}: a name of SID tells the exposure, as in 00001_00_0.04s.ARW")
        seconds.append(float(match["seconds"]))
    ratio = min(seconds[1] / seconds[0], _SID_RATIO)
    facts = {"ev": math.log2(ratio), "ratio": ratio, "exposure_s": seconds[0], "long_exposure_s": seconds[1]}
    return PairFiles(short.stem, (short,), None, long, split, facts=facts)


def _reference(path: Path) -> int:
    words: Sequence[str] = lines(path) if path.is_file() else ()
    return int(words[0]) if words and words[0].isdigit() else 0


def _files(folder: Path, wanted: Callable[[str], bool]) -> Iterable[Path]:
    return sorted(p for p in folder.rglob("*") if wanted(p.suffix) and p.is_file() and not p.name.startswith("."))


def _readable(suffix: str) -> bool:
    return suffix.lower() in FORMATS or RAW_SUFFIXES.fullmatch(suffix) is not None


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()
