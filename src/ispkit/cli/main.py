"""`ispkit`: one command per task. Commands import what they need when they run, so help is instant."""

from __future__ import annotations

import os
import sys

import typer

from ispkit.cli.compare import compare
from ispkit.cli.demo import demo
from ispkit.cli.doctor import doctor
from ispkit.cli.info import info
from ispkit.cli.render import render
from ispkit.cli.stages import stages
from ispkit.core.errors import IspkitError

WRONG_INPUT = 2
INTERRUPTED = 130

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
    help="RAW sensor data to finished pictures, by an ISP whose every knob is declared.",
)
for command in (render, stages, info, doctor, compare, demo):
    app.command()(command)


def run() -> None:
    """Entry point: wrong input ends with one line on stderr and exit code 2, never a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        print("ispkit: interrupted; finished pictures are kept, run the same command again to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (IspkitError, OSError, MemoryError) as error:
        print(f"ispkit: {one_line(error)}", file=sys.stderr)
        sys.exit(WRONG_INPUT)


def one_line(error: BaseException) -> str:
    """The message of an error as one line.

    >>> one_line(MemoryError())
    'not enough memory; use a smaller picture, --workers 1 or --crop'
    """
    if isinstance(error, MemoryError):
        return "not enough memory; use a smaller picture, --workers 1 or --crop"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    run()
