"""Are claims C3 and C4 reproduced?

The rule, fixed before the models were there: the parity accuracy of the mixed SUM group over its top components (C3) or
its best pair of them (C4) is above both baselines with p < 0.01, and that of the pure SUM group is not. The choice of the
pair is made anew in every shuffle and every random draw. Both groups have the same modulus and variant, and at least three
models above 90 %. It is judged at the largest modulus with such groups: of ten numbers only 126 splits in halves differ,
so that p < 0.01 over six components is nearly out of reach.
"""

from __future__ import annotations

from math import comb

from hf_listops.analysis.embeddings import Embeddings, Geometry
from hf_listops.analysis.embeddings_measures import Family, Measure
from hf_listops.analysis.inside import counterpart
from hf_listops.analysis.pages import Verdict

ABOVE = 0.9  # test accuracy of the models that the paper averages
_MODELS = 3
_P_VALUE = 0.01
_PAPER = (5, 6)  # the pair that the paper shows, counted from 1
_CLAIMS: dict[str, Family] = {"C3": "all", "C4": "pair"}


def verdicts(embeddings: Embeddings) -> tuple[Verdict, Verdict]:
    """The verdicts on C3 and C4."""
    return _verdict("C3", embeddings), _verdict("C4", embeddings)


def _verdict(claim: str, embeddings: Embeddings) -> Verdict:
    groups = {group.group: group for group in embeddings.groups}
    pairs = [
        (group, groups[counterpart(name)])
        for name, group in groups.items()
        if name.startswith("pure SUM ") and counterpart(name) in groups
    ]
    family = _CLAIMS[claim]
    enough = [
        pair for pair in pairs if all(len(of.models) >= _MODELS and parity(of, family) is not None for of in pair)
    ]
    if not enough or embeddings.above < ABOVE:
        counts = [f"{name} has {len(group.models)}" for name, group in groups.items() if " SUM " in name]
        found = "; ".join(counts) or "there is none"
        return Verdict(
            claim,
            "not yet run",
            f"pure and mixed SUM need {_MODELS} models above {ABOVE:.0%} each of one set-up: {found}",
        )
    largest = max(len(pure.scores) for pure, _ in enough)
    judged = [pair for pair in enough if len(pair[0].scores) == largest]
    good = all(_separates(parity(mixed, family)) and not _separates(parity(pure, family)) for pure, mixed in judged)
    of = {"all": "its top components", "pair": "its best pair of components"}[family]
    because = f"parity over {of}: " + "; ".join(
        f"{group.group} {_text(parity(group, family))}" for pair in enough for group in reversed(pair)
    )
    splits = comb(largest, largest // 2) // (1 if largest % 2 else 2)
    coarse = (
        f", of whose {splits} splits in halves the best has p {1 / splits:.2g}"
        if splits < embeddings.permutations
        else ""
    )
    because += f" (judged at modulus {largest}{coarse})"
    return Verdict(claim, "reproduced" if good else "not reproduced", because)


def parity(group: Geometry, family: Family) -> Measure | None:
    """The parity accuracy of a group's components, its pairs or all of them together; None of too few components."""
    return next((of for of in group.measures if (of.quantity, of.family) == ("parity accuracy", family)), None)


def _separates(of: Measure | None) -> bool:
    return of is not None and max(of.p_shuffled, of.p_random) < _P_VALUE


def _text(of: Measure | None) -> str:
    if of is None:
        return "has too few components"
    text = f"{of.value:.2f} (p {of.p_shuffled:.2g} shuffled, {of.p_random:.2g} random initialisation)"
    if _PAPER not in of.sets:
        return text
    place = of.sets.index(_PAPER)
    return f"{text}, PC5+PC6 {of.values[place]:.2f} (p {of.p_each[place]:.2g} of this pair alone)"
