"""`STUDY.toml`: what is compared with what."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nnunet_mgcl.plan.config import Count, Share
from nnunet_mgcl.system.errors import UserError, reason
from nnunet_mgcl.system.files import read_text
from nnunet_mgcl.system.names import check_names
from nnunet_mgcl.system.typed_json import checked

Rule = Literal["equal-finetuning", "equal-total"]
REMEDY = "mend the study file (mgcl study init writes one with every key)"
Names = Annotated[list[str], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Executor(_Part):
    """Where the jobs run."""

    kind: Literal["local", "slurm"] = "local"
    jobs: Count = 1
    gpus: list[str] = []
    slurm: dict[str, Any] = {}


class Study(_Part):
    """The whole file.

    Attributes:
        name: Of its folder, and part of its plans' names; the file's stem where it is not given.
        dataset: Name or number.
        configuration: nnU-Net's.
        plans: Plans to start from.
        trainers: What is compared.
        reference: The trainer that all others are tested against, and which gets more steps under `equal-total`.
        classifiers: TSS classifiers beside them, methods of `mgcl classifier`.
        masks: The trainer whose predicted masks they read, where they read any.
        fractions: Of the labelled training cases.
        folds: Of the split.
        seeds: Of everything that is random, the choice of labelled cases included.
        budgets: The rules by which the reference is trained.
        share_pretraining: Whether label-free phases are trained with the first seed only.
        device: nnU-Net's.
        settings: Overlay of the plan's `mgcl` block.
        executor: Where the jobs run.
    """

    name: str = ""
    dataset: int | str
    configuration: str = "2d"
    plans: str = "nnUNetPlans"
    trainers: Names
    reference: str = "MGCLTrainerRandomInit"
    classifiers: list[str] = []
    masks: str = "MGCLTrainer"
    fractions: Annotated[list[Share], Field(min_length=1)] = [1.0]
    folds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0, 1, 2, 3, 4]
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    budgets: Annotated[list[Rule], Field(min_length=1)] = ["equal-finetuning", "equal-total"]
    share_pretraining: bool = False
    device: Literal["cuda", "cpu", "mps"] = "cuda"
    settings: dict[str, Any] = {}
    executor: Executor = Executor()

    @property
    def rules(self) -> str:
        """The budget rules, in words."""
        return " and ".join(self.budgets)


def read_study(path: Path) -> Study:
    """Reads and checks a study file.

    Raises:
        UserError: It is missing, no TOML, or a key is wrong.
    """
    text = read_text(path, "a study file: mgcl study init")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(path, reason(error), "TOML", REMEDY) from None
    if isinstance(fractions := content.get("fractions"), list):
        content["fractions"] = [float(own) if type(own) is int else own for own in fractions]
    study = checked(Study, content, path, REMEDY)
    study = study.model_copy(update={"name": study.name or path.stem})
    check_names({"name": study.name, "plans": study.plans, "configuration": study.configuration})
    for key in ("trainers", "classifiers", "fractions", "folds", "seeds", "budgets"):
        values = getattr(study, key)
        if len(set(values)) < len(values):
            raise UserError(f"{path}: {key}", str(values), "each value once", REMEDY)
    if study.reference not in study.trainers:
        raise UserError(f"{path}: reference", study.reference, f"one of the trainers {study.trainers}", REMEDY)
    if study.classifiers and study.masks not in study.trainers:
        raise UserError(f"{path}: masks", study.masks, f"one of the trainers {study.trainers}", REMEDY)
    if study.executor.gpus and (study.executor.kind == "slurm" or study.device != "cuda"):
        raise UserError(f"{path}: executor.gpus", str(study.executor.gpus), "a local study on cuda", REMEDY)
    return study


TEMPLATE = """\
# A study of label efficiency: every trainer, at every fraction of the labels, in every fold and seed.
#   mgcl study run {file}      trains what is missing; run it again after a stop, it goes on
#   mgcl study status {file}   what is done
#   mgcl study report {file}   one page, CSV and LaTeX of what is done

dataset = "{dataset}"
configuration = "{configuration}"
plans = "{plans}"              # plans to start from: mgcl plan
trainers = [
    "MGCLTrainerRandomInit", "SimCLRTrainer", "BYOLTrainer", "SimSiamTrainer", "PositionalCLTrainer", "GCLTrainer",
    "MixupTrainer", "SemiCLTrainer", "LCLPLTrainer", "SelfTrainingTrainer", "MGCLTrainerMeanTeacher",
    "MGCLTrainerCoarse", "MGCLTrainer",
]
reference = "MGCLTrainerRandomInit"   # what all others are tested against
classifiers = []                      # of the TSS: "resnet", "radiomics-svm", "mismatch" ... (mgcl classifier)
masks = "MGCLTrainer"                 # whose predicted lesions they read
fractions = [0.1, 0.5, 1.0]           # of each fold's labelled training cases
folds = [0, 1, 2, 3, 4]
seeds = [0]

# equal-finetuning: every trainer has the same `segment`. equal-total: the reference is trained once more with as many
# samples through the network as each other trainer took in all its phases.
budgets = ["equal-finetuning", "equal-total"]
share_pretraining = false             # true: label-free phases are trained with the first seed only
device = "{device}"

[executor]
kind = "local"                        # or "slurm", by submitit (pip install nnunet_mgcl[cluster])
jobs = 1                              # at once
# gpus = ["0", "1"]                   # one job a GPU
# slurm = {{ slurm_partition = "gpu", timeout_min = 600, gpus_per_node = 1 }}

# [settings.segment]                  # overlay of the plan's mgcl block
# epochs = 100
"""


def write_template(path: Path, dataset: str, configuration: str, plans: str, device: str) -> None:
    """Writes a study file with every key.

    Raises:
        UserError: There is a file of that name.
    """
    if path.exists():
        raise UserError(path, "an existing file", "a new one", "choose another name, or remove the file")
    known = {"dataset": dataset, "configuration": configuration, "plans": plans, "device": device, "file": path.name}
    path.write_text(TEMPLATE.format(**known), encoding="utf-8")
