"""The extension, the initialisation and the shuffled control, from hand-made records; the permutation test against SciPy."""

import re
from typing import Any

import numpy as np
import pytest
from scipy.stats import permutation_test

from hf_listops.analysis.emergence_controls import extension, initialisation, permutation_p, shuffled
from hf_listops.errors import ListOpsError

SUM, MIX = "sum-mod10-depth2", "max-med-sum-mod10-depth2"
SIZES = (2160, 7392, 27_072, 103_296)


def record(
    task: str, size: int, seed: int, exact: dict[str, float], budget: int = 10_000, **config: Any
) -> dict[str, Any]:
    return {
        "run": f"{task}-{size}-s{seed}", "task": task, "params_total": size, "seed": seed, "stopped": "budget",
        "final": {name: {"test": {"exact_match": share, "rows": 2000}} for name, share in exact.items()},
        "config": {"max_steps": budget, "variant": None, "initializer_range": 0.02} | config,
    }  # fmt: skip


def test_the_extension() -> None:
    inside = dict.fromkeys((MIX, SUM, "max-mod10-depth2", "med-mod10-depth2"), 1.0)
    records = [*(record(SUM, 100, s, {SUM: 0.1}) for s in (0, 1)), record(MIX, 100, 0, inside)]
    assert extension(records) == ["Not yet run."]
    records += [record(SUM, 200, s, {SUM: [0.61, 0.3][s]}) for s in (0, 1)]
    records += [record(SUM, 100, s, {SUM: [0.7, 0.8][s]}, 20_000) for s in (0, 1)]
    records += [record(SUM, 200, 0, {SUM: 0.2}, 20_000, variant="lr1e-3", learning_rate=1e-3)]
    assert extension(records)[2:] == [
        "| 10,000 steps | 0 of 2 (0.10, 0.10) | 1 of 2 (0.61, 0.30) | none of these sizes |",
        "| 20,000 steps | 2 of 2 (0.70, 0.80) | – | 100 |",
        "| 20,000 steps, lr1e-3 | – | 0 of 1 (0.20) | none of these sizes |",
    ]


def initialised(alone: float, inside: float, seeds: int, **config: Any) -> list[dict[str, Any]]:
    found = []
    for size in SIZES:
        for seed in range(seeds):
            found.append(record(SUM, size, seed, {SUM: 0.98 if size > alone else 0.02}, **config))
            share = 0.98 if size > inside else 0.02
            exact = {MIX: share, SUM: share, "max-mod10-depth2": share, "med-mod10-depth2": share}
            found.append(record(MIX, size, seed, exact, **config))
    return found


def test_another_initialisation() -> None:
    usual = [*initialised(10**6, 7392, 5), record(SUM, 10**6, 0, {SUM: 1})]  # a size that the other was not run at
    better = {"variant": "init0.1", "initializer_range": 0.1}
    lines = initialisation(initialised(27_072, 2160, 5, **better), usual)
    assert "| initialisation 0.02 | initialisation 0.1 |" in lines[0]
    assert re.match(
        r"\| alone \| > 103,296 \(not reached\) \| [45]\d,\d+ \| > [01]\.\d+ \| at least 0\.\d+ \|", lines[2]
    )
    assert re.match(r"\| inside MAX\+MED\+SUM \| 1\d,\d+ \| [34],\d+ \| 1\.[78]\d \| 0\.\d+ … [23]\.\d+ \|", lines[3])
    assert lines[-2].startswith("| initialisation 0.02 | > 2.")
    assert lines[-1].startswith("| initialisation 0.1 | 3.5")
    assert lines[-1].endswith("| yes |")
    same = initialisation(initialised(7392, 7392, 5, **better), usual)
    assert same[-1].endswith("| not shown: the interval holds 0 |")
    worse = initialisation(initialised(10**6, 10**6, 5, **better), usual)
    assert worse[-1].endswith("| open: reached by both or by neither |")
    few = initialisation(initialised(27_072, 2160, 4, **better), usual)
    assert few[-1].endswith("|  | no interval with fewer than 5 seeds a size |")
    longer = initialised(27_072, 2160, 1, **better, max_steps=20_000)
    assert "| – | 49," in initialisation(longer, usual)[2]  # what is usual has another budget
    with pytest.raises(ListOpsError, match=r"of 10,000 steps, init0\.1 and of 20,000 steps, init0\.1; another"):
        initialisation([*longer, *initialised(27_072, 2160, 1, **better)], usual)
    assert "| – | 49," in initialisation(initialised(27_072, 2160, 5, **better), [])[2]


def test_the_shuffled_control() -> None:
    assert shuffled([]) == ["Not yet run."]
    alone, mix = "shuf-mod10-depth2", "max-med-shuf-mod10-depth2"
    records = []
    for size in (100, 200):
        for seed in range(3):
            records.append(record(alone, size, seed, {alone: 0.1 + seed / 100}))
            records.append(record(mix, size, seed, {mix: 1, alone: (0.6 if size == 200 else 0.2) + seed / 100}))
    lines = shuffled(records)
    assert lines[2:4] == [
        "| SHUF | 100 | 0 of 3, 0.110 | 0 of 3, 0.210 | +0.100 |",
        "| SHUF | 200 | 0 of 3, 0.110 | 3 of 3, 0.610 | +0.500 |",
    ]
    # All joint runs above all others at both sizes: 2 of the 20 x 20 choices are as far out.
    assert lines[-1] == "SHUF: joint training helps (mean difference in exact match +0.300 over 2 sizes, p = 0.005)."
    swapped = [record(alone, 100, s, {alone: 0.1 + 0.1 * s}) for s in range(3)]
    swapped += [record(mix, 100, s, {mix: 1, alone: 0.3 - 0.1 * s}) for s in range(3)]
    assert "makes no difference that these runs show" in shuffled(swapped)[-1]
    assert len(shuffled(swapped[:3])) == 4  # no joint run yet: a table, no answer


@pytest.mark.parametrize("seed", range(3))
def test_the_permutation_test_of_one_stratum_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    without, treated = rng.integers(0, 2000, 4), rng.integers(400, 2000, 4)
    exact = permutation_test((treated, without), lambda a, b: a.sum() - b.sum(), n_resamples=10_000)
    assert permutation_p([(without.tolist(), treated.tolist())]) == pytest.approx(exact.pvalue, abs=1e-12)


def test_the_permutation_test_over_strata_is_that_of_all_choices() -> None:
    from itertools import combinations, product

    groups = [([1, 5, 2], [4, 9, 3]), ([2, 2], [7, 1])]
    choices = [[sum(c) for c in combinations([*a, *b], len(b))] for a, b in groups]
    sums = np.array([sum(choice) for choice in product(*choices)])
    expected = np.mean(np.abs(sums - sums.mean()) >= abs(24 - sums.mean()) - 1e-9)
    assert permutation_p(groups) == pytest.approx(expected)
