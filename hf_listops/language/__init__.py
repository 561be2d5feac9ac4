"""The ListOps language: operations, tasks, expressions, traces, splits and the generator. Knows NumPy and nothing else."""

from hf_listops.language.expression import Expression, evaluate, parse, prompt_and_completion, trace
from hf_listops.language.generator import GENERATOR_VERSION, generate, generate_at
from hf_listops.language.operations import OPERATIONS, Operation
from hf_listops.language.rows import Rows
from hf_listops.language.splits import SPLITS, is_held_out, split_of
from hf_listops.language.task import Task

__all__ = [
    "GENERATOR_VERSION",
    "OPERATIONS",
    "SPLITS",
    "Expression",
    "Operation",
    "Rows",
    "Task",
    "evaluate",
    "generate",
    "generate_at",
    "is_held_out",
    "parse",
    "prompt_and_completion",
    "split_of",
    "trace",
]
