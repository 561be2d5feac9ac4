"""The model card of a checkpoint: README.md, pictures and evaluation results, from config, metrics and manifest alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml

from hf_listops.errors import ListOpsError
from hf_listops.hub.names import dataset_repo, parse_model_repo, step_revision
from hf_listops.hub.pictures import curriculum_picture, learning_curve
from hf_listops.hub.run_folder import knots_of
from hf_listops.language import OPERATIONS, Task, parse, prompt_and_completion
from hf_listops.language.splits import TEST, TEST_DEEPER, TEST_UNSEEN_CALLS

README, LEARNING_CURVE, CURRICULUM = "README.md", "learning_curve.png", "curriculum.png"
EVAL_RESULTS = ".eval_results/listops.yaml"
_MEASURES = {"exact_match": "exact match", "answer_accuracy": "answer accuracy"}

# What decides a run beside its tasks, its data and the model's size.
_HYPERPARAMETERS = (
    "max_steps", "batch_size", "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type", "warmup_steps",
    "weight_decay", "adam_beta1", "adam_beta2", "max_grad_norm", "loss_on", "initializer_range", "bf16", "seed",
)  # fmt: skip


def card_files(
    config: dict[str, Any], metrics: list[dict[str, Any]], facts: dict[str, Any], repo_id: str
) -> dict[str, bytes]:
    """The card of a checkpoint with its pictures; the same arguments give the same bytes.

    Args and raises as `card_texts`.

    Returns:
        `dict[str, bytes]`: the texts by path inside the checkpoint; of a finished run also `learning_curve.png`, and
        `curriculum.png` if it mixed several tasks or had several knots.
    """
    files = card_texts(config, metrics, facts, repo_id)
    if EVAL_RESULTS in files:
        files[LEARNING_CURVE] = learning_curve(config, metrics)
        if _mixes_tasks(config):
            files[CURRICULUM] = curriculum_picture(config, facts["step"])
    return files


def card_texts(
    config: dict[str, Any], metrics: list[dict[str, Any]], facts: dict[str, Any], repo_id: str
) -> dict[str, bytes]:
    """The card of a checkpoint without its pictures, which do not depend on its name.

    Args:
        config (`dict`): the fields of `run.yaml`.
        metrics (`list[dict]`): the lines of `metrics.jsonl` up to the checkpoint's step; with a `final` line the
            checkpoint is that of a finished run, without one that of a training step.
        facts (`dict`): what the manifest says beside the hashes of files.
        repo_id (`str`): where the card will stand, as in `hf-listops/listops-sum-mod10-depth2-d32-l2-h1-s0`.

    Returns:
        `dict[str, bytes]`: `README.md`, and of a finished run `.eval_results/listops.yaml`.

    Raises:
        ListOpsError: the repo's name does not parse, or the run has not been evaluated.
    """
    namespace, _ = parse_model_repo(repo_id)
    final = next((line for line in metrics if "final" in line), None)
    line = final or next((line for line in reversed(metrics) if "exact_match" in line), None)
    if line is None:
        raise ListOpsError("metrics: no line holds an evaluation; a right file is that of a run after its step 0")
    knots = knots_of(config)
    tasks = [Task.from_name(name) for name in dict.fromkeys(name for knot in knots for name in knot["mix"])]
    mixes_tasks = _mixes_tasks(config)
    pictures = [LEARNING_CURVE, *([CURRICULUM] if mixes_tasks else [])] if final else []
    scores = _final_scores(line) if final else _scheduled_scores(line)
    files = {EVAL_RESULTS: _eval_results(scores, dataset_repo(namespace))} if final else {}
    operations = dict.fromkeys(name for task in tasks for name in task.operations)
    card = ModelCard.from_template(
        _metadata(config, facts, scores, namespace, mixes_tasks),
        template_path=str(template_path()),
        config=config,
        facts=facts,
        is_final=final is not None,
        line=line,
        scores=scores,
        depths=sorted({int(depth) for score in scores for depth in score.get("exact_match_per_depth", {})}),
        unmeasured=_unmeasured(scores) if final else {},
        tasks=tasks,
        operations={name: OPERATIONS[name].meaning for name in operations},
        example=_example(tasks[-1]),
        knots=[_shares(knot) for knot in knots] if mixes_tasks else [],
        n_positions=config["n_positions"] or max(task.longest_row() for task in tasks),
        hyperparameters={name: config[name] for name in _HYPERPARAMETERS},
        start=_start(config),
        data=_data(facts),
        dataset=dataset_repo(namespace),
        repo_id=repo_id,
        revision=None if final else step_revision(facts["step"]),
        pictures=pictures,
    )
    return {README: f"{card}\n".encode(), **files}


def _mixes_tasks(config: dict[str, Any]) -> bool:
    knots = knots_of(config)
    return len(knots) > 1 or len(knots[0]["mix"]) > 1


def template_path() -> Path:
    """The card's Jinja template: beside this file in an installed wheel, in `model_cards/` in a source tree."""
    installed = Path(__file__).with_name("template.md")
    return installed if installed.is_file() else Path(__file__).parents[2] / "model_cards" / "template.md"


