"""Is claim C7 reproduced?

The rule: mean ablation of the feed-forward layers, relative to attention, costs SUM-only models more than joint ones at
equal SUM accuracy, and the 95 % interval over the models leaves out 0. What it leaves open was fixed before any model was
measured for it: both groups have the same modulus and variant, at least three models above 90 %, and mean accuracies less
than 0.05 apart. The ratio of the norms is reported beside it.
"""

from __future__ import annotations

from hf_listops.analysis.pages import Verdict
from hf_listops.analysis.reliance import Comparison, Difference, Mean

ABOVE = 0.9
_MODELS = 3
_EQUAL = 0.05


def verdict(comparison: Comparison) -> Verdict:
    """The verdict on C7; with several set-ups, all that can be judged must agree."""
    sizes = {group.name: len(group.models) for group in comparison.groups}
    sums = [of for of in comparison.differences if of.pure.startswith("pure SUM ")]
    fair = [
        of for of in sums if min(sizes[of.pure], sizes[of.mixed]) >= _MODELS and abs(of.exact_match.value) < _EQUAL
    ]
    if not fair or comparison.above < ABOVE:
        counts = [f"{name} has {count}" for name, count in sizes.items()]
        apart = [f"{of.pure} and {of.mixed} are {abs(of.exact_match.value):.2f} apart" for of in sums]
        return Verdict(
            "C7",
            "not yet run",
            f"pure and mixed SUM need {_MODELS} models above {ABOVE:.0%} each of one set-up, at like accuracy: "
            + "; ".join([*counts, *apart]),
        )
    good = all((of.contrast.low or 0.0) > 0 for of in fair)
    return Verdict("C7", "reproduced" if good else "not reproduced", "; ".join(map(_text, fair)))


def _text(of: Difference) -> str:
    return (
        f"{of.pure} less {of.mixed}: feed-forward less attention costs {_interval(of.contrast)} more exact match, and the "
        f"norms differ by {_interval(of.norm)}, at accuracies {_interval(of.exact_match)} apart"
    )


def _interval(mean: Mean) -> str:
    return f"{mean.value:.3f} ({mean.low:.3f} … {mean.high:.3f})"
