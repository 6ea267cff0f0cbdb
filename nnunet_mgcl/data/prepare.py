"""Everything that stock nnU-Net's preprocessing does not know: TSS table, split, unlabelled pool."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.utilities.utils import get_identifiers_from_splitted_dataset_folder

from nnunet_mgcl.data.cases.incomplete import Incomplete
from nnunet_mgcl.data.cases.labelled import check_cases, check_missing_lesions, preprocessed_cases
from nnunet_mgcl.data.images.files import check_stem
from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.data.pool.parts import WHOLE, PoolPart
from nnunet_mgcl.data.pool.preprocess import prepare_pool
from nnunet_mgcl.data.splits import Split, ensure_splits, fold_cases
from nnunet_mgcl.data.tss_table import TSSTable, read_tss_table
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.plan.dataset_json import read_dataset_json
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.system.csv_table import check_identifier
from nnunet_mgcl.system.differences import differences
from nnunet_mgcl.system.errors import UserError, some
from nnunet_mgcl.system.files import is_there, replacing
from nnunet_mgcl.system.names import check_names

Log = Callable[[str], None]

READ_BY_TRAINING = ("channel_names", "modality", "labels", "regions_class_order", "file_ending", "mgcl")
"""Keys of `dataset.json`."""


@dataclass(frozen=True)
class Prepared:
    """A dataset that is ready for training.

    Attributes:
        config: The resolved block.
        table: The TSS table, if the dataset has one.
        splits: The cross-validation split.
        pool: Cases of each modality of the unlabelled pool.
        joined: Whether the pool is complete: other parts of a shared preparation may be at work on it.
    """

    config: MGCLConfig
    table: TSSTable | None
    splits: list[Split]
    pool: dict[str, list[str]]
    joined: bool = True


def prepare_dataset(
    layout: DatasetLayout, plans: dict[str, Any], configuration: str, num_processes: int, log: Log, *,
    fold: int | str | None = None, uses_pool: bool = True, refresh: bool = False, progress: bool = True,
    part: PoolPart = WHOLE,
) -> Prepared:  # fmt: skip
    """Checks the dataset and prepares what is missing. What is ready is left as it is.

    Args:
        layout: The dataset's paths.
        plans: Content of the plans file.
        configuration: One of its configurations, preprocessed by nnU-Net.
        num_processes: Worker processes; 1 works in this process.
        log: Takes one line for the user.
        fold: The fold that is wanted; one beyond the split is refused at once. None: all of them.
        uses_pool: Whether the training reads the pool at all; it is left alone otherwise.
        refresh: Whether to take over a changed raw `tss.csv` and to look at every file of the pool. Training does not.
        progress: Whether to show a progress bar.
        part: The share of the pool that is this process's.

    Raises:
        UserError: Anything in the plan, the cases, the table, the split or the pool is wrong. Nothing is replaced then.
    """
    dataset_json = _dataset_json(layout, log, refuse_missing_raw=refresh)
    cases = preprocessed_cases(layout, plans, configuration)
    _mention_other_cases(layout, dataset_json, cases, log)
    _check_names(layout, dataset_json, cases)
    twins = check_cases(layout, plans, configuration, dataset_json, cases)
    source = table_in_use(layout, log, refresh=refresh)
    table = read_tss_table(source, cases) if source else None
    config = resolve_block(plans, configuration, dataset_json, tss_known=table is not None)
    incomplete = Incomplete.of(dataset_json, config.modalities or {})
    incomplete.check(cases)
    check_missing_lesions(layout, plans, configuration, config.lesion_labels or {}, incomplete)
    splits = ensure_splits(layout, cases, table, log, both_classes=bool(config.tss.enabled), fold=fold, twins=twins)
    if isinstance(fold, int):
        fold_cases(splits, fold)
    take_over(layout, source, log)  # not before the split agrees: what is refused replaces nothing
    if not uses_pool:
        return Prepared(config, table, splits, {})
    given = layout, plans, configuration, dataset_json, config, splits, num_processes, log, progress
    pool = prepare_pool(*given, refresh=refresh, part=part)
    return Prepared(config, table, splits, pool or {}, joined=pool is not None)


def _dataset_json(layout: DatasetLayout, log: Log, *, refuse_missing_raw: bool) -> dict[str, Any]:
    """The copy of `dataset.json`, compared with the raw dataset where that is here."""
    dataset_json = read_dataset_json(layout.dataset_json)
    if layout.raw is None or not is_there(layout.raw, "folder"):
        _mention_missing_raw(layout, log, refuse=refuse_missing_raw)
    _compare_dataset_json(layout, dataset_json, log)
    return dataset_json


def _check_names(layout: DatasetLayout, dataset_json: dict[str, Any], cases: list[str]) -> None:
    """Refuses names of cases that tables or files cannot take."""
    for case in cases:
        check_identifier(case, layout.preprocessed)
        check_stem(case, dataset_json["file_ending"], layout.preprocessed)


def load_plans(layout: DatasetLayout, name: str) -> dict[str, Any]:
    """Reads a plans file by its name.

    Raises:
        UserError: There is none.
    """
    check_names({"-p": name})
    path = layout.plans(name)
    if not is_there(path):
        others = sorted(file.stem for file in layout.preprocessed.glob("*Plans*.json"))
        remedy = f"-p one of {others}" if others else f"nnUNetv2_plan_and_preprocess -d {layout.number}"
        raise UserError(path, "no such file", "a plans file", remedy)
    return read_plans(path)


def tss_known(layout: DatasetLayout) -> bool:
    """Whether the dataset has a TSS table, or will have one once it is prepared."""
    return is_there(layout.tss) or (layout.raw_tss is not None and is_there(layout.raw_tss))


def table_in_use(layout: DatasetLayout, log: Log, *, refresh: bool) -> Path | None:
    """The `tss.csv` that counts: the copy that training uses, or the raw file where there is no copy.

    Args:
        layout: The dataset's paths.
        log: Takes one line for the user.
        refresh: Whether a changed, or removed, raw file wins over an older copy.

    Raises:
        UserError: One of the two is there and cannot be read, so that it is not known to be removed.
    """
    raw, copy = layout.raw_tss, layout.tss
    used = copy if is_there(copy) else None
    if raw is None or not raw.parent.is_dir():
        return used
    given = raw if is_there(raw) else None
    if used is None or refresh:
        return given
    if given is None or raw.read_bytes() != copy.read_bytes():
        log(f"{raw} has changed; training uses the copy {copy}. `mgcl prepare` takes over the change")
    return used


def take_over(layout: DatasetLayout, table: Path | None, log: Log) -> None:
    """Makes the copy what `table_in_use` has chosen."""
    copy = layout.tss
    if table is None and is_there(copy):
        log(f"{layout.raw_tss} was removed: there is no TSS table any more")
        copy.unlink()
    elif table not in (None, copy) and not (is_there(copy) and table.read_bytes() == copy.read_bytes()):
        with replacing(copy) as temporary:
            shutil.copyfile(table, temporary)
        log(f"Copied {table}")


def _mention_missing_raw(layout: DatasetLayout, log: Log, *, refuse: bool) -> None:
    """Says that a pool and a TSS table may exist that nobody sees here; preparing without them is refused."""
    found = f"no {layout.raw}" if layout.raw else "nnUNet_raw is not set"
    if refuse:
        expected = "the folder with imagesUn and tss.csv"
        raise UserError(f"the raw dataset {layout.name}", found, expected, "set nnUNet_raw, or check it")
    log(f"{found}: what was prepared before is used; imagesUn and tss.csv beside the raw data would go unnoticed")


def _compare_dataset_json(layout: DatasetLayout, copy: dict[str, Any], log: Log) -> None:
    """Mentions a change of the raw file since planning, and refuses one after which training would be wrong.

    The pool is read with the copy's channels and file ending, and a block `mgcl` that was added later would go
    unnoticed: the training would be another one than the user asks for.

    Raises:
        UserError: Something has changed that training reads.
    """
    raw = layout.raw_dataset_json
    if raw is None or not is_there(raw):
        return
    now = read_dataset_json(raw)
    before, after = ({key: json[key] for key in READ_BY_TRAINING if key in json} for json in (copy, now))
    if changes := differences(before, after):
        only_ours = before | {"mgcl": None} == after | {"mgcl": None}
        command = f"cp {raw} {layout.dataset_json}" if only_ours else f"nnUNetv2_plan_and_preprocess -d {layout.number}"
        remedy = f"{command} takes over the change; or undo it"
        expected = f"what training reads from {layout.dataset_json}"
        raise UserError(raw, f"changed since planning ({changes})", expected, remedy)
    if now != copy:
        log(f"{raw} has changed since planning; training uses {layout.dataset_json}, in which nothing it reads differs")


def _mention_other_cases(layout: DatasetLayout, dataset_json: dict[str, Any], cases: list[str], log: Log) -> None:
    """Mentions raw training cases that are not preprocessed, and preprocessed ones that are not raw any more."""
    images = layout.raw / "imagesTr" if layout.raw else None
    if "dataset" in dataset_json or images is None or not is_there(images, "folder"):  # "dataset": they lie elsewhere
        return
    raw = set(get_identifiers_from_splitted_dataset_folder(str(images), dataset_json["file_ending"]))
    if new := sorted(raw - set(cases)):
        log(f"{some(new)} in {images}, but not preprocessed: not trained on. nnUNetv2_preprocess takes over new cases")
    if gone := sorted(set(cases) - raw):
        log(f"{some(gone)} preprocessed, but not in {images} any more: trained on all the same")
