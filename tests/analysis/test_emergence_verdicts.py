"""The rules of C1 and C2 on synthetic records whose verdict is plain."""

import math
import re
from typing import Any

import numpy as np
import pytest

from hf_listops.analysis.emergence import emergence_of
from hf_listops.analysis.emergence_verdicts import MIXES, verdicts
from hf_listops.analysis.pages import Verdict
from hf_listops.language import Task

SIZES = (696, 2160, 4392, 7392, 15_696, 27_072, 59_040, 103_296)
NEEDS_INTERVAL = {f"{mix}-mod10-depth2" for mix in ("sum", "max-sum", "med-sum", "max-med-sum")}
ALONE = {"MAX": 1000, "MIN": 1000, "MED": 5000, "SUM": 10**9}


def sweep(
    inside: float = 5000, seeds: int = 5, sum_alone: float = 10**9, budget: int = 10_000
) -> list[dict[str, Any]]:
    """Records of all 15 mixes: each operation is solved from a size on, alone and inside a mix."""
    found = []
    alone = {**ALONE, "SUM": sum_alone}
    for mix in MIXES:
        task = Task(tuple(mix.split("+")))
        for size in SIZES:
            for seed in range(seeds):
                shares = {}
                for operation in task.operations:
                    at = alone[operation] if len(task.operations) == 1 else inside
                    shares[task.alone(operation).name] = 0.99 if size > at else 0.01
                shares[task.name] = float(np.mean(list(shares.values())))
                found.append(
                    {
                        "run": f"{task.name}-{size}-s{seed}", "task": task.name, "seed": seed, "params_total": size,
                        "final": {name: {"test": {"exact_match": share}} for name, share in shares.items()},
                        "config": {"max_steps": budget, "variant": None}, "stopped": "budget",
                    }
                )  # fmt: skip
    return found


def of(records: list[dict[str, Any]]) -> tuple[Verdict, Verdict]:
    return verdicts(emergence_of(records))


def test_all_fifteen_mixes() -> None:
    assert len(set(MIXES)) == 15
    assert all(Task(tuple(mix.split("+"))).mix == mix for mix in MIXES)


def test_reproduced() -> None:
    c1, c2 = of(sweep())
    assert (c1.claim, c1.verdict) == ("C1", "reproduced")
    assert "for 14 of 15 mixes, not for SUM (p = 1)" in c1.because
    assert (c2.claim, c2.verdict) == ("C2", "reproduced")
    gains = re.findall(r"(\S+) > (\d\.\d\d) \(at least (\d\.\d\d)\)", c2.because)
    assert [mix for mix, _, _ in gains] == ["MAX+SUM", "MED+SUM", "MAX+MED+SUM"]
    for _, gain, low in gains:
        assert float(gain) == pytest.approx(math.log2(103_296 / math.sqrt(4392 * 7392)), abs=0.2)
        assert 0 < float(low) < float(gain)
    assert "alone: SUM > 103,296 (not reached), MAX 1," in c2.because
    assert c2.line == f"reproduced: {c2.because}"


def test_no_records_and_the_wrong_budget_are_not_yet_run() -> None:
    for records in ([], sweep(budget=9999), [{**r, "config": {**r["config"], "variant": "v"}} for r in sweep()]):
        c1, c2 = of(records)
        assert c1.line == "not yet run: 0 of 15 mixes measured with 2 seeds or more at 7 sizes or more"
        assert c2.line.startswith("not yet run: SUM has 0 of 5 seeds, MAX+SUM has 0 of 5 seeds")


def test_what_is_missing_is_said() -> None:
    c1, c2 = of(sweep(seeds=4))
    assert c1.verdict == "reproduced"
    names = ("SUM", "MAX+SUM", "MED+SUM", "MAX+MED+SUM")
    assert c2.line == f"not yet run: {', '.join(f'{name} has 4 of 5 seeds' for name in names)}"
    part = [
        r for r in sweep() if r["task"] != "max-med-sum-mod10-depth2" or (r["seed"], r["params_total"]) != (3, 696)
    ]
    c1, c2 = of(part)
    assert c1.verdict == "reproduced"
    assert c2.line == "not yet run: MAX+MED+SUM has 4 of 5 seeds"
    c1, c2 = of([r for r in sweep() if r["task"] != "min-mod10-depth2"])
    assert c1.line == "not yet run: 14 of 15 mixes measured with 2 seeds or more at 7 sizes or more"
    assert c2.line == "not yet run: MIN has 0 of 2 seeds"
    c1, c2 = of([r for r in sweep() if r["task"] != "min-mod10-depth2" or r["params_total"] in SIZES[:6]])
    assert c1.line == "not yet run: 14 of 15 mixes measured with 2 seeds or more at 7 sizes or more"
    assert c2.line == "not yet run: MIN has 6 of 7 sizes"
    c1, c2 = of([r for r in sweep() if r["seed"] == 0 or r["task"] in NEEDS_INTERVAL])
    assert c1.line == "not yet run: 4 of 15 mixes measured with 2 seeds or more at 7 sizes or more"
    assert c2.line == "not yet run: MAX has 1 of 2 seeds, MIN has 1 of 2 seeds, MED has 1 of 2 seeds"
    _, c2 = of([r for r in sweep() if r["task"] != "sum-mod10-depth2" or r["params_total"] < 100_000])
    assert "MAX+SUM and SUM were run at different sizes" in c2.because


@pytest.mark.parametrize(
    ("inside", "sum_alone", "reason"),
    [
        (60_000, 10**9, "the gain's interval holds 0"),
        (10**9, 10**9, "SUM is learned nowhere"),
        (50_000, 5000, "the mix needs more"),
        (800, 3000, "MED is harder than SUM"),
    ],
)
def test_c2_not_reproduced(inside: float, sum_alone: float, reason: str) -> None:
    assert of(sweep(inside, sum_alone=sum_alone))[1].verdict == "not reproduced", reason


def test_c1_not_reproduced_where_size_does_not_matter() -> None:
    flat = sweep()
    for place, record in enumerate(flat):
        if "sum" in record["task"] or record["task"].startswith("min"):
            for test in record["final"].values():
                test["test"]["exact_match"] = 0.9 if place % 2 else 0.1
    c1 = of(flat)[0]
    assert c1.verdict == "not reproduced"
    assert "for 5 of 15 mixes, not for" in c1.because
