"""Planted structure is found and nothing else is; every quantity against another library or another route."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from hf_listops.analysis.embeddings import Embeddings, Geometry, analyze, average_correlation, components, geometry
from hf_listops.analysis.embeddings_measures import (
    RIDGE,
    Measure,
    fourier_power,
    measure,
    parity_accuracy,
    rank_correlation,
    spectrum,
)
from hf_listops.analysis.outputs import plain_numbers, read_numbers
from hf_listops.analysis.teacher_forced import accuracy
from hf_listops.cli import main
from hf_listops.data.build import distinct
from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.checkpoint import load_checkpoint
from hf_listops.language import Task

D = 32


def noise(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, D))


def parity_planted(n: int, seed: int, strength: float = 1.5) -> np.ndarray:
    direction = np.random.default_rng(seed + 1000).standard_normal(D)
    return noise(n, seed) + strength * np.outer((-1.0) ** np.arange(n), direction)


def circle_planted(n: int, frequency: int, seed: int) -> np.ndarray:
    turns = 2 * np.pi * frequency * np.arange(n) / n
    plane = np.random.default_rng(seed + 1000).standard_normal((2, D))
    return 0.5 * noise(n, seed) + 2 * np.stack([np.cos(turns), np.sin(turns)], axis=1) @ plane


def of(found: Geometry, quantity: str, family: str) -> Measure:
    return next(m for m in found.measures if (m.quantity, m.family) == (quantity, family))


def look(embeddings: list[np.ndarray], permutations: int = 999, draws: int = 199) -> Geometry:
    return geometry("pure SUM", [f"m{j}" for j in range(len(embeddings))], embeddings, permutations, draws)


@pytest.mark.parametrize("n", [10, 26])
def test_a_planted_parity_direction_is_found(n: int) -> None:
    found = look([parity_planted(n, seed) for seed in range(3)])
    for family in ("component", "pair", "all"):
        parity = of(found, "parity accuracy", family)
        assert parity.value == 1
        # Of ten points in six dimensions one of the 126 splits is held out as well as any planted one.
        level = 0.05 if (n, family) == (10, "all") else 0.01
        assert parity.p_shuffled < level
        assert parity.p_random < level
        assert parity.shuffled < 0.95
    best = of(found, "parity accuracy", "component")
    assert best.components == (1,)
    assert of(found, "Fourier power", "component").frequency == n // 2


@pytest.mark.parametrize(("n", "frequency"), [(10, 1), (10, 3), (26, 5), (7, 2)])
def test_a_planted_circle_is_found_at_its_frequency(n: int, frequency: int) -> None:
    found = look([circle_planted(n, frequency, seed) for seed in range(3)])
    circle = of(found, "Fourier power", "pair")
    assert (circle.components, circle.frequency) == ((1, 2), frequency)
    assert circle.value > 0.9
    assert circle.p_shuffled < 0.01
    assert circle.p_random < 0.01
    assert of(found, "parity accuracy", "pair").p_shuffled > 0.01


@pytest.mark.parametrize("n", [10, 26])
def test_the_order_of_the_numbers_is_found(n: int) -> None:
    direction = np.random.default_rng(5).standard_normal(D)
    found = look([0.5 * noise(n, 1) + np.outer(np.linspace(-1, 1, n) ** 3, 4 * direction)])
    order = of(found, "rank correlation", "component")
    assert order.components == (1,)
    assert order.value > 0.9
    assert max(order.p_shuffled, order.p_random) < 0.01


@pytest.mark.parametrize("n", [10, 7])
def test_p_values_of_random_embeddings_are_uniform(n: int) -> None:
    """Of 200 draws without structure about 5 % have p < 0.05, though the best component or pair is shown."""
    rng = np.random.default_rng(n)

    def draw() -> np.ndarray:
        return components(average_correlation(["m"], [rng.standard_normal((n, D))]))[0]

    found = [measure(draw(), [draw()], 199, rng) for _ in range(200)]
    for place, first in enumerate(found[0]):
        p = np.array([of_draw[place].p_shuffled for of_draw in found])
        assert (p < 0.05).mean() <= 0.10, (first.quantity, first.family)
        assert abs((p < 0.5).mean() - 0.5) < 0.15, (first.quantity, first.family)
        assert (np.array([of_draw[place].p_each[0] for of_draw in found]) < 0.05).mean() <= 0.10


@pytest.mark.parametrize("n", [10, 7, 26])
def test_parity_accuracy_is_that_of_scikit_learn_left_one_out(n: int) -> None:
    scores, _ = components(average_correlation(["m"], [parity_planted(n, 3, 0.4)]))
    sets = [(0,), (1, 2), tuple(range(scores.shape[1]))]
    rng = np.random.default_rng(0)
    labels = np.stack([np.arange(n) % 2, *(rng.permutation(np.arange(n) % 2) for _ in range(4))])
    ours = np.round(parity_accuracy(scores, sets, labels) * n) / n
    unit = scores / np.linalg.norm(scores, axis=0)
    for one, row in zip(sets, ours, strict=True):
        for label, share in zip(labels, row, strict=True):
            predicted = cross_val_predict(RidgeClassifier(alpha=RIDGE), unit[:, list(one)], label, cv=LeaveOneOut())
            assert share == pytest.approx((predicted == label).mean())


def test_rank_correlation_is_that_of_scipy() -> None:
    scores = noise(10, 0)[:, :4]
    orders = np.stack([np.arange(10), np.random.default_rng(0).permutation(10)])
    ours = rank_correlation(scores, [(j,) for j in range(4)], orders)
    for j in range(4):
        for p in range(2):
            assert ours[j, p] == pytest.approx(abs(spearmanr(scores[:, j], orders[p]).statistic))


@pytest.mark.parametrize("n", [10, 7, 26])
def test_fourier_power_is_that_of_the_fast_transform(n: int) -> None:
    scores = noise(n, 0)[:, :5]
    squares = (
        np.abs(np.fft.rfft(scores, axis=0)[1:]) ** 2 * np.array([2.0] * ((n - 1) // 2) + [1.0] * (1 - n % 2))[:, None]
    )
    expected = (squares / squares.sum(axis=0)).T
    np.testing.assert_allclose(spectrum(scores), expected, atol=1e-12)
    order = np.random.default_rng(1).permutation(n)
    shuffled = np.empty_like(scores)
    shuffled[order] = scores
    ours = fourier_power(scores, [(0,), (1, 2)], np.stack([np.arange(n), order]))
    for p, of_order in enumerate((scores, shuffled)):
        power = spectrum(of_order)
        np.testing.assert_allclose(ours[:, p], [power[0].max(), power[1:3].mean(axis=0).max()], atol=1e-12)


def test_correlation_and_components_are_those_of_numpy_and_scikit_learn() -> None:
    one, other = noise(10, 1), noise(10, 2)[:, :8]
    average = average_correlation(["a", "b"], [one, other])
    np.testing.assert_allclose(average, (np.corrcoef(one) + np.corrcoef(other)) / 2)
    scores, share = components(np.corrcoef(one))
    standard = one - one.mean(axis=1, keepdims=True)
    standard /= np.linalg.norm(standard, axis=1, keepdims=True)
    reference = PCA(6).fit(standard)
    np.testing.assert_allclose(np.abs(scores), np.abs(reference.transform(standard)), atol=1e-9)
    np.testing.assert_allclose(share, reference.explained_variance_ratio_, atol=1e-9)


def test_a_rotation_of_the_embedding_basis_changes_nothing() -> None:
    """Any rotation that keeps the all-ones direction, which LayerNorm and Pearson's correlation both leave out."""
    basis = np.linalg.qr(np.column_stack([np.ones(D), np.random.default_rng(0).standard_normal((D, D - 1))]))[0]
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((D - 1, D - 1)))[0]
    inside = np.eye(D)
    inside[1:, 1:] = turn
    rotation = basis @ inside @ basis.T
    plain, turned = (look([of], 99, 9) for of in (parity_planted(10, 0), parity_planted(10, 0) @ rotation))
    np.testing.assert_allclose(plain.correlation, turned.correlation, atol=1e-9)
    for before, after in zip(plain.measures, turned.measures, strict=True):
        assert before.value == pytest.approx(after.value)
        assert before.p_shuffled == after.p_shuffled


