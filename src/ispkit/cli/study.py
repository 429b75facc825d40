"""`ispkit study`: look at a study, compare two, roll knobs back, export any setting, make the report again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ispkit.tune.distributions import Setting
    from ispkit.tune.result import Candidate, Result


def study(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of `ispkit tune`.")],
    trial: Annotated[
        int | None, typer.Option("--trial", metavar="N", min=0, help="This trial in place of the best one.")
    ] = None,
    front: Annotated[
        bool, typer.Option("--front", help="List the trials that no other one beats in all objectives.")
    ] = False,
    diff: Annotated[
        Path | None, typer.Option("--diff", metavar="RUN", help="Knobs that another study set differently.")
    ] = None,
    roll_back: Annotated[
        list[str] | None,
        typer.Option("--roll-back", metavar="PATTERN", help="Measure with these knobs back at the expert's value."),
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write the setting (after --roll-back).")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Make report.html again, also of an unfinished study.")] = (
        False
    ),
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Open Optuna's dashboard on the study.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Show what a study found: scores, and each knob that changed with its old and new value.

    Example: what changed, and what is it worth without the colors?

    ispkit study run/ --roll-back 'color.*' --export without_color.yaml

    Example: of several objectives, take another compromise.

    ispkit study run/ --front

    ispkit study run/ --trial 41 --export sharper.yaml

    Example: what did the second tuning do differently?

    ispkit study monday/ --diff tuesday/
    """
    from rich.console import Console

    from ispkit.cli.guards import check_outputs
    from ispkit.report.tune_page import write_tune_page
    from ispkit.report.tune_unfinished import candidate_of, result_so_far

    check_outputs(export)
    console = Console(highlight=False, soft_wrap=True)
    result = result_so_far(run)
    chosen = result.best if trial is None else candidate_of(run, trial)
    facts = {**result.to_json(), "finished": (run / "result.json").is_file(), "shown": chosen.trial}
    told = list(_told(result, chosen))
    values: Setting = dict(chosen.values)
    if front:
        facts["front"] = _front(run, result)
        told = list(_front_lines(result, facts["front"]))
    if diff is not None:
        facts["diff"] = _different(values, result_so_far(diff).best.values)
        told = [f"  {name:40} {_text(a):>12} | {_text(b)}" for name, (a, b) in facts["diff"].items()]
        told.insert(0, f"{len(told)} knobs differ ({run} | {diff})")
    if roll_back:
        facts["rolled_back"], values = _rolled_back(replace(result, best=chosen), roll_back)
        told += [f"rolled back: {name} {score:.6g}" for name, score in facts["rolled_back"].items()]
    if export is not None:
        told.append(f"written: {_export(run, values, export)}")
    if report:
        told.append(f"report: {write_tune_page(run)}")
    if as_json:
        print(json.dumps(facts))
    else:
        for line in told:
            console.print(line, markup=False)
    if dashboard:
        _dashboard(run)


def _told(result: Result, chosen: Candidate) -> Iterator[str]:
    """Scores and changes of a setting."""
    from ispkit.cli.tune import summary

    if chosen.trial == result.best.trial:
        yield from summary(result)
    else:
        for name in result.objectives:
            old, new = result.expert.scores[name], chosen.scores[name]
            yield f"{name:24} trial {chosen.trial:<5} expert {old:10.4g}   here {new:10.4g}   {new - old:+.4g}"
    for name, (a, b) in _different(result.expert.values, chosen.values).items():
        yield f"  {name:40} {_text(a):>12} -> {_text(b)}"


def _different(old: Setting, new: Setting) -> dict[str, tuple[float | str | None, float | str | None]]:
    """Knob -> its two values, where they differ; None where a side has no such knob."""
    names = dict.fromkeys([*old, *new])
    return {n: (old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n)}


def _text(value: float | str | None) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.6g}"


def _front(run: Path, result: Result) -> list[dict[str, object]]:
    """Trials that no other one beats, the first objective's best first; of one objective the best alone."""
    from ispkit.report.tune_trials import non_dominated, read_trials
    from ispkit.report.tune_unfinished import candidate_of
    from ispkit.tune.run_folder import RunFolder

    if len(result.front) > 1:
        found = list(result.front)
    else:
        rows = read_trials(RunFolder(run))
        found = [candidate_of(run, number) for number in sorted(non_dominated(rows, result.objectives))]
    found.sort(key=lambda c: c.scores[result.objectives[0]])
    return [{"trial": c.trial, "scores": dict(c.scores), "values": dict(c.values)} for c in found]


def _front_lines(result: Result, front: list[dict[str, object]]) -> Iterator[str]:
    yield "   trial  " + "  ".join(f"{name:>16}" for name in result.objectives)
    for one in front:
        scores = one["scores"]
        mark = {result.expert.trial: "expert", result.best.trial: "declared"}.get(int(str(one["trial"])), "")
        shown = "  ".join(f"{scores[name]:16.5g}" for name in result.objectives)  # type: ignore[index]
        yield f"{one['trial']!s:>8}  {shown}  {mark}".rstrip()


def _rolled_back(result: Result, patterns: list[str]) -> tuple[dict[str, float], Setting]:
    """Scores and values of the result with some knobs back at the expert's value, measured now, held out as well."""
    from ispkit.tune.finish import roll_back
    from ispkit.tune.job import spec_of
    from ispkit.tune.spec import build

    problem, held = build(spec_of(result.folder))
    candidate = roll_back(problem, result, patterns)
    scores = dict(candidate.scores)
    if held is not None:
        values = {name: value for name, value in candidate.values.items() if name in held.space}
        scores |= {f"{name}, held out": score for name, score in held.measure(values).scores.items()}
    return scores, dict(candidate.values)


def _export(run: Path, values: Setting, path: Path) -> Path:
    from ispkit.isp.catalog import export_values
    from ispkit.tune.job import spec_of
    from ispkit.tune.spec import open_start

    isp = open_start(spec_of(run))
    return export_values(isp, {n: v for n, v in values.items() if n in isp.space}, path)


def _dashboard(run: Path) -> None:
    from ispkit.core.errors import MissingExtraError
    from ispkit.tune.opening import read_study

    stored = read_study(run)
    try:
        from optuna_dashboard import run_server
    except ImportError as error:
        raise MissingExtraError("--dashboard needs optuna-dashboard: pip install 'ispkit[dashboard]'") from error
    print("Optuna's dashboard: http://127.0.0.1:8080/  (Ctrl-C ends it)")
    run_server(stored._storage, host="127.0.0.1", port=8080)
