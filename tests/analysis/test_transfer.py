"""Synthetic runs whose gains and forgetting are known; small real ones by folder and by name on an embedded Hub."""

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ROOT
from hub_client import USERS, Client, client_of, command, push, sentence
from PIL import Image

from hf_listops.analysis.groups import FREE_IN_A_GROUP
from hf_listops.analysis.history import History, load_histories
from hf_listops.analysis.outputs import plain_numbers, read_numbers
from hf_listops.analysis.pages import prose, refreshed
from hf_listops.analysis.transfer import Transfer, analyze, schedule, transfer
from hf_listops.analysis.transfer_report import forgetting_table, markdown, sections, transfer_table, write_report
from hf_listops.analysis.transfer_verdict import verdict
from hf_listops.cli import main
from hf_listops.errors import ListOpsError
from hf_listops.hub.server.serving import running
from hf_listops.training.config import NOT_HASHED, RunConfig
from hf_listops.training.curriculum import Curriculum
from hf_listops.training.loop import train

STEPS = (0, 100, 200, 300, 400)
MAX_MED, SUM = "max-med-mod10-depth2", "sum-mod10-depth2"


def ramp(start: int = 100, end: int = 300, first: str = MAX_MED, last: str = SUM) -> list[dict[str, Any]]:
    return [{"step": 0, "mix": {first: 1}}, {"step": start, "mix": {first: 1}}, {"step": end, "mix": {last: 1}}]


def run(
    seed: int,
    final: float,
    knots: list[dict[str, Any]] | None = None,
    *,
    task: str = SUM,
    steps: tuple[int, ...] = STEPS,
    values: dict[str, list[float]] | None = None,
    stopped: str = "budget",
    **fields: Any,
) -> History:
    """A finished run of `knots`, or of `task`; what `values` leaves out grows from 0 to its final exact match."""
    config = RunConfig(
        task=None if knots else task, curriculum=knots, name="max-med-to-sum" if knots else None, seed=seed,
        **{"n_embd": 48, "max_steps": steps[-1], "eval_steps": 100} | fields,
    )  # fmt: skip
    names = [*(task.name for task in config.tasks), *(t.alone(of).name for t in config.tasks for of in t.operations)]
    lines: list[dict[str, Any]] = []
    for place, step in enumerate(steps):
        grown = dict.fromkeys(names, final * place / (len(steps) - 1))
        lines.append({"step": step, "exact_match": grown | {k: v[place] for k, v in (values or {}).items()}})
    finals = {name: {"test": {"exact_match": 0.0}} for name in names}
    lines.append({"step": steps[-1], "final": finals, "stopped": stopped})
    lines[-1]["final"][config.tasks[-1].name]["test"]["exact_match"] = final
    return History(f"{config.run_name}-{final}", config.to_dict(), lines, {})


def pairs(
    gains: list[float], pure: list[float], knots: list[dict[str, Any]] | None = None, **fields: Any
) -> list[History]:
    """Curricula and pure runs of as many seeds as there are gains, and of as many as there are pure accuracies."""
    ramps = [run(seed, round(gain + 0.05, 7), knots or ramp(), **fields) for seed, gain in enumerate(gains)]
    return [*ramps, *(run(seed, of, **fields) for seed, of in enumerate(pure))]


