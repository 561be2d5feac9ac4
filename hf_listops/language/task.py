"""A task: which operations, modulo what, how deep, with which trace. Its name is the dataset's config name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast, get_args

from hf_listops.errors import ListOpsError, did_you_mean
from hf_listops.language.operations import OPERATIONS

Trace = Literal["parallel", "leftmost", "direct"]
TRACES: tuple[str, ...] = get_args(Trace)

PAD, EOS, EQUALS, CLOSE = "<pad>", "<eos>", "=", "]"
EXAMPLE = "max-med-sum-mod10-depth2"

_NAME = re.compile(
    r"(?P<mix>[a-z]+(?:-[a-z]+)*)-mod(?P<modulus>\d+)-depth(?P<max_depth>\d+)(?:-args(?P<max_args>\d+))?"
    r"(?:-table(?P<table_seed>\d+))?(?:-(?P<trace>leftmost|direct))?"
)


def ordered_operations(operations: Sequence[str]) -> tuple[str, ...]:
    """The operations in the order of the table. Raises `ListOpsError` for an unknown or repeated one."""
    for name in operations:
        if name not in OPERATIONS:
            hint = did_you_mean(name, OPERATIONS) or f"; the operations are {', '.join(OPERATIONS)}"
            raise ListOpsError(f"operations: unknown operation {name!r}{hint}")
    if len(set(operations)) != len(operations):
        raise ListOpsError(f"operations: {'+'.join(operations)!r} names one twice; a right one is 'MAX+MED+SUM'")
    if not operations:
        raise ListOpsError("operations: an empty mix; a right one is 'MAX+MED+SUM'")
    return tuple(name for name in OPERATIONS if name in operations)


@dataclass(frozen=True)
class Task:
    """What a dataset config asks of a model.

    Args:
        operations (`tuple[str, ...]`): names from the operation table; any order is accepted and put right.
        modulus (`int`): numbers are 0 … modulus-1.
        max_depth (`int`): the depth of an expression is uniform in 1 … max_depth.
        max_args (`int`): a call has 2 … max_args arguments.
        trace (`str`): `parallel` reduces every innermost call in one line, `leftmost` one call a line, `direct` gives
            the answer at once.
        table_seed (`int`): which shuffled table SHUF and SYMSHUF use; 0 without them.

    Raises:
        ListOpsError: a field is out of its range.
    """

    operations: tuple[str, ...]
    modulus: int = 10
    max_depth: int = 2
    max_args: int = 3
    trace: Trace = "parallel"
    table_seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", ordered_operations(self.operations))
        for field, least, most in (("modulus", 2, 1000), ("max_depth", 1, 100), ("max_args", 2, 100)):
            value = getattr(self, field)
            if not least <= value <= most:
                raise ListOpsError(f"{field}: {value} is not in {least} … {most}; a right task is {EXAMPLE!r}")
        if self.trace not in TRACES:
            raise ListOpsError(f"trace: {self.trace!r} is none of {', '.join(TRACES)}; the default is 'parallel'")
        if self.table_seed < 0 or (self.table_seed and not {"SHUF", "SYMSHUF"} & set(self.operations)):
            raise ListOpsError(f"table_seed: {self.table_seed} needs SHUF or SYMSHUF and to be 0 or more")

    @property
    def mix(self) -> str:
        """The operations joined by `+`, as in `MAX+MED+SUM`."""
        return "+".join(self.operations)

    @cached_property
    def name(self) -> str:
        """The config name, as in `max-med-sum-mod10-depth2`; what is as by default is left out."""
        name = f"{'-'.join(self.operations).lower()}-mod{self.modulus}-depth{self.max_depth}"
        if self.max_args != 3:
            name += f"-args{self.max_args}"
        if self.table_seed:
            name += f"-table{self.table_seed}"
        if self.trace != "parallel":
            name += f"-{self.trace}"
        return name

    @classmethod
    def from_name(cls, name: str) -> Task:
        """The task of a config name, in any order of operations. Raises `ListOpsError` if it does not parse."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ListOpsError(f"task: {name!r} is no task name; a right one is {EXAMPLE!r}")
        parts = match.groupdict()
        numbers = {
            field: int(parts[field]) for field in ("modulus", "max_depth", "max_args", "table_seed") if parts[field]
        }
        return cls(tuple(parts["mix"].upper().split("-")), trace=cast(Trace, parts["trace"] or "parallel"), **numbers)

    def alone(self, operation: str) -> Task:
        """The task of one of its operations with everything else the same: where that operation is measured."""
        table_seed = self.table_seed if operation in ("SHUF", "SYMSHUF") else 0
        return Task((operation,), self.modulus, self.max_depth, self.max_args, self.trace, table_seed)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Every symbol in the order of its id: specials, `=`, `]`, the numbers, then all operations of the table.

        It is the same for every mix of one modulus, and grows at its end only.
        """
        numbers = tuple(str(number) for number in range(self.modulus))
        return (PAD, EOS, EQUALS, CLOSE, *numbers, *(f"[{name}" for name in OPERATIONS))

    def longest_row(self, depth: int | None = None) -> int:
        """The largest number of tokens of a row (prompt, completion and `<eos>`) of a depth, by default `max_depth`.

        The full tree of `max_args` arguments everywhere is the longest row of every trace.
        """
        depth = self.max_depth if depth is None else depth
        calls = [sum(self.max_args**level for level in range(d)) for d in range(depth + 1)]
        sizes = [2 * calls[d] + self.max_args**d for d in range(depth + 1)]
        tokens, count = sum(sizes), depth + 1
        if self.trace == "direct":
            tokens, count = sizes[depth] + 1, 2
        elif self.trace == "leftmost":
            count = calls[depth] + 1
            tokens = count * sizes[depth] - (self.max_args + 1) * count * (count - 1) // 2
        return tokens + count
