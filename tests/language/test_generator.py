import itertools
import re
from collections import Counter

import numpy as np
import oracle
import pytest
from scipy.stats import binom, chi2, chisquare

from hf_listops.data.mixes import MIXES
from hf_listops.errors import ListOpsError
from hf_listops.language import OPERATIONS, SPLITS, Rows, Task, generate, generate_at, is_held_out, split_of
from hf_listops.language.generator import draw
from hf_listops.language.operations import shuffled_addition


def tables_of(task: Task) -> dict[str, np.ndarray]:
    return {
        "SHUF": shuffled_addition(task.modulus, task.table_seed, False),
        "SYMSHUF": shuffled_addition(task.modulus, task.table_seed, True),
    }


def same(one: Rows, other: Rows) -> bool:
    fields = ("ids", "offsets", "prompt_lengths", "answers", "depths", "operations")
    return all(np.array_equal(getattr(one, field), getattr(other, field)) for field in fields)


GRID = list(itertools.product([2, 7, 10, 26], [1, 2, 3, 4, 5], [2, 3, 4, 5, 6]))


@pytest.mark.parametrize("trace", ["parallel", "leftmost", "direct"])
def test_every_line_of_100_000_rows(trace: str) -> None:
    """A third of them here: all operations, moduli, depths and arities against the oracle."""
    each = -(-100_000 // 3 // len(GRID))
    checked = 0
    for modulus, depth, args in GRID:
        task = Task(tuple(OPERATIONS), modulus, depth, args, trace)  # type: ignore[arg-type]
        rows = draw(task, seed=5, count=each)
        tables = tables_of(task)
        vocabulary = task.vocabulary
        names = rows.operation_names()
        for i, (prompt, completion) in enumerate(zip(*rows.texts(), strict=True)):
            text = prompt.removesuffix(" =")
            expression = oracle.read(text)
            lines = oracle.lines(expression, trace, modulus, tables)
            assert f"{prompt}{completion}" == " = ".join(lines)
            assert rows.answers[i] == int(lines[-1])
            assert rows.depths[i] == oracle.depth(expression) <= depth
            assert set(names[i]) == oracle.names(expression)
            ids = rows.ids[rows.offsets[i] : rows.offsets[i + 1]]
            assert [vocabulary[j] for j in ids] == [*f"{prompt}{completion}".split(), "<eos>"]
            assert rows.prompt_lengths[i] == len(prompt.split())
        checked += len(rows)
    assert checked >= 33_333


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", ["max-med-sum-mod10-depth2", "sum-shuf-mod7-depth3-args4-leftmost"])
def test_chunks_and_random_access_give_the_same_rows(name: str, split: str) -> None:
    task = Task.from_name(name)
    whole = generate(task, split, 3, 0, 1000)
    assert same(whole, generate(task, split, 3, 0, 1000))
    cuts = [0, 1, 7, 500, 999, 1000]
    assert same(whole, Rows.concatenate([generate(task, split, 3, a, b - a) for a, b in itertools.pairwise(cuts)]))
    numbers = np.random.default_rng(0).permutation(1000)
    assert same(whole.take(numbers), generate_at(task, split, 3, numbers))
    far = generate(task, split, 3, 10**12, 3)
    assert same(far, generate_at(task, split, 3, np.arange(10**12, 10**12 + 3)))


def test_no_rows() -> None:
    assert len(generate(Task(("SUM",)), "train", 0, 0, 0)) == 0


def test_rows_never_change() -> None:
    """Published bytes depend on them: a change here needs a new GENERATOR_VERSION."""
    prompts, completions = generate(Task.from_name("max-med-sum-mod10-depth2"), "train", 0, 0, 2).texts()
    assert list(zip(prompts, completions, strict=True)) == [
        ("[MAX [SUM 3 9 6 ] [MAX 2 8 ] 7 ] =", " [MAX 8 8 7 ] = 8"),
        ("[SUM 0 5 ] =", " 5"),
    ]


def test_different_seeds_share_no_runs() -> None:
    task = Task(("MAX", "SUM"), 26, 2)
    streams = [generate(task, "train", seed, 0, 4000).texts()[0] for seed in (0, 1, 2, 500, 501)]
    pairs = [set(zip(stream, stream[1:], stream[2:], stream[3:], strict=False)) for stream in streams]
    for one, other in itertools.combinations(range(len(streams)), 2):
        assert not pairs[one] & pairs[other]
    splits = [generate(task, split, 0, 0, 4000).texts()[0] for split in ("validation", "test")]
    assert not set(splits[0]) & set(splits[1])


def test_the_distribution() -> None:
    """Depth, operation, arity, deep place, nesting and numbers, as the contract says, before any redraw."""
    task = Task(("MAX", "MED", "SUM"), 10, 3, 4)
    counts: dict[str, Counter[object]] = {
        key: Counter() for key in ("depth", "operation", "arity", "number", "deep", "nested", "below")
    }
    for prompt in draw(task, 11, 40_000).texts()[0]:
        expression = oracle.read(prompt.removesuffix(" ="))
        counts["depth"][oracle.depth(expression)] += 1
        calls = [expression]
        while calls:
            call = calls.pop()
            args, depth = call[1:], oracle.depth(call)
            counts["operation"][call[0]] += 1
            counts["arity"][len(args)] += 1
            counts["number"].update(arg for arg in args if isinstance(arg, int))
            calls += [arg for arg in args if not isinstance(arg, int)]
            if depth == 3:
                depths = [oracle.depth(arg) for arg in args]
                counts["nested"].update(min(d, 1) for d in depths if d < 2)
                counts["below"][depths.count(2)] += 1
                if depths.count(2) == 1 and len(args) == 4:
                    counts["deep"][depths.index(2)] += 1
    for key in ("depth", "operation", "arity", "number", "deep"):
        values = list(counts[key].values())
        assert chisquare(values).pvalue > 0.001, key
    # Of the arguments of a depth-3 call that are not of depth 2: not nested 0.65, a call of depth 1 0.35 / 2.
    zero, one = counts["nested"][0], counts["nested"][1]
    expected = np.array([0.65, 0.175]) / 0.825 * (zero + one)
    assert chisquare([zero, one], expected).pvalue > 0.001
    # Beside the deep argument each other one has depth 2 with probability 0.35 / 2; arities 2, 3 and 4 are alike.
    share = 0.175
    total = sum(counts["below"].values())
    exactly = [sum(binom.pmf(k, others, share) for others in (1, 2, 3)) / 3 for k in range(4)]
    observed = [counts["below"][k + 1] for k in range(4)]
    statistic = sum((o - total * e) ** 2 / (total * e) for o, e in zip(observed, exactly, strict=True))
    assert chi2.sf(statistic, 3) > 0.001


def test_splits_follow_the_scalar_rule() -> None:
    """The vectorised membership against `split_of` and `is_held_out` on texts, with calls found by the oracle."""
    for name in ("max-med-sum-mod10-depth2", "sum-shuf-mod26-depth3-leftmost", "min-mod10-depth3-args5-direct"):
        task = Task.from_name(name)
        tables = tables_of(task)
        for split in SPLITS:
            for prompt, completion in zip(*generate(task, split, 1, 0, 150).texts(), strict=True):
                lines = f"{prompt}{completion}".split(" = ")
                expression = oracle.read(lines[0])
                unseen = [c for c in oracle.reduced(expression, task.modulus, tables) if is_held_out(c)]
                assert bool(unseen) == (split == "test_unseen_calls")
                if split == "train":
                    assert {split_of(line) for line in lines[:-1]} == {"train"}
                else:
                    assert split_of(lines[0]) == split.split("_")[0]
                assert oracle.depth(expression) == 4 - (task.max_depth == 2) if split == "test_deeper" else True


def test_the_shares_of_the_splits() -> None:
    texts = list(dict.fromkeys(draw(Task(("MAX", "SUM"), 26, 2), 0, 20_000).texts()[0]))
    shares = Counter(split_of(text.removesuffix(" =")) for text in texts)
    total = sum(shares.values())
    assert (
        chisquare([shares["train"], shares["validation"], shares["test"]], total * np.array([0.9, 0.05, 0.05])).pvalue
        > 0.001
    )
    calls = [f"[SUM {a} {b} {c} ]" for a in range(26) for b in range(26) for c in range(26)]
    held = sum(map(is_held_out, calls))
    assert chisquare([held, len(calls) - held], len(calls) * np.array([0.05, 0.95])).pvalue > 0.001
    both = Counter((split_of(call), is_held_out(call)) for call in calls[:6000])
    expected = {(s, h): 6000 * {"train": 0.9}.get(s, 0.05) * (0.05 if h else 0.95) for s, h in both}
    assert sum((both[k] - e) ** 2 / e for k, e in expected.items()) < 25  # the two hashes are independent


def test_no_leak_over_all_mixes() -> None:
    """No evaluated prompt and no held-out call anywhere in the lines of train rows, whatever the mixes."""
    evaluated: set[str] = set()
    for mix, split in itertools.product(MIXES, SPLITS[1:]):
        prompts = generate(Task(mix, 10, 2), split, 0, 0, 1500).texts()[0]
        evaluated |= {prompt.removesuffix(" =") for prompt in prompts}
    assert len(evaluated) > 30_000
    for mix in MIXES:
        for prompt, completion in zip(*generate(Task(mix, 10, 2), "train", 0, 0, 6000).texts(), strict=True):
            for line in f"{prompt}{completion}".split(" = ")[:-1]:
                assert line not in evaluated
                for call in re.findall(r"\[[A-Z]+(?: \d+)+ \]", line):
                    assert not is_held_out(call)


def test_errors() -> None:
    with pytest.raises(ListOpsError, match="split: 'dev' is none of"):
        generate(Task(("SUM",)), "dev", 0, 0, 1)
    with pytest.raises(ListOpsError, match=r"split: none of .* belongs"):
        generate(Task(("SUM",), 2, 1, 2), "test", 0, 0, 1)
