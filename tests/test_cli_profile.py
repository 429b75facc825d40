"""`ispkit profile`: the counts of the library, for people and for machines."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from ispkit.cli.profile import profile
from ispkit.isp.learned.catalog import names

app = typer.Typer()
app.command()(profile)


def run(*args):
    return CliRunner().invoke(app, list(args), env={"COLUMNS": "200"})


def test_a_table_names_parts_and_conventions():
    result = run("cameranet")
    assert result.exit_code == 0
    assert "restore" in result.output
    assert "enhance" in result.output
    assert "26,527,928" in result.output
    assert "3,305.77" in result.output
    assert "two a multiply-add" in result.output


def test_json_for_machines():
    facts = json.loads(run("deepisp", "--preset", "small", "--size", "640x480", "--json").output)
    assert facts["size"] == [640, 480]
    assert facts["parts"]["isp"]["input"] == [1, 3, 480, 640]
    assert facts["total"]["flops"] == 2 * facts["total"]["macs"]
    assert set(facts["conventions"]) == {"macs", "flops", "profiler_flops"}


@pytest.mark.parametrize("name", names())
def test_every_learned_isp_has_a_profile(name):
    facts = json.loads(run(name, "--preset", "small", "--size", "640x480", "--json").output)
    assert facts["total"]["parameters"] > 0


@pytest.mark.parametrize(("args", "message"), [(("camranet",), "cameranet"), (("deepisp", "--size", "12"), "WIDTHx")])
def test_wrong_words_are_named(args, message):
    assert message in str(run(*args).exception)
