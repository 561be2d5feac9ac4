"""Attention or feed-forward: what does a model lean on (claim C7)?

For each sublayer of each layer of a standard `GPT2LMHeadModel`:

* the norm of its output relative to the residual stream that it is added to, at the positions that predict a token of the
  completion;
* what is lost under mean ablation: its output is replaced, at every position, by its mean over all tokens of the test
  rows. One mean overall and not one per position: rows differ in length, so a position plays another role in each, and a
  constant is the same as a sublayer that has no weights but its bias.

And where the position that predicts the answer, the last `=`, looks. All of it is teacher-forced: the model reads the
reference. Exact match is then the same as by greedy decoding; answer accuracy is that of the answer's token given the
right lines before it, which is not what greedy decoding measures.

Shapes: B rows, T tokens, D `n_embd`, H heads, L layers.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from hf_listops.analysis.inside import (
    Subject,
    alone_rows,
    check_share,
    counterpart,
    group_name,
    load_subjects,
    task_alone,
)
from hf_listops.analysis.reliance_hooks import (
    KINDS,
    Kind,
    attention_by_role,
    mean_ablation,
    sublayer_statistics,
)
from hf_listops.analysis.teacher_forced import Accuracy, accuracy
from hf_listops.data.build import EVALUATION_ROWS
from hf_listops.errors import ListOpsError


@dataclass(frozen=True)
class Sublayer:
    """One sublayer: the relative norm of its output, and what mean ablation of it costs (0: nothing)."""

    layer: int | None  # counted from 1; None for all sublayers of a kind at once, which have no norm
    kind: Kind
    norm: float | None
    exact_match_lost: float
    answer_accuracy_lost: float
    loss_added: float


@dataclass(frozen=True)
class Reliance:
    """One model on the test rows of one operation."""

    model: str
    group: str
    task: str
    rows: int
    intact: Accuracy
    sublayers: tuple[Sublayer, ...]
    attention: tuple[dict[str, float], ...]  # a layer each: role of a token to its share, mean over heads and rows

    @property
    def contrast(self) -> float:
        """Exact match lost without one feed-forward sublayer less that without one attention, mean over the layers.

        Not without all of a kind at once: either alone leaves nothing to be compared.
        """
        return self._feed_forward_less_attention("exact_match_lost")

    @property
    def norm_contrast(self) -> float:
        """Relative norm of the feed-forward outputs less that of the attention's, mean over the layers."""
        return self._feed_forward_less_attention("norm")

    def _feed_forward_less_attention(self, of: str) -> float:
        sign = {"feed-forward": 1, "attention": -1}
        values = [sign[one.kind] * getattr(one, of) for one in self.sublayers if one.layer is not None]
        return 2 * sum(values) / len(values)


