"""The cross-validation split: nnU-Net's own, or one that keeps patients together and TSS classes balanced."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunet_mgcl.data.cases.same_scan import Twins, divided_twins
from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.data.tss_table import TSSTable
from nnunet_mgcl.system.errors import UserError, counted, some
from nnunet_mgcl.system.files import is_there, read_json, write_json

FOLDS = 5
SEED = 12345
"""nnU-Net's seed of its splits."""

REMEDY = "mend the file, or remove it and train again: it is then written anew"

Split = dict[str, list[str]]
"""One fold: cases under `train` and `val`."""


def ensure_splits(
    layout: DatasetLayout, cases: Collection[str], table: TSSTable | None, log: Callable[[str], None], *,
    both_classes: bool = True, fold: int | str | None = None, twins: Twins = (),
) -> list[Split]:  # fmt: skip
    """Reads and checks `splits_final.json`, or writes it where it is absent.

    Without a TSS table the written split is the one nnU-Net would write (with fewer folds for fewer than five
    cases). With one, the cases of a patient share a fold and the classes (positive, negative, unknown) spread
    evenly.

    Args:
        layout: The dataset's paths.
        cases: Names of the labelled cases.
        table: The TSS table, if there is one.
        log: Takes one line for the user.
        both_classes: Whether every training fold must hold both TSS classes, because a head will be trained.
        fold: The fold that will be trained; "all" is one of its own, with all cases.
        twins: Pairs of cases that hold the same scan.

    Raises:
        UserError: The split lacks cases, knows others, divides a patient or a pair of twins, or has a one-class
            training fold.
    """
    new = not is_there(layout.splits)
    if new:
        source = f"{layout.name}{', tss.csv' if table else ''}, new split"
        splits = _new_split(layout.name, sorted(cases), table)
    else:
        source = str(layout.splits)
        splits = read_splits(layout)
        _check_cases(layout, splits, cases)
    _check_patients_and_classes(layout, source, splits, table, both_classes, fold)
    _check_twins(layout, source, splits, twins, log)
    if new:
        write_json(layout.splits, splits)
        patients = "grouped by patient, " * any(row.patient is not None for row in table.rows.values()) if table else ""
        kind = f"{patients}stratified by TSS" if table else "nnU-Net's own"
        log(f"Wrote {layout.splits} ({counted(len(splits), 'fold')}, {kind})")
    return splits


def read_splits(layout: DatasetLayout) -> list[Split]:
    """Reads `splits_final.json`.

    Raises:
        UserError: It is no list of folds with two lists of names each, or a case is on both sides of a fold.
    """
    splits = read_json(layout.splits)
    expected = "a list of folds, each with the lists train and val of case names"
    if not isinstance(splits, list) or not splits:
        raise UserError(layout.splits, "no list of folds", expected, REMEDY)
    for fold, split in enumerate(splits):
        where = f"{layout.splits}, fold {fold}"
        if not isinstance(split, dict) or not all(_are_names(split.get(part)) for part in ("train", "val")):
            raise UserError(where, "not the lists train and val of names", expected, REMEDY)
        if both := sorted(set(split["train"]) & set(split["val"])):
            raise UserError(where, f"{some(both)} in train and val", "every case once", REMEDY)
    return splits


def divided_patients(split: Split, table: TSSTable) -> list[str]:
    """The patients with cases under train and under val."""
    train, val = ({table.patient(case) for case in split[part]} for part in ("train", "val"))
    return sorted(train & val)


def fold_cases(splits: list[Split], fold: int) -> tuple[list[str], list[str]]:
    """Training and validation cases of a fold.

    Raises:
        UserError: There is no such fold. (nnU-Net would draw a random split that knows no patients.)
    """
    if not 0 <= fold < len(splits):
        raise UserError(f"fold {fold}", f"a split with {len(splits)} folds", f"0 to {len(splits) - 1}", "choose one")
    return splits[fold]["train"], splits[fold]["val"]


def _new_split(dataset: str, cases: list[str], table: TSSTable | None) -> list[Split]:
    groups: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        groups[table.patient(case) if table else case].append(case)
    folds = min(FOLDS, len(groups))
    if folds < 2:
        found = f"{len(groups)} patient(s) with labels"
        raise UserError(dataset, found, "two at least: one to validate", "add labelled cases")
    if table:
        return _grouped_split(cases, groups, table, folds)
    splits = generate_crossval_split(cases, seed=SEED, n_splits=folds)
    return [{part: list(map(str, split[part])) for part in ("train", "val")} for split in splits]


