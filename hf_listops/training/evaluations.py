"""Which tasks a run is evaluated on, and how it stands on them."""

from __future__ import annotations

from typing import Any

from hf_listops.data.build import EVALUATION_ROWS, at_most
from hf_listops.data.load import GENERATED, load_splits
from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.accuracy import score
from hf_listops.evaluation.forward import LeanGPT2
from hf_listops.language import Task
from hf_listops.language.splits import TEST, TEST_DEEPER, TEST_UNSEEN_CALLS
from hf_listops.training.config import RunConfig
from hf_listops.training.sources import check_lengths

SOLVED, IN_A_ROW = 0.995, 3
_SPLITS = (TEST, TEST_UNSEEN_CALLS, TEST_DEEPER)
_SEED = 0  # of the evaluation rows of 'generated': those of the published dataset


def single_operation_tasks(config: RunConfig) -> list[Task]:
    """The tasks of each operation of the run alone: where the operation's accuracy is measured."""
    alone = [task.alone(operation) for task in config.tasks for operation in task.operations]
    return list(dict.fromkeys(alone))


class Evaluations:
    """The evaluation rows of a run: for every task trained on, and every operation of them alone, their test splits.

    All are read before the first step, so that none is missed after the last. A small task may have fewer rows than others,
    or no unseen calls, and a dataset may have no split but `test`: then that split is not measured, nor is one whose rows
    are longer than the model's positions.

    Raises:
        ListOpsError: the dataset lacks a task, or its test split; that is empty, or too long for the model.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.rows: dict[str, dict[str, TokenMatrix]] = {}  # by task, then split
        for task in dict.fromkeys([*config.tasks, *single_operation_tasks(config)]):
            splits = self._load(task)
            if TEST not in splits:
                raise ListOpsError(
                    f"task: {task.name!r} has no test row to be judged on; a larger modulus, depth or mix has some"
                )
            check_lengths(splits[TEST], config.positions, TEST)
            self.rows[task.name] = {
                split: rows for split, rows in splits.items() if int(rows.lengths.max()) <= config.positions
            }

    def _load(self, task: Task) -> dict[str, TokenMatrix]:
        """The test splits that have rows."""
        if self.config.dataset == GENERATED:
            rows = {split: at_most(task, split, _SEED, EVALUATION_ROWS) for split in _SPLITS}
            return {split: TokenMatrix.from_rows(of) for split, of in rows.items() if len(of)}
        return {split: rows for split, rows in load_splits(self.config.dataset, task, _SPLITS).items() if len(rows)}

    def scheduled(self, lean: LeanGPT2) -> dict[str, dict[str, float]]:
        """Exact match and answer accuracy of every task on `eval_rows` of its test rows."""
        scores = {name: score(lean, of[TEST].spread(self.config.eval_rows)) for name, of in self.rows.items()}
        return {
            "exact_match": {name: of.exact_match for name, of in scores.items()},
            "answer_accuracy": {name: of.answer_accuracy for name, of in scores.items()},
        }

    def final(self, lean: LeanGPT2) -> dict[str, dict[str, Any]]:
        """For every task the summary of each test split, on all rows."""
        return {
            name: {split: score(lean, rows).summary() for split, rows in splits.items()}
            for name, splits in self.rows.items()
        }


def is_solved(metrics: list[dict[str, Any]], config: RunConfig) -> bool:
    """Whether the last three evaluations have every single operation at exact match 0.995 or more."""
    last = [line["exact_match"] for line in metrics if "exact_match" in line][-IN_A_ROW:]
    names = [task.name for task in single_operation_tasks(config)]
    return len(last) == IN_A_ROW and all(line[name] >= SOLVED for line in last for name in names)