def test_known_gains_and_forgetting() -> None:
    forgotten = {"max-mod10-depth2": [0.0, 0.75, 1.0, 0.5, 0.25], "med-mod10-depth2": [0.0, 0.25, 0.5, 0.5, 0.5]}
    found = transfer(
        [
            run(1, 0.75, ramp(), values=forgotten),
            run(0, 0.875, ramp(), values={**forgotten, SUM: [0.0, 0.0, 0.5, 0.75, 0.75]}),
            run(7, 0.25, ramp()),
            run(0, 0.375),
            run(1, 0.0),
        ]
    )
    curriculum, pure = found.groups
    assert (curriculum.label, pure.label) == (
        "max-med-to-sum, n_embd 48, 2 layers, 1 head",
        "sum-mod10-depth2, n_embd 48, 2 layers, 1 head",
    )
    assert (curriculum.seeds, pure.seeds) == ((0, 1, 7), (0, 1))
    assert (curriculum.target, curriculum.tasks, curriculum.steps) == (SUM, (MAX_MED, SUM), STEPS)
    assert curriculum.final.seeds == (0.875, 0.75, 0.25)
    assert curriculum.final.mean == pytest.approx(1.875 / 3)
    assert curriculum.gain is not None
    assert (curriculum.gain.seeds, curriculum.gain.gain.seeds) == ((0, 1), (0.5, 0.75))
    assert curriculum.gain.gain.mean == 0.625
    assert found.pure(curriculum) is pure
    assert (pure.gain, pure.forgetting) == (None, {})
    # 0.5 itself is not above it.
    assert curriculum.reached == (300, 300, None)
    assert curriculum.target_curve.mean == pytest.approx((0, 0.25 / 3, 1 / 3, 0.5, 1.75 / 3))
    assert list(curriculum.operations) == ["MAX", "MED", "SUM"]
    assert curriculum.operations["SUM"] == curriculum.target_curve
    assert set(curriculum.forgetting) == {"MAX", "MED"}
    lost = curriculum.forgetting["MAX"]
    assert lost.peak.seeds == (1.0, 1.0, 0.25)
    assert lost.end.seeds == (0.25, 0.25, 0.25)
    assert lost.lost.seeds == (0.75, 0.75, 0.0)
    assert lost.lost.mean == 0.5
    assert curriculum.forgetting["MED"].lost.seeds == (0, 0, 0)


def test_the_way_back_has_a_target_of_two_operations() -> None:
    back = ramp(first=SUM, last=MAX_MED)
    values = {"max-mod10-depth2": [0.0, 0.0, 0.0, 0.0, 1.0], MAX_MED: [0.0, 0.0, 0.0, 0.625, 0.5]}
    histories = [run(0, 0.5, back, values=values), run(0, 0.875)]
    group = transfer(histories).groups[0]
    assert (group.target, group.final.seeds, group.reached) == (MAX_MED, (0.5,), (300,))
    assert group.gain is None  # pure SUM is no pure run of MAX+MED
    assert list(group.forgetting) == ["SUM"]
    assert "no pure run" in transfer_table(transfer(histories))[2]
    with_pure = transfer([*histories, run(0, 0.25, task="med-max-mod10-depth2")])
    assert with_pure.groups[0].gain is not None
    assert with_pure.groups[0].gain.gain.seeds == (0.25,)


@pytest.mark.parametrize(
    "fields",
    [
        {"n_embd": 32},
        {"n_head": 2},
        {"max_steps": 800},
        {"learning_rate": 1e-3},
        {"initializer_range": 0.1},
        {"seed": 5},
    ],
)
def test_a_pure_run_shares_seed_size_budget_and_settings(fields: dict[str, Any]) -> None:
    seed = fields.pop("seed", 0)
    curriculum = run(0, 0.75, ramp())
    other = run(seed, 0.25, **fields)
    assert transfer([curriculum, other]).groups[0].gain is None
    gain = transfer([curriculum, other, run(0, 0.5, variant="x", eval_rows=9, save_steps=[1])]).groups[0].gain
    # What changes no run may differ. Here the name tells the pure runs apart, and the settings choose among them.
    assert gain is not None
    assert (gain.pure, gain.gain.seeds) == ("sum-mod10-depth2 (x), n_embd 48, 2 layers, 1 head", (0.25,))


def test_what_changes_no_run_may_differ() -> None:
    assert set(NOT_HASHED) | {"seed"} == FREE_IN_A_GROUP
    old = run(1, 0.5, ramp())
    del old.config["base_model"]  # older than this field
    two = [run(0, 0.5, ramp(), save_steps=[1], output_dir="a"), old]
    assert transfer(two).groups[0].seeds == (0, 1)


