"""JSON with its layout: what is read is written, a change touches one value, broken text is located."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ispkit.core.errors import FileError
from ispkit.io.tuning.json_text import layout, parse_json

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
trees = st.recursive(
    scalars, lambda t: st.one_of(st.lists(t), st.dictionaries(st.text(), t), st.lists(scalars)), max_leaves=10
)
keys = st.sampled_from(["table", "ccm", "ct_curve", "other"])
styles = st.sampled_from([{}, {"indent": 1}, {"indent": 4}, {"separators": (",", ":")}])
WIDTHS = {"table": 4, "ccm": 3, "ct_curve": 3}


def ordered(value):
    """The tree with its dictionaries as lists of pairs, so that order counts."""
    if isinstance(value, dict):
        return [(k, ordered(v)) for k, v in value.items()]
    return [ordered(v) for v in value] if isinstance(value, list) else (type(value), value)


@given(trees)
def test_a_written_tree_reads_back_in_order(tree):
    assert ordered(parse_json(layout(tree, widths=WIDTHS), "f").value) == ordered(tree)


@given(trees, styles)
def test_reading_agrees_with_python_and_keeps_the_text(tree, style):
    text = json.dumps(tree, **style)
    document = parse_json(text, "f")
    assert ordered(document.value) == ordered(json.loads(text))
    assert document.text == text


@settings(max_examples=40)
@given(st.dictionaries(st.text(), trees, min_size=1), st.data(), styles, trees)
def test_replacing_one_value_leaves_every_other_byte(tree, data, style, new):
    text = json.dumps(tree, **style)
    key = data.draw(st.sampled_from(sorted(tree)))
    node = parse_json(text, "f").node([key])
    changed = parse_json(text, "f", WIDTHS).replaced([key], new)
    assert ordered(changed.value) == ordered({**tree, key: new})
    assert changed.text.startswith(text[: node.start])
    assert changed.text.endswith(text[node.end :])


@settings(max_examples=40)
@given(st.dictionaries(st.text(), trees), st.text(), styles, trees)
def test_a_key_is_added_last_and_removed_again(tree, key, style, new):
    tree.pop(key, None)
    document = parse_json(json.dumps({"a": tree}, **style), "f")
    added = document.replaced(["a", key], new)
    assert ordered(added.value) == ordered({"a": {**tree, key: new}})
    assert ordered(added.removed(["a", key]).value) == ordered({"a": tree})


@settings(max_examples=40)
@given(st.lists(trees), styles, trees)
def test_an_item_is_appended(items, style, new):
    document = parse_json(json.dumps({"a": items}, **style), "f")
    assert ordered(document.replaced(["a", len(items)], new).value) == ordered({"a": [*items, new]})


def test_number_spellings_of_other_values_survive():
    text = '{ "a": 1.50, "b": 2.0e3,\n "c": -0.0 }'
    assert parse_json(text, "f").replaced(["b"], 7).text == '{ "a": 1.50, "b": 7,\n "c": -0.0 }'


def test_lines_end_as_in_the_file():
    text = '{\r\n  "a": {\r\n    "x": 1\r\n  }\r\n}\r\n'
    changed = parse_json(text, "f").replaced(["a", "y"], [{"z": 1}]).text
    assert changed.count("\n") == changed.count("\r\n") > text.count("\n")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a": 1,\n "b": }', "f:2:7"),
        ('{"a": [1, 2}', "f:1:12"),
        ("", "f:1:1"),
        ('{"a": NaN}', "f:1:7"),
        ('{"a": 1,\n\n "a": 2}', "f:3:2"),
        ('{"a": 1e999}', "f:1:7"),
        ("{'a': 1}", "f:1:2"),
        ('{"a": 1} x', "f:1:10"),
        ('{"a": "\t"}', "f:1:8"),
    ],
)
def test_broken_text_is_located(text, place):
    with pytest.raises(FileError, match=f"^{place}: "):
        parse_json(text, "f")


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000])
def test_absurd_text_is_refused(text):
    with pytest.raises(FileError, match=r"^f: not JSON"):
        parse_json(text, "f")
