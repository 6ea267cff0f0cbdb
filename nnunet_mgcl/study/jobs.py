"""The trainings of a study, and the plans that they are trained with."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
from nnunet_mgcl.data.prepare import load_plans, tss_known
from nnunet_mgcl.data.results import FINAL, results_of
from nnunet_mgcl.engine.costs import Cost, Costs
from nnunet_mgcl.evaluation.runs.tss_validation import TABLE
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.plan.dataset_json import read_dataset_json
from nnunet_mgcl.plan.plans import deep_merge, resolve_block
from nnunet_mgcl.pretraining.lookup import register_methods
from nnunet_mgcl.study.study_file import Study
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import is_there, read_json, write_json
from nnunet_mgcl.training.by_name import trainer_by_name
from nnunet_mgcl.tss.classifiers.methods import method_by_name

FOLDER = "mgcl_studies"


@dataclass(frozen=True)
class Arm:
    """What a row of the table is about: a trainer at a fraction of the labels.

    Attributes:
        trainer: Its name, or that of a classifier.
        fraction: Of the labels.
        epochs: Of `segment`, where the reference gets more of them (equal-total); else those of the plan.
    """

    trainer: str
    fraction: float
    epochs: int | None = None


@dataclass(frozen=True)
class Job:
    """One training."""

    arm: Arm
    seed: int
    fold: int


class Jobs:
    """A study's trainings on this machine's folders.

    Args:
        study: The study.
    """

    def __init__(self, study: Study) -> None:
        register_methods()  # the settings may have blocks of any of them
        self.study, self.layout = study, DatasetLayout.find(str(study.dataset))
        self.results = results_of(self.layout.name)
        self.folder = self.results / FOLDER / study.name
        self.base = load_plans(self.layout, study.plans)
        self.dataset_json = read_dataset_json(self.layout.dataset_json)

    def first(self) -> list[Job]:
        """Every trainer at every fraction, with the same `segment`."""
        arms = [Arm(trainer, fraction) for fraction, trainer in product(self.study.fractions, self.study.trainers)]
        return [*self._each(arms)]

    def classifiers(self) -> list[Job]:
        """The TSS classifiers at every fraction; they read what the trainers have predicted."""
        return [*self._each([Arm(*own) for own in product(self.study.classifiers, self.study.fractions)])]

    def all(self) -> list[Job]:
        """Every training, as far as it is known by now."""
        return [*self.first(), *self.classifiers(), *self.equal_total()]

    def equal_total(self) -> list[Job]:
        """The reference once more for every distinct total of the other trainers, as far as these are trained."""
        if "equal-total" not in self.study.budgets:
            return []
        arms = {self.matched(arm) for arm in {job.arm for job in self.first()}} - {None}
        return [*self._each(sorted((arm for arm in arms if arm), key=lambda arm: (arm.fraction, arm.epochs or 0)))]

    def matched(self, arm: Arm) -> Arm | None:
        """The reference with as many samples through the network as an arm took; None where it took no more.

        Whole multiples of `segment`, rounded up: the reference never gets less, and arms that took about the same share
        one. The samples of all phases count alike, whatever part of the network they trained; the TSS head's do not.
        """
        if arm.trainer == self.study.reference:
            return None
        parts = [self.parts(job) for job in self._each([arm])]
        if not all("segment/all branches" in own for own in parts):
            return None
        branches, total = len(self.config.modalities or {}), 0.0
        for own in parts:
            for part, cost in own.items():
                share = 1 if part.startswith("segment/") else 1 / branches  # a phase trains one branch at a time
                total += share * sum(cost.samples.values()) / len(parts)
        once = parts[0]["segment/all branches"].samples["labelled"]
        times = ceil(round(total / once, 6))
        return Arm(self.study.reference, arm.fraction, times * self.config.segment.epochs) if times > 1 else None

    def _each(self, arms: list[Arm]) -> Iterator[Job]:
        for seed, arm, fold in product(self.study.seeds, arms, self.study.folds):
            yield Job(arm, seed, fold)

    @cached_property
    def config(self) -> MGCLConfig:
        """What all trainings have in common of the plan, without the methods' blocks."""
        return self._resolved(())

    def _resolved(self, blocks: Collection[str]) -> MGCLConfig:
        plans, known = self._plans(self.first()[0]), tss_known(self.layout)
        return resolve_block(plans, self.study.configuration, self.dataset_json, known, blocks=blocks)

    def plans_name(self, job: Job) -> str:
        """The plans of a job; its folds and trainers share them."""
        more = f"_e{job.arm.epochs}" if job.arm.epochs else ""
        fraction = f"{job.arm.fraction:g}".replace(".", "p")
        return f"MGCLStudy_{self.study.name}_f{fraction}_s{job.seed}{more}"

    def _plans(self, job: Job) -> dict[str, Any]:
        overlay: dict[str, Any] = {"random_seed": job.seed, "labelled_fraction": job.arm.fraction}
        if self.study.share_pretraining:
            overlay["pretraining_seed"] = self.study.seeds[0]
        if job.arm.epochs:
            overlay["segment"] = {"epochs": job.arm.epochs}
        plans = deep_merge(self.base, {"plans_name": self.plans_name(job)})
        own = plans["configurations"][self.study.configuration]
        own["mgcl"] = deep_merge(deep_merge(own.get("mgcl", {}), self.study.settings), overlay)
        return plans

    def write_plans(self, jobs: list[Job]) -> None:
        """Writes the plans files of the jobs.

        Raises:
            UserError: A trainer or setting is wrong, or plans of this name have other content.
        """
        for trainer in self.study.trainers:
            self._resolved(trainer_by_name(trainer).method_blocks())
        for name in self.study.classifiers:
            method_by_name(name)
        for job in {self.plans_name(job): job for job in jobs}.values():
            plans = self._plans(job)
            path = self.layout.plans(plans["plans_name"])
            if is_there(path) and read_json(path) != plans:
                raise UserError(
                    path, "plans of a study of this name with other settings", "those of this study",
                    "give the study another name, or remove the file and the results that were trained with it",
                )  # fmt: skip
            if not is_there(path):
                write_json(path, plans)

    def model(self, job: Job) -> Path:
        """The results folder of a job."""
        return self.results / f"{job.arm.trainer}__{self.plans_name(job)}__{self.study.configuration}"

    def fold(self, job: Job) -> FoldLayout:
        """The folder of a job's fold."""
        return FoldLayout(self.model(job) / f"fold_{job.fold}")

    def is_done(self, job: Job) -> bool:
        """Whether the fold is trained and validated."""
        if job.arm.trainer in self.study.classifiers:
            return is_there(self.fold(job).validation / TABLE)
        return is_there(self.fold(job).validation / "summary.json") and is_there(self.fold(job).root / FINAL)

    def command(self, job: Job) -> list[str]:
        """The command that trains a job, or goes on with it."""
        if job.arm.trainer in self.study.classifiers:
            return self._classifier_command(job)
        words = ["nnUNetv2_train", self.layout.number, self.study.configuration, str(job.fold)]
        words += ["-tr", job.arm.trainer, "-p", self.plans_name(job), "-device", self.study.device]
        fold = self.fold(job)
        if is_there(fold.root / FINAL):
            return [*words, "--val"]
        return [*words, "--c"] if is_there(fold.inputs) else words

    def _classifier_command(self, job: Job) -> list[str]:
        words = ["mgcl", "classifier", "-d", self.layout.number, "-c", self.study.configuration, "-f", str(job.fold)]
        words += ["--method", job.arm.trainer, "-p", self.plans_name(job), "-device", self.study.device]
        if method_by_name(job.arm.trainer).masks == "predicted":
            words += ["--masks", self.model(replace(job, arm=replace(job.arm, trainer=self.study.masks))).name]
        return words

    def parts(self, job: Job) -> dict[str, Cost]:
        """What the parts of a job have cost, but for the TSS head, which all have."""
        known = Costs(self.fold(job).costs).read()
        return {part: cost for part, cost in known.items() if not part.startswith("tss/")}


def named(job: Job) -> str:
    """A job, as logs and files call it."""
    more = f"_e{job.arm.epochs}" if job.arm.epochs else ""
    return f"{job.arm.trainer}{more}_f{job.arm.fraction:g}_s{job.seed}_fold{job.fold}"
