"""Trains and validates a classifier on the folds of the split."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunet_mgcl import __version__
from nnunet_mgcl.data.fractions import labelled_share
from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.data.splits import Split, fold_cases
from nnunet_mgcl.data.tss_table import TSSTable
from nnunet_mgcl.engine.costs import Cost, Costs
from nnunet_mgcl.evaluation.runs.run import CLASSIFIER
from nnunet_mgcl.evaluation.runs.tss_validation import TABLE, in_words, write_tss
from nnunet_mgcl.plan.plans import merged_configuration
from nnunet_mgcl.system.differences import differences
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there, make_folder, read_json, write_json
from nnunet_mgcl.system.run_lock import run_lock
from nnunet_mgcl.tss.classifiers.cases import Cases
from nnunet_mgcl.tss.classifiers.protocol import Classifier, Settings, TrainingCase

INPUTS = "inputs.json"


@dataclass(frozen=True)
class ClassifierRun:
    """A classifier on some folds.

    Attributes:
        method: The classifier.
        cases: Reads images and masks.
        table: The TSS table.
        splits: The dataset's split.
        model: Its results folder, `<method>__<plans>__<configuration>`.
        masks: Where the masks come from, if anywhere: the segmentation model, and hashes of its validations.
    """

    method: type[Classifier]
    cases: Cases
    table: TSSTable
    splits: list[Split]
    model: Path
    masks: dict[str, str] | None

    def run(self, folds: Sequence[int], settings: Settings, log: Callable[[str], None]) -> None:
        """Trains and validates what is missing; a fold that is done stays.

        Raises:
            UserError: The folder or a fold was begun with other inputs, or a fold cannot be trained.
        """
        for fold in folds:
            fold_cases(self.splits, fold)  # refuses one that is not there before anything is written
        self._describe(settings)
        for fold in folds:
            root = self.model / f"fold_{fold}"
            with run_lock(root / ".lock", root, "training"):
                self._fold(root, replace(settings, fold=fold), log)

    def _fold(self, root: Path, settings: Settings, log: Callable[[str], None]) -> None:
        where, validation = f"fold {settings.fold}", root / "validation"
        training, validated = self._cases_of(settings.fold)
        inputs = self._inputs(settings, training)
        if is_there(root / INPUTS) and (differing := differences(read_json(root / INPUTS), inputs)):
            found = f"a fold begun with other inputs ({differing})"
            raise UserError(root / INPUTS, found, "the inputs of this run", f"restore them, or remove {root}")
        if is_there(validation / TABLE):
            log(f"{self.method.name}, {where}: done")
            return
        write_json(root / INPUTS, inputs)
        cases = [TrainingCase(case, bool(self.table.positive(case)), self.table.patient(case)) for case in training]
        classifier, early = self.method(self.cases, settings), sum(case.positive for case in cases)
        if not 0 < early < len(cases):
            raise classifier.too_few(cases)
        log(f"{self.method.name}, {where}: {len(cases)} cases with a known TSS, {early} of them < 4.5 h")
        started = time.perf_counter()
        classifier.fit(cases)
        cost = Cost(classifier.steps, time.perf_counter() - started, {"labelled": classifier.samples})
        Costs(FoldLayout(root).costs).note(self.method.name, "all branches", cost)
        classifier.save(root)
        progress = tqdm(sorted(validated), f"{self.method.name}, {where}, validation")
        said = {case: classifier.probability(case) for case in progress}
        make_folder(validation)
        summary = write_tss(validation, self.method.name, {self.method.name: said}, self.table)
        numbers = ", ".join(f"{name} {value}" for name, value in in_words(summary).items())
        log(f"{self.method.name}, {where}: {numbers}")
        for remark in classifier.remarks():
            log(f"{self.method.name}, {where}: {remark}")

    def _cases_of(self, fold: int) -> tuple[list[str], list[str]]:
        """Training cases with a known TSS, as nnU-Net's trainers of this plan would have them, and validation cases."""
        config, (training, validated) = self.cases.config, fold_cases(self.splits, fold)
        chosen = labelled_share(
            training, config.labelled_fraction, self.table, config.random_seed, f"fold {fold}", both_classes=True
        )
        return [case for case in chosen if self.table.positive(case) is not None], validated

    def _inputs(self, settings: Settings, training: Sequence[str]) -> dict[str, Any]:
        """What a fold's weights depend on."""
        classes = {case: bool(self.table.positive(case)) for case in training}
        return self._common(settings) | {"fold": settings.fold, "classes": classes}

    def _common(self, settings: Settings) -> dict[str, Any]:
        """What all folds of a classifier share."""
        chosen = {"seed": settings.seed, "epochs": settings.epochs, "lr": settings.lr}
        plan = merged_configuration(self.cases.plans, self.cases.configuration)
        images = {key: plan[key] for key in ("data_identifier", "spacing", "normalization_schemes")}
        geometry = self.cases.config.tss.model_dump(include={"slices", "size"})
        common = {"settings": chosen, "masks": self.masks, "volume": geometry, "images": images}
        return json.loads(json.dumps(common | {"labelled_fraction": self.cases.config.labelled_fraction}))

    def _describe(self, settings: Settings) -> None:
        """What makes the folder a model that `mgcl evaluate` and others read: of one plan, with one choice of settings.

        Raises:
            UserError: Its folds have others.
        """
        path, common = self.model / CLASSIFIER, self._common(settings)
        if is_there(path):
            if differing := differences(read_json(path)["inputs"], common):
                remedy = f"restore them, or remove {self.model} and train all folds again"
                raise UserError(path, f"folds with other inputs ({differing})", "the inputs of this run", remedy)
            return
        make_folder(self.model)
        shutil.copyfile(self.cases.layout.dataset_json, self.model / "dataset.json")
        write_json(self.model / "plans.json", self.cases.plans)
        write_json(path, {"nnunet_mgcl": __version__, "method": self.method.name, "inputs": common})
