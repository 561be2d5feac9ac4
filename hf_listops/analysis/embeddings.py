"""The geometry of the number embeddings (Figures 2 and 3, claims C3 and C4), averaged over groups of models.

As in the paper (arXiv 2505.18369): the correlation matrix of the embeddings of the numbers 0 … n-1 of each model, the
average over the models of a group, and its principal components. A model belongs to the group `pure X` if it was trained
on X alone, otherwise to `mixed X` for each of its operations X; the paper takes the models above 90 % test accuracy, of
all sizes. A model that does not say what it was trained on belongs to the group `unknown`.

Shapes: n residues, D `n_embd`, k components.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hf_listops.analysis.embeddings_measures import Measure, measure, spectrum
from hf_listops.analysis.inside import Subject, alone_rows, check_share, group_name, load_subjects
from hf_listops.analysis.teacher_forced import accuracy
from hf_listops.data.build import EVALUATION_ROWS
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.checkpoint import Checkpoint

Floats = NDArray[np.float64]

COMPONENTS = 6  # as the paper shows
_FEWEST_NUMBERS = 5  # with fewer, no structure can be told from chance


@dataclass(frozen=True)
class Geometry:
    """The number embeddings of a group of models."""

    group: str
    models: tuple[str, ...]
    exact_match: tuple[float, ...]  # of each model, on the group's operation alone; none of unknown models
    correlation: tuple[tuple[float, ...], ...]  # mean over the models, (n, n)
    scores: tuple[tuple[float, ...], ...]  # (n, k): residue by component
    variance: tuple[float, ...]  # share of each component, (k,)
    power: tuple[tuple[float, ...], ...]  # (k, n // 2): share of a component's variance at frequency 1 … n // 2
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class Embeddings:
    """All groups of some models, and how chance was drawn."""

    permutations: int
    draws: int
    above: float  # models of lower exact match were left out
    groups: tuple[Geometry, ...]
    left_out: dict[str, int]  # how many, by group


def analyze(
    names: Sequence[str], above: float = 0.0, permutations: int = 1999, draws: int = 199, rows: int = EVALUATION_ROWS
) -> Embeddings:
    """The geometry of every group that models belong to.

    Args:
        names (`Sequence[str]`): folders or `NAMESPACE/REPO[@REVISION]`.
        above (`float`): leave a model out of the groups of an operation of which it solves a smaller share, in [0, 1].
        permutations (`int`): shuffles of the residues behind each p value.
        draws (`int`): random initialisations behind each p value.
        rows (`int`): test rows of each operation alone by which models are judged.

    Raises:
        ListOpsError: as `load_subjects`; a model has fewer than 5 numbers; no model is above `above`.
    """
    check_share("above", above)
    subjects = load_subjects(names)
    for subject in subjects:
        if subject.checkpoint.task.modulus < _FEWEST_NUMBERS:
            raise ListOpsError(
                f"modulus: {subject.checkpoint.task.modulus} numbers of {subject.name!r} are too few to find structure in; "
                f"{_FEWEST_NUMBERS} are the fewest"
            )
    groups: dict[str, list[tuple[Subject, float | None]]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    best = 0.0
    for subject in tqdm(subjects, desc="testing", unit="model", disable=None):
        if not subject.operations and above == 0:
            groups[f"unknown mod {subject.checkpoint.task.modulus}"].append((subject, None))
        for operation in subject.operations:
            group = group_name(subject, operation)
            solved = accuracy(subject.checkpoint.model, alone_rows(subject, operation, rows)).exact_match
            best = max(best, solved)
            if solved >= above:
                groups[group].append((subject, solved))
            else:
                left_out[group] += 1
    if not groups:
        raise ListOpsError(
            f"above: no model solves {above:g} of the rows of any operation; the best solves {best:.2f}"
        )
    found = [
        geometry(
            group,
            [subject.name for subject, _ in members],
            [number_embeddings(subject.checkpoint) for subject, _ in members],
            permutations,
            draws,
            exact_match=[solved for _, solved in members if solved is not None],
        )
        for group, members in tqdm(groups.items(), desc="against chance", unit="group", disable=None)
    ]
    return Embeddings(permutations, draws, above, tuple(found), dict(left_out))


def number_embeddings(checkpoint: Checkpoint) -> Floats:
    """The token embeddings of the numbers 0 … n-1, shape `(n, D)`."""
    zero, modulus = checkpoint.task.vocabulary.index("0"), checkpoint.task.modulus
    weight = checkpoint.model.transformer.wte.weight.detach().cpu().double().numpy()
    return np.asarray(weight[zero : zero + modulus], dtype=np.float64)


def geometry(
    group: str,
    models: Sequence[str],
    embeddings: Sequence[Floats],
    permutations: int = 1999,
    draws: int = 199,
    seed: int = 0,
    exact_match: Sequence[float] = (),
) -> Geometry:
    """The geometry of one group, from the number embeddings of its models.

    Args:
        group (`str`), models (`Sequence[str]`): what they are called.
        embeddings (`Sequence[ndarray]`): each of shape `(n, D)`, of one n; D may differ.
        permutations (`int`), draws (`int`): as in `analyze`.
        seed (`int`): of the shuffles and the random initialisations.
        exact_match (`Sequence[float]`): of each model, kept with the result.

    Raises:
        ListOpsError: there are fewer than 5 numbers, or an embedding is constant or not finite.
    """
    modulus = len(embeddings[0])
    if modulus < _FEWEST_NUMBERS:
        raise ListOpsError(
            f"modulus: {modulus} numbers of {models[0]!r} are too few to find structure in; 10 are enough"
        )
    average = average_correlation(models, embeddings)
    scores, variance = components(average)
    rng = np.random.default_rng(seed)
    # The scale of an initialisation drops out of a correlation.
    random = [
        components(average_correlation(models, [rng.standard_normal(of.shape) for of in embeddings]))[0]
        for _ in range(draws)
    ]
    return Geometry(
        group,
        tuple(models),
        tuple(exact_match),
        _tuples(average),
        _tuples(scores),
        tuple(variance.tolist()),
        _tuples(spectrum(scores)),
        tuple(measure(scores, random, permutations, rng)),
    )


def average_correlation(models: Sequence[str], embeddings: Sequence[Floats]) -> Floats:
    """The mean over models of Pearson's correlation between the embeddings of each two numbers, shape `(n, n)`.

    Pearson's correlation leaves out the mean over the D coordinates, which the model's LayerNorm leaves out too; it is
    unchanged by every rotation that keeps that direction.

    Raises:
        ListOpsError: the embedding of a number is constant over its coordinates, or not finite.
    """
    for model, of in zip(models, embeddings, strict=True):
        if not np.isfinite(of).all() or (np.ptp(of, axis=1) == 0).any():
            raise ListOpsError(
                f"model: an embedding of {model!r} is constant or not finite, so it has no correlations"
            )
    return np.mean([np.corrcoef(of) for of in embeddings], axis=0)


def components(correlation: Floats, most: int = COMPONENTS) -> tuple[Floats, Floats]:
    """Principal components of embeddings that have these correlations.

    The correlation is taken as the inner products of standardised embeddings: for one model the scores are those of the
    PCA of its embeddings, each centred over its coordinates and of norm 1.

    Returns:
        `tuple`: scores, shape `(n, k)`, and the share of the variance of each, shape `(k,)`; k is `most`, or fewer where
        the embeddings span fewer dimensions, and at most n - 4: in n - 1 components every labelling fits alike.
    """
    from sklearn.decomposition import KernelPCA  # type: ignore[import-untyped]

    pca = KernelPCA(n_components=min(most, len(correlation) - 4), kernel="precomputed", eigen_solver="dense")
    scores = pca.fit_transform(correlation)
    total = np.trace(correlation) - correlation.mean() * len(correlation)
    share = pca.eigenvalues_ / total
    kept = share > 1e-9
    return np.asarray(scores[:, kept]), np.asarray(share[kept])


def _tuples(matrix: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())
