"""A results folder made from its records: pictures, tables, and the marked sections of its README."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from hf_listops.analysis.emergence import Emergence, Record, emergence_of, finished, read_finished
from hf_listops.analysis.emergence_controls import extension, initialisation, shuffled
from hf_listops.analysis.emergence_report import setting_text, transition_table, write_report
from hf_listops.analysis.emergence_verdicts import BUDGET, verdicts
from hf_listops.analysis.pages import Sections, refresh, verdict_table


@dataclass(frozen=True)
class Results:
    """The records of a results folder, how many runs its recipe asks for (None without one), and the records of the
    usual set-up that a variant is compared with."""

    records: Sequence[Record]
    planned: int | None = None
    usual: Sequence[Record] = field(default=())

    @cached_property
    def emergence(self) -> Emergence:
        return emergence_of(self.records)


def write_results(records: Path, out: Path, planned: int | None = None, against: Path | None = None) -> list[Path]:
    """Writes the report of a results file to a folder and refreshes the README there, if there is one.

    Returns the paths written.

    Raises:
        ListOpsError: one of the files holds no finished run, or the README asks for an unknown section.
    """
    usual = read_finished(against, "against") if against else ()
    results = Results(read_finished(records), planned, usual)
    page = refresh(out, sections(results))  # first: a wrong page leaves all as it was
    return [*write_report(results.emergence, out), *page]


def sections(results: Results) -> Sections:
    """The sections that a page of emergence may show."""
    return {name: partial(section, results) for name, section in SECTIONS.items()}


def _progress(results: Results) -> list[str]:
    done, errors = results.emergence.runs, results.emergence.errors
    of = f" of {results.planned}" if results.planned is not None else ""
    state = "Complete" if done == results.planned else "Under way"
    return [f"**{state}: {done}{of} runs done**{f', {errors} ended in an error' if errors else ''}."]


def _verdicts(results: Results) -> list[str]:
    return verdict_table(*verdicts(results.emergence))


def _transitions(results: Results) -> list[str]:
    """The tables of all settings that more than one mix was run in; those of a single mix are controls."""
    mixes: dict[tuple[int, str | None], set[str]] = defaultdict(set)
    for curve in results.emergence.curves:
        mixes[curve.budget, curve.variant].add(curve.mix)
    lines: list[str] = []
    for setting in (setting for setting, of in mixes.items() if len(of) > 1 or len(mixes) == 1):
        title = f"{setting_text(*setting)}, total parameters at which exact match crosses 50 %:"
        lines += [*([""] if lines else []), title, "", *transition_table(results.emergence, *setting)]
    return lines


def _hours(results: Results) -> list[str]:
    seconds: Counter[tuple[int, str | None]] = Counter()
    runs: Counter[tuple[int, str | None]] = Counter()
    for record in finished(results.records):
        setting = record["config"]["max_steps"], record["config"]["variant"]
        seconds[setting] += record["seconds"]
        runs[setting] += 1
    lines = ["| part | runs done | core hours |", "|---|---|---|"]
    for setting in sorted(runs, key=lambda of: (of[1] or "", of[0])):
        lines.append(f"| {setting_text(*setting)} | {runs[setting]} | {seconds[setting] / 3600:.2f} |")
    return [*lines, f"| together | {runs.total()} | {seconds.total() / 3600:.2f} |"]


def _figure(results: Results) -> list[str]:
    """The picture of the claims' budget, or of the first there is."""
    settings = [(curve.budget, curve.variant) for curve in results.emergence.curves]
    budget, variant = (BUDGET, None) if (BUDGET, None) in settings else settings[0]
    name = f"emergence-{budget}" + (f"-{variant}" if variant else "")
    return [f"![Exact match against total parameters, {setting_text(budget, variant)}]({name}.png)"]


SECTIONS: dict[str, Callable[[Results], list[str]]] = {
    "progress": _progress,
    "figure": _figure,
    "verdicts": _verdicts,
    "transitions": _transitions,
    "extension": lambda results: extension(results.records),
    "initialisation": lambda results: initialisation(results.records, results.usual),
    "shuffled": lambda results: shuffled(results.records),
    "hours": _hours,
}
