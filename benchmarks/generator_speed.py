"""Rows a CPU second of the vectorised generator and of a plain recursive one, in one run on one thread.

Both make train rows of the same task: expression, trace, text and token ids, of which every line hashes to train and no
call is held out. The plain one is what one would write without arrays: nested lists, and one BLAKE2b a line (a faster
hash than ours is for a single text, with the same shares).
"""

import json
import random
import time
from hashlib import blake2b

from hf_listops.hub.manifest import provenance
from hf_listops.language import Task, generate

TASK = Task.from_name("max-med-sum-mod10-depth2")
ROWS, ROUNDS, VECTORISED_ROWS = 4_000, 5, 100_000

Expression = list[object]


def share(text: str, purpose: bytes) -> float:
    return int.from_bytes(blake2b(text.encode(), digest_size=8, key=purpose).digest(), "little") / 2**64


def call(depth: int, rng: random.Random) -> Expression:
    count = rng.randint(2, TASK.max_args)
    deep = rng.randrange(count)
    out: Expression = [rng.choice(TASK.operations)]
    for place in range(count):
        if place == deep and depth > 1:
            out.append(call(depth - 1, rng))
        elif place != deep and depth > 1 and rng.random() < 0.35:
            out.append(call(rng.randint(1, depth - 1), rng))
        else:
            out.append(rng.randrange(TASK.modulus))
    return out


def value(name: object, numbers: list[int]) -> int:
    if name == "MAX":
        return max(numbers)
    if name == "MED":
        ordered = sorted(numbers)
        return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2
    return sum(numbers) % TASK.modulus


def reduce(expression: Expression, calls: list[str]) -> object:
    if all(isinstance(part, int) for part in expression[1:]):
        calls.append(text(expression))
        return value(expression[0], expression[1:])  # type: ignore[arg-type]
    return [expression[0]] + [part if isinstance(part, int) else reduce(part, calls) for part in expression[1:]]  # type: ignore[arg-type]


def text(expression: object) -> str:
    if isinstance(expression, int):
        return str(expression)
    return f"[{expression[0]} {' '.join(map(text, expression[1:]))} ]"  # type: ignore[index]


def plain_rows(count: int, rng: random.Random, splits: bool) -> list[tuple[str, str, list[int]]]:
    ids = {symbol: place for place, symbol in enumerate(TASK.vocabulary)}
    rows: list[tuple[str, str, list[int]]] = []
    while len(rows) < count:
        line: object = call(rng.randint(1, TASK.max_depth), rng)
        lines, calls = [text(line)], []
        while not isinstance(line, int):
            line = reduce(line, calls)  # type: ignore[arg-type]
            lines.append(text(line))
        if splits and (
            any(share(part, b"held-out") < 0.05 for part in calls)
            or any(share(part, b"split") > 0.9 for part in lines[:-1])
        ):
            continue
        prompt, completion = f"{lines[0]} =", f" {' = '.join(lines[1:])}"
        rows.append((prompt, completion, [ids[symbol] for symbol in f"{prompt}{completion} <eos>".split()]))
    return rows


def main() -> None:
    rng = random.Random(0)
    seconds = {"vectorised": 0.0, "plain": 0.0, "plain, no splits": 0.0}
    generate(TASK, "train", 0, 0, 1000).texts()
    for round_ in range(ROUNDS):
        start = time.process_time()
        generate(TASK, "train", 0, round_ * VECTORISED_ROWS, VECTORISED_ROWS).texts()
        seconds["vectorised"] += time.process_time() - start
        for name, splits in (("plain", True), ("plain, no splits", False)):
            start = time.process_time()
            plain_rows(ROWS, rng, splits)
            seconds[name] += time.process_time() - start
    speed = {name: (VECTORISED_ROWS if name == "vectorised" else ROWS) * ROUNDS / of for name, of in seconds.items()}
    for name, rows in speed.items():
        print(f"{name:<18} {rows:>10,.0f} rows a CPU second   vectorised is {speed['vectorised'] / rows:.1f}x")
    print(json.dumps({"benchmark": "generator_speed", "task": TASK.name, "rows_per_second": speed, **provenance()}))


if __name__ == "__main__":
    main()
