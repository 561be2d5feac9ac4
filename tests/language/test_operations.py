import numpy as np
import oracle
import pytest

from hf_listops.language import OPERATIONS
from hf_listops.language.operations import shuffled_addition

CASES = [
    ("MAX", [3, 9, 1], 9),
    ("MIN", [3, 9, 1], 1),
    ("MED", [3, 9, 1], 3),
    ("MED", [1, 4], 2),
    ("MED", [7, 1, 4, 2], 3),
    ("MED", [0, 0, 9, 9], 4),
    ("SUM", [7, 8, 9], 4),
    ("FIRST", [7, 8, 9], 7),
    ("LAST", [7, 8, 9], 9),
    ("PROD", [7, 8, 9], 4),
    ("PROD", [0, 5], 0),
    ("NADD", [1, 5], 6),
    ("NADD", [1, 5, 3], 9),
    ("NADD", [9, 1, 1, 2], 7),
]


@pytest.mark.parametrize(("name", "numbers", "expected"), CASES)
def test_hand_written_cases(name: str, numbers: list[int], expected: int) -> None:
    operation = OPERATIONS[name]
    padded = np.array([numbers + [5] * (6 - len(numbers))])
    assert operation.evaluate(numbers, 10, 0) == expected
    assert operation.reduce(padded, np.array([len(numbers)]), 10, 0).tolist() == [expected]
    assert oracle.apply(name, numbers, 10, {}) == expected


def test_folding_a_shuffled_table_by_hand() -> None:
    """T[1][2] = 4 and T[4][0] = 1 in the first table modulo 5; its symmetric sister has T[0][2] = 1 and T[1][0] = 2."""
    assert OPERATIONS["SHUF"].evaluate([1, 2, 0], 5, 0) == 1
    assert OPERATIONS["SYMSHUF"].evaluate([0, 2, 0], 5, 0) == 2
    tables = {"SHUF": [[0, 2, 0, 4, 0], [3, 0, 4, 2, 1], [2, 3, 4, 2, 1], [4, 0, 3, 2, 3], [1, 3, 1, 1, 4]]}
    assert oracle.apply("SHUF", [1, 2, 0], 5, tables) == 1


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("modulus", [2, 7, 10, 26])
def test_one_call_equals_many_and_the_oracle(name: str, modulus: int) -> None:
    rng = np.random.default_rng(0)
    values, counts = rng.integers(0, modulus, (500, 6)), rng.integers(2, 7, 500)
    many = OPERATIONS[name].reduce(values, counts, modulus, 3)
    tables = {"SHUF": shuffled_addition(modulus, 3, False), "SYMSHUF": shuffled_addition(modulus, 3, True)}
    for row, count, result in zip(values.tolist(), counts.tolist(), many.tolist(), strict=True):
        assert OPERATIONS[name].evaluate(row[:count], modulus, 3) == result
        assert oracle.apply(name, row[:count], modulus, tables) == result


@pytest.mark.parametrize("modulus", [2, 7, 10, 26])
@pytest.mark.parametrize("symmetric", [False, True])
def test_shuffled_tables_keep_the_frequencies_of_sum(modulus: int, symmetric: bool) -> None:
    table = shuffled_addition(modulus, 0, symmetric)
    assert np.bincount(table.ravel(), minlength=modulus).tolist() == [modulus] * modulus
    if symmetric:
        assert (table == table.T).all()
    if modulus > 2:
        assert (table == table.T).all() == symmetric
        a, b = np.indices(table.shape)
        assert (table != (a + b) % modulus).mean() > 0.5
        assert (table != shuffled_addition(modulus, 1, symmetric)).mean() > 0.5


def test_the_first_table_never_changes() -> None:
    """Names, records and checkpoints rely on it."""
    assert shuffled_addition(5, 0, False).tolist() == [
        [0, 2, 0, 4, 0],
        [3, 0, 4, 2, 1],
        [2, 3, 4, 2, 1],
        [4, 0, 3, 2, 3],
        [1, 3, 1, 1, 4],
    ]
    assert shuffled_addition(5, 0, True)[0].tolist() == [3, 2, 1, 2, 3]
