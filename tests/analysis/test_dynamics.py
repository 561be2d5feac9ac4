"""Curves against the metrics themselves, plateaus and rotations that were planted, every branch of the verdict."""

import dataclasses
import io
import json
import shutil
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hub_client import REPO, STEPS, USERS, client_of, command, push, sentence
from PIL import Image
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group

from hf_listops.analysis import embeddings
from hf_listops.analysis.dynamics import Accuracies, Dynamics, Group, analyze, curve
from hf_listops.analysis.dynamics_picture import draw, labels, shown
from hf_listops.analysis.dynamics_plateaus import Plateau, plateaus, smoothed
from hf_listops.analysis.dynamics_report import markdown, sections
from hf_listops.analysis.dynamics_snapshots import MEASURED, Snapshot, aligned
from hf_listops.analysis.dynamics_verdict import start, verdict
from hf_listops.analysis.outputs import plain_numbers, read_numbers
from hf_listops.cli import main
from hf_listops.errors import ListOpsError
from hf_listops.hub.server import serving

PAGE = "# A page\n\n" + "\n".join(
    f"<!-- {name} -->\n<!-- /{name} -->"
    for name in ("progress", "figure", "verdicts", "curves", "plateaus", "snapshots")
)


@pytest.fixture(scope="module")
def runs(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """SUM alone with seeds 0 and 1, and MAX+MED+SUM with seed 0, which keeps fewer steps."""
    from hf_listops.training.config import RunConfig
    from hf_listops.training.loop import train

    folder = tmp_path_factory.mktemp("dynamics")
    fields = yaml.safe_load((tiny_run / "run.yaml").read_text())
    made = [tiny_run]
    for task, seed, kept in (("sum-mod10-depth2", 1, STEPS[1:]), ("max-med-sum-mod10-depth2", 0, [0, 60])):
        changes = {"task": task, "seed": seed, "save_steps": kept, "save_state": False}
        made.append(folder / f"{task}-s{seed}")
        train(RunConfig(**{**fields, **changes, "output_dir": str(made[-1])}))
    return made


@pytest.fixture(scope="module")
def followed(runs: list[Path]) -> Dynamics:
    return analyze([str(run) for run in runs])


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_curves_are_those_of_the_metrics(runs: list[Path], followed: Dynamics) -> None:
    alone, joint = followed.groups
    assert (alone.runs, alone.seeds) == (tuple(map(str, runs[:2])), (0, 1))
    assert (joint.runs, joint.operations) == ((str(runs[2]),), ("MAX", "MED", "SUM"))
    assert [of.task for of in joint.accuracies] == [
        "max-med-sum-mod10-depth2", "max-mod10-depth2", "med-mod10-depth2", "sum-mod10-depth2",
    ]  # fmt: skip
    for kind in ("exact_match", "answer_accuracy"):
        by_hand = [[line[kind]["sum-mod10-depth2"] for line in lines_of(run) if kind in line] for run in runs[:2]]
        found = getattr(alone.alone("SUM"), kind)
        assert found.steps == (0, 60, 120)
        assert found.runs == tuple(map(tuple, by_hand))
        for place, values in enumerate(zip(*by_hand, strict=True)):
            assert found.mean[place] == pytest.approx(statistics.mean(values))
            assert found.sd[place] == pytest.approx(statistics.stdev(values))
    losses = [{line["step"]: line["loss"] for line in lines_of(run) if "loss" in line} for run in runs]
    assert alone.loss.runs == tuple(tuple(of.values()) for of in losses[:2])
    assert alone.loss.mean[-1] == pytest.approx((losses[0][120] + losses[1][120]) / 2)
    assert (joint.loss.mean, joint.loss.sd) == (joint.loss.runs[0], None)
    assert joint.alone("SUM").exact_match.sd is None
    assert followed.max_steps == 120
    assert alone.settings == joint.settings
    assert not {"task", "seed", "output_dir", "save_steps"} & set(alone.settings)


def test_snapshots_are_the_geometry_of_each_revision(runs: list[Path], followed: Dynamics) -> None:
    alone, joint = followed.groups
    assert [snapshot.step for snapshot in alone.snapshots] == [*STEPS[1:], 120]  # kept by both
    assert [snapshot.step for snapshot in joint.snapshots] == [0, 60, 120]
    for step, snapshot in zip((4, 120), (alone.snapshots[2], alone.snapshots[-1]), strict=True):
        names = [str(run if step == 120 else run / "steps" / f"step-{step}") for run in runs[:2]]
        (expected,) = embeddings.analyze(names, permutations=followed.permutations, draws=followed.draws).groups
        assert snapshot.variance == expected.variance
        assert [(m.quantity, m.family) for m in snapshot.measures] == list(MEASURED)
        assert all(measure in expected.measures for measure in snapshot.measures)
        np.testing.assert_allclose(pdist(snapshot.scores), pdist(expected.scores), atol=1e-9)  # a rotation
    np.testing.assert_array_equal(snapshot.scores, expected.scores)  # the last one's axes are its own


def test_rotations_of_one_snapshot_come_out_equal() -> None:
    rng = np.random.default_rng(0)
    last = rng.standard_normal((26, 6))
    last -= last.mean(axis=0)
    turns = ortho_group.rvs(6, size=8, random_state=1)
    assert {round(float(np.linalg.det(turn))) for turn in turns} == {-1, 1}  # reflections too: no axis flips
    for of in aligned([*(last @ turn for turn in turns), last]):
        np.testing.assert_allclose(of, last, atol=1e-9)


def test_snapshots_with_fewer_components_are_padded() -> None:
    rng = np.random.default_rng(2)
    flat = rng.standard_normal((10, 2))
    inside = np.pad(flat, ((0, 0), (0, 2))) @ ortho_group.rvs(4, random_state=3)  # the same points in four dimensions
    for scores in ([inside, flat], [flat, inside]):
        first, second = aligned(scores)
        assert first.shape == second.shape == (10, 4)
        np.testing.assert_allclose(first, second, atol=1e-9)


def test_no_other_rotation_brings_a_snapshot_nearer() -> None:
    rng = np.random.default_rng(4)
    one, other = rng.standard_normal((2, 10, 3))
    first, second = aligned([one, other])
    np.testing.assert_array_equal(second, other)
    others = [np.linalg.norm(one @ turn - other) for turn in ortho_group.rvs(3, size=500, random_state=5)]
    assert np.linalg.norm(first - other) <= min(others)
    assert np.linalg.norm(first - other) < 0.9 * np.median(others)


STEPS_LOGGED = range(100, 20_001, 100)


def logged(shape: Callable[[float], float], noise: float = 0.0) -> dict[int, float]:
    rng = np.random.default_rng(0)
    return {step: float(shape(step) + noise * rng.standard_normal()) for step in STEPS_LOGGED}


def through(*points: tuple[float, float]) -> Callable[[float], float]:
    steps, losses = zip(*points, strict=True)
    return lambda step: float(np.interp(step, steps, losses))


ONE = through((0, 3), (1000, 2), (10_000, 2), (13_000, 0.5), (20_000, 0.5))
TWO = through((0, 3), (1000, 2), (6000, 2), (8000, 1.2), (13_000, 1.2), (15_000, 0.2), (20_000, 0.2))


def assert_near(found: tuple[Plateau, ...], expected: Sequence[tuple[int, int, float, bool]]) -> None:
    assert len(found) == len(expected), found
    for of, (begin, end, loss, left) in zip(found, expected, strict=True):
        assert of.start == pytest.approx(begin, abs=500)  # half of the smoothing
        assert of.end == pytest.approx(end, abs=500)
        assert of.length == of.end - of.start
        assert of.loss == pytest.approx(loss, abs=0.05)
        assert of.left is left


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.02])
def test_planted_plateaus_are_found(noise: float) -> None:
    assert_near(plateaus(logged(ONE, noise), solved=True), [(1000, 10_000, 2, True)])
    assert_near(plateaus(logged(TWO, noise), True), [(1000, 6000, 2, True), (8000, 13_000, 1.2, True)])


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_flat_end_is_a_plateau_only_of_an_unsolved_run(noise: float) -> None:
    assert_near(plateaus(logged(ONE, noise), False), [(1000, 10_000, 2, True), (13_000, 20_000, 0.5, False)])
    stuck = through((0, 3), (1000, 2), (20_000, 2))
    assert_near(plateaus(logged(stuck, noise), False), [(1000, 20_000, 2, False)])
    assert plateaus(logged(stuck, noise), True) == ()
    # A small step down is no way out: one plateau until the end of the budget, and none of a solved run.
    small = through((0, 3), (1000, 2), (8000, 2), (9000, 1.95), (20_000, 1.95))
    assert_near(plateaus(logged(small, noise), False), [(1000, 20_000, 1.97, False)])
    assert plateaus(logged(small, noise), True) == ()


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_falling_losses_have_no_plateau(noise: float) -> None:
    for rate in (0.5, 1, 2, 3, 5, 10, 30):
        decay = logged(lambda step, rate=rate: 0.1 + 3 * float(np.exp(-rate * step / 20_000)), noise)  # type: ignore[misc]
        assert plateaus(decay, True) == ()
        if rate <= 2:
            assert plateaus(decay, False) == ()
    assert plateaus(logged(through((0, 3), (20_000, 1)), noise), False) == ()
    assert plateaus(logged(lambda step: 3 * (step / 100) ** -0.5, noise), True) == ()
    # A stretch shorter than a tenth of the run.
    assert plateaus(logged(through((0, 3), (9000, 2), (10_000, 2), (20_000, 0.5))), True) == ()


