"""Fits and their intervals, against simulations and independent libraries."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import permutation_test
from sklearn.linear_model import LogisticRegression

from hf_listops.analysis.emergence_report import point_text
from hf_listops.analysis.transition import Fit, fit_transition, log2_ratio, slope_p_value

SIZES = np.array([696, 2160, 4392, 7392, 14_544, 27_072, 60_000, 103_296], dtype=np.float64)


def simulate(
    rng: np.random.Generator, seeds: int, truth: float = 14_000, slope: float = 6.0
) -> tuple[np.ndarray, np.ndarray]:
    """Each seed learns or does not, as near the transition in reality; the share of rows is high or low accordingly."""
    sizes = np.repeat(SIZES, seeds)
    learns = rng.random(len(sizes)) < 1 / (1 + np.exp(-slope * np.log10(sizes / truth)))
    return sizes, np.where(learns, rng.beta(30, 2, len(sizes)), rng.beta(1, 30, len(sizes)))


def simulate_smooth(
    rng: np.random.Generator, seeds: int, truth: float, slope: float = 3.0
) -> tuple[np.ndarray, np.ndarray]:
    """Every seed learns a part of the rows, more of them the larger the model."""
    sizes = np.repeat(SIZES, seeds)
    share = 1 / (1 + np.exp(-slope * np.log10(sizes / truth)))
    return sizes, rng.beta(20 * share, 20 * (1 - share))


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


@pytest.mark.parametrize("draw", [simulate, simulate_smooth])
@pytest.mark.parametrize("alone", [60_000, 95_000, 400_000])
def test_the_ratio_covers_the_truth_though_one_is_not_reached(
    draw: Callable[..., tuple[np.ndarray, np.ndarray]], alone: float
) -> None:
    """The rule of claim C2: of 100 simulated pairs at least 90 % of the intervals hold the true ratio, and at most 5 % of
    their lower ends lie above it, also where the transition alone is reached by chance or not at all."""
    rng = np.random.default_rng(0)
    covered = above = censored = 0
    for _ in range(100):
        inside = float(10 ** rng.uniform(3.8, 4.4))
        one = fit_transition(*draw(rng, 5, alone), interval=True)
        ratio = log2_ratio(one, fit_transition(*draw(rng, 5, inside), interval=True))
        assert ratio is not None
        assert ratio.low is not None
        assert ratio.high is not None
        truth = math.log2(alone / inside)
        covered += ratio.low <= truth <= ratio.high
        above += ratio.low > truth
        censored += one.where == "above"
    assert covered >= 90
    assert above <= 5
    assert censored > 0 if alone > 60_000 else censored < 75


def test_runs_that_all_but_reach_half_leave_the_bound_below_the_largest_size() -> None:
    """Five runs at 0.4 do not show that the transition lies beyond their size; five at 0 do."""
    sizes = np.repeat(SIZES, 5)
    rising = fit_transition(sizes, 0.4 * sizes / sizes.max(), interval=True)
    assert (rising.where, rising.size, rising.high) == ("above", 103_296, math.inf)
    assert rising.low is not None
    assert rising.low < 103_296
    nothing = fit_transition(sizes, np.zeros(40), interval=True)
    assert (nothing.where, nothing.low, nothing.high) == ("above", 103_296, math.inf)
    everything = fit_transition(sizes, np.ones(40), interval=True)
    assert (everything.where, everything.low, everything.high) == ("below", 0, 696)


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


@pytest.mark.parametrize("seed", range(4))
def test_the_p_value_is_that_of_a_permutation_test_of_the_score(seed: int) -> None:
    """Against SciPy's permutations, with two seeds, of runs that learn or do not, at sizes that matter little."""
    rng = np.random.default_rng(seed)
    sizes, shares = simulate(rng, 2, slope=0.7)
    x = np.log10(sizes)

    def score(of: np.ndarray) -> float:
        return float(((x - x.mean()) * of).sum())

    exact = permutation_test((shares,), score, permutation_type="pairings", n_resamples=20_000, rng=rng)
    assert slope_p_value(x, shares) == pytest.approx(exact.pvalue, abs=0.02)


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
    assert np.ptp(shares) > 0 or fit.p_value == 1


@pytest.mark.parametrize(("sizes", "shares"), [([1000.0], [0.7]), ([1000.0, 1000.0], [0.9, 0.8])])
def test_one_size_has_no_slope(sizes: list[float], shares: list[float]) -> None:
    fit = fit_transition(np.array(sizes), np.array(shares), interval=False)
    assert (fit.where, fit.slope, fit.p_value) == ("below", None, 1)
    mixed = fit_transition(np.array([1000.0, 1000.0]), np.array([0.3, 0.8]), interval=False)
    assert (mixed.where, mixed.slope, mixed.p_value) == ("falling", None, 1)
    assert point_text(mixed) == "one size alone"


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("change", [-0.01, 0.01])
def test_the_slope_has_the_sign_of_the_change(level: float, change: float) -> None:
    """Also where no run, or every run, is above 50 %, so that the 50 % point lies far from the sizes."""
    x = np.repeat(np.log10(SIZES), 2)
    fit = fit_transition(10**x, level + change * (x - x.mean()), interval=False)
    assert fit.slope is not None
    assert math.copysign(1, fit.slope) == math.copysign(1, change)
    assert fit.p_value < 0.01


def test_ratios_of_what_was_not_reached() -> None:
    within, above = Fit("within", 8000, 5, 0, 4000, 16_000), Fit("above", 64_000, 5, 0, 32_000, math.inf)
    below, falling = Fit("below", 1000, 5, 0, 0, 2000), Fit("falling", 64_000, -1, 0)
    same = log2_ratio(within, within)
    assert same is not None
    assert (same.bound, same.log2, same.low, same.high) == ("=", 0, -math.sqrt(2), math.sqrt(2))
    more = log2_ratio(above, within)
    assert more is not None
    assert (more.bound, more.log2, more.low, more.high) == (">", 3, 3 - math.sqrt(2), math.inf)
    less = log2_ratio(within, above)
    assert less is not None
    assert (less.bound, less.log2, less.low, less.high) == ("<", -3, -math.inf, math.sqrt(2) - 3)
    far = log2_ratio(above, below)
    assert far is not None
    assert (far.bound, far.log2, far.low, far.high) == (">", 6, 6 - math.sqrt(2), math.inf)
    assert log2_ratio(above, above) is None
    assert log2_ratio(below, below) is None
    assert log2_ratio(within, falling) is None
