import itertools

import pytest

from hf_listops.data.mixes import MIXES, published_tasks
from hf_listops.errors import ListOpsError
from hf_listops.language import OPERATIONS, Task, generate


def test_names_are_inverse() -> None:
    for mix, modulus, depth, args, trace, seed in itertools.product(
        [("SUM",), ("MAX", "MED", "SUM"), ("SUM", "SHUF"), tuple(OPERATIONS)], [2, 26], [1, 5], [2, 3, 6],
        ["parallel", "leftmost", "direct"], [0, 4],
    ):  # fmt: skip
        if seed and "SHUF" not in mix:
            continue
        task = Task(mix, modulus, depth, args, trace, seed)
        assert Task.from_name(task.name) == task
    assert Task(("SUM", "MAX")).name == "max-sum-mod10-depth2"
    assert Task(("SUM",), trace="direct", max_args=5).name == "sum-mod10-depth2-args5-direct"
    assert Task.from_name("sum-max-mod10-depth2").name == "max-sum-mod10-depth2"
    assert Task.from_name("sum-max-mod10-depth2").mix == "MAX+SUM"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sum", "a right one is"),
        ("summ-mod10-depth2", "did you mean 'SUM'"),
        ("sum-sum-mod10-depth2", "names one twice"),
        ("sum-mod1-depth2", "modulus: 1"),
        ("sum-mod10-depth0", "max_depth: 0"),
        ("sum-mod10-depth2-args1", "max_args: 1"),
        ("sum-mod10-depth2-table3", "table_seed: 3"),
        ("sum-mod10-depth2-sideways", "a right one is"),
        ("", "a right one is"),
    ],
)
def test_wrong_names(name: str, says: str) -> None:
    with pytest.raises(ListOpsError, match=r"^[a-z_]+: ") as error:
        Task.from_name(name)
    assert says in str(error.value)


def test_wrong_fields() -> None:
    with pytest.raises(ListOpsError, match="trace"):
        Task(("SUM",), trace="sideways")  # type: ignore[arg-type]
    with pytest.raises(ListOpsError, match="empty mix"):
        Task(())


def test_vocabulary_is_shared_and_ordered() -> None:
    task = Task(("SUM",), modulus=10)
    assert task.vocabulary[:6] == ("<pad>", "<eos>", "=", "]", "0", "1")
    assert task.vocabulary[14:] == tuple(f"[{name}" for name in OPERATIONS)
    assert all(other.vocabulary == task.vocabulary for other in published_tasks() if other.modulus == 10)


@pytest.mark.parametrize("trace", ["parallel", "leftmost", "direct"])
@pytest.mark.parametrize(("depth", "args"), [(1, 2), (1, 3), (2, 2), (2, 3), (3, 2)])
def test_longest_row_is_reached_and_never_passed(trace: str, depth: int, args: int) -> None:
    task = Task(("MAX", "SUM"), 10, depth, args, trace)  # type: ignore[arg-type]
    from hf_listops.language.generator import draw

    lengths = draw(task, 0, 60_000).lengths
    assert lengths.max() == task.longest_row()
    assert generate(task, "train", 0, 0, 2000).lengths.max() <= task.longest_row()


def test_the_papers_mixes() -> None:
    assert len(MIXES) == len(set(MIXES)) == 15
    assert len(published_tasks()) == len({task.name for task in published_tasks()}) == 33