def test_a_loss_that_is_constant_or_hardly_logged_has_no_plateau() -> None:
    for loss in (2.0, 0.1):
        assert plateaus(dict.fromkeys(STEPS_LOGGED, loss), False) == ()
    few = {step: ONE(step) for step in range(1000, 20_001, 1000)}
    assert plateaus(few, False) == ()


def test_plateaus_do_not_depend_on_units() -> None:
    (plain,) = plateaus(logged(ONE, 0.02), True)
    (scaled,) = plateaus({7 * step: 5 + 10 * loss for step, loss in logged(ONE, 0.02).items()}, True)
    assert (scaled.start, scaled.end) == (7 * plain.start, 7 * plain.end)
    assert scaled.loss == pytest.approx(5 + 10 * plain.loss)


def test_smoothing_is_the_mean_of_neighbors_in_steps() -> None:
    steps = np.array([10, 20, 30, 55, 80, 90, 200, 400])
    values = np.random.default_rng(0).standard_normal(8)
    expected = [np.mean([v for s, v in zip(steps, values, strict=True) if abs(s - at) <= 10]) for at in steps]
    np.testing.assert_allclose(smoothed(steps, values), expected)


TIMES = tuple(range(0, 11_000, 1000))


def group(operations: str, *seeds: Sequence[float], **changes: Any) -> Group:
    """A synthetic group: exact match on SUM of each seed at `TIMES`."""
    task = f"{operations.lower().replace('+', '-')}-mod26-depth2"
    by_step = [dict(zip(TIMES, seed, strict=True)) for seed in seeds]
    of = curve(by_step)
    made = Group(
        f"{task}, n_embd 96, n_layer 3", task, None, tuple(operations.split("+")), 96, 3, {"learning_rate": 0.001},
        tuple(f"run-{seed}" for seed in range(len(seeds))), tuple(range(len(seeds))), of,
        (Accuracies("sum-mod26-depth2", of, of),), ((),) * len(seeds), (),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def judged(*groups: Group) -> tuple[str, str]:
    found = verdict(Dynamics("SUM", 10_000, 99, 9, groups))
    assert found.claim == "C5"
    return found.verdict, found.because


def rising(at: int, slope: float = 0.08, top: float = 1.0) -> list[float]:
    """Exact match 0 up to a step, then a straight rise."""
    return [float(np.clip((step - at) / 1000 * slope, 0, top)) for step in TIMES]


INSIDE = group("MAX+MED+SUM", rising(0), rising(0, 0.09), rising(0, 0.07))
ALONE = group("SUM", rising(5000), rising(5000), rising(6000))


def test_reproduced() -> None:
    result, because = judged(INSIDE, ALONE)
    assert result == "reproduced"
    assert "inside started to learn at step 1,000, SUM alone at step 6,000" in because
    assert (
        "of 5 evaluations from step 6,000 on, SUM inside is ahead at 5, by more than one standard deviation at 5"
        in because
    )
    assert "0.80 ± 0.10 inside and 0.37 ± 0.05 alone" in because
    assert judged(ALONE, INSIDE) == (result, because)


def test_a_set_up_starts_when_the_mean_of_its_seeds_does() -> None:
    assert start(ALONE.alone("SUM").exact_match) == 6000
    assert start(curve([dict.fromkeys(TIMES, 0.05)] * 3)) is None  # above, not at
    assert start(curve([{0: 0.0, 500: 0.16}, {0: 0.0, 500: 0.0}, {0: 0.0, 500: 0.0}])) == 500


def test_sum_alone_never_starts() -> None:
    result, because = judged(INSIDE, group("SUM", *[[0.01] * 11] * 3))
    assert result == "reproduced"
    assert "SUM alone never started within the budget; of 10 evaluations from step 1,000 on" in because


def test_sum_inside_never_starts() -> None:
    assert judged(group("MAX+MED+SUM", *[[0.01] * 11] * 3), ALONE) == (
        "not reproduced",
        "SUM inside MAX+MED+SUM never started to learn (above 0.05)",
    )


def test_behind_at_one_evaluation() -> None:
    """After both started it counts; before, it does not."""
    late = [[*rising(0)[:-1], 0.3]] * 3
    result, because = judged(group("MAX+MED+SUM", *late), ALONE)
    assert result == "not reproduced"
    assert "ahead at 4, by" in because
    early = [[0.0, 0.0, *rising(0)[2:]]] * 3
    alone = group("SUM", *[[0.0, 0.04, *rising(5000)[2:]]] * 3)
    assert judged(group("MAX+MED+SUM", *early), alone)[0] == "reproduced"


@pytest.mark.parametrize(("clear", "expected"), [(4, "not reproduced"), (5, "reproduced"), (6, "reproduced")])
def test_by_more_than_one_standard_deviation_at_half_of_them(clear: int, expected: str) -> None:
    """Means 0.5 and 0.4; the larger standard deviation is 0.11 at first and 0.09 for the last ones."""
    wide, narrow = [0.51, 0.4, 0.29], [0.49, 0.4, 0.31]
    assert statistics.stdev(wide) > 0.1 > statistics.stdev(narrow)
    seeds = [[0.0] + [wide[j]] * (10 - clear) + [narrow[j]] * clear for j in range(3)]
    inside = [[0.0] + [0.5] * 10] * 3
    result, because = judged(group("MAX+MED+SUM", *inside), group("SUM", *seeds))
    assert result == expected
    assert f"ahead at 10, by more than one standard deviation at {clear}" in because
    # The larger of the two, whichever group has it.
    shifted = [[0.0] + [value + 0.1 for value in seed[1:]] for seed in seeds]
    assert judged(group("MAX+MED+SUM", *shifted), group("SUM", *[[0.0] + [0.4] * 10] * 3))[0] == expected


def test_not_yet_run() -> None:
    no_pair = "it needs runs of SUM alone and of MAX+MED+SUM of one modulus, depth and size"
    replace = dataclasses.replace
    for groups in (
        (ALONE,),
        (INSIDE,),
        (ALONE, replace(INSIDE, n_embd=64)),
        (ALONE, replace(INSIDE, n_layer=2)),
        (ALONE, replace(INSIDE, task="max-med-sum-mod10-depth2")),
        (ALONE, replace(INSIDE, variant="init0.1")),
        (ALONE, replace(INSIDE, task=None)),
        (ALONE, group("MAX+SUM", *[rising(0)] * 3)),
    ):
        assert judged(*groups) == ("not yet run", no_pair)
    two = group("SUM", rising(5000), rising(5000))
    assert judged(INSIDE, two) == ("not yet run", "SUM alone has 2 of 3 seeds")
    assert (
        "SUM alone has 2 of 3 seeds, MAX+MED+SUM has 1 of 3 seeds" in judged(group("MAX+MED+SUM", rising(0)), two)[1]
    )
    other = replace(INSIDE, settings={"learning_rate": 0.003})
    assert judged(other, ALONE) == ("not yet run", "the two groups differ in learning_rate")
    shifted = curve([{step + 1: 0.0 for step in TIMES}] * 3)
    later = replace(INSIDE, accuracies=(Accuracies("sum-mod26-depth2", shifted, shifted),))
    assert judged(later, ALONE) == ("not yet run", "the two groups were evaluated at different steps")
    small = (replace(INSIDE, n_embd=64), replace(ALONE, n_embd=64))
    assert judged(INSIDE, ALONE, *small)[1] == "2 pairs of set-ups to judge; analyze them one at a time"


def test_numbers_read_back_give_the_same_page(followed: Dynamics, tmp_path: Path) -> None:
    path = tmp_path / "dynamics.json"
    path.write_text(plain_numbers(followed))
    again = read_numbers(Dynamics, path)
    assert plain_numbers(again) == path.read_text()
    assert {name: make() for name, make in sections(again).items()} == {
        name: make() for name, make in sections(followed).items()
    }


def test_the_picture_shows_the_numbers(followed: Dynamics) -> None:
    figure = draw(followed)
    losses, exact, operations = figure.subfigs[0].axes
    assert [text.get_text() for text in exact.get_legend().get_texts()] == ["SUM alone", "MAX+MED+SUM"]
    np.testing.assert_array_equal(exact.lines[0].get_ydata(), followed.groups[0].alone("SUM").exact_match.mean)
    np.testing.assert_array_equal(losses.lines[0].get_ydata(), followed.groups[0].loss.mean)
    assert [text.get_text() for text in operations.get_legend().get_texts()] == ["MAX", "MED", "SUM"]
    strips = figure.subfigs[2].axes
    assert len(strips) == 2 * 3
    np.testing.assert_allclose(
        strips[1].collections[0].get_offsets(), np.array(followed.groups[1].snapshots[1].scores)[:, :2]
    )


def test_a_name_is_no_formula(followed: Dynamics) -> None:
    names = [r"$\frac$ $x_1$", r"$\sqrt$"]
    groups = [dataclasses.replace(of, name=name, variant="v") for of, name in zip(followed.groups, names, strict=True)]
    svg = io.StringIO()
    draw(dataclasses.replace(followed, groups=tuple(groups))).savefig(svg, format="svg")
    assert svg.getvalue().count(names[0]) >= 3  # above the picture, above its strip, and of its lines


def test_snapshots_shown_are_log_spaced() -> None:
    kept = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1500, 2000, 3000, 4000, 6000, 8000, 12000, 16000, 20000]
    all_of_them = tuple(Snapshot(step, (), (), ()) for step in kept)
    assert [of.step for of in shown(all_of_them)] == [0, 256, 1000, 3000, 8000, 20000]
    assert [of.step for of in shown(all_of_them[:4])] == [0, 1, 2, 4]