@dataclass(frozen=True)
class Mean:
    """A mean over the models of a group with its 95 % t interval; no interval of one model."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Group:
    """The models of a group, and the mean of every number over them, by name (`layer 1 attention: norm`)."""

    name: str
    models: tuple[str, ...]
    means: dict[str, Mean]


@dataclass(frozen=True)
class Difference:
    """The pure group less the mixed one of the same task and variant, with Welch's 95 % intervals over their models.

    `contrast` is above 0 where the pure models lean more on their feed-forward layers; so is `norm`, the same of the
    norms. `exact_match` says how far the groups are from equal accuracy.
    """

    pure: str
    mixed: str
    contrast: Mean
    norm: Mean
    exact_match: Mean


@dataclass(frozen=True)
class Comparison:
    """Models side by side; a difference for each two groups with two models or more."""

    above: float  # models of lower exact match were left out
    models: tuple[Reliance, ...]
    groups: tuple[Group, ...]
    differences: tuple[Difference, ...]
    left_out: dict[str, int]  # how many, by group


def analyze(
    names: Sequence[str], operation: str = "SUM", rows: int = EVALUATION_ROWS, above: float = 0.0
) -> Comparison:
    """Compares models on the test rows of an operation alone, each with its own task's modulus and depth.

    Args:
        names (`Sequence[str]`): folders or `NAMESPACE/REPO[@REVISION]`.
        operation (`str`): one that all of them were trained on.
        rows (`int`): of the test split, which has 2,000 distinct ones, at even distances.
        above (`float`): leave models out that solve a smaller share of the rows, in [0, 1].

    Raises:
        ListOpsError: as `load_subjects`; there are no rows; a model never saw the operation, or has diverged; models of one
            group differ in layers or task; no model is above `above`.
    """
    check_share("above", above)
    return compare_subjects(load_subjects(names), operation, rows, above)


def compare_subjects(
    subjects: Sequence[Subject], operation: str = "SUM", rows: int = EVALUATION_ROWS, above: float = 0.0
) -> Comparison:
    """As `analyze`, of models that are loaded."""
    if rows < 1:
        raise ListOpsError(f"rows: {rows} is too few; the default is {EVALUATION_ROWS}")
    for subject in subjects:
        if operation not in subject.operations:
            known = (
                ", ".join(subject.operations) or 'what its folder does not say ("listops_task" in config.json would)'
            )
            raise ListOpsError(f"operation: {subject.name!r} never saw {operation!r}; it was trained on {known}")
    solved = {of.name: accuracy(of.checkpoint.model, alone_rows(of, operation, rows)) for of in subjects}
    broken = next((name for name, of in solved.items() if not math.isfinite(of.loss)), None)
    if broken is not None:
        raise ListOpsError(
            f"model: the loss of {broken!r} is no number; a diverged model leans on nothing, so leave it out"
        )
    best = max(of.exact_match for of in solved.values())
    if best < above:
        raise ListOpsError(f"above: no model solves {above:g} of the rows of {operation}; the best solves {best:.2f}")
    kept = [of for of in subjects if solved[of.name].exact_match >= above]
    left_out = Counter(_group(of, operation) for of in subjects if solved[of.name].exact_match < above)
    _check_groups(kept, operation)
    measured = [
        _measured(of, operation, rows, solved[of.name])
        for of in tqdm(kept, desc="ablating", unit="model", disable=None)
    ]
    return compare(measured, above, left_out)


def _group(subject: Subject, operation: str) -> str:
    """As the embeddings' groups, of one size and budget each: a narrow model leans otherwise than a wide one."""
    return f"{group_name(subject, operation)}, {subject.size}"


def _check_groups(subjects: Sequence[Subject], operation: str) -> None:
    """Only models with the same number of layers and heads and the same test rows have a mean."""
    seen: dict[str, tuple[Subject, tuple[int, int, str]]] = {}
    for subject in subjects:
        config = subject.checkpoint.model.config
        what = (config.n_layer, config.n_head, task_alone(subject, operation).name)
        first, expected = seen.setdefault(_group(subject, operation), (subject, what))
        if what != expected:
            one, other = (f"{layers} layers, {heads} heads, test {task!r}" for layers, heads, task in (expected, what))
            raise ListOpsError(
                f"model: {first.name!r} ({one}) and {subject.name!r} ({other}) are of one group; a group is to differ in its "
                "seeds alone, so leave one of them out"
            )


def reliance(subject: Subject, operation: str, rows: int = EVALUATION_ROWS) -> Reliance:
    """The reliance of one model. Raises `ListOpsError` if the test rows are longer than its positions."""
    intact = accuracy(subject.checkpoint.model, alone_rows(subject, operation, rows))
    return _measured(subject, operation, rows, intact)


def _measured(subject: Subject, operation: str, rows: int, intact: Accuracy) -> Reliance:
    matrix = alone_rows(subject, operation, rows)
    model = subject.checkpoint.model
    means, norms = sublayer_statistics(model, matrix)
    n_layer = model.config.n_layer
    sublayers = []
    for layer in (*range(n_layer), None):
        for kind in KINDS:
            chosen = [(j, kind) for j in (range(n_layer) if layer is None else [layer])]
            with mean_ablation(model, {place: means[place] for place in chosen}):
                ablated = accuracy(model, matrix)
            sublayers.append(
                Sublayer(
                    None if layer is None else layer + 1,
                    kind,
                    None if layer is None else norms[layer, kind],
                    intact.exact_match - ablated.exact_match,
                    intact.answer_accuracy - ablated.answer_accuracy,
                    ablated.loss - intact.loss,
                )
            )
    attention = attention_by_role(model, matrix)
    return Reliance(
        subject.name, _group(subject, operation), matrix.task.name, len(matrix), intact, tuple(sublayers), attention
    )


