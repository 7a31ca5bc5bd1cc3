"""What `kubectl gptoss simulate` prints and writes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gptoss_operator.sim.contract import Result
from gptoss_operator.sim.policies.table import STATIC
from gptoss_operator.sim.report.compare import LEAST_SEEDS, Curve, NotComparable, saving
from gptoss_operator.sim.report.document import page, results_json
from gptoss_operator.sim.report.plots import label_of, pareto, timeline
from gptoss_operator.sim.report.runs import Job
from gptoss_operator.sim.report.table import results_table


Groups = Mapping[str, Curve]
"""Curves by the names of policies."""


def write_report(out: Path, jobs: Sequence[Job], results: Sequence[Result], notes: Iterable[str]) -> str:
    """Write `report.html`, its pictures and `results.json` into `out`. Return what is printed."""
    out.mkdir(parents=True, exist_ok=True)
    texts = ["\n".join(notes)]
    pictures: list[str] = []
    for name in dict.fromkeys(job.recipe.name for job in jobs):
        pairs = [(job, result) for job, result in zip(jobs, results, strict=True) if job.recipe.name == name]
        groups = _groups(pairs)
        table = results_table((label, runs) for curve in groups.values() for label, runs in curve.items())
        texts.append(f"{name}: {label_of([result for _, result in pairs])}\n\n{table}\n\n{_compared(groups)}")
        shown = [result for job, result in pairs if job.detailed and (job.group != STATIC)]
        drawn = {
            f"{_plain(name)}-over-time.svg": timeline(shown, pairs[0][0].recipe.duration),
            f"{_plain(name)}-cost.svg": pareto(groups, f"Cost and requests in time, {name}"),
        }
        for file, picture in drawn.items():
            (out / file).write_text(picture)
        pictures += drawn.values()
    label = label_of(results)
    (out / "results.json").write_text(results_json({"notes": list(notes), "label": label}, results))
    (out / "report.html").write_text(page("What scaling would have cost", label, texts, pictures))
    return "\n\n".join(texts) + f"\n\nPictures and all numbers: {out / 'report.html'}, {out / 'results.json'}\n"


def _groups(pairs: Iterable[tuple[Job, Result]]) -> dict[str, dict[str, list[Result]]]:
    groups: dict[str, dict[str, list[Result]]] = {}
    for job, result in pairs:
        groups.setdefault(job.group, {}).setdefault(result.policy, []).append(result)
    return groups


def _compared(groups: Groups) -> str:
    """Return what may be said of who is cheaper: at the attainment of the user's policy, or why nothing may."""
    (name, ours), *others = groups.items()
    (results,) = ours.values()
    if len(results) < LEAST_SEEDS:
        return f"Costs are not compared: that takes {LEAST_SEEDS} seeds at least (--seeds {LEAST_SEEDS})."
    lines = []
    for other, curve in others:
        try:
            found = saving(curve, results)
        except NotComparable as error:
            lines.append(f"{name} and {other}: costs are not compared: {error}")
        else:
            lines.append(
                f"at {found.attainment:.2%} in time, {name} costs {found.other_cost:.2f} and {other} {found.cost:.2f}: "
                f"{other} saves {found.saved.text(100, ' %')} (below zero: costs more), 95 % interval over "
                f"{found.saved.seeds} seeds"
            )
    return "\n".join(lines)


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name).strip("-").replace("--", "-")