def test_groups_are_called_by_their_mix_where_that_is_enough() -> None:
    def called(*groups: Group) -> list[str]:
        return labels(Dynamics("SUM", 10_000, 99, 9, groups))

    assert called(INSIDE, ALONE) == ["MAX+MED+SUM", "SUM alone"]
    other = dataclasses.replace(ALONE, name="sum-mod26-depth2, n_embd 64, n_layer 3", n_embd=64)
    assert called(ALONE, other) == [ALONE.name, other.name]


def edited(run: Path, to: Path, *, metrics: Callable[[dict[str, Any]], Any] | None = None, **fields: Any) -> str:
    """A copy of a run with other fields in its config, and other lines of metrics."""
    shutil.copytree(run, to)
    config = yaml.safe_load((to / "run.yaml").read_text()) | fields
    (to / "run.yaml").write_text(yaml.safe_dump(config))
    if metrics is not None:
        lines = [json.dumps(metrics(line)) for line in lines_of(run)]
        (to / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return str(to)


def test_wrong_groups(tiny_run: Path, tmp_path: Path) -> None:
    run = str(tiny_run)
    for name, fields, sentence_of in (
        ("same-seed", {}, "are both sum-mod10-depth2 with seed 0; give each run once"),
        (
            "faster",
            {"seed": 1, "learning_rate": 0.02},
            "learning_rate: .* has 0.01 and .* 0.02, .* in their seeds",
        ),
        ("longer", {"seed": 1, "max_steps": 240}, "max_steps: .* for 120 steps and .* for 240; runs are compared at"),
    ):
        with pytest.raises(ListOpsError, match=sentence_of):
            analyze([run, edited(tiny_run, tmp_path / name, **fields)])

    def at_other_steps(line: dict[str, Any]) -> dict[str, Any]:
        return {**line, "step": 61} if line["step"] == 60 else line

    other = edited(tiny_run, tmp_path / "other", metrics=at_other_steps, seed=1)
    with pytest.raises(ListOpsError, match=r"only one of .* was evaluated at step 60"):
        analyze([run, other])

    def logged_elsewhere(line: dict[str, Any]) -> dict[str, Any]:
        return {**line, "step": 51} if line["step"] == 50 else line

    other = edited(tiny_run, tmp_path / "logged", metrics=logged_elsewhere, seed=1)
    with pytest.raises(ListOpsError, match="was not logged at the same steps"):
        analyze([run, other])

    def diverging(line: dict[str, Any]) -> dict[str, Any]:
        return {**line, "loss": float("nan")} if line["step"] == 60 and "loss" in line else line

    with pytest.raises(ListOpsError, match=r"the loss of .* at step 60 is nan; a diverged run"):
        analyze([edited(tiny_run, tmp_path / "diverged", metrics=diverging)])


def test_wrong_runs(tiny_run: Path, tmp_path: Path) -> None:
    run = str(tiny_run)
    with pytest.raises(ListOpsError, match="never saw 'MAX'; it was trained on SUM"):
        analyze([run], "MAX")
    with pytest.raises(ListOpsError, match="is named twice"):
        analyze([run, run])
    with pytest.raises(ListOpsError, match="neither a folder nor a name on the Hub"):
        analyze([str(tmp_path / "none")])
    with pytest.raises(ListOpsError, match=r"holds no run\.yaml"):
        analyze([str(tmp_path)])
    single = tmp_path / "single"
    shutil.copytree(tiny_run, single, ignore=shutil.ignore_patterns("steps"))
    with pytest.raises(ListOpsError, match=r"has a single revision, its final state, .* --save_steps 1000"):
        analyze([str(single)])
    disjoint = Path(edited(tiny_run, tmp_path / "disjoint", seed=1))
    for path in (disjoint / "steps").iterdir():
        path.rename(path.with_name(path.name + "0" if path.name != "step-0" else "step-7"))
    (disjoint / "steps" / "step-600").rename(disjoint / "steps" / "step-90")
    with pytest.raises(ListOpsError, match="share no revision but their last"):
        analyze([run, str(disjoint)])
    unfinished = tmp_path / "unfinished"
    shutil.copytree(tiny_run, unfinished, ignore=shutil.ignore_patterns("manifest.json"))
    with pytest.raises(ListOpsError, match="is not finished"):
        analyze([str(unfinished)])
    no_gpt2 = Path(edited(tiny_run, tmp_path / "bert"))
    (no_gpt2 / "steps" / "step-1" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ListOpsError, match="is a 'bert'; only GPT-2 models can be looked into"):
        analyze([str(no_gpt2)])


def test_command(runs: list[Path], followed: Dynamics, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text(PAGE)
    assert main(["analyze", "dynamics", *map(str, runs), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert (out / "dynamics.md").read_text() in printed
    assert {path.name for path in out.iterdir()} == {
        "README.md", *(f"dynamics.{kind}" for kind in ("png", "svg", "json", "md")),
    }  # fmt: skip
    numbers = (out / "dynamics.json").read_text()
    assert numbers == plain_numbers(followed)
    with Image.open(out / "dynamics.png") as png:
        assert min(png.size) > 1500
    page = (out / "README.md").read_text()
    assert "**Under way: 3 runs done**, 2 of SUM alone, 1 of MAX+MED+SUM." in page
    assert "| C5 | **not yet run** | SUM alone has 2 of 3 seeds, MAX+MED+SUM has 1 of 3 seeds |" in page
    assert "| SUM alone | 0 | none | | | | |" in page
    assert "| MAX+MED+SUM | 60 | " in page
    assert "](dynamics.png)" in page
    exact = read_numbers(Dynamics, out / "dynamics.json").groups[0].alone("SUM").exact_match
    assert exact.sd is not None
    assert f"| 120 | {exact.mean[-1]:.2f} ± {exact.sd[-1]:.2f} | " in page


def test_plateaus_and_verdict_in_tables_and_picture(followed: Dynamics) -> None:
    left, stuck = Plateau(1000, 6000, 1.5, True), Plateau(7000, 10_000, 1.25, False)
    snapshots = followed.groups[0].snapshots
    alone = dataclasses.replace(ALONE, plateaus=((left, stuck), (), (left,)), snapshots=snapshots)
    inside = dataclasses.replace(INSIDE, operations=("SUM",), snapshots=snapshots)
    dynamics = Dynamics("SUM", 10_000, 99, 9, (inside, alone))
    text = markdown(dynamics)
    assert f"| {ALONE.name} | 0 | 1,000 | 6,000 | 5,000 | 1.50 | yes |" in text
    assert f"| {ALONE.name} | 0 | 7,000 | 10,000 | 3,000 | 1.25 | not within the budget |" in text
    assert f"| {ALONE.name} | 1 | none | | | | |" in text
    assert "| C5 | **reproduced** | SUM inside started" in text
    page = sections(dynamics)["progress"]()
    assert page == [f"**Complete: 6 runs done**, 3 of {INSIDE.name}, 3 of {ALONE.name}."]
    lines = draw(dynamics).subfigs[0].axes[0].lines
    bars = [tuple(line.get_xdata()) for line in lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 3]
    assert bars == [(1000, 6000), (7000, 10_000), (1000, 6000)]


def test_by_name_the_numbers_are_those_of_the_folder(tiny_run: Path, tmp_path: Path) -> None:
    with serving.running(tmp_path / "root", USERS) as hub, client_of(hub, tmp_path / "home") as client:
        client(push, tiny_run)
        arguments = ("analyze", "dynamics", REPO, "--out", str(tmp_path / "out"))
        code, _, error = client(command, *arguments)
        assert code == 0, error
        assert "is one revision; give the run whole" in sentence(
            client, "analyze", "dynamics", f"{REPO}@step-4", "--out", str(tmp_path / "none")
        )
        assert not (tmp_path / "none").exists()
    by_name = read_numbers(Dynamics, tmp_path / "out" / "dynamics.json")
    assert by_name.groups[0].runs == (REPO,)
    assert [snapshot.step for snapshot in by_name.groups[0].snapshots] == [*STEPS, 120]
    folder = analyze([str(tiny_run)])
    renamed = dataclasses.replace(folder.groups[0], runs=(REPO,))
    assert plain_numbers(by_name) == plain_numbers(dataclasses.replace(folder, groups=(renamed,)))
