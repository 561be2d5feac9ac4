"""C3 and C4 on planted embeddings: every branch of the rule."""

import dataclasses

import numpy as np
import pytest

from hf_listops.analysis.embeddings import Embeddings, Geometry, geometry
from hf_listops.analysis.embeddings_verdicts import verdicts

D = 48


def group(name: str, *, strength: float, models: int = 3, n: int = 26) -> Geometry:
    """Noise with parity planted in one direction."""
    rng = np.random.default_rng(int(1000 * strength) + n)
    noise = [rng.standard_normal((n, D)) for _ in range(models)]
    parity = np.outer((-1.0) ** np.arange(n), rng.standard_normal(D))
    return geometry(name, [f"m{j}" for j in range(models)], [of + strength * parity for of in noise], 499, 199)


def judged(*groups: Geometry, above: float = 0.9) -> list[str]:
    return [of.verdict for of in verdicts(Embeddings(499, 199, above, groups, {}))]


PURE, MIXED = group("pure SUM mod 26", strength=0.0), group("mixed SUM mod 26", strength=1.5)


def test_parity_in_the_mixed_group_alone() -> None:
    assert judged(PURE, MIXED) == ["reproduced"] * 2
    because = verdicts(Embeddings(499, 199, 0.9, (PURE, MIXED), {}))[1].because
    best = next(of for of in MIXED.measures if (of.quantity, of.family) == ("parity accuracy", "pair"))
    place = best.sets.index((5, 6))
    assert f"PC5+PC6 {best.values[place]:.2f} (p {best.p_each[place]:.2g} of this pair alone)" in because
    assert f"mixed SUM mod 26 {best.value:.2f} (p {best.p_shuffled:.2g} shuffled" in because
    assert because.endswith("(judged at modulus 26)")


def test_parity_in_both_or_in_none() -> None:
    def named(name: str, of: Geometry) -> Geometry:
        return dataclasses.replace(of, group=name)

    assert judged(named("pure SUM mod 26", MIXED), MIXED) == ["not reproduced"] * 2
    assert judged(PURE, named("mixed SUM mod 26", PURE)) == ["not reproduced"] * 2
    # The other way round is not the claim.
    assert judged(named("pure SUM mod 26", MIXED), named("mixed SUM mod 26", PURE)) == ["not reproduced"] * 2


def test_the_largest_modulus_decides() -> None:
    small = group("pure SUM mod 10", strength=0.0, n=10), group("mixed SUM mod 10", strength=0.0, n=10)
    assert judged(*small, PURE, MIXED) == ["reproduced"] * 2
    assert judged(*small) == ["not reproduced"] * 2
    because = verdicts(Embeddings(499, 199, 0.9, small, {}))[0].because
    assert because.endswith("(judged at modulus 10, of whose 126 splits in halves the best has p 0.0079)")


@pytest.mark.parametrize(
    "groups",
    [
        (),
        (MIXED,),
        (PURE, group("mixed SUM mod 26", strength=1.5, models=2)),
        (PURE, dataclasses.replace(MIXED, group="mixed SUM mod 26, init0.1")),  # of another set-up
    ],
)
def test_too_few_models_of_one_set_up(groups: tuple[Geometry, ...]) -> None:
    assert judged(*groups) == ["not yet run"] * 2


def test_too_few_components_for_pairs_of_six() -> None:
    small = group("pure SUM mod 6", strength=0.0, n=6), group("mixed SUM mod 6", strength=1.5, n=6)
    assert judged(*small)[0] == "not yet run"


def test_models_below_nine_tenths() -> None:
    assert judged(PURE, MIXED, above=0.5) == ["not yet run"] * 2
