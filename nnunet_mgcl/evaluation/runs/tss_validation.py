"""`validation/tss.csv` and `tss_summary.json`: what the heads of a fold say of its validation cases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_mgcl.data.tss_table import TSSTable
from nnunet_mgcl.evaluation.measures.classification import classification_metrics
from nnunet_mgcl.evaluation.tables.format import number
from nnunet_mgcl.system.csv_table import read_csv, write_csv
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import read_json, write_json
from nnunet_mgcl.system.typed_json import MISSING, OpenModel, checked

TABLE, SUMMARY = "tss.csv", "tss_summary.json"
BESIDE = "probability_"
"""Begins the name of the column of a head that is not the checkpoint's."""

VALIDATE_AGAIN = "validate the fold again: nnUNetv2_train with --val"

Probabilities = Mapping[str, float]
"""Case -> probability of TSS < 4.5 h."""


class _Head(OpenModel):
    AUROC: float | None


class _Summary(OpenModel):
    """Earlier versions lacked `head` and `heads`."""

    cases: int = MISSING
    positive: int = MISSING
    head: str = MISSING
    heads: dict[str, _Head] = MISSING
    AUROC: float | None = None


def read_tss_summary(path: Path) -> dict[str, Any]:
    """A `tss_summary.json` of any version.

    Raises:
        UserError: It is none that `write_tss` wrote.
    """
    content = read_json(path)
    checked(_Summary, content, path, VALIDATE_AGAIN)
    return content


def write_tss(folder: Path, chosen: str, heads: Mapping[str, Probabilities], table: TSSTable) -> dict[str, Any]:
    """Writes both files.

    Args:
        folder: The fold's validation folder.
        chosen: The checkpoint's head, which `probability` is of.
        heads: What each head says.
        table: What is known.

    Returns:
        The summary: the metrics of the checkpoint's head, its name as `head`, and those of every head as `heads`.
        Validation cases choose no head: that it is the best of several there would say little about new cases.
    """
    write_table(folder / TABLE, chosen, heads, table)
    metrics = {kind: summarise_tss(own, table) for kind, own in heads.items()}
    summary = metrics[chosen] | {"head": chosen, "heads": metrics}
    write_json(folder / SUMMARY, summary)
    return summary


def summarise_tss(probabilities: Probabilities, table: TSSTable) -> dict[str, Any]:
    """ACC, SEN, SPE (Eq. 18-20) and AUROC over the cases with a known TSS."""
    known = [case for case in probabilities if table.positive(case) is not None]
    metrics = classification_metrics([probabilities[c] for c in known], [int(bool(table.positive(c))) for c in known])
    return {"cases": len(known), "positive": sum(bool(table.positive(c)) for c in known), **metrics}


def in_words(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The counts and metrics of a head as people read them; an AUROC that is undefined says why."""
    words = {}
    for name, value in metrics.items():
        if name not in ("head", "heads", "auroc_reason"):
            words[name] = str(value) if isinstance(value, int) else number(value)
    if metrics.get("auroc_reason"):
        words["AUROC"] += f" ({metrics['auroc_reason']})"
    return words


def write_table(path: Path, chosen: str, heads: Mapping[str, Probabilities], table: TSSTable) -> None:
    """Writes `tss.csv`; arguments as in `write_tss`."""
    rows = []
    for case, probability in heads[chosen].items():
        hours, positive = table.hours(case), table.positive(case)
        rows.append(
            {
                "case": case,
                "tss_hours": "" if hours is None else hours,
                "tss_class": "" if positive is None else int(positive),
                "probability": f"{probability:.6f}",
                "predicted_class": int(probability >= 0.5),
                **{BESIDE + kind: f"{own[case]:.6f}" for kind, own in heads.items() if kind != chosen},
            }
        )
    write_csv(path, list(rows[0]), rows)


def switch_head(folder: Path, earlier: str, chosen: str) -> None:
    """Makes another head that of `probability`, from its column beside it; what is switched already stays.

    Args:
        folder: The fold's validation folder, of which `require_column` said that it can be done.
        earlier: The head that `probability` was of.
        chosen: The new one.
    """
    header, rows = read_csv(folder / TABLE, "what validation writes")
    if BESIDE + chosen in header:
        write_csv(folder / TABLE, *_switched([row for _, row in rows], earlier, chosen))
    heads = read_tss_summary(folder / SUMMARY)["heads"]
    write_json(folder / SUMMARY, heads[chosen] | {"head": chosen, "heads": heads})


def _switched(rows: list[dict[str, str]], earlier: str, chosen: str) -> tuple[list[str], list[dict[str, str]]]:
    result = []
    for row in rows:
        beside = {key: value for key, value in row.items() if key.startswith(BESIDE)}
        probability = beside.pop(BESIDE + chosen)
        own = {key: row[key] for key in ("case", "tss_hours", "tss_class")}
        own |= {"probability": probability, "predicted_class": str(int(float(probability) >= 0.5))}
        result.append(own | {BESIDE + earlier: row["probability"]} | beside)
    return list(result[0]), result


def require_column(folder: Path, earlier: str, chosen: str) -> None:
    """Makes sure that `switch_head` can be done; arguments as there.

    Raises:
        UserError: The head did not take part in this validation.
    """
    header, _ = read_csv(folder / TABLE, "what validation writes")
    columns = {BESIDE + chosen, BESIDE + earlier} & set(header)  # the latter: switched by a run that was killed
    if not columns or chosen not in read_tss_summary(folder / SUMMARY).get("heads", {}):
        raise UserError(
            folder / TABLE, f"no column {BESIDE}{chosen}", "what every trained head says",
            VALIDATE_AGAIN,
        )  # fmt: skip