def test_one_group_alone_can_be_drawn(tmp_path: Path) -> None:
    found = transfer([run(0, 0.75, ramp())])
    assert found.groups[0].gain is None
    assert verdict(found).verdict == "not yet run"
    assert (tmp_path / "transfer.png") in write_report(found, tmp_path)
    # A curriculum that leaves nothing behind.
    deeper = run(0, 0.75, ramp(first="sum-mod10-depth1"))
    assert forgetting_table(transfer([deeper])) == ["No curriculum here leaves an operation behind."]


def test_an_operation_is_measured_as_in_the_target() -> None:
    shallow = "sum-mod10-depth1"
    there_and_back = [{"step": step, "mix": {name: 1}} for step, name in ((0, SUM), (200, shallow), (400, SUM))]
    group = transfer([run(0, 0.75, there_and_back, values={shallow: [0, 0, 0, 0, 1]})]).groups[0]
    assert (group.tasks, group.target) == ((SUM, shallow), SUM)
    assert group.operations["SUM"].mean[-1] == 0.75


KNOTS = {
    "ramp": ramp(100, 300),
    "switch": [{"step": 0, "mix": {MAX_MED: 2}}, {"step": 200, "mix": {MAX_MED: 2}}, {"step": 200, "mix": {SUM: 1}}],
    "one step": ramp(199, 200),
    "whole": [{"step": 0, "mix": {MAX_MED: 1}}, {"step": 400, "mix": {SUM: 3}}],
    "past the end": [{"step": 0, "mix": {MAX_MED: 1, "max-mod10-depth2": 3}}, {"step": 1000, "mix": {SUM: 1}}],
    "one task": [{"step": 0, "mix": {SUM: 1, MAX_MED: 0}}],
}


@pytest.mark.parametrize("name", KNOTS)
def test_the_schedule_is_the_one_that_rows_are_drawn_with(name: str) -> None:
    """Between its points it is linear: at every step the shares are those of the batch sampler, over a task's operations."""
    found = schedule(KNOTS[name], 400)
    assert (found.steps[0], found.steps[-1]) == (0, 400)
    steps = np.arange(401)
    steps = steps[steps != 200]  # a switch has two values there
    drawn = Curriculum.from_config(None, KNOTS[name])
    weights = drawn.weights_at(steps)
    for operation in ("MAX", "MED", "SUM"):
        expected = sum(
            weights[:, place] / len(task.operations)
            for place, task in enumerate(drawn.tasks)
            if operation in task.operations
        )
        shown = np.interp(steps, found.steps, found.shares.get(operation, np.zeros(len(found.steps))))
        np.testing.assert_allclose(shown, expected, atol=1e-12)
    np.testing.assert_allclose(sum(map(np.array, found.shares.values())), 1)


def test_a_schedule_by_hand() -> None:
    found = schedule(ramp(100, 300), 400)
    assert found.steps == (0, 100, 300, 400)
    assert found.shares == {"MAX": (0.5, 0.5, 0, 0), "MED": (0.5, 0.5, 0, 0), "SUM": (0, 0, 1, 1)}


GOOD = [0.5, 0.4, 0.6, 0.31, 0.0]
SUM26 = "sum-mod26-depth2"
MIXED = [{"step": 0, "mix": {MAX_MED: 1, SUM: 1}}, {"step": 200, "mix": {MAX_MED: 0, SUM: 1}}]


