"""Camera profiles as YAML: an exact round trip, lists on one line, and errors that name the place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ispkit.core.cfa import CFA_PATTERNS
from ispkit.core.errors import FileError
from ispkit.core.profile import BlackPoint, CameraProfile, LightColor, NoisePoint, PsfGrid, ShadingMap
from ispkit.io.profile import dump_profile, parse_profile, read_profile, write_profile

numbers = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]), max_size=12)


def row(entry, n):
    return st.tuples(*[entry] * n)


def grid(entry, rows, columns):
    return row(row(entry, columns), rows)


mesh = st.tuples(st.integers(1, 3), st.integers(1, 4)).flatmap(lambda s: row(grid(positive, *s), 4))
matrix = grid(numbers, 3, 3)
kernels = st.dictionaries(st.sampled_from("RGB"), grid(grid(numbers, 3, 3), 2, 1), min_size=1)
profiles = st.builds(
    CameraProfile,
    name=words,
    cfa=st.sampled_from(CFA_PATTERNS),
    size=st.just((40, 60)),
    white_level=positive,
    black=st.lists(st.builds(BlackPoint, positive, positive, row(numbers, 4), row(positive, 4)), max_size=2).map(tuple),
    noise=st.lists(st.builds(NoisePoint, positive, row(positive, 3), row(positive, 3), words), max_size=2).map(tuple),
    defects=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 59)), max_size=4).map(tuple),
    shading=st.lists(st.builds(ShadingMap, positive, mesh, row(numbers, 5), row(numbers, 2)), max_size=2).map(tuple),
    colors=st.lists(
        st.builds(LightColor, words, positive, row(positive, 3), matrix, matrix, matrix, positive, positive), max_size=1
    ).map(tuple),
    psf=st.none() | st.builds(PsfGrid, kernels),
    made=st.dictionaries(words, words | st.integers() | st.lists(words, max_size=2), max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(profiles)
def test_what_is_written_is_read_back_to_the_last_digit(profile):
    again = parse_profile(dump_profile(profile))
    assert again == profile
    assert again.made == profile.made


def simple():
    return CameraProfile(
        "cam", "GRBG", (40, 60), 1023.0,
        black=(BlackPoint(100.0, 0.01, (64.0, 64.0, 64.0, 64.0), (1.0, 1.0, 1.0, 1.0)),),
        noise=(NoisePoint(100.0, (1e-4, 1.1e-4, 1e-4), (1e-8, 1e-8, 2e-8), "flat_pairs"),),
        defects=((3, 5), (39, 59)),
    )  # fmt: skip


def test_lists_of_numbers_stand_on_one_line(tmp_path):
    write_profile(tmp_path / "camera.yaml", simple())
    text = (tmp_path / "camera.yaml").read_text()
    assert text.startswith("ispkit_profile: 1\n")
    assert "  shot: [0.0001, 0.00011, 0.0001]\n" in text
    assert "- [39, 59]\n" in text
    assert read_profile(tmp_path / "camera.yaml") == simple()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ispkit_profile: 1", "ispkit_profile: 2", "ispkit_profile=2 is not supported; this version reads 1"),
        ("ispkit_profile: 1", "version: 1", "must begin with 'ispkit_profile: 1'"),
        ("cfa: GRBG", "cfa: GRGB", "cam.yaml: cfa: cfa='GRGB' is not a Bayer pattern"),
        ("white_level: 1023.0", "white_level: .nan", "cam.yaml: white_level=nan is outside"),
        ("white_level: 1023.0\n", "", "'white_level' is missing"),
        ("shot: [0.0001, ", "shot: [", "cam.yaml: noise[0].shot has 2 entries, it needs 3"),
        ("shot: [0.0001,", "shot: [-1,", "cam.yaml: noise[0].shot[0]=-1 is outside [0, inf]"),
        ("method:", "metod:", "noise[0]: no key 'metod'; did you mean 'method'?"),
        ("- [39, 59]", "- [40, 59]", "defects[1]=[40, 59] lies outside the 40x60 active area"),
        ("size: [40, 60]", "size: [40.5, 60]", "size[0]=40.5 must be a whole number"),
        ("name: cam", "name: 7", "name=7 must be text"),
        ("black:", "black: [", "not YAML"),
    ],
)
def test_a_broken_file_is_one_sentence_with_its_place(tmp_path, old, new, said):
    text = dump_profile(simple())
    assert old in text
    file = tmp_path / "cam.yaml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(FileError) as error:
        read_profile(file)
    assert said in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_profile_that_could_not_be_read_back_is_not_written(tmp_path):
    target = tmp_path / "cam.yaml"
    with pytest.raises(FileError, match=r"white_level=inf"):
        write_profile(target, replace(simple(), white_level=float("inf")))
    assert not list(tmp_path.iterdir())
