import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from hf_listops.analysis.emergence import analyze, emergence_of, fit_transition, separated
from hf_listops.analysis.emergence_report import markdown, write_report
from hf_listops.errors import ListOpsError
from hf_listops.hub.records import RESULTS_VERSION

SIZES = np.array([696, 2160, 4392, 7392, 14_544, 27_072, 60_000, 103_296], dtype=np.float64)


def simulate(
    rng: np.random.Generator, seeds: int, truth: float = 14_000, slope: float = 6.0
) -> tuple[np.ndarray, np.ndarray]:
    """Each seed learns or does not, as near the transition in reality; the share of rows is high or low accordingly."""
    sizes = np.repeat(SIZES, seeds)
    learns = rng.random(len(sizes)) < 1 / (1 + np.exp(-slope * np.log10(sizes / truth)))
    return sizes, np.where(learns, rng.beta(30, 2, len(sizes)), rng.beta(1, 30, len(sizes)))


@pytest.mark.parametrize("slope", [4.0, 12.0])
def test_the_interval_covers_the_truth(slope: float) -> None:
    """With five seeds a size, at least 90 % of 200 simulated sweeps, of a blurred and of a sharp transition."""
    rng = np.random.default_rng(int(slope))
    covered = 0
    for _ in range(200):
        truth = float(10 ** rng.uniform(3.8, 4.6))
        fit = fit_transition(*simulate(rng, 5, truth, slope), interval=True)
        assert fit.low is not None
        assert fit.high is not None
        covered += fit.low <= truth <= fit.high
    assert covered >= 180


def test_the_point_is_that_of_a_logistic_regression_on_rows() -> None:
    """Against scikit-learn on the expanded rows, where separation is not perfect."""
    sizes, shares = simulate(np.random.default_rng(1), 5, slope=4.0)
    solved = np.round(shares * 200).astype(int)
    x = np.repeat(np.log10(sizes), 200)[:, None]
    y = np.concatenate([np.arange(200) < count for count in solved])
    reference = LogisticRegression(C=1e9, tol=1e-9, max_iter=1000).fit(x, y)
    point = 10 ** (-reference.intercept_[0] / reference.coef_[0, 0])
    fit = fit_transition(sizes, solved / 200, interval=False)
    assert fit.size == pytest.approx(point, rel=1e-3)
    assert fit.slope == pytest.approx(reference.coef_[0, 0], rel=1e-3)
    assert (fit.where, fit.low) == ("within", None)


def test_perfect_separation_lies_in_the_gap() -> None:
    sizes = np.repeat(SIZES, 5)
    fit = fit_transition(sizes, (sizes > 10_000) * 0.98 + 0.01, interval=True)
    assert fit.where == "within"
    assert 7392 < fit.size < 14_544
    assert fit.low is not None
    assert fit.high is not None
    assert fit.low <= 7392 * 1.05
    assert fit.high >= 14_544 * 0.95
    assert fit.p_value < 1e-6


@pytest.mark.parametrize(
    ("shares", "where", "size"),
    [
        (np.full(8, 0.9), "below", 696),
        (np.full(8, 0.1), "above", 103_296),
        (np.zeros(8), "above", 103_296),
        (np.ones(8), "below", 696),
        (np.linspace(0.9, 0.05, 8), "falling", 103_296),
        (np.array([0.0, 0.9, 0.0, 0.9, 0.0, 0.9, 0.0, 0.9]), "within", None),
    ],
)
def test_cases_with_no_simple_answer(shares: np.ndarray, where: str, size: float | None) -> None:
    fit = fit_transition(SIZES, shares, interval=False)
    assert fit.where == where
    assert size is None or fit.size == size
    assert 0 <= fit.p_value <= 1


def test_one_run() -> None:
    assert fit_transition(np.array([1000.0]), np.array([0.7]), interval=False).where == "below"