@pytest.mark.parametrize(
    ("histories", "expected", "says"),
    [
        (pairs(GOOD, [0.05] * 5), "reproduced", "0.3 above pure SUM in 4 of 5 seeds"),
        (pairs(GOOD, [0.05] * 5), "reproduced", "(+0.500, +0.400, +0.600, +0.310, +0.000), pure SUM below 0.1 in 5 of 5"),
        (pairs(GOOD, [0.05] * 5), "reproduced", "n_embd 32: no run of the ramp"),
        (pairs(GOOD, [0.05] * 5, n_embd=32), "reproduced", "n_embd 48: no run of the ramp; n_embd 32: the ramp ends"),
        # One size is not enough for a no.
        (pairs([0.5, 0.4, 0.6, 0.3, 0.0], [0.05] * 5), "not yet run", "in 3 of 5 seeds"),
        (pairs([0.0] * 5, [0.05] * 5) + pairs([0.0] * 5, [0.05] * 5, n_embd=32), "not reproduced", "in 0 of 5 seeds"),
        (pairs([0.0] * 5, [0.05] * 5) + pairs(GOOD, [0.05] * 5, n_embd=32), "reproduced", "in 0 of 5 seeds"),
        # Not above: 0.9 - 0.6 is more than 0.3 in floating point only, and 0.1 is not below 0.1.
        (
            [
                *(run(seed, 0.9, ramp()) for seed in range(5)),
                *(run(seed, 0.6) for seed in range(5)),
                *pairs([0.5] * 5, [0.05] * 4 + [0.1], n_embd=32),
            ],
            "not reproduced",
            "in 0 of 5 seeds (+0.300, +0.300, +0.300, +0.300, +0.300), pure SUM below 0.1 in 0 of 5 (at most 0.600)",
        ),
        (pairs([0.5] * 5, [0.05] * 4), "not yet run", "n_embd 48: 4 of 5 seeds with a ramp and a pure SUM"),
        (pairs([0.5] * 5, []), "not yet run", "the ramp has 5 of 5 seeds, and there is no pure SUM"),
        # More seeds: four fifths of them.
        (pairs([0.5] * 8 + [0.1] * 2, [0.05] * 10), "reproduced", "in 8 of 10 seeds"),
        (pairs([0.5] * 7 + [0.1] * 3, [0.05] * 10), "not yet run", "in 7 of 10 seeds"),
        # Other curricula and sizes do not count.
        (pairs(GOOD, [0.05] * 5, n_embd=16), "not yet run", "n_embd 48: no run of the ramp; n_embd 32: no run"),
        (pairs(GOOD, [0.05] * 5, n_layer=3), "not yet run", "n_embd 48: no run of the ramp"),
        (pairs(GOOD, [0.05] * 5, variant="ramp0"), "not yet run", "n_embd 48: no run of the ramp"),
        (pairs(GOOD, [0.05] * 5, n_head=2), "not yet run", "n_embd 48: no run of the ramp"),
        (pairs(GOOD, [0.05] * 5, ramp(first="max-min-mod10-depth2")), "not yet run", "n_embd 48: no run of the ramp"),
        (pairs(GOOD, [0.05] * 5, ramp(first="max-med-mod10-depth3")), "not yet run", "n_embd 48: no run of the ramp"),
        (pairs(GOOD, [0.05] * 5, ramp(first="max-med-mod26-depth2", last=SUM26), task=SUM26), "not yet run",
         "n_embd 48: no run of the ramp"),
        # The share of SUM is to rise over more than one step, from 0 to 1.
        (pairs(GOOD, [0.05] * 5, KNOTS["switch"]), "not yet run", "n_embd 48: no run of the ramp"),
        (pairs(GOOD, [0.05] * 5, KNOTS["one step"]), "not yet run", "n_embd 48: no run of the ramp"),
        (pairs(GOOD, [0.05] * 5, ramp(300, 500)), "not yet run", "n_embd 48: no run of the ramp"),
        (pairs(GOOD, [0.05] * 5, MIXED), "not yet run", "n_embd 48: no run of the ramp"),
        (pairs(GOOD, [0.05] * 5, ramp(198, 200)), "reproduced", "0.3 above pure SUM in 4 of 5 seeds"),
        (pairs(GOOD, [0.05] * 5, KNOTS["whole"]), "reproduced", "0.3 above pure SUM in 4 of 5 seeds"),
    ],
)  # fmt: skip
def test_verdict(histories: list[History], expected: str, says: str) -> None:
    found = verdict(transfer(histories))
    assert (found.claim, found.verdict) == ("C6", expected)
    assert says in found.because


def test_a_pure_seed_without_a_ramp_counts_too() -> None:
    assert verdict(transfer(pairs(GOOD, [0.05] * 5))).verdict == "reproduced"
    found = verdict(transfer(pairs(GOOD, [0.05] * 5 + [0.2])))
    assert found.verdict == "not yet run"
    assert "pure SUM below 0.1 in 5 of 6 (at most 0.200)" in found.because


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    found = transfer(pairs([0.5], [0.05]))
    group = dataclasses.replace(found.groups[0], name=r"$\frac$ $x_1$")
    write_report(Transfer((group,)), tmp_path)
    assert r"$\frac$ $x_1$" in (tmp_path / "transfer.svg").read_text()