def test_the_same_seed_gives_the_same_numbers_and_few_dimensions_give_few_components() -> None:
    narrow = [noise(10, 0)[:, :4]]
    found = look(narrow, 99, 9)
    assert found == look(narrow, 99, 9)
    assert len(found.variance) == 3  # four coordinates less their mean
    assert len(look([noise(10, 0)[:, :2]], 99, 9).measures) == 3  # one component: no pair


def test_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(ListOpsError, match="modulus: 4 numbers"):
        look([noise(4, 0)])
    with pytest.raises(ListOpsError, match="constant or not finite"):
        look([np.ones((10, 8))])
    with pytest.raises(ListOpsError, match="neither a folder"):
        analyze([str(tmp_path / "none")])


def test_command(trained: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["analyze", "embeddings", str(trained), str(tiny_run), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    groups = ["mixed MAX mod 10", "mixed MED mod 10", "mixed SUM mod 10", "pure SUM mod 10"]
    found = json.loads((out / "embeddings.json").read_text())
    assert [group["group"] for group in found["groups"]] == groups
    assert found["groups"][3]["models"] == [str(tiny_run)]
    for group in groups:
        assert f"{group}, 1 model\n" in printed
        for kind in ("png", "svg"):
            assert (out / f"embeddings-{group.lower().replace(' ', '-')}.{kind}").stat().st_size > 5000
    assert (out / "embeddings.md").read_text() in printed
    again = read_numbers(Embeddings, out / "embeddings.json")
    assert plain_numbers(again) == (out / "embeddings.json").read_text()
    solved = accuracy(load_checkpoint(str(tiny_run)).model, rows_of("sum-mod10-depth2")).exact_match
    assert again.groups[3].exact_match == (pytest.approx(solved),)
    with pytest.raises(ListOpsError, match="is named twice"):
        analyze([str(trained), str(trained)])


def rows_of(task: str) -> TokenMatrix:
    return TokenMatrix.from_rows(distinct(Task.from_name(task), "test", 0, 2000))


def test_parity_alone_of_the_models_that_solve_an_operation(
    trained: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    solved = accuracy(load_checkpoint(str(trained)).model, rows_of("max-mod10-depth2")).exact_match
    assert solved > 0.1
    arguments = ["analyze", "embeddings", "--parity", str(trained), str(tiny_run), "--out", str(tmp_path), "--above"]
    assert main([*arguments, f"{solved - 0.01:.3f}"]) == 0
    printed = capsys.readouterr().out
    assert "mixed MAX mod 10, 1 model\n" in printed
    assert "Fourier" not in printed
    found = read_numbers(Embeddings, tmp_path / "embeddings.json")
    assert "pure SUM mod 10" not in [group.group for group in found.groups]
    assert found.left_out["pure SUM mod 10"] == 1
    assert (tmp_path / "parity-mixed-max-mod-10.png").stat().st_size > 5000
    with pytest.raises(
        ListOpsError, match=r"above: no model solves 1 of the rows of any operation; the best solves 0\."
    ):
        analyze([str(trained)], above=1.0)
    with pytest.raises(ListOpsError, match="above: -1 is no share"):
        analyze([str(trained)], above=-1)
