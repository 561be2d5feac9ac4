from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare
from torch.utils.data import DataLoader

from hf_listops.errors import ListOpsError
from hf_listops.training.curriculum import WINDOW, Curriculum, CurriculumBatchSampler, rank_slice
from hf_listops.training.sources import GeneratedRows

A, B, C = "max-mod10-depth2", "med-mod10-depth2", "sum-mod10-depth2"
RAMP = [
    {"step": 0, "mix": {A: 1, B: 3}},
    {"step": 75, "mix": {A: 1, B: 3}},
    {"step": 300, "mix": {C: 1}},
    {"step": 330, "mix": {C: 1}},
    {"step": 330, "mix": {A: 2}},
]


def lengths() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.integers(5, 26, size) for name, size in ((A, 700), (B, 1300), (C, 500))}


def sampler(seed: int = 0, batch_size: int = 64, knots: list[dict[str, object]] = RAMP) -> CurriculumBatchSampler:
    return CurriculumBatchSampler(lengths(), Curriculum.from_config(None, knots), batch_size, seed)


def weight_of_c(step: int) -> float:
    return 0.0 if step < 75 or step >= 330 else min(1.0, (step - 75) / 225)


def test_weights_are_linear_between_knots_and_switch_at_two_in_one_step() -> None:
    curriculum = Curriculum.from_config(None, RAMP)
    weights = curriculum.weights_at(np.array([0, 74, 75, 150, 300, 329, 330, 10**6]))
    third = (150 - 75) / 225
    expected = [
        [0.25, 0.75, 0],
        [0.25, 0.75, 0],
        [0.25, 0.75, 0],
        [0.25 * (1 - third), 0.75 * (1 - third), third],
        [0, 0, 1],
        [0, 0, 1],
        [1, 0, 0],
        [1, 0, 0],
    ]
    np.testing.assert_allclose(weights, expected)


def test_one_task_is_a_curriculum_of_one_knot() -> None:
    curriculum = Curriculum.from_config(C, None)
    assert curriculum.weights_at(np.array([0, 99])).tolist() == [[1.0], [1.0]]


def test_a_batch_is_a_pure_function_of_the_step() -> None:
    stream = iter(sampler())
    batches = [next(stream) for _ in range(350)]
    other = sampler()
    for step in (349, 0, 75, 74, 331, 120):
        assert other.batch(step).tolist() == batches[step]
    late = CurriculumBatchSampler(lengths(), Curriculum.from_config(None, RAMP), 64, 0, start_step=200)
    assert next(iter(late)) == batches[200]
    assert late.step == 201
    assert sampler(seed=1).batch(0).tolist() != batches[0]


def test_windows_cover_every_step_and_never_cross_a_knot() -> None:
    curriculum = Curriculum.from_config(None, RAMP)
    step, seen = 0, []
    while step < 400:
        first, end = curriculum.window(step)
        assert first == step
        assert end - first <= WINDOW
        assert not any(first < knot < end for knot in curriculum.steps)
        assert {curriculum.window(inside) for inside in range(first, end)} == {(first, end)}
        seen.append((first, end))
        step = end
    assert (75 - 75 % WINDOW, 75) in seen
    # Grouping only exchanges rows inside a window.
    drawer = sampler()
    for first, end in seen:
        batches = np.concatenate([drawer.batch(inside) for inside in range(first, end)])
        assert sorted(batches) == sorted(drawer.drawn(first, end).ravel())


def test_rows_of_like_lengths_come_together() -> None:
    drawer = sampler(knots=[{"step": 0, "mix": {C: 1}}])
    of = lengths()[C]
    grouped = np.mean([np.ptp(of[drawer.batch(step)]) for step in range(WINDOW * 2)])
    drawn = np.mean([np.ptp(of[row]) for row in drawer.drawn(0, WINDOW * 2)])
    assert grouped < drawn / 2  # 26 lengths over 8 batches


