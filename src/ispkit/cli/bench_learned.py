"""`ispkit bench ...`: the experiments on learned ISPs."""

from __future__ import annotations

from ispkit.cli.bench import JsonOption, OutOption, PicturesOption, ResultsOption, SeedOption
from ispkit.cli.bench_output import command_line, experiment_room, folders


def histogram(
    pictures: PicturesOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """How much restoring and enhancing change a picture's histogram: the case for two stages.

    ispkit bench histogram -p bsd100/
    """
    from ispkit.bench.histogram import run_histogram

    where = folders("--pictures", pictures)
    with experiment_room("histogram", out, results, as_json=as_json) as room:
        experiment = run_histogram(room.out, pictures=where, seed=seed, command=command_line())
    room.write(experiment)
