"""DiR beside what it is made of and beside rivals: the ablation of Guo et al. 2024, table 5, and unseen degradations.

Stage one trains DiRNet, DfRNet and its decoder; every variant of stage two begins with these weights, frozen, so that
variants differ in what aligns alone. Rivals learn for the time of both stages together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from ispkit.bench.curves import draw_curves
from ispkit.bench.dir_parts import (
    TITLES,
    Condition,
    DirBench,
    conditions,
    data_of,
    known_shots,
    many_views,
    scores,
    sets_of,
)
from ispkit.bench.dir_rivals import rivals
from ispkit.bench.dir_space import Cloud, cloud_of, draw_spaces, raw_pixels, representations_of, space_table
from ispkit.bench.experiment import Claim, Experiment, Table
from ispkit.bench.learned_parts import (
    Entrant,
    Entry,
    PhasePlan,
    Pictures,
    Trainer,
    Watch,
    entry,
    over_seeds,
    steps_of,
    told,
    training_s,
)
from ispkit.bench.lowlight_pictures import draw_pictures
from ispkit.data.samples import Sample
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.pipeline import ISP
from ispkit.metrics.intervals import mean_interval
from ispkit.metrics.niqe import NiqeModel
from ispkit.nets.dir import AutoEncoder, DirNet
from ispkit.nets.dir_parts import CodeShape

OURS, ALONE, BASE, AUTO, PLAIN = (
    "DiR",
    "DiR without the pilot",
    "baseline representation",
    "auto-encoder",
    "plain U-Net",
)
Score = Callable[[ISP], Mapping[str, list[float]]]
STAGE_ONE, PILOT, READ = "stage one", "the pilot, decoded by D*", "baseline representation, decoded by D*"
AUTO_LARGE = f"{AUTO}, as large as {OURS}"
_DRAWN = 10
_DIR = {"name": "dir", "preset": "small"}
_KEPT = ("isp.dir", "isp.dfr", "isp.decoder")
_REPRESENTATIONS = PhasePlan("representations", _KEPT, ["mutual-information", "reference"], 0.5, 1e-3)
_ALIGNMENT = PhasePlan("alignment", ("isp.align",), ["alignment", "l1"], 0.5, 1e-3)
_READING = PhasePlan("decoder", ("isp.align",), "l1", 0.5, 1e-3)
_WHOLE = PhasePlan("isp", ("isp",), "l1", 1.0, 1e-3)

FIRST = Entrant(STAGE_ONE, _DIR, (_REPRESENTATIONS,))
VARIANTS: tuple[Entrant, ...] = (
    Entrant(BASE, {**_DIR, "align": "decoder"}, (_READING,), after=STAGE_ONE, kept=_KEPT),
    Entrant(ALONE, {**_DIR, "align": "alone"}, (_ALIGNMENT,), after=STAGE_ONE, kept=_KEPT),
    Entrant(OURS, _DIR, (_ALIGNMENT,), after=STAGE_ONE, kept=_KEPT),
)
LEARNED_RIVALS: tuple[Entrant, ...] = (
    Entrant(AUTO, {"name": "auto-encoder", "preset": "small"}, (_WHOLE,)),
    Entrant(AUTO_LARGE, {"name": "auto-encoder", "preset": "small", "width": 57}, (_WHOLE,)),
    Entrant(PLAIN, {"name": "unet-rgb", "channels": [18, 36, 72, 144]}, (_WHOLE,)),
    Entrant("NAFNet", {"name": "nafnet-rgb", "preset": "small"}, (_WHOLE,)),
)


def run_dir(out: Path, bench: DirBench, *, command: str, watch: Watch | None = None) -> Experiment:
    """Train all, judge on the same windows; run folders lie under `out`, and can be gone on with."""
    began = time.monotonic()
    pictures = bench.pictures()
    learned, tested = pictures
    shown = conditions(bench, tested)
    score = partial(scores, shown, None if bench.niqe is None else NiqeModel.load(bench.niqe))
    learned_ones = _trained(out, bench, pictures, watch, score)
    classical = rivals(out / "classical", known_shots(bench, learned, 12), seed=bench.seed, trials=bench.trials)
    found = [*(entry(name, [isp], score) for name, isp in classical.items()), *learned_ones]
    name = f"dir_{bench.family}"
    own = [e for e in found if e.runs and e.name != READ]  # stage one is that of the pilot
    lines = {STAGE_ONE if e.name == PILOT else e.name: e.runs[0].curve for e in own}
    draw_curves(out / f"{name}.png", lines, labels=("processor time, s", "PSNR of held-out pictures, dB"))
    clouds = _clouds(found, many_views(bench, tested))
    draw_spaces(out / f"{name}_space.png", clouds)
    draw_pictures(out / f"{name}_pictures.png", _pictures(classical, found, shown))
    seconds = max(training_s(own), time.monotonic() - began)
    made = _experiment(found, shown, bench, (name, command, seconds))
    return replace(made, tables=(*made.tables, space_table(clouds)))


def _trained(
    out: Path, bench: DirBench, pictures: tuple[Pictures, Pictures], watch: Watch | None, score: Score
) -> list[Entry]:
    """Stage one, the variants that begin with it, then the rivals; one training a seed each."""
    first = Trainer(out, bench, sets_of(bench, pictures, views=bench.views), data_of(bench, views=bench.views), watch)
    begun = first.train_all(FIRST)
    runs = {
        name: tuple(replace(run, isp=_decoded(run.isp, encoder)) for run in begun)
        for name, encoder in ((PILOT, "dfr"), (READ, "dir"))
    }
    then = Trainer(out, bench, sets_of(bench, pictures, views=1), data_of(bench, views=1), watch)
    for entrant in (*VARIANTS, *LEARNED_RIVALS):
        runs[entrant.name] = tuple(then.train_all(entrant))
    return [replace(entry(name, [r.isp for r in own], score), runs=own) for name, own in runs.items()]


def _clouds(found: Sequence[Entry], samples: Sequence[Sample]) -> dict[str, Cloud]:
    """What the first trainings of DiR and of the auto-encoder make of the same views, and these themselves."""
    clouds = {"pixels": cloud_of(raw_pixels, samples)}
    for run in (e.runs[0] for e in found if e.name in (OURS, AUTO)):
        net = cast(DirNet | AutoEncoder, run.isp.named_parts["isp"].net)
        clouds |= {name: cloud_of(represent, samples) for name, represent in representations_of(net).items()}
    return clouds


@torch.no_grad()
def _pictures(
    classical: Mapping[str, ISP], found: Sequence[Entry], shown: Sequence[Condition]
) -> dict[str, list[Tensor]]:
    """The first pictures of some conditions by every method, then as they should be."""
    isps = {**classical, **{e.name: e.runs[0].isp for e in found if e.runs}}
    shots = [shot for condition in shown if not condition.bare for shot in condition.shots[1:3]][:_DRAWN]
    rows = {name: [isp(shot.frame).data[0].clamp(0, 1) for shot in shots] for name, isp in isps.items()}
    return {**rows, "clean": [shot.target[0] for shot in shots]}


def _decoded(isp: LearnedISP, encoder: str) -> LearnedISP:
    """One of stage one's encoders with the decoder D* in a row: what a picture decodes to without any alignment."""
    trained = cast(DirNet, isp.named_parts["isp"].net)
    shape = {f.name: getattr(trained.shape, f.name) for f in fields(CodeShape)}
    made = build("auto-encoder", preset="small", **shape)
    net = cast(AutoEncoder, made.named_parts["isp"].net)
    net.encoder.load_state_dict(trained.get_submodule(encoder).state_dict())
    net.decoder.load_state_dict(trained.decoder.state_dict())
    return made.eval().requires_grad_(False)