def compare(models: Sequence[Reliance], above: float = 0.0, left_out: Mapping[str, int] | None = None) -> Comparison:
    """Groups models that were measured on one operation; `above` and `left_out` are kept with the result."""
    members: dict[str, list[Reliance]] = defaultdict(list)
    for model in models:
        members[model.group].append(model)
    groups = []
    for name, of in members.items():
        numbers = [_named_numbers(model) for model in of]
        means = {key: mean_interval([each[key] for each in numbers]) for key in numbers[0]}
        groups.append(Group(name, tuple(model.model for model in of), means))
    pairs = [(name, other) for name in members if name.startswith("pure") and (other := counterpart(name)) in members]
    differences = tuple(
        _difference(members[pure], members[mixed])
        for pure, mixed in pairs
        if min(len(members[pure]), len(members[mixed])) > 1 and members[pure][0].task == members[mixed][0].task
    )
    return Comparison(above, tuple(models), tuple(groups), differences, dict(left_out or {}))


def _difference(pure: Sequence[Reliance], mixed: Sequence[Reliance]) -> Difference:
    def less(number: Callable[[Reliance], float]) -> Mean:
        return welch_interval([number(of) for of in pure], [number(of) for of in mixed])

    return Difference(
        pure[0].group,
        mixed[0].group,
        less(lambda of: of.contrast),
        less(lambda of: of.norm_contrast),
        less(lambda of: of.intact.exact_match),
    )


def _named_numbers(model: Reliance) -> dict[str, float]:
    numbers = {
        "exact match": model.intact.exact_match,
        "answer accuracy": model.intact.answer_accuracy,
        "loss": model.intact.loss,
    }
    for of in model.sublayers:
        where = f"{'all layers' if of.layer is None else f'layer {of.layer}'} {of.kind}"
        if of.norm is not None:
            numbers[f"{where}: norm"] = of.norm
        numbers[f"{where}: exact match lost"] = of.exact_match_lost
        numbers[f"{where}: answer accuracy lost"] = of.answer_accuracy_lost
        numbers[f"{where}: loss added"] = of.loss_added
    numbers["feed-forward less attention, mean of the layers: norm"] = model.norm_contrast
    numbers["feed-forward less attention, mean of the layers: exact match lost"] = model.contrast
    for layer, shares in enumerate(model.attention, start=1):
        numbers |= {f"layer {layer} looks at: {role}": share for role, share in shares.items()}
    return numbers


def mean_interval(values: Sequence[float]) -> Mean:
    """The mean and its 95 % t interval over the models of a group: over seeds, where these are all that differ."""
    from scipy.stats import t

    value, count = float(np.mean(values)), len(values)
    if count < 2:
        return Mean(value, None, None)
    half = float(t.ppf(0.975, count - 1) * np.std(values, ddof=1) / math.sqrt(count))
    return Mean(value, value - half, value + half)


def welch_interval(first: Sequence[float], second: Sequence[float]) -> Mean:
    """The difference of two means and its 95 % interval by Welch's t test, of two values or more each."""
    from scipy.stats import t

    value = float(np.mean(first) - np.mean(second))
    parts = [float(np.var(of, ddof=1)) / len(of) for of in (first, second)]
    if not sum(parts):
        return Mean(value, value, value)
    freedom = sum(parts) ** 2 / sum(part**2 / (len(of) - 1) for part, of in zip(parts, (first, second), strict=True))
    half = float(t.ppf(0.975, freedom)) * math.sqrt(sum(parts))
    return Mean(value, value - half, value + half)
