"""C7 on comparisons with known differences: every branch of the rule."""

import pytest

from hf_listops.analysis.reliance import Comparison, Difference, Group, Mean
from hf_listops.analysis.reliance_verdict import verdict

PURE, MIXED = "pure SUM mod 10", "mixed SUM mod 10"


def judged(
    low: float, *, value: float = 0.2, apart: float = 0.01, models: int = 3, above: float = 0.9, pure: str = PURE
) -> str:
    group = [Group(name, tuple(f"m{j}" for j in range(models)), {}) for name in (pure, MIXED)]
    difference = Difference(pure, MIXED, Mean(value, low, 0.5), Mean(0.1, 0.0, 0.2), Mean(apart, apart, apart))
    return verdict(Comparison(above, (), tuple(group), (difference,), {})).verdict


def test_the_interval_decides() -> None:
    assert judged(0.01) == "reproduced"
    assert judged(-0.01) == "not reproduced"
    assert judged(-0.3, value=-0.2) == "not reproduced"


@pytest.mark.parametrize(
    "unfair", [{"apart": 0.1}, {"apart": -0.1}, {"models": 2}, {"above": 0.5}, {"pure": "pure MAX mod 10"}]
)
def test_an_unfair_comparison_is_none(unfair: dict[str, object]) -> None:
    assert judged(0.01, **unfair) == "not yet run"  # type: ignore[arg-type]


def test_no_models() -> None:
    assert verdict(Comparison(0.9, (), (), (), {})).verdict == "not yet run"


def test_all_set_ups_must_agree() -> None:
    groups = [Group(f"{kind} SUM mod {n}", ("a", "b", "c"), {}) for n in (10, 26) for kind in ("pure", "mixed")]
    equal = Mean(0.0, 0.0, 0.0)

    def difference(n: int, low: float) -> Difference:
        return Difference(f"pure SUM mod {n}", f"mixed SUM mod {n}", Mean(0.2, low, 0.4), equal, equal)

    both = (difference(10, 0.1), difference(26, 0.1))
    assert verdict(Comparison(0.9, (), tuple(groups), both, {})).verdict == "reproduced"
    one = (difference(10, 0.1), difference(26, -0.1))
    assert verdict(Comparison(0.9, (), tuple(groups), one, {})).verdict == "not reproduced"