def test_numbers_read_back_make_the_same_page(tmp_path: Path) -> None:
    back = run(0, 0.5, ramp(first=SUM, last=MAX_MED), variant="back")
    found = transfer([*pairs([0.123456789, 0.5], [0.05, 1 / 3]), back])
    write_report(found, tmp_path)
    read = read_numbers(Transfer, tmp_path / "transfer.json")
    assert plain_numbers(read) == plain_numbers(found)
    assert markdown(read) == markdown(found)
    assert [group.is_pure for group in read.groups] == [False, False, True]


def test_a_page_is_made_anew(tmp_path: Path) -> None:
    page = (ROOT / "results" / "figure5" / "README.md").read_text()
    found = transfer(pairs(GOOD, [0.05] * 5))
    (tmp_path / "README.md").write_text(page)
    assert (tmp_path / "README.md") in write_report(found, tmp_path)
    made = (tmp_path / "README.md").read_text()
    assert prose(made) == prose(page)
    assert "**10 runs done**: 2 groups of 5 seeds." in made
    assert "| C6 | **reproduced** |" in made
    assert set(re.findall(r"<!-- (\w+) -->", page)) == set(sections(found))
    with Image.open(tmp_path / "transfer.png") as png:
        assert png.info["Description"] in (tmp_path / "transfer.svg").read_text()
    other = transfer(pairs([0.5, 0.4, 0.6, 0.31, 0.1], [0.05] * 5))
    assert refreshed(page, sections(other)) != made
    assert not re.findall(r"\d[\d,]*\.\d+|\d+ %|\d{3,}", re.sub(r"```.*?```", "", prose(page), flags=re.DOTALL))


EARLY: dict[str, Any] = {"max_steps": 400, "stop_when_solved": True}
SOLVED = run(1, 1.0, ramp(), steps=(0, 100, 200), stopped="solved", **EARLY)


@pytest.mark.parametrize(
    ("histories", "says"),
    [
        ([run(0, 0.5), run(1, 0.5)], "model: none of the 2 runs has a curriculum; give some, such as max-med-to-sum-d48"),
        ([run(0, 0.5, ramp()), run(0, 0.75, ramp())], "are both max-med-to-sum with seed 0; give each run once"),
        ([run(0, 0.5, ramp()), run(0, 0.5, ramp(), learning_rate=1e-3)], "learning_rate: .* 0.003 and .* 0.001, but both"),
        ([run(0, 0.5, ramp()), run(1, 0.5, ramp(end=400))], "curriculum: .* runs of one name and size differ in their seed"),
        ([run(0, 0.5, ramp()), run(1, 0.5), run(2, 0.5, eval_rows=9)], "eval_rows: 'sum-mod10-depth2-d48-l2-h1-s1-0.5' has"),
        (
            [run(0, 0.5, ramp()), run(1, 0.5, ramp(), steps=(0, 100, 200), max_steps=400)],
            "only one of .* was evaluated at step 300; the runs of max-med-to-sum are to share",
        ),
        (
            [run(0, 0.5, ramp(), **EARLY), SOLVED],
            "model: '.*-s1-1.0' stopped when it was solved, at step 200, and '.*-s0-0.5' went on; .* of max-med-to-sum are "
            "to share their steps: train them with --stop_when_solved false, or give one",
        ),
        ([SOLVED, run(0, 1.0, ramp(), steps=(0, 100), stopped="solved", **EARLY)], "'.*-s0-1.0' stopped .* at step 100, and"),
        # Not the reason.
        ([run(0, 0.5, ramp(), steps=(0, 50, 300, 400), **EARLY), SOLVED], "only one of .* was evaluated at step 50"),
        (
            [run(0, 0.5, [{"step": 0, "mix": {MAX_MED: 1}}, {"step": 9, "mix": {MAX_MED: 1, SUM: 1}}])],
            "ends in max-med-mod10-depth2 and sum-mod10-depth2; one that transfers to a task ends in that task alone",
        ),
    ],
)  # fmt: skip
def test_wrong_groups(histories: list[History], says: str) -> None:
    with pytest.raises(ListOpsError, match=says):
        transfer(histories)


