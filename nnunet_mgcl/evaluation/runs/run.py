"""The validation folders of a cross-validation, as training leaves them: what every evaluation starts from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_mgcl.data.cases.incomplete import Incomplete
from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout, models_with, validation_name
from nnunet_mgcl.data.splits import Split, divided_patients, fold_cases, read_splits
from nnunet_mgcl.data.tss_table import TSSTable, read_tss_table
from nnunet_mgcl.evaluation.calibration.stored import JOIN
from nnunet_mgcl.evaluation.case_scores import CaseScores
from nnunet_mgcl.evaluation.runs.label_map import Measures, measure_files
from nnunet_mgcl.evaluation.runs.tss_validation import TABLE, VALIDATE_AGAIN, read_probabilities
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.plan.dataset_json import channel_names, label_targets, read_dataset_json
from nnunet_mgcl.plan.plans import planned
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.system.errors import UserError, some
from nnunet_mgcl.system.files import is_there
from nnunet_mgcl.system.names import fold_number

CLASSIFIER = "classifier.json"
"""Marks the results folder of a TSS classifier, whose folds have no segmentations."""
OVERLAY = "overlay.png"
"""The picture that `mgcl summary` puts among a fold's validated cases."""


@dataclass(frozen=True)
class ValidatedRun:
    """Some folds of one trained model.

    Attributes:
        layout: The dataset's folders.
        model: The results folder, `<Trainer>__<plans>__<configuration>`.
        splits: The dataset's split.
        folds: The folds to evaluate.
        without: Modalities that the validation cases were predicted without (`mgcl evaluate --missing`).
    """

    layout: DatasetLayout
    model: Path
    splits: list[Split]
    folds: list[int]
    without: tuple[str, ...] = ()

    @classmethod
    def find(
        cls, layout: DatasetLayout, model: Path, folds: Sequence[str] | None, without: Sequence[str] = ()
    ) -> ValidatedRun:
        """Finds the validated folds and checks that every case is there exactly once.

        Args:
            layout: The dataset's folders.
            model: The results folder.
            folds: Their numbers; None: all folds of the split.
            without: Modalities that the cases were predicted without.

        Raises:
            UserError: A fold or case is missing, or is there twice; or a folder belongs to another split.
        """
        chosen = sorted({fold_number(fold) for fold in folds or ()})
        splits = read_splits(layout)
        run = cls(layout, model, splits, list(range(len(splits))) if folds is None else chosen, tuple(without))
        cases = Counter(case for fold in run.folds for case in fold_cases(splits, fold)[1])
        if twice := sorted(case for case, count in cases.items() if count > 1):
            found = f"{some(twice)} under val of several folds"
            raise UserError(layout.splits, found, "every case validated once", "choose with -f")
        run._require_folds()
        for fold in run.folds:
            run._require_cases(fold)
        return run

    @classmethod
    def of_model(cls, model: Path) -> ValidatedRun:
        """A model without any fold's validation: as it travels to where new patients are predicted."""
        return cls(DatasetLayout(model.parent.name, None, Path()), model, [], [])

    def scores(self, tolerance: float) -> Iterator[CaseScores]:
        """Measures one case after the other.

        Args:
            tolerance: Of the surface Dice, in mm.

        Raises:
            UserError: A segmentation cannot be read, or has another shape than its reference.
        """
        table, probabilities = self.tss_table, self.probabilities
        for fold in self.folds:
            for case in sorted(self.splits[fold]["val"]):
                scores = CaseScores.of(case, fold, self._measure(fold, case, tolerance), table, probabilities)
                yield replace(scores, lacks=JOIN.join(self.incomplete.lacking(case)))

    @property
    def some_folds(self) -> list[int] | None:
        """The folds where they are not all of the split; None where they are."""
        return self.folds if len(self.folds) < len(self.splits) else None

    @property
    def cases(self) -> list[str]:
        """The validation cases of the folds."""
        return [case for fold in self.folds for case in self.splits[fold]["val"]]

    @cached_property
    def labelled(self) -> set[str]:
        """The cases of the whole split, validated or not."""
        return {case for split in self.splits for part in ("train", "val") for case in split[part]}

    @cached_property
    def tss_table(self) -> TSSTable | None:
        """The dataset's TSS table, if it has one."""
        return read_tss_table(self.layout.tss, self.labelled) if is_there(self.layout.tss) else None

    @cached_property
    def probabilities(self) -> dict[str, float | None]:
        """The probability of TSS < 4.5 h of each case, None where none is told; empty where `no_tss` says why."""
        if self.no_tss:
            return {}
        result: dict[str, float | None] = {}
        for fold in self.folds:
            path = self.validation(fold) / TABLE
            probabilities = read_probabilities(path)
            differing = sorted(probabilities.keys() ^ set(self.splits[fold]["val"]))
            if differing := [case for case in differing if not self.incomplete.lacking(case)]:
                found = f"{some(differing)} in one of it and the split"
                raise UserError(path, found, "the validation cases", VALIDATE_AGAIN)
            result |= probabilities
        return result

    @cached_property
    def no_tss(self) -> str | None:
        """Why there is no TSS to evaluate; None where there is."""
        without = [fold for fold in self.folds if not is_there(self.validation(fold) / TABLE)]
        if len(without) == len(self.folds):
            return "no fold has a validation/tss.csv: the model has no trained TSS head"
        if without:
            return f"no validation/tss.csv in fold {', '.join(map(str, without))}: it has no trained TSS head"
        return None if self.tss_table else f"no {self.layout.tss.name} in {self.layout.preprocessed.name}"

    @cached_property
    def targets(self) -> dict[str, list[int]]:
        """The labels that make up each target: a modality's lesion, or a label or region of the dataset."""
        if self.is_classifier:
            return {}
        known = self.lesion_labels or label_targets(self.dataset_json)
        return {name: labels for name, labels in known.items() if name not in self.without}

    @cached_property
    def is_classifier(self) -> bool:
        """Whether it is of `mgcl classifier`: it has probabilities, and no segmentation to evaluate."""
        return is_there(self.model / CLASSIFIER)

    @property
    def divided_patients(self) -> list[str]:
        """Patients with cases in train and val of a fold, whom its model has seen.

        Training refuses such a split; nnU-Net's own trainers, and a table that came later, do not.
        """
        if not self.tss_table:
            return []
        return sorted({p for fold in self.folds for p in divided_patients(self.splits[fold], self.tss_table)})

    @property
    def lesion_labels(self) -> dict[str, list[int]] | None:
        """The labels of each modality's own lesion; None where the modalities share the dataset's labels."""
        return self._block("lesion_labels") or None

    @property
    def modalities(self) -> dict[str, list[int]]:
        """The channels of each modality; where nothing groups them, each is one."""
        return self._block("modalities") or {name: [n] for n, name in channel_names(self.dataset_json).items()}

    @property
    def configuration(self) -> str:
        """nnU-Net's configuration, the last part of the folder's name."""
        return self.model.name.split("__")[-1]

    @cached_property
    def dataset_json(self) -> dict[str, Any]:
        """The model's copy of `dataset.json`."""
        return read_dataset_json(self.model / "dataset.json")

    @cached_property
    def incomplete(self) -> Incomplete:
        """Which labelled cases lack a modality, so that a head may have nothing to say of them; a classifier's none."""
        return Incomplete() if self.is_classifier else Incomplete.of(self.dataset_json, self.modalities)

    @cached_property
    def plans(self) -> PlansManager:
        """The plan that the model was trained with."""
        return PlansManager(read_plans(self.model / "plans.json"))

    @cached_property
    def plan(self) -> ConfigurationManager:
        """Its part of the configuration."""
        return planned(self.plans, self.configuration)

    @cached_property
    def is_stock(self) -> bool:
        """Whether no trainer of this plugin trained it: these write the whole `mgcl` block, plans only parts of it."""
        if any(FoldLayout(self.model / f"fold_{fold}").phases.is_dir() for fold in self.folds):
            return False  # also a model of an earlier version, whose block is smaller
        return not MGCLConfig.model_fields.keys() <= self.plan.configuration.get("mgcl", {}).keys()

    def validation(self, fold: int) -> Path:
        """nnU-Net's folder of a fold's predicted validation cases."""
        return self.model / f"fold_{fold}" / validation_name(self.without)

    def reference(self, case: str) -> Path:
        """The true label map of a case: nnU-Net's copy."""
        return self.layout.preprocessed / "gt_segmentations" / f"{case}{self.dataset_json['file_ending']}"

    def _block(self, key: str) -> Any:
        """From the `mgcl` block of the plan; a stock trainer has none, but its dataset may."""
        return self.plan.configuration.get("mgcl", {}).get(key) or (self.dataset_json.get("mgcl") or {}).get(key)

    def _measure(self, fold: int, case: str, tolerance: float) -> Measures:
        if not self.targets:
            return {}
        file = self.validation(fold) / f"{case}{self.dataset_json['file_ending']}"
        reader, labels = (
            self.plans.image_reader_writer_class(),
            (self.targets, self.dataset_json["labels"].get("ignore")),
        )
        remedies = f"plan and preprocess the dataset, or {VALIDATE_AGAIN}", VALIDATE_AGAIN
        measured = measure_files(file, self.reference(case), reader, labels, tolerance, remedies)
        lacking = self.incomplete.lacking(case) if self.lesion_labels else ()  # their reference is not known
        return measured | {name: dict.fromkeys(measured[name]) for name in lacking if name in measured}

    def _require_folds(self) -> None:
        mark = TABLE if self.is_classifier else "plans.json" if self.without else "summary.json"
        validated = [fold for fold in range(len(self.splits)) if (self.validation(fold) / mark).is_file()]
        if missing := sorted(set(self.folds) - set(validated)):
            remedy = (
                "train the fold with mgcl classifier"
                if self.is_classifier
                else "train the fold, or validate it with --val"
            )
            if validated:
                remedy += f"; or choose what is there: -f {' '.join(map(str, validated))}"
            elif models := models_with(self.model.parent, "fold_*/validation/summary.json"):
                remedy += f"; or name with -tr, -p and -c one of {models}"
            raise UserError(
                self.model, f"no validation/{mark} in fold {', '.join(map(str, missing))}",
                f"the validated folds {', '.join(map(str, self.folds))}", remedy,
            )  # fmt: skip

    def _require_cases(self, fold: int) -> None:
        if self.is_classifier:  # its table is compared with the split where it is read
            return
        ending, expected = self.dataset_json["file_ending"], set(self.splits[fold]["val"])
        folder = self.validation(fold)
        predicted = {path.name.removesuffix(ending) for path in folder.glob(f"*{ending}")}
        if missing := sorted(expected - predicted):
            found = f"no segmentation of {some(missing)}"
            raise UserError(folder, found, "all validation cases of the fold", VALIDATE_AGAIN)
        if unknown := sorted(predicted - expected - {OVERLAY.removesuffix(ending)}):
            raise UserError(
                folder, f"segmentations of {some(unknown)}, no validation cases of fold {fold}",
                f"the fold's cases in {self.layout.splits}",
                "restore the split that the fold was trained on, or train it again",
            )  # fmt: skip
