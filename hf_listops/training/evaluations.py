"""Which tasks a run is evaluated on, and how it stands on them."""

from __future__ import annotations

from typing import Any

from hf_listops.data.build import EVALUATION_ROWS, distinct
from hf_listops.data.load import GENERATED, load_split
from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.evaluation.accuracy import score
from hf_listops.evaluation.forward import LeanGPT2
from hf_listops.language import Task
from hf_listops.language.splits import TEST, TEST_DEEPER, TEST_UNSEEN_CALLS
from hf_listops.training.config import RunConfig
from hf_listops.training.sources import check_lengths

SOLVED, IN_A_ROW = 0.995, 3
_SEED = 0  # of the evaluation rows of 'generated': those of the published dataset


def single_operation_tasks(config: RunConfig) -> list[Task]:
    """The tasks of each operation of the run alone: where the operation's accuracy is measured."""
    alone = [task.alone(operation) for task in config.tasks for operation in task.operations]
    return list(dict.fromkeys(alone))


class Evaluations:
    """The evaluation rows of a run: for every task trained on, and every operation of them alone, their test splits."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.tasks = list(dict.fromkeys([*config.tasks, *single_operation_tasks(config)]))
        self.rows = {task.name: self._load(task, TEST) for task in self.tasks}
        for rows in self.rows.values():
            check_lengths(rows, config.positions, TEST)

    def _load(self, task: Task, split: str) -> TokenMatrix:
        if self.config.dataset == GENERATED:
            return TokenMatrix.from_rows(distinct(task, split, _SEED, EVALUATION_ROWS))
        return load_split(self.config.dataset, task, split)

    def scheduled(self, lean: LeanGPT2) -> dict[str, dict[str, float]]:
        """Exact match and answer accuracy of every task on `eval_rows` of its test rows."""
        scores = {name: score(lean, rows.spread(self.config.eval_rows)) for name, rows in self.rows.items()}
        return {
            "exact_match": {name: of.exact_match for name, of in scores.items()},
            "answer_accuracy": {name: of.answer_accuracy for name, of in scores.items()},
        }

    def final(self, lean: LeanGPT2) -> dict[str, dict[str, Any]]:
        """For every task the summary of each test split whose rows fit into the model, on all rows."""
        result: dict[str, dict[str, Any]] = {}
        for task in self.tasks:
            result[task.name] = {TEST: score(lean, self.rows[task.name]).summary()}
            for split in (TEST_UNSEEN_CALLS, TEST_DEEPER):
                rows = self._load(task, split)
                if int(rows.lengths.max()) <= self.config.positions:
                    result[task.name][split] = score(lean, rows).summary()
        return result


def is_solved(metrics: list[dict[str, Any]], config: RunConfig) -> bool:
    """Whether the last three evaluations have every single operation at exact match 0.995 or more."""
    last = [line["exact_match"] for line in metrics if "exact_match" in line][-IN_A_ROW:]
    names = [task.name for task in single_operation_tasks(config)]
    return len(last) == IN_A_ROW and all(line[name] >= SOLVED for line in last for name in names)