@pytest.fixture(scope="module")
def curriculum_run(dataset: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a curriculum with the settings of `tiny_run`, which is its pure run."""
    out = tmp_path_factory.mktemp("runs") / "ramp"
    fields = yaml.safe_load((tiny_run / "run.yaml").read_text())
    knots = ramp(40, 80)
    changes = {"task": None, "curriculum": knots, "name": "max-med-to-sum", "save_steps": [0], "output_dir": str(out)}
    assert train(RunConfig(**fields | changes)).stopped == "budget"
    return out


def test_command(curriculum_run: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["analyze", "transfer", str(tiny_run), str(curriculum_run), "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {f"transfer.{kind}" for kind in ("png", "svg", "json", "md")}
    assert (out / "transfer.md").read_text() in capsys.readouterr().out
    ours, pure = read_numbers(Transfer, out / "transfer.json").groups
    curriculum, alone = load_histories([str(curriculum_run), str(tiny_run)])
    finals = [of.metrics[-1]["final"][SUM]["test"]["exact_match"] for of in (curriculum, alone)]
    assert (ours.final.seeds, pure.final.seeds) == ((finals[0],), (finals[1],))
    assert ours.gain is not None
    assert ours.gain.gain.mean == pytest.approx(finals[0] - finals[1])
    assert ours.steps == (0, 60, 120)
    accuracies = [line["exact_match"]["max-mod10-depth2"] for line in curriculum.evaluations]
    assert ours.operations["MAX"].mean == pytest.approx(accuracies)
    weights = {line["step"]: line["weights"][SUM] for line in curriculum.metrics if "weights" in line}
    assert 0 < weights[60] < 1  # in the middle of the ramp, as the training logged it for the batch before
    shares = np.interp(np.array(list(weights)) - 1, ours.schedule.steps, ours.schedule.shares["SUM"])
    assert shares.tolist() == pytest.approx(list(weights.values()))


def test_unfinished_and_unknown_runs(curriculum_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unfinished"
    shutil.copytree(curriculum_run, folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ListOpsError, match="is not finished"):
        analyze([str(curriculum_run), str(folder)])
    with pytest.raises(ListOpsError, match="is named twice"):
        analyze([str(curriculum_run), str(curriculum_run)])
    out = tmp_path / "out"
    with pytest.raises(SystemExit):
        main(["analyze", "transfer", str(folder), "--out", str(out)])
    assert not out.exists()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Of a Hub of its own."""
    base = tmp_path_factory.mktemp("hub")
    with running(base / "root", USERS) as server, client_of(server, base / "home") as made:
        yield made


def test_by_name_the_numbers_are_those_of_the_folders(
    client: Client, curriculum_run: Path, tiny_run: Path, tmp_path: Path
) -> None:
    folders = [curriculum_run, tiny_run]
    names = [client(push, folder)[0] for folder in folders]
    assert names[0] == "hf-listops/listops-max-med-to-sum-d8-l2-h1-s0"
    code, _, error = client(command, "analyze", "transfer", *names, "--out", str(tmp_path))
    assert code == 0, error
    text = plain_numbers(analyze([str(folder) for folder in folders]))
    for name, folder in zip(names, folders, strict=True):
        text = text.replace(json.dumps(str(folder)), json.dumps(name))
    assert (tmp_path / "transfer.json").read_text() == text
    assert "is one revision; give the run whole" in sentence(
        client, "analyze", "transfer", f"{names[0]}@step-0", "--out", str(tmp_path)
    )
    assert "there is no 'hf-listops/listops-nothing'" in sentence(
        client, "analyze", "transfer", "hf-listops/listops-nothing", "--out", str(tmp_path)
    )
