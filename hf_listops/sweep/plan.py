"""What a sweep will cost and how far it is: tables made before and while it runs."""

from __future__ import annotations

import time
from collections import defaultdict
from functools import lru_cache
from typing import Any

import torch

from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.hub.records import read_records
from hf_listops.language import Task, generate
from hf_listops.sweep.grid import Sweep
from hf_listops.training.config import RunConfig
from hf_listops.training.gradient import HandwrittenGradient
from hf_listops.training.model import FlatParameters, count_parameters, make_model
from hf_listops.training.step import as_tensors, count_targets

_SAMPLE_STEPS = 12


def plan(sweep: Sweep) -> list[dict[str, Any]]:
    """One line for each model size, task and variant that is still to be run.

    Keys: `task`, `variant`, `n_embd`, `n_layer`, `max_steps`, `runs`, `params_total`, `flops` of one run
    (6 a parameter outside the embeddings and token, and attention), and `hours` of all of them on one core of this
    machine, from a few steps timed now; a run that stops early takes less.
    """
    done = {record["hash"] for record in read_records(sweep.records)}
    groups: dict[tuple[Any, ...], list[RunConfig]] = defaultdict(list)
    for config in sweep.runs:
        if config.hash not in done:
            size = (config.n_embd, config.n_layer, config.n_head)
            groups[config.task or config.name, config.variant, *size, config.max_steps].append(config)
    lines = []
    for (subject, variant, n_embd, n_layer, _, max_steps), configs in groups.items():
        params, non_embedding = count_parameters(make_model(configs[0]))
        tokens, length, seconds = _sample(
            configs[0].tasks[0], configs[0].batch_size, n_embd, n_layer, configs[0].n_head
        )
        flops = max_steps * tokens * (6 * non_embedding + 12 * n_layer * length * n_embd)
        lines.append(
            {
                "task": subject,
                "variant": variant or "",
                "n_embd": n_embd,
                "n_layer": n_layer,
                "max_steps": max_steps,
                "runs": len(configs),
                "params_total": params,
                "flops": flops,
                "hours": len(configs) * max_steps * seconds / 3600,
            }
        )
    return lines


@lru_cache(maxsize=256)
def _sample(task: Task, batch_size: int, n_embd: int, n_layer: int, n_head: int) -> tuple[float, float, float]:
    """Tokens of a batch, its mean length, and CPU seconds of an update, measured on sorted batches of generated rows."""
    config = RunConfig(task=task.name, n_embd=n_embd, n_layer=n_layer, n_head=n_head, batch_size=batch_size)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = make_model(config)
        FlatParameters(model)
        gradient = HandwrittenGradient(model)
        rows = TokenMatrix.from_rows(generate(task, "train", 0, 0, batch_size * _SAMPLE_STEPS))
        order = rows.lengths.argsort(kind="stable").reshape(_SAMPLE_STEPS, batch_size)
        batches = [rows.take(places) for places in order]
        for batch in batches[:2]:
            gradient(*as_tensors(batch, "completion", torch.device("cpu")), 1)
        start = time.process_time()
        for batch in batches:
            gradient(*as_tensors(batch, "completion", torch.device("cpu")), count_targets(batch, "completion"))
        seconds = (time.process_time() - start) / _SAMPLE_STEPS
    finally:
        torch.set_num_threads(threads)
    return float(rows.lengths.sum()) / _SAMPLE_STEPS, float(rows.lengths.mean()), seconds


def status(sweep: Sweep) -> list[dict[str, Any]]:
    """One line for each task, variant and size: how many runs are done, how many learned it, and the time they took.

    Keys: `task`, `variant`, `n_embd`, `max_steps`, `runs`, `done`, `errors`, `solved` (exact match above 0.5 on the task's
    own test split), `hours`.
    """
    records = {record["hash"]: record for record in read_records(sweep.records)}
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for config in sweep.runs:
        key = (config.task or config.name, config.variant or "", config.n_embd, config.max_steps)
        fresh = {"runs": 0, "done": 0, "errors": 0, "solved": 0, "hours": 0.0}
        named = dict(zip(("task", "variant", "n_embd", "max_steps"), key, strict=True))
        line = lines.setdefault(key, {**named, **fresh})
        line["runs"] += 1
        record = records.get(config.hash)
        if record is None:
            continue
        if record["stopped"] == "error":
            line["errors"] += 1
            continue
        line["done"] += 1
        line["hours"] += record["seconds"] / 3600
        own = record["final"][config.tasks[-1].name]["test"]
        line["solved"] += own["exact_match"] > 0.5
    return list(lines.values())


def eta_hours(sweep: Sweep) -> float | None:
    """Core hours left, from the seconds that a step has taken at each size so far; None before any run is done."""
    records = read_records(sweep.records)
    spent: dict[int, list[float]] = defaultdict(list)
    for record in records:
        if record["stopped"] != "error":
            spent[record["config"]["n_embd"]].append(record["seconds"] / max(1, record["steps"]))
    if not spent:
        return None
    done = {record["hash"] for record in records}
    left = 0.0
    for config in sweep.runs:
        if config.hash not in done:
            nearest = min(spent, key=lambda n_embd: abs(n_embd - config.n_embd))
            left += config.max_steps * sum(spent[nearest]) / len(spent[nearest])
    return left / 3600