def records(transitions: dict[str, dict[str, float]], seeds: int, budget: int = 100) -> list[dict[str, Any]]:
    """Sharp synthetic records: for each task and each measured task the size from which on it is solved."""
    found = []
    for task, measured in transitions.items():
        for size in SIZES:
            for seed in range(seeds):
                final = {name: {"test": {"exact_match": 0.97 if size > at else 0.02}} for name, at in measured.items()}
                found.append(
                    {
                        "run": f"{task}-{size}-{seed}-{budget}", "hash": f"{task}-{size}-{seed}-{budget}", "task": task,
                        "seed": seed, "params_total": int(size), "final": final, "stopped": "budget",
                        "config": {"max_steps": budget, "variant": None}, "results_version": RESULTS_VERSION,
                    }
                )  # fmt: skip
    return found


SUM, MIX, MAX = "sum-mod10-depth2", "max-sum-mod10-depth2", "max-mod10-depth2"


def test_mixes_operations_and_synergies() -> None:
    transitions = {SUM: {SUM: 60_000}, MAX: {MAX: 2160}, MIX: {MIX: 7392, SUM: 7392, MAX: 2160}}
    found = emergence_of(records(transitions, 5))
    assert [(c.mix, c.operation) for c in found.curves] == [
        ("MAX", None), ("MAX+SUM", None), ("SUM", None), ("MAX+SUM", "MAX"), ("MAX+SUM", "SUM"),
    ]  # fmt: skip
    assert len(separated(found.curves)) == 3
    of = {(s.mix, s.operation): s for s in found.synergies}
    gain = of["MAX+SUM", "SUM"]
    assert gain.bound == "="
    assert gain.log2_ratio == pytest.approx(
        math.log2(math.sqrt(60_000 * 103_296) / math.sqrt(7392 * 14_544)), abs=0.05
    )
    assert gain.low is not None
    assert 0 < gain.low < gain.log2_ratio < (gain.high or 0)
    none = of["MAX+SUM", "MAX"]
    assert none.low is not None
    assert none.low < 0 < (none.high or 0)


def test_a_censored_operation_counts_with_its_bound_and_few_seeds_give_no_interval() -> None:
    transitions = {SUM: {SUM: 1e9}, MIX: {MIX: 7392, SUM: 7392, MAX: 2160}}
    censored = {s.operation: s for s in emergence_of(records(transitions, 5)).synergies}["SUM"]
    assert censored.bound == ">"
    assert censored.low is not None
    assert 0 < censored.low < censored.log2_ratio
    few = emergence_of(records(transitions, 2))
    assert all(curve.fit.low is None for curve in few.curves)
    assert all(s.low is None for s in few.synergies)


def test_budgets_are_kept_apart() -> None:
    both = records({SUM: {SUM: 1e9}}, 1, 100) + records({SUM: {SUM: 7392}}, 1, 200)
    assert [(c.budget, c.fit.where) for c in emergence_of(both).curves] == [(100, "above"), (200, "within")]


def test_report(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    of = records({SUM: {SUM: 1e9}, MIX: {MIX: 7392, SUM: 7392, MAX: 2160}}, 5)
    path.write_text(
        "".join(
            json.dumps(record) + "\n"
            for record in [*of, {"hash": "x", "stopped": "error", "results_version": RESULTS_VERSION}]
        )
    )
    found = analyze(path)
    paths = write_report(found, tmp_path / "out")
    assert {p.name for p in paths} == {"emergence-100.png", "emergence-100.svg", "emergence.json", "emergence.md"}
    numbers = json.loads((tmp_path / "out" / "emergence.json").read_text())
    assert (numbers["runs"], numbers["errors"]) == (80, 1)
    assert numbers["curves"][0]["fit"]["where"] == "within"
    text = (tmp_path / "out" / "emergence.md").read_text()
    assert text == markdown(found)
    assert "| SUM | the mix | 40 | 5 | > 103,296 (not reached) |" in text
    assert all(p.stat().st_size > 500 for p in paths)


def test_no_records(tmp_path: Path) -> None:
    with pytest.raises(ListOpsError, match="holds no finished run"):
        analyze(tmp_path / "none.jsonl")
