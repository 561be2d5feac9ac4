"""Pictures and tables of an `Emergence`: PNG, SVG, JSON and Markdown."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_listops.analysis.emergence import Curve, Emergence
from hf_listops.analysis.outputs import plain_numbers
from hf_listops.analysis.transition import SOLVED, Fit, Ratio
from hf_listops.data.files import write_atomically

_LEARNED, _NOT = "#C0392B", "#2E6DA4"  # red above 50 %, blue below, as in the paper
_WITH_SUM, _WITHOUT = "#C98B1B", "#8A8A8A"
_HEAD = "| mix | measured on | runs | seeds a size | 50 % point | 95 % interval | slope, logits a decade | p |"


def write_report(emergence: Emergence, out: Path) -> list[Path]:
    """Writes `emergence-{budget}[-{variant}].png/.svg` for each budget and variant, `emergence.json` with every number
    in them, and `emergence.md` with the tables. Returns the paths.

    A picture's description holds the `digest` of the numbers it was made from.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for budget, variant in settings(emergence):
        curves = [c for c in emergence.curves if (c.budget, c.variant) == (budget, variant)]
        name = f"emergence-{budget}" + (f"-{variant}" if variant else "")
        paths += _draw(curves, setting_text(budget, variant), out / name, digest(emergence))
    write_atomically(out / "emergence.json", plain_numbers(emergence))
    write_atomically(out / "emergence.md", markdown(emergence))
    return [*paths, out / "emergence.json", out / "emergence.md"]


def settings(emergence: Emergence) -> list[tuple[int, str | None]]:
    """Each budget and variant that there are curves of."""
    return list(dict.fromkeys((curve.budget, curve.variant) for curve in emergence.curves))


def digest(emergence: Emergence) -> str:
    """SHA-256 of all numbers as JSON, by which a picture can be held against them."""
    return hashlib.sha256(plain_numbers(emergence).encode()).hexdigest()


def markdown(emergence: Emergence) -> str:
    """The tables: the transition of every mix and of every operation inside it, and the synergies."""
    lines = [f"{emergence.runs} runs, {emergence.errors} errors.", ""]
    for budget, variant in settings(emergence):
        lines += [f"{setting_text(budget, variant)}: total parameters at which exact match crosses 50 %.", ""]
        lines += [*transition_table(emergence, budget, variant), ""]
    if emergence.synergies:
        lines += [
            "Synergy: log2 of the operation's transition alone over that inside the mix (above 0: the mix needs fewer).",
            "",
            "| operation | inside | steps | log2 ratio | 95 % interval |",
            "|---|---|---|---|---|",
        ]
        for s in emergence.synergies:
            setting = setting_text(s.budget, s.variant).removesuffix(" steps")
            lines.append(
                f"| {s.operation} | {s.mix} | {setting} | {ratio_text(s.ratio)} | {ratio_interval_text(s.ratio)} |"
            )
        lines.append("")
    return "\n".join(lines)


def transition_table(emergence: Emergence, budget: int, variant: str | None) -> list[str]:
    """The lines of a Markdown table of every curve at a budget."""
    lines = [_HEAD, "|---" * (_HEAD.count("|") - 1) + "|"]
    for curve in emergence.curves:
        if (curve.budget, curve.variant) == (budget, variant):
            fit = curve.fit
            lines.append(
                f"| {curve.mix} | {curve.operation or 'the mix'} | {len(curve.sizes)} | {curve.seeds} | {point_text(fit)} "
                f"| {interval_text(fit)} | {'' if fit.slope is None else f'{fit.slope:.1f}'} | {fit.p_value:.2g} |"
            )
    return lines


def setting_text(budget: int, variant: str | None) -> str:
    """A budget and variant in words: `10,000 steps`, `20,000 steps, lr1e-3`."""
    return f"{budget:,} steps" + (f", {variant}" if variant else "")


def point_text(fit: Fit) -> str:
    """A transition point in words: `12,300`, `> 103,296 (not reached)`, `< 696 (at every size)`."""
    if fit.where == "within":
        return f"{fit.size:,.0f}"
    if fit.where == "falling":
        return "one size alone" if fit.slope is None else "no rise with size"
    return f"> {fit.size:,.0f} (not reached)" if fit.where == "above" else f"< {fit.size:,.0f} (at every size)"


def interval_text(fit: Fit) -> str:
    """The 95 % interval in parameters; empty with too few seeds."""
    return (
        "" if fit.low is None or fit.high is None else _ends(f"{fit.low:,.0f}", f"{fit.high:,.0f}", fit.low, fit.high)
    )


def ratio_text(ratio: Ratio) -> str:
    """A ratio with its bound: `1.20`, `> 2.70`."""
    return f"{ratio.log2:.2f}" if ratio.bound == "=" else f"{ratio.bound} {ratio.log2:.2f}"


