"""`ispkit`: one command per task. Commands import what they need when they run, so help is instant."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from ispkit.cli.bench import bench
from ispkit.cli.bench_dir import dir_ablation, dir_sensitivity
from ispkit.cli.bench_dir_tasks import dir_tasks
from ispkit.cli.bench_learned import histogram, learned_full, learned_ll, lowlight_people, mimic
from ispkit.cli.calibrate import calibrate
from ispkit.cli.chart import chart
from ispkit.cli.compare import compare
from ispkit.cli.demo import demo
from ispkit.cli.doctor import doctor
from ispkit.cli.evaluate import evaluate
from ispkit.cli.export import export
from ispkit.cli.guards import is_expected, one_line
from ispkit.cli.info import info
from ispkit.cli.kpi import kpi
from ispkit.cli.lowlight import lowlight
from ispkit.cli.profile import profile
from ispkit.cli.regress import regress
from ispkit.cli.render import render
from ispkit.cli.restore import restore
from ispkit.cli.rig import rig
from ispkit.cli.serve import serve
from ispkit.cli.simulate import simulate
from ispkit.cli.stages import stages
from ispkit.cli.study import study
from ispkit.cli.train import train
from ispkit.cli.tune import tune

WRONG_INPUT = 2
INTERRUPTED = 130
TERMINATED = 143

# Read by torch when a command imports it: idle threads sleep instead of spinning, and large pictures get
# large memory pages (docs/benchmarks/render.md). A user's own settings win.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

app = typer.Typer(
    name="ispkit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for command in (
    render, restore, stages, info, doctor, compare, demo, chart, simulate, kpi, regress, calibrate, tune, study,
    train, evaluate, export, profile, lowlight, serve,
):  # fmt: skip
    app.command()(command)
for experiment in (histogram, learned_ll, learned_full, mimic, lowlight_people):
    bench.command()(experiment)
bench.command("dir")(dir_ablation)
bench.command("dir-sensitivity")(dir_sensitivity)
bench.command("dir-tasks")(dir_tasks)
app.add_typer(rig, name="rig")
app.add_typer(bench, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"ispkit {version('ispkit')}")
        raise typer.Exit


@app.callback()
def ispkit(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """RAW sensor data to finished pictures, by an ISP whose every knob is declared."""


def run() -> None:
    """Entry point: wrong input ends with one line on stderr and exit code 2, never a traceback."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if not (is_expected(error) or hasattr(error, "format_message")):
            raise
        _complain(_message(error))
        sys.exit(WRONG_INPUT)
    if code == INTERRUPTED:  # typer itself turns Ctrl-C into this code
        _complain("interrupted; finished pictures are kept, run the same command again to go on")
    sys.exit(code or 0)


def _message(error: Exception) -> str:
    """One line; of a wrong command line what is wrong and where help is."""
    if not hasattr(error, "format_message"):
        return one_line(error)
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "ispkit"
    text = " ".join(error.format_message().split()) or "no command was given"
    return f"{text.rstrip('.')}; see {where} --help"


def _complain(text: str) -> None:
    print(f"ispkit: {text}", file=sys.stderr)


if __name__ == "__main__":
    run()
