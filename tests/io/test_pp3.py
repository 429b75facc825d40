"""INI files keep every byte that is not asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ispkit.core.errors import FileError
from ispkit.io.tuning.pp3 import IniText, read_pp3, write_pp3

TEXT = "; head\n[A]\nx=1\n y = two words \n\n[B & C]\nx=0;1;\nempty=\n[A]\nx=3\n"
words = st.text(
    st.characters(codec="ascii", exclude_characters="=;#[]\r\n\v\f\x1c\x1d\x1e\x1f ", min_codepoint=33), min_size=1
)
documents = st.lists(st.one_of(st.tuples(words, words), words.map(lambda w: f"[{w}]"), st.just("; note"), st.just("")))


def test_values_are_read_without_their_spaces_and_the_last_one_counts():
    ini = IniText(TEXT)
    assert ini.get("A", "x") == "3"
    assert ini.get("A", "y") == "two words"
    assert ini.get("B & C", "x") == "0;1;"
    assert ini.get("B & C", "empty") == ""
    assert ini.get("B", "x") is None


def test_values_are_replaced_and_added_in_place():
    new = IniText(TEXT).with_values({("A", "y"): "2", ("B & C", "z"): "9", ("D", "q"): "1", ("B & C", "empty"): "e"})
    assert new.text == "; head\n[A]\nx=1\n y = 2 \n\n[B & C]\nx=0;1;\nempty=e\nz=9\n[A]\nx=3\n\n[D]\nq=1\n"


def test_line_endings_of_windows_stay():
    text = "[A]\r\nx=1\r\n"
    assert IniText(text).with_values({("A", "y"): "2"}).text == "[A]\r\nx=1\r\ny=2\r\n"


def test_an_empty_file_can_be_filled():
    assert IniText("").with_values({("A", "x"): "1"}).text == "[A]\nx=1\n"


@given(documents, words, words, words)
def test_what_is_set_is_read_and_all_else_stays(lines, section, key, value):
    text = "".join((line if isinstance(line, str) else "=".join(line)) + "\n" for line in lines)
    ini = IniText(text)
    assert ini.with_values(ini.values()).text == text
    new = ini.with_values({(section, key): value})
    assert new.get(section, key) == value
    assert {k: v for k, v in new.values().items() if k != (section, key)} == {
        k: v for k, v in ini.values().items() if k != (section, key)
    }
    assert new.with_values({(section, key): value}).text == new.text


def test_files_are_written_as_they_are_and_other_files_are_refused(tmp_path):
    path = tmp_path / "a.pp3"
    write_pp3(path, IniText(TEXT))
    assert read_pp3(path) == IniText(TEXT)
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(FileError, match="processing profile"):
        read_pp3(path)
    path.write_text("nothing here")
    with pytest.raises(FileError, match="key=value"):
        read_pp3(path)
