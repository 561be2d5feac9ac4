import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_listops.analysis.emergence import analyze, emergence_of
from hf_listops.analysis.emergence_report import markdown, write_report
from hf_listops.errors import ListOpsError
from hf_listops.hub.records import RESULTS_VERSION

SIZES = np.array([696, 2160, 4392, 7392, 14_544, 27_072, 60_000, 103_296], dtype=np.float64)


def records(
    transitions: dict[str, dict[str, float]], seeds: int, budget: int = 100, **config: Any
) -> list[dict[str, Any]]:
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
                        "config": {"max_steps": budget, "variant": None, **config}, "results_version": RESULTS_VERSION,
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
    of = {(s.mix, s.operation): s for s in found.synergies}
    gain = of["MAX+SUM", "SUM"].ratio
    assert gain.bound == "="
    assert gain.log2 == pytest.approx(math.log2(math.sqrt(60_000 * 103_296) / math.sqrt(7392 * 14_544)), abs=0.05)
    assert gain.low is not None
    assert 0 < gain.low < gain.log2 < (gain.high or 0)
    none = of["MAX+SUM", "MAX"].ratio
    assert none.low is not None
    assert none.low < 0 < (none.high or 0)


def test_a_censored_operation_counts_with_its_bound_and_few_seeds_give_no_interval() -> None:
    transitions = {SUM: {SUM: 1e9}, MIX: {MIX: 7392, SUM: 7392, MAX: 2160}}
    censored = {s.operation: s.ratio for s in emergence_of(records(transitions, 5)).synergies}["SUM"]
    assert (censored.bound, censored.high) == (">", math.inf)
    assert censored.low is not None
    assert 0 < censored.low < censored.log2
    few = emergence_of(records(transitions, 4))
    assert all(curve.fit.low is None for curve in few.curves)
    assert all(s.ratio.low is None for s in few.synergies)


def test_budgets_and_variants_are_kept_apart() -> None:
    late, soon = {SUM: {SUM: 1e9}}, {SUM: {SUM: 7392}}
    both = (
        records(late, 1, 100) + records(soon, 1, 200) + records(soon, 1, 100, variant="init0.1", initializer_range=0.1)
    )
    found = emergence_of(both)
    assert [(c.budget, c.variant, c.fit.where) for c in found.curves] == [
        (100, None, "above"), (100, "init0.1", "within"), (200, None, "within"),
    ]  # fmt: skip
    assert all(len(c.sizes) == len(SIZES) for c in found.curves)
    assert found.curve("SUM", "SUM", 200, None) is found.curves[2]
    assert found.curve("SUM", None, 200, "init0.1") is None


@pytest.mark.parametrize(
    "field", ["initializer_range", "learning_rate", "n_layer", "n_head", "weight_decay", "dataset"]
)
def test_another_set_up_is_never_mixed_into_a_curve(field: str) -> None:
    mixed = records({SUM: {SUM: 1e9}}, 1, **{field: 1}) + records({SUM: {SUM: 7392}}, 1, **{field: 2})
    with pytest.raises(ListOpsError, match=rf"the same budget and variant, but {field} 1 and 2"):
        emergence_of(mixed)
    told_apart = records({SUM: {SUM: 1e9}}, 1, **{field: 1}) + records({SUM: {SUM: 1}}, 1, variant="v", **{field: 2})
    assert len(emergence_of(told_apart).curves) == 2


@pytest.mark.parametrize("other", ["sum-mod26-depth2", "sum-mod10-depth3", "sum-mod10-depth2-direct"])
def test_another_task_family_is_never_compared(other: str) -> None:
    with pytest.raises(ListOpsError, match="the same budget and variant, but"):
        emergence_of(records({SUM: {SUM: 1e9}, other: {other: 1}}, 1))


def test_a_size_that_one_mix_alone_was_run_at_is_left_out() -> None:
    """SUM alone tried further with two seeds takes neither its interval nor its comparability away."""
    transitions = {SUM: {SUM: 20_000}, MIX: {MIX: 7392, SUM: 7392, MAX: 2160}}
    all_sizes = records(transitions, 5)
    extended = [r for r in all_sizes if r["params_total"] < 103_296 or (r["task"] == SUM and r["seed"] < 2)]
    found, without = emergence_of(extended), emergence_of([r for r in all_sizes if r["params_total"] < 103_296])
    assert found.curves == without.curves
    assert found.curves[0].fit.low is not None
    alone = emergence_of([r for r in extended if r["task"] == SUM]).curves[0]
    assert max(alone.sizes) == 103_296  # nothing to compare with: nothing is left out


def test_what_alters_no_run_may_differ_and_a_younger_field_may_not() -> None:
    """A field that older records lack is one that their runs did not set."""
    old = records({SUM: {SUM: 7392}}, 2)
    published = records({MAX: {MAX: 2160}}, 2, push_to_hub=True, save_state=True, logging_steps=7)
    assert len(emergence_of(old + published).curves) == 2
    with pytest.raises(ListOpsError, match="but base_model None and 'me/model'"):
        emergence_of(old + records({MAX: {MAX: 2160}}, 2, base_model="me/model"))


def test_a_run_counts_once() -> None:
    once = records({SUM: {SUM: 7392}}, 4)
    with pytest.raises(ListOpsError, match="sum-mod10-depth2 with 27,072 parameters and seed 1 is there 2 times"):
        emergence_of([*once, once[21]])


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
