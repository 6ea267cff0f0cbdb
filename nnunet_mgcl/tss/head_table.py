"""What the trained TSS heads of a model reached, as a table."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from nnunet_mgcl.data.layout import folds_of
from nnunet_mgcl.evaluation.runs.tss_validation import SUMMARY, read_tss_summary
from nnunet_mgcl.network.tss_heads import KINDS
from nnunet_mgcl.system.files import is_there
from nnunet_mgcl.tss.probability import trained_heads


def head_table(model: Path) -> Table:
    """AUROC of each head on the validation cases of each fold; the checkpoint's head has a star."""
    folds = folds_of(model)
    summaries = [read_tss_summary(path) if is_there(path := fold.validation / SUMMARY) else {} for fold in folds]
    table = Table(
        title="AUROC on validation cases, * the checkpoints' head",
        caption="A head that is chosen here is the best of several on validation cases: expect less of new cases.",
    )
    table.add_column("head")
    for fold in folds:
        table.add_column(fold.root.name, justify="right")
    for kind in KINDS:
        if not any(kind in trained_heads(fold) for fold in folds):
            continue
        aurocs = [summary.get("heads", {}).get(kind, {}).get("AUROC") for summary in summaries]
        stars = ["*" if summary.get("head") == kind else "" for summary in summaries]
        told = ["-" if auroc is None else f"{auroc:.3f}" for auroc in aurocs]
        table.add_row(kind, *map("".join, zip(told, stars, strict=True)))
    return table