def _experiment(
    found: Sequence[Entry], shown: Sequence[Condition], bench: DirBench, run: tuple[str, str, float]
) -> Experiment:
    return Experiment(
        name=run[0],
        title=f"DiR, trained on the degradations {bench.family!r}",
        question="Does each part of DiR help, and how do it and its rivals stand degradations that they never saw?",
        command=run[1],
        data=bench.data,
        seed=bench.seed,
        budget=f"{bench.budget}; DiR: half of the time for each stage, stage one {bench.views} views of each patch",
        seconds=run[2],
        claims=_claims(found, shown, bench),
        tables=(*(_table(found, c, bench) for c in shown), _lost(found, shown, bench), Table("Sizes", steps_of(found))),
        notes=(*(f"![{what}]({run[0]}{suffix}.png)" for what, suffix in _DRAWINGS), *_NOTES),
        details={"scores": {e.name: dict(e.scores) for e in found}},
    )


def _claims(found: Sequence[Entry], shown: Sequence[Condition], bench: DirBench) -> list[Claim]:
    """On the pictures of the paper's ablation: each part helps, and the whole is better than the auto-encoder."""
    by_name = {e.name: e for e in found}
    pairs = [
        (f"{ALONE} is better than the {READ}", ALONE, READ),
        (f"{ALONE} is better than the {BASE}, by a decoder of its own", ALONE, BASE),
        (f"{OURS} is better than {ALONE}", OURS, ALONE),
        (f"{OURS} is better than the {AUTO}", OURS, AUTO),
        (f"{OURS} is better than the {AUTO_LARGE}", OURS, AUTO_LARGE),
        (f"{OURS} is better than {PLAIN}", OURS, PLAIN),
    ]
    claims = []
    for condition in (c for c in shown if c.name.startswith("ablation")):
        for text, better, worse in pairs:
            gap = by_name[better].gap(by_name[worse], condition.key("psnr"), seed=bench.seed)
            claims.append(Claim(f"{condition.name}: {text}", f"PSNR {told(gap)} dB", gap.low > 0))
    return claims


