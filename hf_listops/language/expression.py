"""Expressions as text: parsing of both notations, rendering, and their traces.

An expression is held as the tuple of its tokens, `("[SUM", "3", "[MAX", "7", "4", "9", "]", "]")`: a rewriting step is
one pass over them, whatever the depth. `str(expression)` is its canonical text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hf_listops.errors import ListOpsError, did_you_mean
from hf_listops.language.operations import OPERATIONS
from hf_listops.language.task import CLOSE, EQUALS, Task, Trace

# How the original ListOps data (Nangia and Bowman 2018) writes two of the operations.
ORIGINAL_SYMBOLS = {"SM": "SUM", "PM": "PROD"}


@dataclass(frozen=True)
class Expression:
    """A number, or a call `[OP a b … ]` whose arguments are expressions. Made by `parse`, which checks it."""

    tokens: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.tokens)

    @property
    def is_number(self) -> bool:
        return len(self.tokens) == 1

    @property
    def depth(self) -> int:
        """0 for a number, for a call 1 + the largest depth of its arguments."""
        depth = deepest = 0
        for token in self.tokens:
            if token.startswith("["):
                depth += 1
                deepest = max(deepest, depth)
            elif token == CLOSE:
                depth -= 1
        return deepest

    @property
    def operations(self) -> tuple[str, ...]:
        """The names of the operations used, in the order of the table."""
        used = {token[1:] for token in self.tokens if token.startswith("[")}
        return tuple(name for name in OPERATIONS if name in used)


def _words(text: str) -> Iterator[tuple[int, str]]:
    """The tokens of a text with the position (in characters, from 0) at which each starts."""
    position = 0
    for word in text.split():
        position = text.index(word, position)
        yield position, word
        position += len(word)


def parse(text: str, modulus: int | None = None) -> Expression:
    """Reads an expression in our notation or in the original one, with `( … )` groups, `[SM` and `[PM`.

    Args:
        text (`str`): the expression, tokens separated by white space.
        modulus (`int`, *optional*): numbers must be below it.

    Raises:
        ListOpsError: the text is malformed; the message gives the position and what was expected there.
    """

    def fail(position: int, found: str, expected: str) -> ListOpsError:
        where = f"at character {position} of {text[:60] + ('…' if len(text) > 60 else '')!r}"
        return ListOpsError(
            f"expression: {where} found {found}, expected {expected}; a right one is '[SUM 3 [MAX 7 4 ] ]'"
        )

    tokens: list[str] = []
    counts: list[int] = []  # arguments so far of each open call
    groups: list[int] = []  # items so far of each open group of the original notation
    complete = grouped = False
    for position, word in _words(text):
        if complete and not groups:
            raise fail(position, repr(word), "the end of the expression")
        opens = word.startswith("[") and len(word) > 1
        if groups and groups[-1] == 2 and word != ")":
            raise fail(position, repr(word), "')' after the two items of a group")
        if word == "(":
            grouped = True
            groups.append(0)
            continue
        if groups and groups[-1] == 0 and not opens and word != ")":
            raise fail(position, repr(word), "'(' or an operation at the start of a group")
        if word == ")":
            if not groups or groups.pop() != 2:
                raise fail(position, "')'", "the second item of its group" if grouped else "a number, a call or ']'")
            if groups:
                groups[-1] += 1
            continue
        if groups:
            groups[-1] += 1
        if word == CLOSE:
            if not counts or counts[-1] < 2:
                raise fail(position, "']'", "at least two arguments before it" if counts else "a number or a call")
            counts.pop()
        elif opens:
            name = ORIGINAL_SYMBOLS.get(word[1:], word[1:])
            if name not in OPERATIONS:
                known = ", ".join(OPERATIONS)
                raise fail(
                    position, f"the unknown operation {word!r}", f"one of {known}{did_you_mean(name, OPERATIONS)}"
                )
            if counts:
                counts[-1] += 1
            counts.append(0)
            word = f"[{name}"
        else:
            if not word.isascii() or not word.isdigit() or str(int(word)) != word:
                raise fail(position, repr(word), "a number, an operation such as '[SUM', or ']'")
            if modulus is not None and int(word) >= modulus:
                raise fail(position, word, f"a number in 0 … {modulus - 1}")
            if counts:
                counts[-1] += 1
        tokens.append(word)
        complete = not counts
    if not complete or groups:
        missing = "')'" if complete else "an argument or ']'" if counts and counts[-1] >= 2 else "a number or a call"
        raise fail(len(text), "the end of the text", missing)
    return Expression(tuple(tokens))


def trace(expression: Expression, task: Task) -> list[Expression]:
    """The lines from an expression to its value, both included, rewritten as `task.trace` says.

    A number gives two equal lines, so that every row has a completion.
    """
    lines = [expression]
    while not lines[-1].is_number:
        lines.append(Expression(_reduce(lines[-1].tokens, task, task.trace)))
    return lines if len(lines) > 1 else [expression, expression]


def _reduce(tokens: tuple[str, ...], task: Task, which: Trace) -> tuple[str, ...]:
    """The next line: every innermost call reduced (`parallel`), only the first (`leftmost`), or all calls (`direct`)."""
    out: list[str] = []
    starts: list[int] = []  # where in `out` each open call begins
    reducible: list[bool] = []  # whether each open call may be reduced on this line
    for token in tokens:
        out.append(token)
        if token.startswith("["):
            starts.append(len(out) - 1)
            reducible.append(True)
        elif token == CLOSE:
            start, reduce = starts.pop(), reducible.pop()
            if reducible and which != "direct":
                reducible[-1] = False
            if reduce:
                end = len(out)
                out[start:] = [_value(out[start:], task)]
                if which == "leftmost":
                    return (*out, *tokens[end:])
    return tuple(out)


def evaluate(expression: Expression, task: Task) -> int:
    """The value of an expression, in 0 … modulus-1."""
    return int(_reduce(expression.tokens, task, "direct")[0])


def reduced_calls(expression: Expression, task: Task) -> list[str]:
    """The flat calls (an operation with numbers only) that are reduced on the way to the value, as canonical texts."""
    calls: list[str] = []
    out: list[str] = []
    starts: list[int] = []
    for token in expression.tokens:
        out.append(token)
        if token.startswith("["):
            starts.append(len(out) - 1)
        elif token == CLOSE:
            start = starts.pop()
            calls.append(" ".join(out[start:]))
            out[start:] = [_value(out[start:], task)]
    return calls


def _value(call: Sequence[str], task: Task) -> str:
    """The value of a flat call given by its tokens."""
    numbers = [int(number) for number in call[1:-1]]
    return str(OPERATIONS[call[0][1:]].evaluate(numbers, task.modulus, task.table_seed))


def prompt_and_completion(expression: Expression, task: Task) -> tuple[str, str]:
    """A row's texts: `"[SUM 3 [MAX 7 4 9 ] ] ="` and `" [SUM 3 9 ] = 2"`."""
    lines = [str(line) for line in trace(expression, task)]
    return f"{lines[0]} {EQUALS}", f" {f' {EQUALS} '.join(lines[1:])}"
