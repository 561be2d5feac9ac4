"""Picture, tables and page of a `Transfer`: PNG, SVG, JSON and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hf_listops.analysis.outputs import as_written
from hf_listops.analysis.pages import Sections, verdict_table, write_result
from hf_listops.analysis.transfer import REACHED, Curve, Group, Transfer
from hf_listops.analysis.transfer_verdict import verdict
from hf_listops.hub.pictures import COLORS
from hf_listops.language import Task

_COLUMNS = 4
_PURE = "0.45"


def write_report(transfer: Transfer, out: Path) -> list[Path]:
    """Writes `transfer.png/.svg`, `transfer.json` with every number in them, and `transfer.md`; refreshes a page there.

    Returns the paths written.

    Raises:
        ListOpsError: the page asks for an unknown section.
    """
    transfer = as_written(transfer)
    return write_result(
        out, "transfer", transfer, {"transfer": draw(transfer)}, markdown(transfer), sections(transfer)
    )


def sections(transfer: Transfer) -> Sections:
    """The sections that a page of transfer may show."""
    return {
        "progress": lambda: _progress(transfer),
        "figure": lambda: ["![Exact match of each operation under each curriculum, the schedule above](transfer.png)"],
        "verdicts": lambda: verdict_table(verdict(transfer)),
        "transfer": lambda: transfer_table(transfer),
        "forgetting": lambda: forgetting_table(transfer),
    }


def markdown(transfer: Transfer) -> str:
    """All tables."""
    lines = [
        "Exact match on the target's whole test split; gain: over the pure run of the same seed, size and settings.",
        "",
        *transfer_table(transfer),
        "",
        "Forgetting, in the scheduled evaluations: the highest exact match, the last one, and the difference.",
        "",
        *forgetting_table(transfer),
        "",
        *verdict_table(verdict(transfer)),
    ]
    return "\n".join([*lines, ""])


def _progress(transfer: Transfer) -> list[str]:
    runs = sum(len(group.seeds) for group in transfer.groups)
    seeds = sorted({len(group.seeds) for group in transfer.groups})
    each = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    groups = len(transfer.groups)
    return [f"**{runs} runs done**: {groups} group{'s' * (groups > 1)} of {each} seed{'s' * (seeds[-1] > 1)}."]


def transfer_table(transfer: Transfer) -> list[str]:
    """A line a group: the target's final exact match, the gain over the pure run, and when the target was learned."""
    lines = [
        "| trained on | size | target | seeds | final exact match, by seed | mean | mean of the pure runs | gain, by seed "
        f"| mean gain | step of the first above {REACHED}, by seed |",
        "|" + "---|" * 10,
    ]
    for group in transfer.groups:
        pure = transfer.pure(group)
        gains = dict(zip(group.gain.seeds, group.gain.gain.seeds, strict=True)) if group.gain else {}
        cells = [
            group.name,
            group.size,
            Task.from_name(group.target).mix,
            _joined(map(str, group.seeds)),
            _joined(f"{value:.3f}" for value in group.final.seeds),
            f"{group.final.mean:.3f}",
            f"{pure.final.mean:.3f}" if pure else "–",
            _joined(f"{gains[seed]:+.3f}" if seed in gains else "–" for seed in group.seeds) if gains else "–",
            f"{group.gain.gain.mean:+.3f}" if group.gain else "–" if group.is_pure else "no pure run",
            _joined("never" if step is None else f"{step:,}" for step in group.reached),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def forgetting_table(transfer: Transfer) -> list[str]:
    """A line for each operation that a curriculum leaves behind."""
    lines = [
        "| trained on | size | operation | peak, by seed | mean peak | end, by seed | mean end | lost, by seed | mean lost |",
        "|" + "---|" * 9,
    ]
    for group in transfer.groups:
        for operation, of in group.forgetting.items():
            cells = [group.name, group.size, operation]
            for values in (of.peak, of.end, of.lost):
                cells += [_joined(f"{value:.3f}" for value in values.seeds), f"{values.mean:.3f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return lines if len(lines) > 2 else ["No curriculum here leaves an operation behind."]


def _joined(texts: Iterable[str]) -> str:
    return " ".join(texts)


def draw(transfer: Transfer) -> Any:
    """A panel a group, its schedule as a strip above."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    groups = transfer.groups
    rows = -(-len(groups) // _COLUMNS)
    columns = -(-len(groups) // rows)
    layout = ConstrainedLayoutEngine(h_pad=0.02, hspace=0)  # a strip is close to its panel
    figure = Figure(figsize=(max(6.5, 3.5 * columns), 3.4 * rows + 0.5), layout=layout)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=(1, 6) * rows)
    for place, group in enumerate(groups):
        row, column = divmod(place, columns)
        strip, panel = (figure.add_subplot(grid[2 * row + part, column]) for part in (0, 1))
        _draw_schedule(strip, group)
        _draw_accuracy(panel, group, transfer.pure(group))
        panel.tick_params(labelsize=8, labelleft=column == 0)
        if column == 0:
            strip.set_ylabel("calls", fontsize=8)
            panel.set_ylabel("exact match")
        if place + columns >= len(groups):
            panel.set_xlabel("step")
    figure.legend(handles=_legend(groups), loc="outside lower center", ncols=4 if columns > 2 else 2, fontsize=8,
                  frameon=False)  # fmt: skip
    return figure


def _draw_schedule(strip: Any, group: Group) -> None:
    shares = group.schedule.shares
    strip.stackplot(group.schedule.steps, list(shares.values()), colors=[COLORS[name] for name in shares], alpha=0.85,
                    linewidth=0)  # fmt: skip
    strip.set(xlim=(0, group.max_steps), ylim=(0, 1), yticks=[])
    strip.set_xticks([])
    strip.set_title(f"{group.name}\n{group.size}", fontsize=9, parse_math=False)  # a name is no formula


def _draw_accuracy(panel: Any, group: Group, pure: Group | None) -> None:
    if pure is not None:
        _lines(panel, pure.steps, pure.target_curve, _PURE, "--")
    for name, curve in group.operations.items():
        _lines(panel, group.steps, curve, COLORS[name], "-")
    panel.set(xlim=(0, group.max_steps), ylim=(-0.02, 1.02))
    panel.locator_params(axis="x", nbins=4)
    panel.grid(alpha=0.25)


def _lines(panel: Any, steps: Sequence[int], curve: Curve, color: str, style: str) -> None:
    for line in curve.seeds:
        panel.plot(steps, line, color=color, linestyle=style, linewidth=0.7, alpha=0.45)
    panel.plot(steps, curve.mean, color=color, linestyle=style, linewidth=2.2)


def _legend(groups: Sequence[Group]) -> list[Any]:
    from matplotlib.lines import Line2D

    shown = {name for group in groups for name in group.operations}
    handles = [Line2D([], [], color=COLORS[name], linewidth=2.2, label=name) for name in COLORS if name in shown]
    if any(group.gain for group in groups):
        handles.append(Line2D([], [], color=_PURE, linestyle="--", linewidth=2.2,
                              label="the last task alone from step 0, on that task"))  # fmt: skip
    handles.append(Line2D([], [], color="black", linewidth=2.2, label="thick: mean over the seeds"))
    handles.append(Line2D([], [], color="black", linewidth=0.7, alpha=0.6, label="thin: one seed"))
    return handles
