"""Degradations in recipes: by name, from a name, written out; several views to learn from, one to be judged on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ispkit.core.errors import RecipeError
from ispkit.core.frame import Domain
from ispkit.data.degrade import DEGRADATIONS
from ispkit.io.pictures import write_picture
from ispkit.train.degradations import read_degradation
from ispkit.train.fields import plain
from ispkit.train.source import Opening
from ispkit.train.sources import folder_option, source_of
from ispkit.train.stream import Stream

PROJECT = {"pictures": "project", "count": 6, "size": [64, 64], "patch": [32, 32], "held_out": 0.3}


def opening(*, learning: bool = True) -> Opening:
    return Opening(3, Path("unused"), learning)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_name_is_what_it_reads_as_when_written_out(name):
    written = yaml.safe_load(yaml.safe_dump(plain(DEGRADATIONS[name])))
    assert read_degradation(written) == read_degradation({"like": name}) == read_degradation(name)


def test_a_mapping_changes_a_name_where_it_says_so():
    paper = DEGRADATIONS["paper"]
    changed = read_degradation(
        {"like": "paper", "jpeg": None, "raw": {"shot": None}, "knobs": {"exposure.ev": -1, "sharpen.amount": None}}
    )
    assert changed.jpeg is None
    assert (changed.raw.sigma, changed.raw.shot) == (paper.raw.sigma, None)
    assert changed.knobs["exposure.ev"] == (-1, -1)
    assert set(paper.knobs) - set(changed.knobs) == {"sharpen.amount"}
    assert read_degradation({"jpeg": 75}).jpeg == (75, 75)


def test_views_to_learn_from_and_one_to_be_judged_on():
    source = source_of("data", "degraded", {**PROJECT, "degradation": "ablation", "views": 3, "windows": 2})
    data, judged = source.open(opening()), source.open(opening(learning=False))
    assert folder_option("degraded") == "pictures"
    assert (data[0].views, data[0].frame.batch, judged[0].views) == (3, 3, 1)
    assert data[0].frame.domain is Domain.DISPLAY_RGB
    assert not torch.equal(data[0].frame.data[0], judged[0].frame.data[0])
    batch = next(Stream(data, seed=1, batch=4).batches())[0]
    assert (batch.views, batch.frame.batch) == (3, 12)
    assert torch.equal(batch.target[0::3], batch.target[2::3])


def test_sides_of_a_split_share_no_picture():
    options = {**PROJECT, "degradation": "mild"}
    learned, tested = (
        source_of("data", "degraded", {**options, "split": s}).open(opening()) for s in ("train", "test")
    )
    assert not set(learned.pictures) & set(tested.pictures)
    assert len(learned.pictures) + len(tested.pictures) == 6


def test_labelled_pictures_can_be_spoiled_the_same_way(tmp_path):
    for i in range(8):
        folder = tmp_path / ("bright" if i % 2 else "dim")
        folder.mkdir(exist_ok=True)
        write_picture(folder / f"{i}.png", np.full((40, 40, 3), 80 + 100 * (i % 2), np.uint8))
    options = {"pictures": str(tmp_path), "patch": [32, 32], "degradation": "dark", "views": 2, "held_out": 0.25}
    source = source_of("data", "labelled", options)
    data, judged = source.open(opening()), source.open(opening(learning=False))
    sample = data.batch([0, 1])
    assert sample.frame.domain is Domain.DISPLAY_RGB
    assert (sample.views, judged[0].views) == (2, 1)
    assert sample.labels[0::2].tolist() == sample.labels[1::2].tolist()


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        ("degraded", {"degradation": "papper"}, r"data: no degradation 'papper'; did you mean 'paper'"),
        ("degraded", {"degradation": {"like": "papper"}}, "did you mean 'paper'"),
        ("degraded", {"degradation": {"jpg": 3}}, r"degradation.jpg: unknown name; did you mean 'jpeg'"),
        ("degraded", {"degradation": {"knobs": {"tone.power": 1}}}, r"degradation: no parameter 'tone.power'"),
        ("degraded", {"degradation": {"raw": {"sigmma": 1}}}, r"degradation.raw.sigmma: .*'sigma'"),
        ("degraded", {"views": 0}, "views=0"),
        ("degraded", {"sigma": [1, 2]}, "data.sigma: unknown name"),
        ("labelled", {"degradation": "dark", "level": "2-20 lux"}, "leave out level and through"),
        ("labelled", {"degradation": "dark", "sigma": [1, 2]}, "says camera and noise"),
        ("labelled", {"degradation": "dark", "views": 0}, "views=0"),
    ],
)
def test_what_is_wrong_is_named(source, options, said):
    with pytest.raises(RecipeError, match=said):
        source_of("data", source, options)