def _final_scores(line: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry a task and split: both, and the split's summary."""
    return [
        {"task": Task.from_name(name), "split": split, **summary}
        for name, splits in line["final"].items()
        for split, summary in splits.items()
    ]


def _scheduled_scores(line: dict[str, Any]) -> list[dict[str, Any]]:
    """The same of a scheduled evaluation, which measures less."""
    return [
        {"task": Task.from_name(name), "split": TEST, **{measure: line[measure][name] for measure in _MEASURES}}
        for name in line["exact_match"]
    ]


def _unmeasured(scores: list[dict[str, Any]]) -> dict[str, list[str]]:
    """By split the tasks not measured on it, as there are no rows, or ones longer than the model's positions."""
    measured = {(score["task"].name, score["split"]) for score in scores}
    names = dict.fromkeys(score["task"].name for score in scores)
    missing = {s: [name for name in names if (name, s) not in measured] for s in (TEST_UNSEEN_CALLS, TEST_DEEPER)}
    return {split: names for split, names in missing.items() if names}


def _metadata(
    config: dict[str, Any],
    facts: dict[str, Any],
    scores: list[dict[str, Any]],
    namespace: str,
    mixes_tasks: bool,
) -> ModelCardData:
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=dataset_repo(namespace),
            dataset_name=f"ListOps {score['task'].mix} mod {score['task'].modulus}",
            dataset_config=score["task"].name,
            dataset_split=score["split"],
            metric_type=measure,
            metric_name=f"{name}, {_rows(score, config)}",
            metric_value=score[measure],
        )
        for score in scores
        for measure, name in _MEASURES.items()
    ]
    return ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="text-generation",
        # A folder's path means nothing on the Hub, which refuses it. Older manifests do not tell.
        base_model=_start(config) if facts.get("base_model_commit", "unknown") else None,
        datasets=[dataset_repo(namespace)],
        tags=["listops", "gpt2", "arithmetic", *(["curriculum-learning"] if mixes_tasks else [])],
        model_name=facts["run"],
        eval_results=results,
    )


def _rows(score: dict[str, Any], config: dict[str, Any]) -> str:
    return f"{score['rows']} rows" if "rows" in score else f"at most {config['eval_rows']} rows"


def _eval_results(scores: list[dict[str, Any]], dataset: str) -> bytes:
    """One result a task, since a benchmark takes one number for each: exact match on the test split."""
    entries = [
        EvalResultEntry(
            dataset_id=dataset,
            task_id=score["task"].name,
            value=score["exact_match"],
            notes=f"exact match in [0, 1], greedy, on the {score['rows']} rows of the split {TEST}",
        )
        for score in scores
        if score["split"] == TEST
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False).encode()


def _start(config: dict[str, Any]) -> str | None:
    """The model that the run went on from, without its revision, as the Hub links it; None for random weights."""
    base: str | None = config.get("base_model")
    return None if base is None else base.partition("@")[0]


def _data(facts: dict[str, Any]) -> str:
    """Which rows were trained on. The path of a local dataset is nobody else's, so its revision names it."""
    dataset, revision = facts["dataset"], facts["data_revision"]
    if dataset == "generated":
        return "endless rows of the generator"
    if revision is not None and revision.startswith("sha256:"):
        return f"the fixed rows of a built dataset with the hash `{revision}`"
    return f"the fixed rows of `{dataset}`" + ("" if revision is None else f" at `{revision}`")


def _example(task: Task) -> tuple[str, str]:
    """A prompt that the task may ask and its right completion."""
    a, b, c = (number % task.modulus for number in (3, 7, 4))
    inner, outer = (f"[{name}" for name in (task.operations[0], task.operations[-1]))
    text = f"{outer} {a} {inner} {b} {c} ] ]" if task.max_depth > 1 else f"{outer} {b} {c} ]"
    return prompt_and_completion(parse(text), task)


def _shares(knot: dict[str, Any]) -> dict[str, Any]:
    """A knot's step and, by task, the percentage of rows that are drawn from it."""
    total = sum(knot["mix"].values())
    shares = {Task.from_name(name).name: 100 * weight / total for name, weight in knot["mix"].items()}
    return {"step": knot["step"], "shares": shares}
