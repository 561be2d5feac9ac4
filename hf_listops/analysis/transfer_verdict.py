"""Is claim C6 reproduced? The rule was fixed before the runs, in the project's science page:

over 5 seeds, the ramp's final SUM exact match exceeds pure SUM's by more than 0.3 in at least 4, at a size where pure SUM
stays below 0.1.

The sizes are n_embd 48 and 32 with 2 layers and one head, and any of them is enough. The ramp is the curriculum without a
variant from MAX+MED to SUM, both modulo 10 and of depth 2, in which the share of SUM rises from 0 to 1 over more than one
step: a switch is no slow move. Pure SUM stays below 0.1 if the final exact match of each of its seeds does. With more seeds
than 5 the rule asks for four fifths of them.
"""

from __future__ import annotations

from hf_listops.analysis.pages import Verdict
from hf_listops.analysis.transfer import Group, Schedule, Transfer

WIDTHS, LAYERS, HEADS = (48, 32), 2, 1
FIRST, LAST = "max-med-mod10-depth2", "sum-mod10-depth2"
SEEDS, SHARE = 5, (4, 5)
GAIN, BELOW = 0.3, 0.1


def verdict(transfer: Transfer) -> Verdict:
    """The verdict on C6: reproduced as soon as one size shows it, not reproduced only when every size was asked."""
    ramps = {width: _ramps(transfer, width) for width in WIDTHS}
    texts: list[str] = []
    outcomes: list[bool | None] = []
    for width, groups in ramps.items():
        if not groups:
            texts.append(f"n_embd {width}: no run of the ramp")
            outcomes.append(None)
        for group in groups:
            outcome, text = _at_size(transfer, group)
            texts.append(f"n_embd {width}: {text}")
            outcomes.append(outcome)
    because = "; ".join(texts)
    if any(outcomes):
        return Verdict("C6", "reproduced", because)
    return Verdict("C6", "not yet run" if None in outcomes else "not reproduced", because)


def _ramps(transfer: Transfer, width: int) -> list[Group]:
    return [
        group
        for group in transfer.groups
        if (*group.tasks, group.target) == (FIRST, LAST, LAST)
        and _is_slow(group.schedule)
        and (group.variant, group.n_embd, group.n_layer, group.n_head) == (None, width, LAYERS, HEADS)
    ]


def _is_slow(schedule: Schedule) -> bool:
    """Whether the share of SUM takes more than one step from its last 0 to 1."""
    points = list(zip(schedule.steps, schedule.shares["SUM"], strict=True))
    starts = [step for step, share in points if share == 0]
    ends = [step for step, share in points if share == 1 and starts and step >= starts[-1]]
    return bool(ends) and ends[0] - starts[-1] > 1


def _at_size(transfer: Transfer, group: Group) -> tuple[bool | None, str]:
    """Whether the rule holds at a size, None with too few seeds, and the numbers."""
    pure = transfer.pure(group)
    if pure is None or group.gain is None:
        return None, f"the ramp has {len(group.seeds)} of {SEEDS} seeds, and there is no pure SUM to compare it with"
    gains, finals = group.gain.gain.seeds, pure.final.seeds
    if len(gains) < SEEDS:
        return None, f"{len(gains)} of {SEEDS} seeds with a ramp and a pure SUM"
    more = sum(gain > GAIN for gain in gains)
    below = sum(final < BELOW for final in finals)
    holds = more * SHARE[1] >= len(gains) * SHARE[0] and below == len(finals)
    return holds, (
        f"the ramp ends more than {GAIN} above pure SUM in {more} of {len(gains)} seeds "
        f"({', '.join(f'{gain:+.3f}' for gain in gains)}), pure SUM below {BELOW} in {below} of {len(finals)} "
        f"(at most {max(finals):.3f})"
    )
