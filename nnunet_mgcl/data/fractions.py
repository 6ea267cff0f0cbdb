"""A share of a fold's labelled training cases: what a study of label efficiency trains on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from nnunet_mgcl.data.tss_table import TSSTable
from nnunet_mgcl.system.errors import UserError

FEWEST = 5
"""Cases below which nothing is trained."""


def labelled_share(
    cases: Sequence[str], fraction: float, table: TSSTable | None, seed: int, where: str, both_classes: bool = True
) -> list[str]:
    """Draws some of a fold's training cases.

    The cases of a patient stay together, the TSS classes keep their proportions, and a smaller fraction is part of a
    larger one of the same seed.

    Args:
        cases: The fold's training cases.
        fraction: Their share, above 0 and up to 1; whole patients are taken until it is reached.
        table: The TSS table, if there is one.
        seed: Of the draw.
        where: The fold, as a message names it.
        both_classes: Whether a head will be trained, so that a case of each TSS class is among them.

    Returns:
        The cases in their order.

    Raises:
        UserError: They are too few.
    """
    if fraction == 1:
        return [*cases]
    wanted, drawn = round(fraction * len(cases)), list[str]()
    for patient in _order(cases, table, seed, both_classes):
        if len(drawn) >= wanted:
            break
        drawn += patient
    if len(drawn) < FEWEST:
        raise UserError(
            where, f"labelled_fraction {fraction:g} of {len(cases)} training cases: {len(drawn)}",
            f"{FEWEST} cases at least", "raise labelled_fraction",
        )  # fmt: skip
    return [case for case in cases if case in drawn]


def _order(cases: Sequence[str], table: TSSTable | None, seed: int, both_classes: bool) -> list[list[str]]:
    """The patients' cases, so that the first of them make a sample of any size.

    The patients of a class are spread evenly over the order, each class shuffled by the seed; one of each known class
    comes first, where a head needs them.
    """
    patients: dict[str, list[str]] = defaultdict(list)
    for case in sorted(cases):
        patients[table.patient(case) if table else case].append(case)
    classes: dict[frozenset[bool | None], list[str]] = defaultdict(list)
    for patient, own in patients.items():
        classes[frozenset(table.positive(case) for case in own) if table else frozenset()].append(patient)
    random, places = np.random.default_rng(seed), dict[str, tuple[float, str]]()
    for known in sorted(classes, key=lambda key: sorted(map(str, key))):
        members = [str(patient) for patient in random.permutation(classes[known])]
        for number, patient in enumerate(members):
            places[patient] = ((number + 0.5) / len(members), patient)
    order = sorted(patients, key=places.__getitem__)
    if table and both_classes:
        firsts = [
            next((p for p in order if value in map(table.positive, patients[p])), None) for value in (True, False)
        ]
        order.sort(key=lambda patient: patient not in firsts)
    return [patients[patient] for patient in order]
