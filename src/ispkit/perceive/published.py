"""Published weights: which files, from where, under which license. They are fetched by the user, never by ispkit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ispkit.core.errors import FileError

PUBLISHED = "published"
"""in place of a path: says what to fetch"""


@dataclass(frozen=True)
class WeightFile:
    """One file that a user fetches."""

    name: str
    url: str
    sha256: str
    license: str

    def __str__(self) -> str:
        return f"{self.url} ({self.license}, sha256 {self.sha256})"


def _coral(path: str, sha256: str) -> WeightFile:
    place = "https://raw.githubusercontent.com/google-coral/test_data/104342d2d3480b3e66203073dac24f4e2dbb4c41"
    return WeightFile(path.rpartition("/")[2], f"{place}/{path}", sha256, "Apache-2.0")


_FASTESTDET = WeightFile(
    "fastestdet_coco_ap05_0.253.pth",
    "https://raw.githubusercontent.com/dog-qiuqiu/FastestDet/50473cd155cb088aa4a99e64ff6a4b3c24fa07e1/"
    "weights/weight_AP05%3A0.253207_280-epoch.pth",
    "7f688d478ee474c82dbdb9c10e0ede2f8f3cf5d603f0825d2efd925eb561d05e",
    "BSD-3-Clause",
)
FILES: Mapping[str, tuple[WeightFile, ...]] = {
    "mobilenet-v1": (
        _coral(
            "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite",
            "f409ef4f73fcbb9667841965623c5c8524aac33d41b9bf5f3667161fb4a76319",
        ),
        _coral(
            "tools/mobilenet_quant_v1_224_head_layers.tflite",
            "65a88984b258c6f3c99d7573acac8cf85bd747293d83d51fafc1c2fb6d632286",
        ),
    ),
    "mobilenet-v1-0.5": (
        _coral("mobilenet_v1_0.5_160_quant.tflite", "3cc6d2ca460abd2e0f699a6d0d2550c6b61c6e3b0e27a3616e384ea74cb86f43"),
    ),
    "mobilenet-v1-0.25": (
        _coral(
            "mobilenet_v1_0.25_128_quant.tflite", "cb273c23ee76374b05b9583177e28aa19744858a7679c56a250e83d0333da785"
        ),
    ),
    "mobilenet-v2": (
        _coral("mobilenet_v2_1.0_224_quant.tflite", "7aad0c74c5e3c06e5eb3c827e13304fdd68a83da6087d92ee169c24ff9fd4776"),
    ),
    "deeplab-v3": (
        _coral(
            "deeplabv3_mnv2_dm05_pascal_quant.tflite",
            "0470d2a782aa54eeeb99d32e7b6b3fb7722905c7c4f5d26bd957ec861366d48b",
        ),
    ),
    "fastestdet": (_FASTESTDET,),
}
"""network -> what its weights are made of, in order"""


def weight_files(weights: Sequence[str], network: str) -> list[Path]:
    """The files of `weights`: paths, a folder that holds the published files, or "published" to be told which.

    Files of a folder must be the published ones, by checksum. Raises `FileError` that says what to fetch from where.
    """
    if len(weights) == 1 and (weights[0] == PUBLISHED or Path(weights[0]).is_dir()):
        return [_published(one, weights[0], network) for one in FILES[network]]
    files = [Path(word) for word in weights]
    for file in files:
        if not file.is_file():
            raise FileError(f"{file}: no such file. {instruction(network)}")
    return files


def instruction(network: str) -> str:
    """One sentence for the user: what to fetch for a network, and what to do with it."""
    wanted = "; ".join(map(str, FILES[network]))
    return f"The published weights of {network} are yours to fetch: {wanted}. Then pass their folder as weights=FOLDER"


def _published(file: WeightFile, folder: str, network: str) -> Path:
    path = Path(folder) / file.name
    if folder == PUBLISHED or not path.is_file():
        where = "weights" if folder == PUBLISHED else f"{folder} has no {file.name}"
        raise FileError(f"{where}: {instruction(network)}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != file.sha256:
        raise FileError(
            f"{path}: sha256 {found} is not the published file's, {file.sha256}; fetch it again: {file.url}"
        )
    return path
