"""The clinical baseline of the paper's Table 4: a DWI lesion that FLAIR does not show is younger than 4.5 h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnunet_mgcl.evaluation.measures.classification import classification_metrics
from nnunet_mgcl.mismatch.case_mismatch import Row

RATIO_RULE, MASK_RULE = "FLAIR ratio", "FLAIR mask"


def baselines(rows: Sequence[Row], positive: dict[str, bool], threshold: float) -> dict[str, dict[str, Any]]:
    """ACC, SEN, SPE and AUROC of "FLAIR-negative, so TSS < 4.5 h".

    By two rules: the FLAIR ratio is below the threshold; and, where there are FLAIR masks, nobody has outlined a
    FLAIR lesion, which is the reader's answer. A case without a DWI lesion or without an answer is left out by name.

    Args:
        rows: Of `mismatch.csv`.
        positive: Whether TSS < 4.5 h, for the cases where it is known.
        threshold: Ratio from which on a lesion is FLAIR-positive.

    Returns:
        The metrics by rule, with `left_out`; a rule without a case is not there.
    """
    known = [row for row in rows if row["case"] in positive]
    with_lesion = [row for row in known if row["lesions"] not in ("", "0")]
    # A probability in which the threshold is 0.5: its order, and with it the AUROC, is the ratio's.
    ratio = {r["case"]: threshold / (threshold + float(r["flair_ratio"])) for r in with_lesion if r["flair_ratio"]}
    negative = {row["case"]: float(row["flair_positive"] == "0") for row in with_lesion if row["flair_positive"]}
    unseen = {r["case"]: float(float(r["flair_lesion_ml"]) == 0) for r in with_lesion if r["flair_lesion_ml"]}
    found = {RATIO_RULE: _metrics(negative, ratio, positive), MASK_RULE: _metrics(unseen, unseen, positive)}
    for rule, answers in ((RATIO_RULE, negative), (MASK_RULE, unseen)):
        found[rule]["left_out"] = [row["case"] for row in known if row["case"] not in answers]
    return {rule: metrics for rule, metrics in found.items() if metrics["cases"]}


def _metrics(classes: dict[str, float], scores: dict[str, float], positive: dict[str, bool]) -> dict[str, Any]:
    targets = [int(positive[case]) for case in classes]
    ranked = classification_metrics([scores[case] for case in classes], targets)
    decided = classification_metrics(list(classes.values()), targets)
    return decided | {key: ranked[key] for key in ("AUROC", "auroc_reason")}
