"""The DWI-FLAIR mismatch as a row of the same tables: what radiologists use (Table 4). Nothing is learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnunet_mgcl.mismatch.case_mismatch import MismatchOptions, measure_case
from nnunet_mgcl.mismatch.roles import find_roles
from nnunet_mgcl.system.errors import UserError, counted, some
from nnunet_mgcl.system.files import is_there, write_json
from nnunet_mgcl.tss.classifiers.masks import PredictedMasks
from nnunet_mgcl.tss.classifiers.protocol import Classifier, TrainingCase


class MismatchRule(Classifier):
    """A DWI lesion that FLAIR does not show is younger than 4.5 h: the ratio of FLAIR, as `mgcl mismatch` measures it.

    The probability is t / (t + ratio), which is 0.5 at the threshold t = 1.15: the order, and with it the AUROC, is the
    ratio's. Where there is no answer it is the share of training cases with TSS < 4.5 h.
    """

    name, masks = "mismatch", "predicted"

    def fit(self, cases: Sequence[TrainingCase]) -> None:
        """Only looks whether it can be measured, and counts the classes.

        Raises:
            UserError: There is no DWI mask or FLAIR channel, or the raw images are not there.
        """
        layout, self.roles = self.cases.layout, find_roles(self.cases.dataset_json)
        if not self.roles.has_flair:
            found = f"channels {self.cases.channel_names} and masks {[*self.cases.lesions]}"
            raise UserError("--method mismatch", found, "a FLAIR channel and a DWI lesion", "choose another method")
        if layout.raw is None or not is_there(layout.raw / "imagesTr", "folder"):
            where = layout.raw / "imagesTr" if layout.raw else "nnUNet_raw"
            raise UserError(
                where, "not there", "the raw images, which are not normalised", "export nnUNet_raw=<folder>"
            )
        self.images, self.share = layout.raw / "imagesTr", sum(case.positive for case in cases) / len(cases)
        self.unanswered: list[str] = []

    def probability(self, case: str) -> float:
        """Of the raw images and the predicted label map."""
        source, options = self.cases.source, MismatchOptions()
        assert isinstance(source, PredictedMasks)
        ending = self.cases.dataset_json["file_ending"]
        row = measure_case(self.images, ending, self.roles, options, source.file(case)).row
        if not row["flair_ratio"]:
            self.unanswered.append(case)
            return self.share
        return options.flair_positive / (options.flair_positive + float(row["flair_ratio"]))

    def save(self, folder: Path) -> None:
        """Leaves what it answers where nothing can be measured."""
        write_json(folder / "mismatch.json", {"no_answer": self.share})

    def remarks(self) -> list[str]:
        """The cases without an answer."""
        if not self.unanswered:
            return []
        number = counted(len(self.unanswered), "case")
        return [f"no answer in {number} ({some(sorted(self.unanswered))}): the training cases' share {self.share:.2f}"]
