"""Pictures and tables of an `Emergence`: PNG, SVG, JSON and Markdown."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from hf_listops.analysis.emergence import Curve, Emergence, Fit
from hf_listops.data.files import write_atomically

_LEARNED, _NOT = "#C0392B", "#2E6DA4"  # red above 50 %, blue below, as in the paper


def write_report(emergence: Emergence, out: Path) -> list[Path]:
    """Writes `emergence[-{budget}][-{variant}].png/.svg` for each budget and variant, `emergence.json` with every number
    in them, and `emergence.md` with the tables. Returns the paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for budget, variant in dict.fromkeys((curve.budget, curve.variant) for curve in emergence.curves):
        curves = [c for c in emergence.curves if (c.budget, c.variant) == (budget, variant)]
        name = f"emergence-{budget}" + (f"-{variant}" if variant else "")
        paths += _draw(curves, f"{budget:,} steps" + (f", {variant}" if variant else ""), out / name)
    write_atomically(out / "emergence.json", json.dumps(_plain(dataclasses.asdict(emergence)), indent=1) + "\n")
    write_atomically(out / "emergence.md", markdown(emergence))
    return [*paths, out / "emergence.json", out / "emergence.md"]


def _plain(value: Any) -> Any:
    """JSON has no infinity: an interval's open end is null."""
    if isinstance(value, dict):
        return {key: _plain(of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(of) for of in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def markdown(emergence: Emergence) -> str:
    """The tables: the transition of every mix and of every operation inside it, and the synergies."""
    lines = [f"{emergence.runs} runs, {emergence.errors} errors.", ""]
    for budget, variant in dict.fromkeys((curve.budget, curve.variant) for curve in emergence.curves):
        curves = [c for c in emergence.curves if (c.budget, c.variant) == (budget, variant)]
        lines += [
            f"{budget:,} steps{f', {variant}' if variant else ''}: total parameters at which exact match crosses 50 %.",
            "",
            "| mix | measured on | runs | seeds a size | 50 % point | 95 % interval | slope, logits a decade | p |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for curve in curves:
            fit = curve.fit
            lines.append(
                f"| {curve.mix} | {curve.operation or 'the mix'} | {len(curve.sizes)} | {curve.seeds} | {point_text(fit)} "
                f"| {interval_text(fit)} | {fit.slope:.1f} | {fit.p_value:.2g} |"
            )
        lines.append("")
    if emergence.synergies:
        lines += [
            "Synergy: log2 of the operation's transition alone over that inside the mix (above 0: the mix needs fewer).",
            "",
            "| operation | inside | steps | log2 ratio | 95 % interval |",
            "|---|---|---|---|---|",
        ]
        for s in emergence.synergies:
            ends = "" if s.low is None else f"{s.low:.2f} … {'' if s.high is None else f'{s.high:.2f}'}".strip()
            sign = "" if s.bound == "=" else f"{s.bound} "
            budget_text = f"{s.budget:,}{f', {s.variant}' if s.variant else ''}"
            lines.append(f"| {s.operation} | {s.mix} | {budget_text} | {sign}{s.log2_ratio:.2f} | {ends} |")
        lines.append("")
    return "\n".join(lines)


def point_text(fit: Fit) -> str:
    """A transition point in words: `12,300`, `> 103,296 (not reached)`, `< 696 (at every size)`."""
    if fit.where == "within":
        return f"{fit.size:,.0f}"
    if fit.where == "falling":
        return "no rise with size"
    return f"> {fit.size:,.0f} (not reached)" if fit.where == "above" else f"< {fit.size:,.0f} (at every size)"


def interval_text(fit: Fit) -> str:
    """The 95 % interval, open where it leaves the sizes tried; empty with too few seeds."""
    if fit.low is None or fit.high is None:
        return ""
    high = f"{fit.high:,.0f}" if math.isfinite(fit.high) else ""
    return f"{fit.low:,.0f} … {high}".strip()


def _draw(curves: list[Curve], title: str, path: Path) -> list[Path]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    mixes = [curve for curve in curves if curve.operation is None]
    columns = min(5, len(mixes))
    rows = -(-len(mixes) // columns)
    figure = Figure(figsize=(3.0 * columns, 2.3 * rows + 2.8), layout="constrained")
    figure.suptitle(title)
    top, bottom = list(figure.subfigures(2, 1, height_ratios=[2.3 * rows, 2.8]))  # type: ignore[arg-type] # two of them
    panels = top.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, curve in zip(panels, mixes, strict=False):
        sizes, shares = np.array(curve.sizes), np.array(curve.shares)
        for learned, color in ((True, _LEARNED), (False, _NOT)):
            chosen = (shares > 0.5) == learned
            panel.plot(sizes[chosen], shares[chosen], "o", color=color, markersize=4, alpha=0.75)
        if curve.fit.where == "within":
            x = np.geomspace(sizes.min(), sizes.max(), 200)
            panel.plot(x, 1 / (1 + np.exp(-curve.fit.slope * np.log10(x / curve.fit.size))), color="0.4", linewidth=1)
            panel.axvline(curve.fit.size, color="0.4", linestyle=":", linewidth=1)
        panel.set(xscale="log", ylim=(-0.04, 1.04))
        panel.set_title(f"{curve.mix}\n{point_text(curve.fit)}", fontsize=8)
        panel.grid(alpha=0.2)
    for panel in panels[len(mixes) :]:
        panel.set_visible(False)
    top.supylabel("exact match", fontsize=9)
    top.supxlabel("total parameters", fontsize=9)
    bars = bottom.subplots()
    for place, curve in enumerate(mixes):
        reached = curve.fit.where == "within"
        color = _LEARNED if "SUM" in curve.mix else "0.6"
        bars.bar(place, curve.fit.size, color=color, alpha=1 if reached else 0.35, hatch=None if reached else "//")
        if curve.fit.low is not None and curve.fit.high is not None and reached:
            ends = [
                curve.fit.low or curve.fit.size,
                curve.fit.high if math.isfinite(curve.fit.high) else curve.fit.size,
            ]
            bars.plot([place, place], ends, color="black", linewidth=1)
    bars.set(yscale="log", ylabel="parameters at 50 %")
    bars.yaxis.set_major_locator(LogLocator())
    bars.yaxis.set_minor_formatter(NullFormatter())
    bars.set_xticks(range(len(mixes)), [curve.mix for curve in mixes], rotation=35, ha="right", fontsize=7)
    bars.set_title("hatched: not reached in the sizes tried", fontsize=8)
    paths = [path.with_name(f"{path.name}.{kind}") for kind in ("png", "svg")]
    figure.savefig(paths[0], dpi=110)
    figure.savefig(paths[1], metadata={"Date": None})
    return paths