def test_drawn_sources_follow_the_weights_of_their_own_step() -> None:
    drawer = sampler(batch_size=512)
    source, row = drawer.locate(drawer.drawn(0, 400))
    for step in (0, 74, 100, 187, 250, 299, 320, 335):
        share = weight_of_c(step)
        hits = int((source[step] == 2).sum())
        if share in (0.0, 1.0):
            assert hits == 512 * share
        else:
            assert binomtest(hits, 512, share).pvalue > 1e-4
    early = Counter(source[:75].ravel().tolist())
    assert chisquare([early[0], early[1]], np.array([0.25, 0.75]) * 75 * 512).pvalue > 1e-3
    rows = np.bincount(row[300:330][source[300:330] == 2], minlength=500)
    assert chisquare(rows).pvalue > 1e-3


@pytest.mark.parametrize(("world", "parts"), [(1, 1), (2, 1), (3, 2), (1, 5)])
def test_ranks_and_parts_make_up_the_batch(world: int, parts: int) -> None:
    batch = sampler().batch(3)
    pieces = [rank_slice(batch, rank, world, part, parts) for rank in range(world) for part in range(parts)]
    assert np.concatenate(pieces).tolist() == batch.tolist()


def test_a_plain_data_loader_takes_it() -> None:
    of = lengths()
    rows = [(name, i) for name in (A, B, C) for i in range(len(of[name]))]
    loader = DataLoader(rows, batch_sampler=sampler(), collate_fn=list)  # type: ignore[arg-type]
    for step, batch in zip(range(3), loader, strict=False):
        assert batch == [rows[i] for i in sampler().batch(step)]


def test_generated_rows_have_no_end() -> None:
    source = GeneratedRows(Curriculum.from_config(C, None).tasks[0], seed=0)
    drawer = CurriculumBatchSampler({C: source}, Curriculum.from_config(C, None), 64)
    seen = np.concatenate([drawer.batch(step) for step in range(80)])
    assert len(set(seen.tolist())) == len(seen)
    first = source.take(drawer.batch(0))
    again = GeneratedRows(source.task, seed=0).take(drawer.batch(0))
    assert first.ids.tolist() == again.ids.tolist()


@pytest.mark.parametrize(
    ("knots", "says"),
    [
        ([], "is not a list of knots"),
        ([{"step": 5, "mix": {A: 1}}], "do not start at 0"),
        (
            [{"step": 0, "mix": {A: 1}}, {"step": 9, "mix": {A: 1}}, {"step": 8, "mix": {A: 1}}],
            "do not start at 0 and rise",
        ),
        ([{"step": 0, "mix": {A: -1}}], "weight -1"),
        ([{"step": 0, "mix": {A: float("nan")}}], "weight nan"),
        ([{"step": 0, "mix": {A: 0, B: 0}}], "are 0"),
        ([{"step": 0, "mix": {}}], "are 0"),
        ([{"step": 0, "mix": {5: 1}}], "names no tasks"),
        ([{"step": 0, "mix": {"summ-mod10-depth2": 1}}], "did you mean 'SUM'"),
        ([{"step": 0, "mix": {A: 1, "sum-mod7-depth2": 1}}], "share one modulus"),
        ([{"step": 0, "weights": {A: 1}}], "is not a knot"),
        ([{"step": "0", "mix": {A: 1}}], "is not a step"),
        ([{"step": 0, "mix": {A: True}}], "weight True"),
    ],
)
def test_bad_knots(knots: list[dict[str, object]], says: str) -> None:
    with pytest.raises(ListOpsError, match=r"curriculum: |operations: ") as error:
        Curriculum.from_config(None, knots)
    assert says in str(error.value)


def test_a_missing_source() -> None:
    with pytest.raises(ListOpsError, match="sources: 'sum-mod10-depth2'"):
        CurriculumBatchSampler({A: np.ones(3, dtype=np.int64)}, Curriculum.from_config(C, None), 4)
