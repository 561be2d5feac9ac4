"""What stands beside claim C2: longer and slower training of SUM alone, another initialisation, and a shuffled SUM.

Each function turns records into lines of Markdown with every number that its README shows, and says so where there are no
records yet.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations

from hf_listops.analysis.emergence import SEEDS_FOR_AN_INTERVAL, Record, emergence_of, finished
from hf_listops.analysis.emergence_report import point_text, ratio_interval_text, ratio_text, setting_text
from hf_listops.analysis.transition import SOLVED, Fit, Ratio, log2_ratio
from hf_listops.errors import ListOpsError
from hf_listops.language import Task

_NONE = ["Not yet run."]


def extension(records: Sequence[Record]) -> list[str]:
    """At which size and budget is SUM alone learned? Seeds above 50 % for each size, budget and variant.

    The sizes are those at which SUM alone was run in any other setting than that of the claims, or was the only mix.
    """
    mixes = defaultdict(set)
    cells: dict[tuple[int, str | None], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in finished(records):
        setting, size = (record["config"]["max_steps"], record["config"]["variant"]), record["params_total"]
        mixes[setting, size].add(record["task"])
        if Task.from_name(record["task"]).mix == "SUM":
            cells[setting][size].append(record["final"][record["task"]]["test"]["exact_match"])
    sizes = sorted({size for (_, size), names in mixes.items() if {Task.from_name(n).mix for n in names} == {"SUM"}})
    if not sizes:
        return _NONE
    lines = [f"| SUM alone | {' | '.join(f'{size:,} parameters' for size in sizes)} | most seeds learn it at |"]
    lines.append("|---" * (len(sizes) + 2) + "|")
    for setting in sorted(cells, key=lambda of: (of[1] or "", of[0])):
        at = cells[setting]
        learned = [f"{size:,}" for size in sizes if at[size] and 2 * _learned(at[size]) > len(at[size])]
        shown = " | ".join(_cell(at[size]) for size in sizes)
        lines.append(f"| {setting_text(*setting)} | {shown} | {', '.join(learned) or 'none of these sizes'} |")
    return lines


def _learned(shares: Sequence[float]) -> int:
    return sum(share > SOLVED for share in shares)


def _cell(shares: Sequence[float]) -> str:
    """`1 of 2 learn it (0.62, 0.31)`."""
    return f"{_learned(shares)} of {len(shares)} ({', '.join(f'{share:.2f}' for share in shares)})" if shares else "–"


def initialisation(records: Sequence[Record], usual: Sequence[Record]) -> list[str]:
    """How far does another initialisation move the transition of SUM, alone and inside its mix, and is there still a gain?

    Args:
        records: runs of SUM alone and of one mix with SUM, with the other initialisation.
        usual: runs with the usual one, of which those of the same tasks, sizes and budget are compared.

    Raises:
        ListOpsError: the records are of several budgets or variants.
    """
    good = finished(records)
    settings = sorted({setting_text(run["config"]["max_steps"], run["config"]["variant"]) for run in good})
    if len(settings) > 1:
        raise ListOpsError(
            f"records: they are of {' and of '.join(settings)}; another initialisation is compared at one budget and variant"
        )
    tasks, sizes = {record["task"] for record in good}, {record["params_total"] for record in good}
    same = [
        record
        for record in finished(usual)
        if record["task"] in tasks
        and record["params_total"] in sizes
        and (record["config"]["max_steps"], record["config"]["variant"]) == (good[0]["config"]["max_steps"], None)
    ]
    fits: list[list[Fit | None]] = []  # for each measured thing, with the usual initialisation and with the other
    mixes = sorted((Task.from_name(task).mix for task in tasks), key=len)
    for mix in mixes:
        fits.append([])
        for runs in (same, good):
            curves = [c for c in emergence_of(runs).curves if c.mix == mix and c.operation in (None, "SUM")]
            # Inside a mix, the curve of SUM; alone, the mix is SUM.
            curve = next((c for c in curves if (c.operation == "SUM") == (mix != "SUM")), None)
            fits[-1].append(None if curve is None else curve.fit)
    scales = [", ".join(sorted({f"{run['config']['initializer_range']}" for run in runs})) for runs in (same, good)]
    lines = [
        f"| transition of SUM, parameters | initialisation {scales[0] or 'usual'} | initialisation {scales[1]} "
        "| log2 of their ratio (above 0: fewer with the second) | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    for mix, pair in zip(mixes, fits, strict=True):
        points = " | ".join("–" if fit is None else point_text(fit) for fit in pair)
        lines.append(f"| {'alone' if mix == 'SUM' else f'inside {mix}'} | {points} | {_shown(_ratio(*pair))} |")
    if len(mixes) == 2:
        gains = [_ratio(alone, inside) for alone, inside in zip(*fits, strict=True)]
        lines += ["", "| joint training | log2(alone / inside) | 95 % interval | a gain? |", "|---|---|---|---|"]
        for scale, gain in zip(scales, gains, strict=True):
            lines.append(f"| initialisation {scale or 'usual'} | {_shown(gain)} | {_is_gain(gain)} |")
    return lines


def _ratio(one: Fit | None, other: Fit | None) -> Ratio | None:
    return None if one is None or other is None else log2_ratio(one, other)


def _shown(ratio: Ratio | None) -> str:
    return "open | " if ratio is None else f"{ratio_text(ratio)} | {ratio_interval_text(ratio)}"


def _is_gain(ratio: Ratio | None) -> str:
    if ratio is None:
        return "open: reached by both or by neither"
    if ratio.low is None or ratio.high is None:
        return f"no interval with fewer than {SEEDS_FOR_AN_INTERVAL} seeds a size"
    return "yes" if ratio.low > 0 else "a loss" if ratio.high < 0 else "not shown: the interval holds 0"


def shuffled(records: Sequence[Record]) -> list[str]:
    """Does joint training help an operation without number structure? SHUF and SYMSHUF alone against inside their mix.

    The p value is of an exact permutation test of the difference, two-sided: which runs are joint is permuted within each
    size. It is valid with any number of seeds.
    """
    groups: dict[str, dict[int, dict[str, list[tuple[int, int]]]]] = {"SHUF": {}, "SYMSHUF": {}}
    for record in finished(records):
        task = Task.from_name(record["task"])
        for operation in set(task.operations) & set(groups):
            test = record["final"][task.alone(operation).name]["test"]
            at = groups[operation].setdefault(record["params_total"], defaultdict(list))
            place = "alone" if task.mix == operation else "inside"
            at[place].append((round(test["exact_match"] * test["rows"]), test["rows"]))
    if not any(groups.values()):
        return _NONE
    lines = ["| operation | parameters | alone: seeds that learn it, mean | inside the mix | difference |"]
    lines.append("|---|---|---|---|---|")
    sentences = []
    for operation, at_sizes in groups.items():
        pairs, differences = [], []
        for size, at in sorted(at_sizes.items()):
            shares = {place: [solved / rows for solved, rows in at[place]] for place in ("alone", "inside")}
            difference = ""
            if all(shares.values()):
                pairs.append(([s for s, _ in at["alone"]], [s for s, _ in at["inside"]]))
                differences.append(_mean(shares["inside"]) - _mean(shares["alone"]))
                difference = f"{differences[-1]:+.3f}"
            cells = " | ".join(
                f"{_learned(of)} of {len(of)}, {_mean(of):.3f}" if of else "–" for of in shares.values()
            )
            lines.append(f"| {operation} | {size:,} | {cells} | {difference} |")
        if differences:
            p_value, mean = permutation_p(pairs), _mean(differences)
            answer = (
                ("helps" if mean > 0 else "hurts") if p_value < 0.05 else "makes no difference that these runs show"
            )
            sentences.append(
                f"{operation}: joint training {answer} (mean difference in exact match {mean:+.3f} over "
                f"{len(differences)} sizes, p = {p_value:.2g})."
            )
    return [*lines, "", *sentences]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def permutation_p(groups: Sequence[tuple[Sequence[int], Sequence[int]]]) -> float:
    """The two-sided p value of an exact permutation test, stratified.

    Args:
        groups: for each stratum the values without and with the treatment. The statistic is the sum of the values with
            it; its distribution over all choices of the treated, within strata, is made by convolution.
    """
    ways: Counter[int] = Counter({0: 1})
    for without, treated in groups:
        sums = Counter(sum(chosen) for chosen in combinations([*without, *treated], len(treated)))
        ways = _convolved(ways, sums)
    total = sum(ways.values())
    mean_times_total = sum(value * count for value, count in ways.items())
    observed = sum(sum(treated) for _, treated in groups)
    far = abs(observed * total - mean_times_total)
    return sum(count for value, count in ways.items() if abs(value * total - mean_times_total) >= far) / total


def _convolved(one: Counter[int], other: Counter[int]) -> Counter[int]:
    found: Counter[int] = Counter()
    for value, count in one.items():
        for more, times in other.items():
            found[value + more] += count * times
    return found