def _table(found: Sequence[Entry], condition: Condition, bench: DirBench) -> Table:
    """The methods on the pictures of one condition."""
    titles = {condition.key(m): TITLES[m] for m in condition.measures}
    main = condition.key(condition.measures[0])
    ours = next(e for e in found if e.name == OURS)
    title = f"{OURS} less it, {TITLES[condition.measures[0]][0]}"
    rows = [{**e.row(titles), title: ours.less(e, main, seed=bench.seed)} for e in found]
    return Table(f"{condition.name}: {len(condition.shots)} pictures", rows)


def _lost(found: Sequence[Entry], shown: Sequence[Condition], bench: DirBench) -> Table:
    """How much of what a method gains over doing nothing is left on pictures that were spoiled in an unseen way.

    Each line is of one folder under an unseen degradation, against the same pictures under the one learned from.
    """
    ours = next(e for e in found if e.name == OURS)
    rows = []
    for condition in shown:
        family, _, folder = condition.name.partition(", ")
        seen = next((c for c in shown if c.name == f"{bench.family}, {folder}" and c is not condition), None)
        if family == bench.family or seen is None:
            continue
        for other in (e for e in found if e.runs and e is not ours):
            rows.append({"pictures": condition.name, "against": other.name, **_change(ours, other, (seen, condition))})
    note = (
        f"The lead is the PSNR of {OURS} less that of the other, paired by picture; a change above zero says that "
        f"{OURS} loses less on what it never saw."
    )
    return Table("What is lost on the unseen", rows or [{"pictures": "none"}], note)


def _change(ours: Entry, other: Entry, between: tuple[Condition, Condition]) -> dict[str, str]:
    leads = []
    for condition in between:
        mine, theirs = (over_seeds(e.scores[condition.key("psnr")]) for e in (ours, other))
        leads.append([a - b for a, b in zip(mine, theirs, strict=True)])
    seen, unseen = (mean_interval(lead, seed=0) for lead in leads)
    moved = mean_interval([b - a for a, b in zip(*leads, strict=True)], seed=0)
    return {"lead on the seen, dB": told(seen), "on the unseen, dB": told(unseen), "change, dB": told(moved)}


_DRAWINGS = (
    ("PSNR of held-out pictures while learning; stage one: of clean pictures, decoded", ""),
    ("windows by every method", "_pictures"),
    ("views of four pictures on two principal components, clean pictures as stars", "_space"),
)
_NOTES = (
    "Differences are paired by picture over the mean of trainings, with 95 % bootstrap intervals over pictures.",
    "The variants of DiR share stage one, frozen, so they differ in what aligns alone; the baseline of the paper's "
    "table 5 has a decoder of its own that reads r0 and learns for as long as the alignment network does.",
    "What D* decodes is stage one alone: of the pilot, by networks that never saw a degraded picture; of r0, though "
    "nothing ever told D* what r0 means. The paper does not say which of the two decoders its first row has.",
    "GMSD stands for the paper's LPIPS, whose backbone needs weights that are not shipped; lower is better.",
    "Held-out pictures draw the curves; nothing is chosen by them.",
)