def _grouped_split(cases: list[str], groups: dict[str, list[str]], table: TSSTable, folds: int) -> list[Split]:
    """Deals patients out, large ones first, each to the fold with the fewest cases of the same classes.

    scikit-learn's StratifiedGroupKFold does much the same, but refuses a dataset where every class has fewer
    cases than there are folds.
    """
    order = np.random.default_rng(SEED).permutation(sorted(groups))
    validation: list[list[str]] = [[] for _ in range(folds)]
    strata = [Counter[bool | None]() for _ in range(folds)]
    for patient in sorted(order, key=lambda patient: -len(groups[patient])):
        classes = [table.positive(case) for case in groups[patient]]
        best = min(range(folds), key=lambda fold: (sum(strata[fold][c] for c in classes), len(validation[fold])))
        validation[best] += groups[patient]
        strata[best].update(classes)
    return [{"train": [case for case in cases if case not in val], "val": sorted(val)} for val in validation]


def _check_cases(layout: DatasetLayout, splits: list[Split], cases: Collection[str]) -> None:
    for fold, split in enumerate(splits):
        where = f"{layout.splits}, fold {fold}"
        if unknown := sorted({*split["train"], *split["val"]} - set(cases)):
            raise UserError(where, f"unknown cases {some(unknown)}", "preprocessed cases", REMEDY)
        for part, name in (("train", "training"), ("val", "validation")):
            if not split[part]:
                raise UserError(where, f"no {name} case", "one at least", REMEDY)
            if twice := sorted(case for case, count in Counter(split[part]).items() if count > 1):
                raise UserError(where, f"{some(twice)} twice in {part}", "every case once", REMEDY)
    used = {case for split in splits for part in ("train", "val") for case in split[part]}
    if missing := sorted(set(cases) - used):
        raise UserError(layout.splits, f"{some(missing)} in no fold", "all preprocessed cases", REMEDY)


def _check_patients_and_classes(
    layout: DatasetLayout, source: str, splits: list[Split], table: TSSTable | None, both_classes: bool,
    wanted: int | str | None,
) -> None:  # fmt: skip
    if table is None:
        return
    if both_classes and wanted == "all":
        _require_both_classes(layout, f"{layout.tss}, fold all", table.cases, table)
    for fold, split in enumerate(splits):
        where = f"{source}, fold {fold}"
        if divided := divided_patients(split, table):
            found, remedy = f"patients {some(divided)} in train and val", f"{REMEDY}, by patient"
            raise UserError(where, found, "a patient on one side", remedy)
        if both_classes and wanted != "all":
            _require_both_classes(layout, where, split["train"], table)


def _require_both_classes(layout: DatasetLayout, where: str, cases: Collection[str], table: TSSTable) -> None:
    classes = {int(positive) for case in cases if (positive := table.positive(case)) is not None}
    if len(classes) < 2:
        raise UserError(
            where, f"training cases with TSS classes {sorted(classes)}",
            "both classes in every training fold, so two patients of each at least",
            "add rows to tss.csv and run mgcl prepare, mend the split, or train without the head "
            f"(mgcl plan -d {layout.name} --set tss.enabled=false -o NoTSS, then train with -p NoTSS)",
        )  # fmt: skip


def _check_twins(
    layout: DatasetLayout, source: str, splits: list[Split], twins: Twins, log: Callable[[str], None]
) -> None:
    """Mentions cases that hold the same scan, and refuses them on both sides of a fold."""
    for fold, split in enumerate(splits):
        if divided := divided_twins(split["train"], split["val"], twins):
            raise UserError(
                f"{source}, fold {fold}", f"the same scan in train and val ({some(divided)})",
                "no scan that the fold trains on and is validated with",
                "remove one of each pair (its files in imagesTr, labelsTr and the preprocessed folder, its row in "
                f"tss.csv), or name one patient for both in tss.csv; then remove {layout.splits}, if it is there, "
                "and run mgcl prepare",
            )  # fmt: skip
    for one, other in twins:
        log(f"{one} and {other} hold the same scan; every fold keeps them on one side")


def _are_names(part: Any) -> bool:
    return isinstance(part, list) and all(isinstance(case, str) for case in part)
