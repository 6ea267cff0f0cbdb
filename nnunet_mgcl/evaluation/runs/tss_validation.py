"""`validation/tss.csv` and `tss_summary.json`: what the heads of a fold say of its validation cases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_mgcl.data.tss_table import TSSTable
from nnunet_mgcl.evaluation.measures.classification import classification_metrics
from nnunet_mgcl.evaluation.tables.format import number as formatted
from nnunet_mgcl.system.csv_table import Rows, read_csv, write_csv
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import read_json, write_json
from nnunet_mgcl.system.numbers import number
from nnunet_mgcl.system.typed_json import MISSING, OpenModel, checked

TABLE, SUMMARY = "tss.csv", "tss_summary.json"
MODALITIES = "modalities"
"""The column of those that a case was predicted from, in the table of a prediction."""
OTHER_HEAD = "probability_"
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


def read_probabilities(path: Path) -> dict[str, float | None]:
    """What the checkpoint's head says of each case of a `tss.csv`, also a prediction's; None: it says nothing.

    It may say nothing of a case that lacks a modality.

    Raises:
        UserError: It is no such table, a case is there twice, or a probability is none.
    """
    header, rows = _read(path)
    if missing := [name for name in ("case", "probability") if name not in header]:
        raise _refusal(path, f"no column {' and '.join(missing)}")
    result: dict[str, float | None] = {}
    may_be_silent = MODALITIES in header
    for where, row in rows:
        if row["case"] in result:
            raise _refusal(where, f"{row['case']} a second time")
        silent = not row["probability"] and (may_be_silent or row.get("lacks"))
        result[row["case"]] = None if silent else _probability(where, row["probability"])
    return result


def write_tss(
    folder: Path,
    chosen: str,
    heads: Mapping[str, Probabilities],
    table: TSSTable,
    lacks: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Writes both files.

    Args:
        folder: The fold's validation folder.
        chosen: The checkpoint's head, which `probability` is of.
        heads: What each head says.
        table: What is known.
        lacks: Modalities that cases lack, joined by +; a head may say nothing of these.

    Returns:
        The summary: the metrics of the checkpoint's head, its name as `head`, and those of every head as `heads`.
        Validation cases choose no head: that it is the best of several there would say little about new cases.
    """
    write_table(folder / TABLE, chosen, heads, table, lacks)
    metrics = {kind: head_metrics(probabilities, table) for kind, probabilities in heads.items()}
    summary = metrics[chosen] | {"head": chosen, "heads": metrics}
    write_json(folder / SUMMARY, summary)
    return summary


def head_metrics(probabilities: Probabilities, table: TSSTable) -> dict[str, Any]:
    """ACC, SEN, SPE (Eq. 18-20) and AUROC over the cases with a known TSS."""
    known = {case: int(positive) for case in probabilities if (positive := table.positive(case)) is not None}
    metrics = classification_metrics([probabilities[case] for case in known], list(known.values()))
    return {"cases": len(known), "positive": sum(known.values()), **metrics}


def in_words(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The counts and metrics of a head as people read them; an AUROC that is undefined says why."""
    told = {name: value for name, value in metrics.items() if name not in ("head", "heads", "auroc_reason")}
    words = {name: str(value) if isinstance(value, int) else formatted(value) for name, value in told.items()}
    if metrics.get("auroc_reason"):
        words["AUROC"] += f" ({metrics['auroc_reason']})"
    return words


def write_table(
    path: Path, chosen: str, heads: Mapping[str, Probabilities], table: TSSTable, lacks: Mapping[str, str] | None = None
) -> None:
    """Writes `tss.csv`; arguments as in `write_tss`."""
    own = heads[chosen]
    rows = [
        {
            "case": case,
            "tss_hours": table.hours(case),
            "tss_class": None if (positive := table.positive(case)) is None else int(positive),
            "probability": _cell(own.get(case)),
            "predicted_class": _class(own.get(case)),
            **({"lacks": lacks.get(case, "")} if lacks else {}),
            **{OTHER_HEAD + kind: _cell(said.get(case)) for kind, said in heads.items() if kind != chosen},
        }
        for case in dict.fromkeys(case for said in heads.values() for case in said)
    ]
    write_csv(path, list(rows[0]), rows)


def _cell(probability: float | None) -> str:
    """Empty where a head says nothing of a case that lacks a modality."""
    return "" if probability is None else f"{probability:.6f}"


def _class(probability: float | None) -> str:
    return "" if probability is None else str(int(probability >= 0.5))


def switch_head(folder: Path, earlier: str, chosen: str) -> None:
    """Makes another head that of `probability`, from its own column; what is switched already stays.

    Args:
        folder: The fold's validation folder, of which `require_column` said that it can be done.
        earlier: The head that `probability` was of.
        chosen: The new one.
    """
    header, rows = _read(folder / TABLE)
    if OTHER_HEAD + chosen in header:
        for _, row in rows:
            row[OTHER_HEAD + earlier], row["probability"] = row["probability"], row.pop(OTHER_HEAD + chosen)
            row["predicted_class"] = _class(float(row["probability"]) if row["probability"] else None)
        write_csv(folder / TABLE, list(rows[0][1]), [row for _, row in rows])
    heads = read_tss_summary(folder / SUMMARY)["heads"]
    write_json(folder / SUMMARY, heads[chosen] | {"head": chosen, "heads": heads})


def require_column(folder: Path, earlier: str, chosen: str) -> None:
    """Makes sure that `switch_head` can be done; arguments as there.

    Raises:
        UserError: The head did not take part in this validation.
    """
    header, _ = _read(folder / TABLE)
    # The earlier head's column is there where a run that switched was killed.
    columns = {OTHER_HEAD + chosen, OTHER_HEAD + earlier} & set(header)
    if not columns or chosen not in read_tss_summary(folder / SUMMARY).get("heads", {}):
        found = f"no column {OTHER_HEAD}{chosen}"
        raise UserError(folder / TABLE, found, "what every trained head says", VALIDATE_AGAIN)


def _read(path: Path) -> tuple[list[str], Rows]:
    try:
        return read_csv(path, "what validation writes")
    except UserError as error:
        raise _refusal(error.where, error.found) from None


def _probability(where: str, text: str) -> float:
    try:
        value = number(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise _refusal(where, f"probability {text!r}" if text else "no probability")
    return value


def _refusal(where: object, found: str) -> UserError:
    return UserError(where, found, "a probability from 0 to 1 for each validation case", VALIDATE_AGAIN)
