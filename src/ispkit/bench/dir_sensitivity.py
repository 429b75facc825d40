"""How much DiR depends on what its paper leaves open: one trade-off or size is changed at a time, all else alike."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from ispkit.bench.dir_parts import TITLES, DirBench, conditions, data_of, many_views, scores, sets_of
from ispkit.bench.dir_space import cloud_of, representations_of, spread
from ispkit.bench.experiment import Experiment, Table
from ispkit.bench.learned_parts import Entrant, Entry, PhasePlan, Pictures, Trainer, Watch, entry, training_s
from ispkit.data.samples import Sample
from ispkit.nets.dir import DirNet

KEPT = ("isp.dir", "isp.dfr", "isp.decoder")
_BASE = {"name": "dir", "preset": "small"}


@dataclass(frozen=True)
class Variation:
    """What is changed."""

    name: str
    isp: Mapping[str, Any] = field(default_factory=dict)
    """fields of the net's shape"""
    information: Mapping[str, Any] = field(default_factory=dict)
    """options of the loss of DiRNet, equation 5"""
    reference: Mapping[str, Any] = field(default_factory=dict)
    """options of the loss of DfRNet, equation 6"""
    pictures: float = 1.0
    """gamma2 of equation 8"""

    @property
    def entrants(self) -> tuple[Entrant, Entrant]:
        """Stage one, and stage two that begins with it."""
        isp = {**_BASE, **self.isp}
        first = [{"name": "mutual-information", **self.information}, {"name": "reference", **self.reference}]
        then = ["alignment", {"name": "l1", "weight": self.pictures}]
        began = f"{self.name}, stage one"
        return (
            Entrant(began, isp, (PhasePlan("representations", KEPT, first, 0.5),)),
            Entrant(self.name, isp, (PhasePlan("alignment", ("isp.align",), then, 0.5),), after=began, kept=KEPT),
        )


VARIATIONS: tuple[Variation, ...] = (
    Variation("as it ships"),
    Variation("lambda 0.1", information={"weight_kl_views": 0.1}),
    Variation("lambda 10", information={"weight_kl_views": 10.0}),
    Variation("beta 0", information={"beta": 0.0}),
    Variation("beta 0.1", information={"beta": 0.1}),
    Variation("KL of each posterior", information={"prior": "posterior"}, reference={"prior": "posterior"}),
    Variation("beta* 0.01", reference={"beta": 0.01}),
    Variation("no information of r*", reference={"information": 0.0}),
    Variation("gamma2 0", pictures=0.0),
    Variation("gamma2 10", pictures=10.0),
    Variation("half the latent", {"latent": 32}),
    Variation("half the widths", {"width": 12, "features": 20}),
    Variation("attention to r0", {"attended": "features"}),
    Variation("no linear map", {"linear": False}),
)


def run_sensitivity(out: Path, bench: DirBench, *, command: str, watch: Watch | None = None) -> Experiment:
    """Train and judge every variation; run folders lie under `out`, and can be gone on with."""
    began = time.monotonic()
    pictures = bench.pictures()
    shown, views = conditions(bench, pictures[1]), many_views(bench, pictures[1])
    found = [(v, _trained(out, bench, pictures, v, watch)) for v in VARIATIONS]
    entries = [
        replace(entry(v.name, [r.isp for r in runs[1].runs], partial(scores, shown, None)), runs=runs[1].runs)
        for v, runs in found
    ]
    rows = [_row(made, first, entries[0], (bench, views)) for made, (_, (first, _)) in zip(entries, found, strict=True)]
    spent = sum(training_s(runs) for _, runs in found)
    return Experiment(
        name="dir_sensitivity",
        title="DiR: what depends on what the paper leaves open",
        question="Which trade-offs and sizes matter, one changed at a time?",
        command=command,
        data=bench.data,
        seed=bench.seed,
        budget=f"{bench.budget}; half of the time for each stage",
        seconds=max(spent, time.monotonic() - began),
        tables=(Table(f"Degradations {bench.family!r}", rows, _NOTE),),
        details={"scores": {e.name: dict(e.scores) for e in entries}},
    )


def _trained(
    out: Path, bench: DirBench, pictures: tuple[Pictures, Pictures], variation: Variation, watch: Watch | None
) -> tuple[Entry, Entry]:
    """Both stages; entries without scores."""
    first, second = variation.entrants
    pair = Trainer(out, bench, sets_of(bench, pictures, views=bench.views), data_of(bench, views=bench.views), watch)
    one = Trainer(out, bench, sets_of(bench, pictures, views=1), data_of(bench, views=1), watch)
    begun = Entry(first.name, {}, tuple(pair.train_all(first)))
    return begun, Entry(second.name, {}, tuple(one.train_all(second)))


def _row(made: Entry, first: Entry, base: Entry, judged: tuple[DirBench, Sequence[Sample]]) -> dict[str, Any]:
    """Of the mean of trainings; the representations are those of the first."""
    bench, views = judged
    keys = [key for key in made.scores if key.endswith("psnr")]
    net = cast(DirNet, made.runs[0].isp.named_parts["isp"].net)
    spreads = {name: spread(cloud_of(represent, views)) for name, represent in representations_of(net).items()}
    return {
        "variation": made.name,
        "clean pictures, decoded, dB": f"{first.runs[0].curve[1][-1]:.2f}",
        **{f"{key.removesuffix(': psnr')}: {TITLES['psnr'][0]}": f"{made.mean(key):.2f}" for key in keys},
        "less as it ships": made.less(base, keys[0], seed=bench.seed),
        **{f"{name}: within / between": f"{one.ratio:.2f}" for name, one in spreads.items()},
        "parameters": made.runs[0].parameters,
    }


_NOTE = (
    "lambda and beta are those of equation 5, beta* that of equation 6, gamma2 that of equation 8; units as in "
    "`train.representation`. within / between: mean distance of two degraded views of one picture over that of two "
    "pictures, of the first training. Differences are paired by picture, with 95 % intervals."
)
