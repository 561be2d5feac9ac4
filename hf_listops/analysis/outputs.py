"""Numbers and pictures as files: what every analysis writes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hf_listops.errors import ListOpsError

Result = TypeVar("Result")


def plain_numbers(result: Any) -> str:
    """Every number of a frozen dataclass as JSON: seven digits, the same on every machine; null for no number."""
    return json.dumps(_plain(dataclasses.asdict(result)), indent=1) + "\n"


def _plain(value: Any) -> Any:
    """JSON has no infinity: an interval's open end is null. Seven digits are the same on every machine."""
    if isinstance(value, dict):
        return {key: _plain(of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(of) for of in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value


def as_written(result: Result) -> Result:
    """A result with its numbers as its JSON has them, so that a table shows the same from either."""
    from pydantic import TypeAdapter

    return TypeAdapter(type(result)).validate_json(plain_numbers(result))


def read_numbers(kind: type[Result], path: Path) -> Result:
    """The result that `plain_numbers` wrote, of a dataclass without infinite numbers.

    Raises:
        ListOpsError: there is no such file, or it holds something else.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        why = " ".join(str(error).split())[:120]
        raise ListOpsError(
            f"results: {str(path)!r} holds no {kind.__name__} ({why}); make it with its command"
        ) from None


def models_table(above: float, solved: Mapping[str, Sequence[float]], left_out: Mapping[str, int]) -> list[str]:
    """A line for each group: its models, their least and largest exact match, and how many were left out."""
    lines = [
        f"| group | models above {above:.0%} | exact match, least and largest | below, left out |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys([*solved, *left_out]):
        of = solved.get(name, ())
        shown = f"{len(of)} | {min(of):.3f}, {max(of):.3f}" if of else "0 | "
        lines.append(f"| {name} | {shown} | {left_out.get(name, 0)} |")
    return lines


def save_picture(figure: Any, path: Path, numbers: str) -> list[Path]:
    """Writes a Matplotlib figure to `path` + `.png` and `.svg`; the description holds the SHA-256 of its numbers."""
    import matplotlib

    description = hashlib.sha256(numbers.encode()).hexdigest()
    paths = [path.with_name(f"{path.name}.{kind}") for kind in ("png", "svg")]
    figure.savefig(paths[0], dpi=150, metadata={"Description": description})
    with matplotlib.rc_context({"svg.hashsalt": "hf_listops"}):
        figure.savefig(paths[1], metadata={"Date": None, "Description": description})
    return paths
