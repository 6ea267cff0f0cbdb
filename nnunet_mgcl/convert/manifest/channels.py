"""What the name of a channel, or of a file, says about the scan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os.path import commonprefix

_KINDS = {
    "ADC": r"adc\w*|(?<!exponential )apparent diff\w*",
    "Tmax": r"r?tmax\w*",
    "CBF": r"r?cbf\w*",
    "CBV": r"r?cbv\w*",
    "MTT": r"r?mtt\w*",
    "TTP": r"r?ttp\w*",
    "FLAIR": r"\w*flair\w*|tirm|dark ?fluid",
    "DWI": r"dwi\w*|\w*trace\w*|b1000\w*|diff|diffusion\w*",
    "PWI": r"pwi\w*|perf\w*|dsc",
    "T2star": r"t2 ?star\w*|swi\w*|swan|gre|t2\*",
    "T2": r"t2w?|t2 ?tse",
    "T1c": r"t1w? ?(?:ce?|gd|km|post\w*|contrast\w*)",
    "T1": r"t1w?|t1 ?pre|mprage",
}
"""Kind -> what its names look like. The first that fits counts: an ADC map may also say `dwi`, a FLAIR `t2`."""

KINDS = ("DWI", "ADC", "FLAIR", "Tmax", "CBF", "CBV", "MTT", "TTP", "PWI", "T2", "T2star", "T1", "T1c")
"""All kinds, in the order that a table shows them."""

PERFUSION = ("Tmax", "CBF", "CBV", "MTT", "TTP", "PWI")

MASK_WORDS = {
    "mask", "masks", "msk", "roi", "rois", "seg", "segmentation", "label", "labels", "lesion", "lesions", "infarct",
    "gt", "groundtruth", "truth",
}  # fmt: skip
"""Words in the names of masks."""


def names_mask(name: str) -> bool:
    """Whether a name speaks of a mask."""
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    return bool(MASK_WORDS & set(re.findall(r"[a-z]+", words)))


def guess_kind(name: str) -> str | None:
    """The kind of scan (`DWI`, `ADC`, `FLAIR`, ...) that a name speaks of; None where it says nothing known."""
    words = " ".join(re.split(r"[^a-z0-9*]+", name.lower()))
    for kind, pattern in _KINDS.items():
        if re.search(rf"(?<!\w)(?:{pattern})(?!\w)", words):
            return kind
    return None


def near_kinds(name: str) -> list[str]:
    """The kinds that a name of no known kind may have been meant for: one slip of the hand away from a word of it.

    `T1` and `T2` are left out: so short a word is one letter away from many, and nothing depends on them.
    """
    if guess_kind(name):
        return []
    words = {name.lower(), *re.split(r"[^a-z0-9]+", name.lower())}
    return [kind for kind in KINDS if len(kind) > 2 and any(_one_slip(word, kind.lower()) for word in words)]


def _one_slip(one: str, other: str) -> bool:
    """Whether words differ by a letter that is missing, added or another one, or by two neighbours that are swapped."""
    start = len(commonprefix([one, other]))  # noqa: RUF071  (letters are meant, not folders)
    one, other = one[start:], other[start:]
    end = len(commonprefix([one[::-1], other[::-1]]))  # noqa: RUF071
    one, other = one[: len(one) - end], other[: len(other) - end]
    return max(len(one), len(other)) == 1 or (len(one) == 2 and one == other[::-1])


def is_adc(channel: str) -> bool:
    """Whether a channel is an ADC map."""
    return guess_kind(channel) == "ADC"


def is_dwi(channel: str) -> bool:
    """Whether a channel is a diffusion-weighted image."""
    return guess_kind(channel) == "DWI"


def is_perfusion(channel: str) -> bool:
    """Whether a channel is a map computed from a perfusion series."""
    return guess_kind(channel) in PERFUSION


def leader(channel: str, channels: Sequence[str]) -> str:
    """The channel from whose acquisition a channel stems: DWI for an ADC map, the first map for perfusion maps.

    Args:
        channel: One of `channels`.
        channels: All channels, in order.

    Returns:
        `channel` itself where it shares nobody's acquisition.
    """
    if is_adc(channel):
        return next(filter(is_dwi, channels), channel)
    if is_perfusion(channel):
        return next(filter(is_perfusion, channels), channel)
    return channel
