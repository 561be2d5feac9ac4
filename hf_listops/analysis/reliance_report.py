"""Picture and tables of a `Comparison`: PNG, SVG, JSON and Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_listops.analysis.outputs import as_written, models_table
from hf_listops.analysis.pages import Sections, verdict_table, write_result
from hf_listops.analysis.reliance import Comparison, Group, Mean
from hf_listops.analysis.reliance_verdict import verdict

_COLORS = ("#0072B2", "#D55E00", "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#000000", "#999933")


def write_report(comparison: Comparison, out: Path) -> list[Path]:
    """Writes `reliance.png/.svg`, `reliance.json` with every number in them, and `reliance.md`, and refreshes the
    README there. Returns the paths."""
    comparison = as_written(comparison)
    return write_result(
        out, "reliance", comparison, {"reliance": draw(comparison)}, markdown(comparison), sections(comparison)
    )


def sections(comparison: Comparison) -> Sections:
    """The sections that the page of claim C7 may show."""
    return {
        "figure": lambda: ["![Norms, mean ablation and attention, groups side by side](reliance.png)"],
        "verdicts": lambda: verdict_table(verdict(comparison)),
        "models": lambda: models_table(
            comparison.above,
            {
                group.name: [of.intact.exact_match for of in comparison.models if of.group == group.name]
                for group in comparison.groups
            },
            comparison.left_out,
        ),
        "differences": lambda: difference_lines(comparison),
        "numbers": lambda: markdown(comparison).splitlines(),
    }


def markdown(comparison: Comparison) -> str:
    """One table: every number, a column a group, and whether the groups differ."""
    groups = comparison.groups
    first = comparison.models[0]
    heads = [f"{group.name} ({len(group.models)})" for group in groups]
    lines = [
        f"{first.rows} test rows of one operation alone, teacher-forced; mean over the models of a group and its 95 % t "
        "interval. Lost and added: under mean ablation. Models compare at like accuracy only.",
        "",
        f"| | {' | '.join(heads)} |",
        "|---" * (len(groups) + 1) + "|",
    ]
    for key in dict.fromkeys(key for group in groups for key in group.means):
        cells = [mean_text(group.means[key]) if key in group.means else "–" for group in groups]
        lines.append(f"| {key} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *difference_lines(comparison), ""])


def difference_lines(comparison: Comparison) -> list[str]:
    """Pure less mixed: what the two kinds of sublayer cost, their norms, and how equal the groups' accuracies are."""
    if not comparison.differences:
        return ["Pure less mixed: needs two models or more of each, tested on one task."]
    lines = [
        "| pure less mixed, feed-forward less attention, mean of the layers | exact match lost | norm | exact match intact |",
        "|---|---|---|---|",
    ]
    for of in comparison.differences:
        numbers = " | ".join(mean_text(mean) for mean in (of.contrast, of.norm, of.exact_match))
        lines.append(f"| {of.pure} less {of.mixed} | {numbers} |")
    return lines


def mean_text(mean: Mean) -> str:
    """`0.53 (0.41 … 0.65)`, or the value alone."""
    return f"{mean.value:.3f}" + ("" if mean.low is None else f" ({mean.low:.3f} … {mean.high:.3f})")


def draw(comparison: Comparison) -> Any:
    """Four panels, groups side by side: norms, exact match lost, loss added, and where the answer position looks."""
    from matplotlib.figure import Figure

    groups = comparison.groups
    keys = list(dict.fromkeys(key for group in groups for key in group.means))
    width = max(10.0, 1.2 * sum(" looks at: " in key for key in keys))
    figure = Figure(figsize=(width, 7.2 + 0.2 * len(groups)), layout="constrained")
    grid = figure.add_gridspec(2, 3)
    titles = {
        ": norm": "norm of the output / of the stream",
        ": exact match lost": "exact match lost by mean ablation",
        ": loss added": "loss added by mean ablation, nats a token",
    }
    for column, (ending, title) in enumerate(titles.items()):
        chosen = [key for key in keys if key.endswith(ending) and not key.startswith("feed-forward less")]
        labels = [
            key.removesuffix(ending).replace("feed-forward", "ff").replace("attention", "attn") for key in chosen
        ]
        _bars(figure.add_subplot(grid[0, column]), groups, chosen, labels, title)
    below = figure.add_subplot(grid[1, :])
    chosen = [key for key in keys if " looks at: " in key]
    _bars(below, groups, chosen, [key.replace(" looks at: ", "\n") for key in chosen],
          "attention of the position that predicts the answer, by role")  # fmt: skip
    below.legend(fontsize=8, framealpha=0.6)
    title = "\n".join(_subject(comparison, group) for group in groups)
    figure.suptitle(
        f"{title}\nblack: 95 % interval over the models of a group, cut where it leaves the frame", fontsize=9
    )
    return figure


def _subject(comparison: Comparison, group: Group) -> str:
    task = next(model.task for model in comparison.models if model.group == group.name)
    count = f"{len(group.models)} model{'s' if len(group.models) > 1 else ''}"
    return f"{group.name}: exact match {group.means['exact match'].value:.2f} on {task}, {count}"


def _bars(panel: Any, groups: tuple[Group, ...], keys: list[str], labels: list[str], title: str) -> None:
    thick = 0.8 / len(groups)
    for place, group in enumerate(groups):
        color = _COLORS[place % len(_COLORS)]
        shown = [(at + (place - (len(groups) - 1) / 2) * thick, group.means[key]) for at, key in enumerate(keys)
                 if key in group.means]  # fmt: skip
        panel.bar([x for x, _ in shown], [mean.value for _, mean in shown], thick, color=color, label=group.name)
        for x, mean in shown:
            if mean.low is not None:
                panel.plot([x, x], [mean.low, mean.high], color="black", linewidth=1)
    values = [group.means[key].value for group in groups for key in keys if key in group.means]
    panel.set_ylim(min(0.0, 1.5 * min(values)), 1.5 * max(0.02, *values))  # a wide interval is cut by the frame
    panel.axhline(0, color="0.6", linewidth=0.6)
    panel.set_xticks(range(len(keys)), labels, rotation=40, ha="right", rotation_mode="anchor", fontsize=7)
    panel.tick_params(labelsize=7)
    panel.set_title(title, fontsize=9)
    panel.spines[["top", "right"]].set_visible(False)
