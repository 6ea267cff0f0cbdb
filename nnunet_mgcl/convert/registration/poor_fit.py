"""Registrations that fit much worse than those of the other cases: perhaps another patient's scan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from nnunet_mgcl.convert.output.record import CaseRecord

LEAST_SHARE = 0.75
"""Of the cases' median fit. Another patient's scan reaches half of it to two thirds, the same patient's 0.9."""

FEWEST = 3
"""Cases below which there is nothing to compare."""


def poor_fits(records: Iterable[CaseRecord]) -> dict[str, tuple[str, ...]]:
    """Case -> a sentence for each channel whose registration fits much worse than that of the other cases."""
    fits: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for record in records:
        for channel, entry in record.channels.items():
            if entry.registration:
                fits[channel, entry.registration.to][record.case] = entry.registration.after
    found: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for (channel, reference), after in fits.items():
        usual = median(after.values())
        for case, value in after.items():
            if len(after) >= FEWEST and value < LEAST_SHARE * usual:
                numbers = f"mutual information {value:.3f}, the cases' median {usual:.3f}"
                found[case] += (f"{channel} to {reference}: fits much worse than in other cases ({numbers})",)
    return dict(found)
