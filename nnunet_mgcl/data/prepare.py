"""Everything that stock nnU-Net's preprocessing does not know: TSS table, split, unlabelled pool."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

from nnunet_mgcl.config import MGCLConfig
from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.data.splits import Split, ensure_splits
from nnunet_mgcl.data.tss_table import TSSTable, read_tss_table
from nnunet_mgcl.data.unlabelled_pool import prepare_pool
from nnunet_mgcl.errors import UserError
from nnunet_mgcl.files import read_json, replacing
from nnunet_mgcl.plans import merged_configuration, resolve_block

Log = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A dataset that is ready for training.

    Attributes:
        config: The resolved block.
        table: The TSS table, if the dataset has one.
        splits: The cross-validation split.
        pool: Cases of each modality of the unlabelled pool.
    """

    config: MGCLConfig
    table: TSSTable | None
    splits: list[Split]
    pool: dict[str, list[str]]


def prepare_dataset(
    layout: DatasetLayout,
    plans: dict[str, Any],
    configuration: str,
    num_processes: int,
    log: Log,
    *,
    refresh: bool = False,
    progress: bool = True,
) -> Prepared:
    """Checks the dataset and prepares what is missing. What is ready is left as it is.

    Args:
        layout: The dataset's paths.
        plans: Content of the plans file.
        configuration: One of its configurations, preprocessed by nnU-Net.
        num_processes: Worker processes; 1 works in this process.
        log: Takes one line for the user.
        refresh: Whether to take over a changed raw `tss.csv`. Training does not, so that all folds see one table.
        progress: Whether to show a progress bar.

    Raises:
        UserError: Anything in the plan, the table, the split or the pool is wrong.
    """
    dataset_json = read_json(layout.dataset_json)
    _mention_changed_dataset_json(layout, dataset_json, log)
    cases = preprocessed_cases(layout, plans, configuration)
    table = ensure_table(layout, cases, log, refresh=refresh)
    config = resolve_block(plans, configuration, dataset_json, tss_known=table is not None)
    splits = ensure_splits(layout, cases, table, log, both_classes=bool(config.tss.enabled))
    pool = prepare_pool(layout, plans, configuration, dataset_json, config, splits, num_processes, log, progress)
    return Prepared(config, table, splits, pool)


def load_plans(layout: DatasetLayout, name: str) -> dict[str, Any]:
    """Reads a plans file by its name.

    Raises:
        UserError: There is none.
    """
    path = layout.plans(name)
    if not path.exists():
        there = sorted(file.stem for file in layout.preprocessed.glob("*Plans*.json"))
        remedy = f"-p one of {there}" if there else f"nnUNetv2_plan_and_preprocess -d {layout.name}"
        raise UserError(path, "no such file", "a plans file", remedy)
    return read_json(path)


def tss_known(layout: DatasetLayout) -> bool:
    """Whether the dataset has a TSS table, or will have one once it is prepared."""
    return layout.tss.exists() or (layout.raw_tss is not None and layout.raw_tss.exists())


def preprocessed_cases(layout: DatasetLayout, plans: dict[str, Any], configuration: str) -> list[str]:
    """The labelled cases that nnU-Net has preprocessed for a configuration, sorted.

    Raises:
        UserError: There are none.
    """
    folder = layout.preprocessed / merged_configuration(plans, configuration)["data_identifier"]
    cases = infer_dataset_class(str(folder)).get_identifiers(str(folder)) if folder.is_dir() else []
    if not cases:
        raise UserError(
            folder,
            "no preprocessed case",
            f"the training cases, preprocessed for {configuration}",
            f"nnUNetv2_preprocess -d {layout.name} -plans_name {plans['plans_name']} -c {configuration}",
        )
    return sorted(cases)


def ensure_table(layout: DatasetLayout, cases: list[str], log: Log, *, refresh: bool) -> TSSTable | None:
    """Reads the copy of `tss.csv` that training uses, made from the raw file where it is absent.

    Args:
        layout: The dataset's paths.
        cases: Names of the labelled cases.
        log: Takes one line for the user.
        refresh: Whether a changed, or removed, raw file replaces an older copy.

    Raises:
        UserError: The table is wrong.
    """
    raw, copy = layout.raw_tss, layout.tss
    if raw is not None and raw.parent.is_dir():
        outdated = copy.exists() and (not raw.exists() or raw.read_bytes() != copy.read_bytes())
        if outdated and not refresh:
            log(f"{raw} has changed; training uses the copy {copy}. `mgcl prepare` takes over the change")
        elif outdated and not raw.exists():
            log(f"{raw} was removed: there is no TSS table any more")
            copy.unlink()
        elif raw.exists() and (outdated or not copy.exists()):
            read_tss_table(raw, cases)
            with replacing(copy) as temporary:
                shutil.copyfile(raw, temporary)
            log(f"Copied {raw}")
    return read_tss_table(copy, cases) if copy.exists() else None


def _mention_changed_dataset_json(layout: DatasetLayout, copy: dict[str, Any], log: Log) -> None:
    raw = layout.raw_dataset_json
    if raw is not None and raw.exists() and read_json(raw) != copy:
        log(
            f"{raw} has changed since planning; training uses {layout.dataset_json}. "
            "nnUNetv2_plan_and_preprocess takes over the change"
        )