def ratio_interval_text(ratio: Ratio) -> str:
    """A ratio's 95 % interval; empty with too few seeds."""
    if ratio.low is None or ratio.high is None:
        return ""
    return _ends(f"{ratio.low:.2f}", f"{ratio.high:.2f}", ratio.low, ratio.high)


def _ends(low_text: str, high_text: str, low: float, high: float) -> str:
    """`low … high`, or one end with its sign where the other is open."""
    is_open = (low in (0, -math.inf), high == math.inf)
    if all(is_open):
        return "open"
    return (
        f"at most {high_text}" if is_open[0] else f"at least {low_text}" if is_open[1] else f"{low_text} … {high_text}"
    )


def _draw(curves: Sequence[Curve], title: str, path: Path, description: str) -> list[Path]:
    import matplotlib
    from matplotlib.figure import Figure

    mixes = [curve for curve in curves if curve.operation is None]
    columns = min(5, len(mixes))
    rows = -(-len(mixes) // columns)
    figure = Figure(figsize=(max(2.1 * columns, 5.2), 1.75 * rows + 3.2), layout="constrained")
    top, bottom = list(figure.subfigures(2, 1, height_ratios=[1.75 * rows + 0.5, 2.7]))  # type: ignore[arg-type] # two
    top.suptitle(f"{title}: exact match on the mix's test split, one point a run", fontsize=9)
    panels = top.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, curve in zip(panels, mixes, strict=False):
        _draw_curve(panel, curve)
    for panel in panels[len(mixes) :]:
        panel.set_axis_off()
    top.supylabel("exact match", fontsize=8)
    top.supxlabel("total parameters", fontsize=8)
    _draw_bars(bottom.subplots(), mixes)
    paths = [path.with_name(f"{path.name}.{kind}") for kind in ("png", "svg")]
    figure.savefig(paths[0], dpi=200, metadata={"Description": description})
    with matplotlib.rc_context({"svg.hashsalt": "hf_listops"}):
        figure.savefig(paths[1], metadata={"Date": None, "Description": description})
    return paths


def _draw_curve(panel: Any, curve: Curve) -> None:
    """Points, red if solved and blue if not, the fit, and the 50 % point."""
    sizes, shares = np.array(curve.sizes), np.array(curve.shares)
    fit = curve.fit
    panel.axhline(SOLVED, color="0.85", linewidth=0.8, zorder=0)
    for learned, color in ((True, _LEARNED), (False, _NOT)):
        chosen = (shares > SOLVED) == learned
        panel.plot(sizes[chosen], shares[chosen], "o", color=color, markersize=3.5, alpha=0.75, markeredgewidth=0)
    if fit.where == "within" and fit.slope is not None:
        x = np.geomspace(sizes.min(), sizes.max(), 200)
        logits = fit.slope * np.log10(x / fit.size)
        panel.plot(x, np.exp(-np.logaddexp(0, -logits)), color="0.35", linewidth=1)
        panel.plot([fit.size, fit.size], [-0.05, SOLVED], color="0.35", linestyle=":", linewidth=1)
    panel.set(xscale="log", ylim=(-0.05, 1.05), yticks=[0, 0.5, 1])
    panel.tick_params(labelsize=7)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_title(f"{curve.mix}\n{point_text(fit)}", fontsize=7)


def _draw_bars(bars: Any, mixes: Sequence[Curve]) -> None:
    """The transition sizes, from the smallest size tried up; hatched to the largest where it was not reached."""
    from matplotlib.patches import Patch

    floor = min(min(curve.sizes) for curve in mixes)
    for place, curve in enumerate(mixes):
        fit = curve.fit
        reached = fit.where in ("within", "below")
        color = _WITH_SUM if "SUM" in curve.mix.split("+") else _WITHOUT
        bars.bar(place, max(fit.size - floor, 0), 0.7, floor, color=color, alpha=1 if reached else 0.4,
                 hatch=None if reached else "////", edgecolor="white", linewidth=0)  # fmt: skip
        if fit.low is not None and fit.high is not None and fit.where == "within":
            ends = [max(fit.low, floor), min(fit.high, max(curve.sizes))]
            bars.plot([place, place], ends, color="black", linewidth=1.2)
    bars.set(yscale="log", xlim=(-0.6, max(len(mixes), 4) - 0.4))
    bars.set_ylim(floor, 1.35 * max(max(curve.sizes) for curve in mixes))
    bars.set_ylabel("parameters at 50 %", fontsize=8)
    bars.tick_params(labelsize=7)
    bars.set_xticks(range(len(mixes)), [curve.mix for curve in mixes], rotation=35, ha="right", rotation_mode="anchor")
    bars.spines[["top", "right"]].set_visible(False)
    kinds = [
        Patch(facecolor=_WITH_SUM, label="with SUM"),
        Patch(facecolor=_WITHOUT, label="without SUM"),
        Patch(facecolor="0.85", hatch="////", edgecolor="white", label="not reached in the sizes tried"),
    ]
    bars.legend(handles=kinds, fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
