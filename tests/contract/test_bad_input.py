"""Bad input is refused before training starts: one message with four parts, and nothing on disk is lost.

Each row of the table spoils a good dataset on disk and meets it as a user would: by training, or by a command.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_mgcl.cli import main
from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.pretraining.coarse import Coarse
from nnunet_mgcl.pretraining.fine import Fine
from nnunet_mgcl.pretraining.teacher import Teacher
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer
from nnunet_mgcl.tss.phase import TSS

HOURS = ["case_0,1", "case_1,2", "case_2,3", "case_3,6", "case_4,8"]
CASES = [f"case_{number}" for number in range(6)]
MASKS = {"DWI": [1, 3, 5, 7], "FLAIR": [2, 3, 6, 7], "PWI": [4, 5, 6, 7]}
NOISE = np.random.default_rng(0).normal(10, 1, size=(2, 6, 32, 32)).astype(np.float32)


@dataclass(frozen=True)
class World:
    """The dataset on disk, and where nnU-Net looks for it."""

    layout: DatasetLayout
    results: Path
    monkeypatch: pytest.MonkeyPatch

    @property
    def pool(self) -> Path:
        return self.layout.raw / "imagesUn"

    @property
    def cases(self) -> Path:
        return self.layout.preprocessed / "nnUNetPlans_2d"

    @property
    def prepared_pool(self) -> Path:
        return self.layout.unlabelled("nnUNetPlans_2d")

    def files(self) -> dict[Path, str]:
        """Every file with a hash of its content, but the training log, which goes on within the same second."""
        roots = (self.layout.raw.parent, self.layout.preprocessed.parent, self.results)
        paths = [path for root in roots for path in root.rglob("*") if path.is_file() and path.suffix != ".txt"]
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


class PhasesReached(Exception):
    """Training has begun."""


class Reached:
    name = "reached"

    def run(self, context) -> None:
        raise PhasesReached


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """Made by the first test from `tiny_dataset`; every test takes a copy."""
    return tmp_path_factory.mktemp("good")


@pytest.fixture
def world(template, tmp_path, monkeypatch, request):
    if not any(template.iterdir()):
        layout = request.getfixturevalue("tiny_dataset")
        shutil.copytree(layout.raw, template / "raw" / layout.name)
        shutil.copytree(layout.preprocessed, template / "preprocessed" / layout.name)
        earlier = template / "results" / layout.name / "MGCLTrainer__nnUNetPlans__2d" / "fold_1"
        earlier.mkdir(parents=True)
        (earlier / "checkpoint_final.pth").write_bytes(b"an earlier fold")
        (template / "preprocessed" / layout.name / "dataset_fingerprint.json").write_text("{}")  # nnU-Net copies it
    root = tmp_path / "root"
    shutil.copytree(template, root)
    for variable in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{variable}", str(root / variable))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setattr(MGCLTrainer, "pretraining", (Reached(),))
    return World(DatasetLayout.find(901), root / "results", monkeypatch)


# ---------------------------------------------------------------------- how the user meets it

Run = Callable[[World], object]


def trainer(world: World, configuration: str = "2d", fold: int = 0) -> MGCLTrainer:
    """As nnU-Net's `get_trainer_from_args` makes it."""
    files = (world.layout.plans("nnUNetPlans"), world.layout.dataset_json)
    plans, dataset_json = (json.loads(path.read_text()) for path in files)
    plans["continue_training"] = False
    return MGCLTrainer(plans, configuration, fold, dataset_json, torch.device("cpu"))


def train(world: World, configuration: str = "2d", fold: int = 0) -> None:
    """What `nnUNetv2_train` does up to the first phase."""
    trainer(world, configuration, fold).on_train_start()


def mgcl(*words: str) -> Run:
    return lambda world: main(list(words))


def plan(*words: str) -> Run:
    return mgcl("plan", "-d", "901", "--preset", "demo", *words)


prepare = mgcl("prepare", "-d", "901", "-c", "2d", "-np", "1")
predict = partial(mgcl, "predict", "-d", "901", "-c", "2d", "-device", "cpu", "-o", "out")


# ---------------------------------------------------------------------- how the dataset is spoilt

Spoil = Callable[[World], object]


def nothing(world: World) -> None:
    """The dataset is good; the command is wrong."""


def tss(*rows: str, header: str = "case,tss_hours", encoding: str = "utf-8") -> Spoil:
    return lambda world: world.layout.raw_tss.write_bytes("\n".join([header, *rows, ""]).encode(encoding))


def pool_image(name: str, array: np.ndarray, spacing: tuple[float, ...] = (3.0, 3.0, 6.0, 1.0)) -> Spoil:
    def write(world: World) -> None:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(spacing[: array.ndim])
        sitk.WriteImage(image, str(world.pool / name))

    return write


def pool_bytes(name: str, content: bytes) -> Spoil:
    return lambda world: (world.pool / name).write_bytes(content)


def truncate(path: Callable[[World], Path]) -> Spoil:
    return lambda world: path(world).write_bytes(path(world).read_bytes()[:-300])


def changed(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array[3, 3, 3] = value
    return array


def colours(world: World) -> None:
    voxels = np.zeros((8, 8, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), world.pool / "x_0000.nii.gz")


def other_plans(world: World) -> None:
    shutil.copy(world.layout.plans("nnUNetPlans"), world.layout.plans("MGCLPlans_demo"))


def edit(file: str, change: Callable[[dict[str, Any]], Any], *, raw: bool = True, copy: bool = True) -> Spoil:
    """Changes a JSON file of the dataset; `dataset.json` both in raw and in the copy, as planning leaves it."""

    def spoil(world: World) -> None:
        folders = [world.layout.raw] * (raw and file == "dataset.json") + [world.layout.preprocessed] * copy
        for folder in folders:
            content = json.loads((folder / file).read_text())
            change(content)
            (folder / file).write_text(json.dumps(content))

    return spoil


def dataset(**keys: Any) -> Spoil:
    return edit("dataset.json", lambda content: content.update(keys))


def raw_dataset(**keys: Any) -> Spoil:
    return edit("dataset.json", lambda content: content.update(keys), copy=False)


def groups(modalities: Any, **masks: Any) -> Spoil:
    return dataset(mgcl={"modalities": modalities, **masks})


def masks(**lesion_labels: Any) -> Spoil:
    modalities = {name: [channel] for channel, name in enumerate(MASKS)}
    return dataset(mgcl={"modalities": modalities, "lesion_labels": {**MASKS, **lesion_labels}})


def configuration(name: str = "2d", **keys: Any) -> Spoil:
    return edit("nnUNetPlans.json", lambda plans: plans["configurations"].setdefault(name, {}).update(keys))


def block(_configuration: str = "2d", **mgcl: Any) -> Spoil:
    return configuration(_configuration, mgcl=mgcl)


def write(file: str, content: Any) -> Spoil:
    """Writes a file of the preprocessed dataset."""
    text = content if isinstance(content, str) else json.dumps(content)
    return lambda world: (world.layout.preprocessed / file).write_text(text)


def splits(*folds: Any) -> Spoil:
    return write("splits_final.json", list(folds))


def fold(val: list[str], train: list[str] | None = None) -> dict[str, list[str]]:
    return {"train": [case for case in CASES if case not in val] if train is None else train, "val": val}


def remove(*paths: str) -> Spoil:
    """Removes files or folders below the roots of raw, preprocessed and results."""

    def spoil(world: World) -> None:
        for path in (world.results.parent / path for path in paths):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def unset(variable: str) -> Spoil:
    return lambda world: world.monkeypatch.delenv(variable)


def both(*spoils: Spoil) -> Spoil:
    return lambda world: [spoil(world) for spoil in spoils]


def patients(letters: str) -> Spoil:
    """A table with a patient a case; the TSS of the last case is unknown."""
    rows = [f"{row},{letter}" for row, letter in zip([*HOURS, "case_5,"], letters, strict=True)]
    return tss(*rows, header=PATIENTS)


def pool_of(cases: list[str]) -> Spoil:
    """Removes the other cases of the pool."""
    return lambda world: [path.unlink() for path in world.pool.iterdir() if path.name[:-12] not in cases]


def seven_of_eight_labels(world: World) -> None:
    labels = {"background": 0, "DWI": 1, "FLAIR": 2, "DWI+FLAIR": 3, "PWI": 4, "DWI+PWI": 5, "FLAIR+PWI": 6}
    dataset(labels=labels)(world)
    masks(**{name: [label for label in own if label < 7] for name, own in MASKS.items()})(world)


def five_masks(world: World) -> None:
    names = dict(zip("01234", "abcde", strict=True))
    dataset(channel_names=names)(world)
    groups({name: [int(n)] for n, name in names.items()}, lesion_labels={name: [1] for name in "abcde"})(world)


def one_labelled_case(world: World) -> None:
    for path in world.cases.iterdir():
        if not path.name.startswith("case_0"):
            path.unlink()


def two_channels(world: World) -> None:
    dataset(channel_names={"0": "DWI", "1": "ADC"}, mgcl={})(world)


def rewrite_case(world: World, case: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Changes a preprocessed image."""
    data, seg, _, properties = nnUNetDatasetBlosc2(str(world.cases), [case]).load_case(case)
    image, mask = change(np.array(data[:])), np.array(seg[:])
    for suffix in (".b2nd", "_seg.b2nd"):
        (world.cases / f"{case}{suffix}").unlink()
    chunk = {"chunks": (1, 6, 32, 32), "blocks": (1, 1, 32, 32)}
    nnUNetDatasetBlosc2.save_case(image, mask, properties, str(world.cases / case), **chunk)


def same_scan(world: World) -> None:
    """Two cases with one scan and one mask, as copies of a file under two names give."""
    for suffix in (".b2nd", "_seg.b2nd", ".pkl"):
        shutil.copy(world.cases / f"case_1{suffix}", world.cases / f"case_5{suffix}")


def dwi_and_adc(world: World) -> None:
    """A dataset of two channels whose pool has a third."""
    two_channels(world)
    for case in CASES:
        rewrite_case(world, case, lambda image: image[:2])


def prepared(world: World) -> None:
    """An earlier run has preprocessed the pool."""
    with pytest.raises(PhasesReached):
        train(world)


def earlier_fold(number: int) -> Spoil:
    """A fold that was trained when the split had more folds."""

    def leave(world: World) -> None:
        folder = world.results / "Dataset901_Tiny" / "MGCLTrainer__nnUNetPlans__2d" / f"fold_{number}"
        folder.mkdir()
        (folder / "checkpoint_latest.pth").touch()

    return leave


def other_plan(world: World) -> None:
    """Leaves the results folder of a run with other epochs."""
    block(coarse={"epochs": 3})(world)
    earlier = trainer(world, fold=1)
    (Path(earlier.output_folder_base) / "plans.json").write_text(json.dumps(earlier.plans_manager.plans))
    block(coarse={"epochs": 7})(world)


# ---------------------------------------------------------------------- the table

TRAINING_COPY = "preprocessed/Dataset901_Tiny/dataset.json"
BLOCK = "configurations.2d.mgcl"
GROUPS = "its copy in nnUNet_preprocessed): mgcl.modalities"
LABELS = "its copy in nnUNet_preprocessed): mgcl.lesion_labels"
PATIENTS = "case,tss_hours,patient"
CASE, VALUE, CSV = "one of the labelled cases", "hours from 0 to 168", "raw/Dataset901_Tiny/tss.csv"
SPLITS, POOL = "preprocessed/Dataset901_Tiny/splits_final.json", "raw/Dataset901_Tiny/imagesUn"
NAME, REPLACE = "CASE_CCCC.nii.gz", "replace or remove"
PLANNED = "nnUNetv2_plan_and_preprocess -d 901"
PREPROCESS = "nnUNetv2_preprocess -d 901 -plans_name nnUNetPlans -c 2d"
GROUPED = {"DWI": [0, 2], "FLAIR": [1]}


@dataclass(frozen=True)
class Row:
    """What is spoilt; a fragment of where, found, expected and remedy of the message; how the user meets it."""

    id: str
    spoil: Spoil
    where: str
    found: str
    expected: str
    remedy: str
    run: Run = train


# fmt: off
ROWS = [
    # tss.csv
    Row("tss: unknown case", tss(*HOURS, "case_9,3"),
        f"{CSV}, line 7", "unknown case 'case_9'", CASE, "did you mean"),
    Row("tss: case with file ending", tss("case_0.nii.gz,3"),
        f"{CSV}, line 2", "unknown", CASE, "mean 'case_0'?"),
    Row("tss: duplicate", tss(*HOURS, "case_1,2"),
        f"{CSV}, line 7", "second row for 'case_1'", "one row", "remove one"),
    Row("tss: negative", tss("case_0,-1"),
        f"{CSV}, line 2", "tss_hours '-1'", VALUE, "mend the value"),
    Row("tss: not a number", tss("case_0,three"),
        f"{CSV}, line 2", "tss_hours 'three'", VALUE, "mend the value"),
    Row("tss: infinite", tss("case_0,inf"),
        f"{CSV}, line 2", "tss_hours 'inf'", VALUE, "mend the value"),
    Row("tss: NaN", tss("case_0,nan"),
        f"{CSV}, line 2", "tss_hours 'nan'", VALUE, "mend the value"),
    Row("tss: empty value", tss(*HOURS, "case_5,"),
        f"{CSV}, line 7", "tss_hours ''", VALUE, "remove the row"),
    Row("tss: minutes", tss("case_0,270"),
        f"{CSV}, line 2", "tss_hours '270'", VALUE, "mend the value"),
    Row("tss: decimal comma", tss("case_0,2,5"),
        f"{CSV}, line 2", "3 fields", "2: ['case', 'tss_hours']", "mend"),
    Row("tss: class that is none", tss("case_0,2", header="case,tss_class"),
        "line 2", "'2'", "1 (TSS < 4.5 h) or 0", "mend"),
    Row("tss: no column of cases", tss(*HOURS, header="tss_class,tss_hours"),
        f"{CSV}, line 1", "tss_hours", "case", "add"),
    Row("tss: no column of values", tss("case_0,a", header="case,patient"),
        f"{CSV}, line 1", "patient", "tss_hours", "add"),
    Row("tss: both columns of values", tss(header="case,tss_hours,tss_class"),
        "line 1", "tss_class", "one of", "remove"),
    Row("tss: misspelt column", tss(*HOURS, header="case,tss_hour"),
        "line 1", "column 'tss_hour'", "among", "'tss_hours'?"),
    Row("tss: semicolons", tss("case_0;1", header="case;tss_hours"),
        CSV, "semicolons", "commas", "comma-separated"),
    Row("tss: tabs", tss("case_0\t1", header="case\ttss_hours"),
        CSV, "tabs", "commas", "comma-separated"),
    Row("tss: empty file", lambda w: w.layout.raw_tss.write_text(""),
        f"{CSV}, line 1", "columns []", "case", "add"),
    Row("tss: header only", tss(),
        CSV, "no row", "one row for each case", "remove the file"),
    Row("tss: UTF-16", tss(*HOURS, encoding="utf-16"),
        CSV, "not UTF-8", "UTF-8", "save it as CSV UTF-8"),
    Row("tss: a folder", both(remove(CSV), lambda w: w.layout.raw_tss.mkdir()),
        CSV, "no readable file (a folder)", "a file that can be read, or none", "restore"),
    Row("tss: link to nothing", both(prepared, remove(CSV), lambda w: w.layout.raw_tss.symlink_to("gone")),
        CSV, "a link to nothing (gone)", "a file that can be read, or none", "restore it, or remove it", prepare),
    Row("tss: a pipe", both(remove(CSV), lambda w: os.mkfifo(w.layout.raw_tss)),
        CSV, "no readable file (a pipe", "a file that can be read, or none", "restore"),
    Row("tss: empty patient", tss("case_0,1,", header=PATIENTS),
        "line 2", "empty patient", "in every row", "fill it in"),
    Row("tss: one class", tss("case_0,1", "case_1,2"),
        "Dataset901_Tiny, tss.csv, new split, fold 0", "classes [1]", "both classes", "--set tss.enabled=false"),
    Row("tss: one case of a class", tss("case_0,1", "case_1,9", "case_2,9"),
        "new split", "classes [0]", "both", "mgcl prepare"),
    Row("tss: spoilt copy", write("tss.csv", "case,tss_hours\ncase_0,x\n"),
        "preprocessed/Dataset901_Tiny/tss.csv", "'x'", VALUE, "mend"),
    Row("tss: met by mgcl prepare", tss("case_0,-1"),
        f"{CSV}, line 2", "tss_hours '-1'", VALUE, "mend", prepare),
    Row("tss: change that the split does not allow",
        both(prepared, tss(*(f"{row},A" for row in HOURS), header=PATIENTS)),
        f"{SPLITS}, fold 0", "patients A in train and val", "a patient on one side", "written anew, by patient",
        prepare),
    # splits_final.json
    Row("split: no JSON", write("splits_final.json", "[{"),
        SPLITS, "not valid JSON", "a JSON file", "mend or regenerate"),
    Row("split: empty list", splits(),
        SPLITS, "no list of folds", "train and val", "remove it"),
    Row("split: an object", write("splits_final.json", fold(["case_0"])),
        SPLITS, "no list of folds", "train and val", "remove"),
    Row("split: fold without val", splits({"train": CASES}),
        f"{SPLITS}, fold 0", "not the lists", "train and val", "remove it"),
    Row("split: numbers for names", splits(fold([0, 1])),
        f"{SPLITS}, fold 0", "not the lists", "case names", "remove it"),
    Row("split: unknown case", splits(fold(["case_9"])),
        f"{SPLITS}, fold 0", "unknown cases case_9", "preprocessed", "remove it"),
    Row("split: missing case", splits(fold(["case_0"], CASES[2:])),
        SPLITS, "case_1 in no fold", "all preprocessed", "remove it"),
    Row("split: case on both sides", splits(fold(["case_0"], CASES)),
        SPLITS, "case_0 in train and val", "once", "remove it"),
    Row("split: case twice", splits(fold(["case_0"], [*CASES[1:], "case_1"])),
        SPLITS, "case_1 twice in train", "once", "remove"),
    Row("split: nothing to train", splits(fold(CASES, [])),
        f"{SPLITS}, fold 0", "no training case", "one at least", "remove"),
    Row("split: nothing to validate", splits(fold([])),
        f"{SPLITS}, fold 0", "no validation case", "one at least", "remove"),
    Row("split: patient on both sides", both(splits(fold(["case_0", "case_1"])), patients("AABACD")),
        f"{SPLITS}, fold 0", "patients A in train and val", "on one side", "written anew, by patient"),
    Row("split: patient of unknown TSS on both sides", both(splits(fold(["case_4", "case_5"])), patients("ABCDEA")),
        f"{SPLITS}, fold 0", "patients A in train and val", "on one side", "written anew, by patient"),
    Row("split: one-class training fold", splits(fold(CASES[3:])),
        f"{SPLITS}, fold 0", "classes [1]", "both", "mend the split"),
    Row("fold beyond the split", earlier_fold(5),
        "fold 5", "a split with 5 folds", "0 to 4", "choose one", partial(train, fold=5)),
    Row("negative fold", nothing,
        "fold -1", "a split with 5 folds", "0 to 4", "choose one", partial(train, fold=-1)),
    Row("split: the same scan in train and val", same_scan,
        "new split, fold", "the same scan in train and val (case_1 and case_5)", "no scan", "remove one"),
    # imagesUn
    Row("pool: unknown channel", pool_image("x_0003.nii.gz", NOISE[0]),
        "imagesUn/x_0003.nii.gz", "channel 3", "FLAIR", "remove it"),
    Row("pool: FLAIR in a DWI + ADC dataset", dwi_and_adc,
        "_0002.nii.gz", "channel 2", "{0: 'DWI', 1: 'ADC'}", "remove it: no such channel here"),
    Row("pool: no channel number", pool_image("x.nii.gz", NOISE[0]),
        f"{POOL}/x.nii.gz", "the name", NAME, "rename"),
    Row("pool: another file ending", pool_image("x_0000.nii", NOISE[0]),
        f"{POOL}/x_0000.nii", "the name", NAME, "rename"),
    Row("pool: DICOM", pool_bytes("IM0001.dcm", b"DICM"),
        f"{POOL}/IM0001.dcm", "the name", NAME, "rename or remove"),
    Row("pool: name of a mask", pool_image("x_seg_0000.nii.gz", NOISE[0]),
        "x_seg_0000.nii.gz", "the name", "_seg", "rename"),
    Row("pool: a folder among the files", lambda w: (w.pool / "x_0000.nii.gz").mkdir(),
        "x_0000.nii.gz", "a folder", "an image", REPLACE),
    Row("pool: broken link", lambda w: os.symlink("gone", w.pool / "x_0000.nii.gz"),
        "x_0000.nii.gz", "link to nothing", "an image", REPLACE),
    Row("pool: a file instead of the folder", both(prepared, remove(POOL), lambda w: w.pool.write_text("")),
        POOL, "no folder", "a folder", "mend"),
    Row("pool: link to a drive that is away", both(prepared, remove(POOL), lambda w: w.pool.symlink_to("gone")),
        POOL, "no folder", "a folder", "mend"),
    Row("pool: empty folder", both(prepared, remove(POOL), lambda w: w.pool.mkdir()),
        POOL, "no image", NAME, "remove the folder"),
    Row("pool: not an image", pool_bytes("x_0000.nii.gz", b"no image"),
        "x_0000.nii.gz", "cannot be read", "intact image", REPLACE),
    Row("pool: empty file", pool_bytes("x_0000.nii.gz", b""),
        "x_0000.nii.gz", "cannot be read", "intact image", REPLACE),
    Row("pool: truncated", truncate(lambda w: w.pool / "pool_1_0000.nii.gz"),
        "pool_1_0000.nii.gz", "cannot be read", "intact", REPLACE),
    Row("pool: NaN", pool_image("x_0000.nii.gz", changed(NOISE[0], np.nan)),
        "x_0000.nii.gz", "NaN or infinite", "finite", REPLACE),
    Row("pool: infinite", pool_image("x_0000.nii.gz", changed(NOISE[0], np.inf)),
        "x_0000.nii.gz", "NaN or infinite", "finite", REPLACE),
    Row("pool: constant", pool_image("x_0000.nii.gz", 0 * NOISE[0]),
        "x_0000.nii.gz", "one value in all voxels", "an image", REPLACE),
    Row("pool: 2d image", pool_image("x_0000.nii.gz", NOISE[0, 0]),
        "x_0000.nii.gz", "a 2d image", "a 3d image", REPLACE),
    Row("pool: voxels of a micrometre", pool_image("x_0000.nii.gz", NOISE[0], (1e-3, 1e-3, 1e-3)),
        "x_0000.nii.gz", "a spacing of 0.001 x 0.001 x 0.001 mm", "0.01 to 1000 mm", REPLACE),
    Row("pool: values that normalisation loses", pool_image("x_0000.nii.gz", NOISE[0] * np.float32(1e36)),
        "x_0000.nii.gz", "after normalisation", "intensities", REPLACE),
    Row("pool: truncated after it was prepared, the raw one away",
        both(prepared, remove(POOL), truncate(lambda w: w.prepared_pool / "DWI" / "pool_1.b2nd")),
        "nnUNetPlans_2d_unlabelled/DWI/pool_1", "cannot be read", "a whole preprocessed case", "put imagesUn back"),
    Row("pool: volume over time", pool_image("x_0000.nii.gz", NOISE),
        "x_0000.nii.gz", "more than one volume", "one 3d volume", REPLACE),
    Row("pool: colours", colours,
        "x_0000.nii.gz", "colours", "one number a voxel", REPLACE),
    Row("pool: two wrong images", both(pool_bytes("x_0000.nii.gz", b""), pool_bytes("y_0000.nii.gz", b"")),
        "x_0000.nii.gz", "(1 more images are wrong)", "intact image", REPLACE),
    Row("pool: part of a channel group", groups(GROUPED),
        f"{POOL}, case pool_1", "DWI without channel 2 (PWI)", "all of", "add the missing"),
    Row("pool: other spacing in a channel group",
        both(groups(GROUPED), pool_of(["pool_0"]), pool_image("pool_0_0002.nii.gz", NOISE[0], (2.0, 2.0, 6.0))),
        "pool_0_0002.nii.gz", "(2.0, 2.0, 6.0)", "pool_0_0000", "resample"),
    Row("pool: unreadable file of a channel group", both(groups(GROUPED), pool_bytes("case_0_0002.nii.gz", b"x")),
        "case_0_0002.nii.gz", "cannot be read", "an image", REPLACE),
    Row("pool: met by mgcl prepare", pool_bytes("x_0000.nii.gz", b""),
        "x_0000.nii.gz", "cannot be read", "intact", REPLACE, prepare),
    # modality groups
    Row("groups: channel left out", groups({"DWI": [0], "FLAIR": [1]}),
        GROUPS, "channels [0, 1]", "exactly once", "mend"),
    Row("groups: channel twice", groups({"DWI": [0, 1], "FLAIR": [1, 2]}),
        GROUPS, "channels [0, 1, 1, 2]", "exactly once", "mend"),
    Row("groups: unknown channel", groups({"DWI": [0, 1, 2, 3]}),
        f"{GROUPS}.DWI", "channel 3", "one of {0: 'DWI'", "mend"),
    Row("groups: without a channel", groups({"DWI": [0, 1, 2], "FLAIR": []}),
        f"{GROUPS}.FLAIR", "no channel", "one", "remove it"),
    Row("groups: none", groups({}),
        GROUPS, "channels []", "exactly once", "mend"),
    Row("groups: name that is no folder", groups({"DWI/ADC": [0, 1, 2]}),
        GROUPS, "'DWI/ADC'", "letters, digits", "rename"),
    Row("groups: names for numbers", groups({"DWI": ["0", "1", "2"]}),
        f"{GROUPS}.DWI.0", "'0'", "integer", "mend"),
    Row("groups: a list", groups([[0], [1], [2]]),
        GROUPS, "[[0], [1], [2]]", "dictionary", "mend"),
    Row("groups: misspelt key", dataset(mgcl={"modality": {}}),
        "nnUNet_preprocessed): mgcl.modality", "unknown key", "modalities", "did you mean"),
    Row("groups: no object", dataset(mgcl=[0]),
        "dataset.json (in nnUNet_raw", "[0]", "an object", "mend"),
    Row("groups: in the plan", block(modalities={"DWI": [0]}),
        f"{BLOCK}.modalities", "channels [0]", "exactly once", "mend"),
    # lesion labels
    Row("masks: label that is not declared", masks(DWI=[1, 3, 5, 7, 8]),
        f"{LABELS}.DWI", "label 8", "one of [1, 2, 3", "mend"),
    Row("masks: background", masks(DWI=[0, 1, 3, 5, 7]),
        f"{LABELS}.DWI", "label 0", "one of [1, 2, 3", "mend"),
    Row("masks: two labels, one combination", masks(PWI=[5, 6, 7]),
        LABELS, "labels 0 and 4 both mean background", "of its own", "mend"),
    Row("masks: combination not declared", seven_of_eight_labels,
        LABELS, "7 labels", "all 8 combinations", "declare also"),
    Row("masks: another modality", masks(ADC=[1, 3, 5, 7]),
        LABELS, "'ADC'", "one for each of ['DWI', 'FLAIR', 'PWI']", "names"),
    Row("masks: with regions",
        dataset(labels={"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=[1, 2]),
        LABELS, "together with regions ['whole']", "plain labels", "one label a combination"),
    Row("masks: five modalities", five_masks,
        LABELS, "5 masks", "at most 4", "share one label map"),
    # the plan
    Row("plan: unknown key", block(epochs=3),
        f"{BLOCK}.epochs", "unknown key 'epochs'", "one of ['random_seed'", "use one of"),
    Row("plan: misspelt phase", block(course={}),
        f"{BLOCK}.course", "unknown key 'course'", "one of", "did you mean 'coarse'?"),
    Row("plan: misspelt key of a phase", block(coarse={"epoch": 3}),
        f"{BLOCK}.coarse.epoch", "unknown", "'epochs'", "did you mean"),
    Row("plan: block is no object", configuration(mgcl=[1]),
        BLOCK, "[1]", "a JSON object", "mgcl schema"),
    Row("plan: phase is no object", block(coarse=3),
        f"{BLOCK}.coarse", "3", "an object", "mend the value"),
    Row("plan: no epoch", block(coarse={"epochs": 0}),
        f"{BLOCK}.coarse.epochs", "0", "greater than or equal to 1", "mend the value"),
    Row("plan: text for a number", block(fine={"epochs": "9"}),
        f"{BLOCK}.fine.epochs", "'9'", "a valid integer", "mend the value"),
    Row("plan: true for a number", block(seed={"epochs": True}),
        f"{BLOCK}.seed.epochs", "True", "a valid integer", "mend"),
    Row("plan: fraction of an epoch", block(tss={"epochs": 1.5}),
        f"{BLOCK}.tss.epochs", "1.5", "a valid integer", "mend"),
    Row("plan: temperature 0", block(coarse={"temperature": 0}),
        f"{BLOCK}.coarse.temperature", "0", "greater than 0", "mend"),
    Row("plan: NaN", block(coarse={"lr": float("nan")}),
        f"{BLOCK}.coarse.lr", "nan", "a finite number", "mend"),
    Row("plan: negative decay", block(segment={"weight_decay": -1.0}),
        f"{BLOCK}.segment.weight_decay", "-1.0", "equal to 0", "mend"),
    Row("plan: threshold 0", block(fine={"area_threshold": 0}),
        f"{BLOCK}.fine.area_threshold", "0", "greater than 0", "mend"),
    Row("plan: threshold above 1", block(fine={"area_threshold": 1.1}),
        f"{BLOCK}.fine.area_threshold", "1.1", "equal to 1", "mend"),
    Row("plan: confidence above 1", block(pseudo_label={"confidence": 70}),
        f"{BLOCK}.pseudo_label.confidence", "70", "equal to 1", "mend"),
    Row("plan: batch of 0", block(seed={"batch_size": 0}),
        f"{BLOCK}.seed.batch_size", "0", "greater than or equal to 1", "mend"),
    Row("plan: nothing to contrast", block(coarse={"batch_size": 1}),
        f"{BLOCK}.coarse.batch_size", "1", "two slices", "raise it"),
    Row("plan: patch above the slice", block(fine={"patch_size": 33}),
        f"{BLOCK}.fine.patch_size", "33", "[32, 32]", "lower it"),
    Row("plan: grid above the map", block(tss={"grid": 9}),
        "mgcl.tss.grid", "9", "feature map 8 x 8", "--set tss.grid"),
    Row("plan: unknown head", block(tss={"head": "cnn"}),
        f"{BLOCK}.tss.head", "'cnn'", "'lesion', 'mrff', 'mrff_lesion', 'mlp'", "mend"),
    Row("plan: head of no modality", block(tss={"modalities": []}),
        f"{BLOCK}.tss.modalities", "[]", "one at least", "mend"),
    Row("plan: head of an unknown modality", block(tss={"modalities": ["DW"]}),
        f"{BLOCK}.tss.modalities", "'DW'", "some of", "'DWI'?"),
    Row("plan: size of one side", block(tss={"size": [8]}),
        f"{BLOCK}.tss.size", "[8]", "at least 2", "mend"),
    Row("plan: head without table", both(block(tss={"enabled": True}), remove(CSV)),
        f"{BLOCK}.tss.enabled", "no tss.csv", "a TSS table", "add"),
    Row("plan: wrong key inherited", block(seed={"epochs": 0}),
        f"{BLOCK}.seed.epochs", "0", "equal to 1", "mend", partial(train, configuration="2d_heir")),
    Row("plan: unknown parent", configuration(inherits_from="2D"),
        "configurations.2d.inherits_from", "'2D'", "one of", "name one"),
    Row("plan: circle of parents", configuration(inherits_from="2d_heir"),
        "inherits_from", "a circle", "a chain", "mend the plans"),
    Row("plan: cascade", nothing,
        "3d_cascade_fullres", "a cascade after 3d_lowres", "without previous_stage", "train 2d",
        partial(train, configuration="3d_cascade_fullres")),
    Row("plan: unknown configuration", nothing,
        "configuration 2D", "'2D'", "one of ['2d'", "name one", partial(train, configuration="2D")),
    Row("plan: no configurations", edit("nnUNetPlans.json", lambda plans: plans.pop("configurations")),
        "plans nnUNetPlans", "no configurations", "a plans file", "nnUNetv2_plan_experiment"),
    Row("mgcl plan: impossible value", nothing,
        f"{BLOCK}.coarse.epochs", "0", "equal to 1", "mend", plan("--set", "coarse.epochs=0")),
    Row("mgcl plan: NaN", nothing,
        f"{BLOCK}.coarse.lr", "nan", "finite", "mend", plan("--set", "coarse.lr=NaN")),
    Row("mgcl plan: unknown key", nothing,
        f"{BLOCK}.coarse.epoch", "unknown", "'epochs'", "did you mean", plan("--set", "coarse.epoch=1")),
    Row("mgcl plan: unknown key of nnU-Net", nothing,
        "configurations.2d.batchsize", "unknown", "a key of the plan", "'batch_size'?",
        plan("--set", "configuration.batchsize=1")),
    Row("mgcl plan: no value", nothing,
        "--set coarse.epochs", "no =", "KEY=VALUE", "mend", plan("--set", "coarse.epochs")),
    Row("mgcl plan: unknown preset", nothing,
        "preset papers", "no such preset", "'paper'", "did you mean", mgcl("plan", "-d", "901", "--preset", "papers")),
    Row("mgcl plan: other plans of the name", other_plans,
        "MGCLPlans_demo.json", "other content", "no such", "-o", plan()),
    Row("mgcl plan: no plans of the name", write("MGCLPlans_demo.json", {}),
        "MGCLPlans_demo.json", "no plans file", "no such", "-o", plan("--overwrite")),
    Row("mgcl plan: no plans", nothing,
        "preprocessed/Dataset901_Tiny/Plans.json", "no such file", "a plans file", "['nnUNetPlans']",
        plan("-p", "Plans")),
    Row("mgcl plan: plans are no JSON", write("nnUNetPlans.json", "{"),
        "nnUNetPlans.json", "not valid JSON", "a JSON file", "mend", plan()),
    Row("mgcl plan: dataset.json is no JSON", write("dataset.json", "{"),
        TRAINING_COPY, "not valid JSON", "a JSON file", "mend", plan()),
    # the dataset, and what nnU-Net has made of it
    Row("dataset: unknown number", nothing,
        "dataset 902", "Could not find", "DatasetXXX_Name", "check the number",
        mgcl("prepare", "-d", "902", "-c", "2d")),
    Row("dataset: unknown name", nothing,
        "Dataset902_Tiny", "no such folder", "planned it", "check the name",
        mgcl("prepare", "-d", "Dataset902_Tiny", "-c", "2d")),
    Row("dataset: neither number nor name", nothing,
        "dataset tiny", "integer", "DatasetXXX_Name", "check", mgcl("prepare", "-d", "tiny", "-c", "2d")),
    Row("dataset: not planned", remove("preprocessed/Dataset901_Tiny"),
        "preprocessed/Dataset901_Tiny", "no such folder", "planned it", PLANNED, prepare),
    Row("dataset: planned without plans", remove("preprocessed/Dataset901_Tiny/nnUNetPlans.json"),
        "nnUNetPlans.json", "no such file", "plans", PLANNED, prepare),
    Row("dataset: not preprocessed", nothing,
        "nnUNetPlans_3d_fullres", "no preprocessed case", "for 3d_fullres",
        "nnUNetv2_preprocess -d 901 -plans_name nnUNetPlans -c 3d_fullres",
        partial(train, configuration="3d_fullres")),
    Row("dataset: preprocessed folder is empty", lambda w: [path.unlink() for path in w.cases.iterdir()],
        "nnUNetPlans_2d", "no preprocessed", "2d", PREPROCESS),
    Row("dataset: one labelled case", both(remove(CSV), one_labelled_case),
        "Dataset901_Tiny", "1 patient(s)", "two at least", "add labelled cases"),
    Row("dataset: one patient", tss(*(f"{case},1,A" for case in CASES), header=PATIENTS),
        "Dataset901_Tiny", "1 patient(s)", "two", "add labelled cases"),
    Row("dataset: stray file", lambda w: (w.cases / ".DS_Store").touch(),
        "nnUNetPlans_2d/.DS_Store", "none of nnU-Net's", "*.b2nd", "move it"),
    Row("dataset: truncated case", truncate(lambda w: w.cases / "case_3.b2nd"),
        "nnUNetPlans_2d/case_3", "cannot be read", "whole", PREPROCESS),
    Row("dataset: case without its mask", lambda w: (w.cases / "case_3_seg.b2nd").unlink(),
        "nnUNetPlans_2d/case_3", "cannot be read", "whole", PREPROCESS),
    Row("dataset: truncated properties", truncate(lambda w: w.cases / "case_3.pkl"),
        "nnUNetPlans_2d/case_3", "cannot be read", "whole", PREPROCESS),
    Row("nnUNet_preprocessed not set", unset("nnUNet_preprocessed"),
        "nnUNet_preprocessed", "not set", "a folder", "export", prepare),
    Row("nnUNet_results not set", unset("nnUNet_results"),
        "nnUNet_results", "not set", "a folder", "export nnUNet_results="),
    # stale copies
    Row("stale: groups added after planning", raw_dataset(mgcl={"modalities": GROUPED}),
        "raw/Dataset901_Tiny/dataset.json", "mgcl.modalities.PWI is gone", TRAINING_COPY, "cp "),
    Row("stale: channels renumbered after planning", raw_dataset(channel_names={"0": "FLAIR", "1": "DWI", "2": "PWI"}),
        "raw/Dataset901_Tiny/dataset.json", "channel_names.0 was DWI, is FLAIR", TRAINING_COPY, PLANNED),
    Row("stale: labels changed after planning", raw_dataset(labels={"background": 0, "lesion": 1}),
        "raw/Dataset901_Tiny/dataset.json", "labels.DWI is gone", TRAINING_COPY, PLANNED),
    Row("stale: planned again, not preprocessed again: labels", dataset(labels={"background": 0, "lesion": 1}, mgcl={}),
        "nnUNetPlans_2d/case_0", "labels [1, 2, 3, 4, 5, 6, 7]", "labels [1]", PREPROCESS),
    Row("stale: planned again, not preprocessed again: channels", both(remove(POOL), two_channels),
        "nnUNetPlans_2d/case_0", "3 channels", "2 channels", PREPROCESS),
    Row("results folder of another plan", other_plan,
        "MGCLTrainer__nnUNetPlans__2d/plans.json", "(mgcl.coarse.epochs was 3, is 7)", "the plan that is trained now",
        "--plans-name"),
    # prediction
    Row("predict: no such input", nothing,
        "nowhere", "no such folder", "a folder of images", "check -i", predict("-i", "nowhere", "-f", "1")),
    Row("predict: fold that is not trained", nothing,
        "fold_0/checkpoint_final.pth", "no such file", "a trained fold", "['fold_1']", predict("-i", ".", "-f", "0")),
    Row("predict: model that is not trained", nothing,
        "MGCLTrainer__MyPlans__2d", "no such file", "a trained fold", "train the model",
        predict("-i", ".", "-f", "0", "-p", "MyPlans")),
]
# fmt: on


def test_good_dataset_reaches_the_phases(world):
    before = world.files()
    with pytest.raises(PhasesReached):
        train(world)
    assert before.items() <= world.files().items()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_bad_input_is_refused_with_four_parts_and_nothing_lost(world, row):
    row.spoil(world)
    before = world.files()
    with pytest.raises((UserError, SystemExit)) as refusal:
        row.run(world)
    error = refusal.value if isinstance(refusal.value, UserError) else refusal.value.__cause__
    message = str(error)
    for part in ("where", "found", "expected", "remedy"):
        assert getattr(row, part) in getattr(error, part), message
        assert getattr(error, part).strip() in message
    assert before.items() <= world.files().items()


@pytest.mark.parametrize(
    "vary",
    [
        pytest.param(tss(*HOURS, encoding="utf-8-sig"), id="byte order mark"),
        pytest.param(
            tss(*(f'"{row}\r'.replace(",", '",') for row in HOURS), header='"case","tss_hours"\r'), id="quotes"
        ),
        pytest.param(patients("ABCDEF"), id="patient of a case with an unknown TSS"),
        pytest.param(remove(CSV, POOL), id="neither table nor pool"),
        pytest.param(pool_image("Müller, J. #3_0000.nii.gz", NOISE[0]), id="odd name in the pool"),
        pytest.param(raw_dataset(numTraining=7), id="dataset.json changed in what training does not read"),
    ],
)
def test_unusual_but_good_input_is_accepted(world, vary):
    vary(world)
    with pytest.raises(PhasesReached):
        train(world)


class Poison:
    """Fills a preprocessed training image with NaN between two phases."""

    name = "poison"

    def __init__(self, world: World) -> None:
        self.world = world

    def run(self, context: Any) -> None:
        rewrite_case(self.world, "case_3", lambda image: np.full_like(image, np.nan))


ONE_EPOCH = {
    **{phase: {"epochs": 1, "batch_size": 6} for phase in ("seed", "coarse", "fine")},
    "segment": {"epochs": 1, "iterations": 2, "val_iterations": 1},
    "tss": {"epochs": 1, "head": "mrff"},
}


def test_image_without_numbers_stops_the_fit_of_the_lesion_head_with_its_case(world, monkeypatch) -> None:
    block(**ONE_EPOCH | {"tss": {"head": "lesion"}})(world)
    monkeypatch.setattr(MGCLTrainer, "pretraining", (Poison(world), TSS()))
    with pytest.raises(SystemExit, match=r"phase tss \(lesion\), case case_3[\s\S]*extreme values"):
        trainer(world).run_training()


@pytest.mark.parametrize(
    ("phase", "where", "before", "after"),
    [
        ("seed", "phase seed_length (DWI), epoch 1", (), (Teacher(),)),  # the search of its length comes first
        ("coarse", "phase coarse (DWI), epoch 1", (), (Coarse(),)),
        ("fine", "phase fine (DWI), epoch 1", (Coarse(),), (Fine(),)),
        ("segment", "phase segment, epoch 1", (), ()),
        ("tss", "phase tss (mrff), epoch 1", (), (TSS(),)),
    ],
)
def test_nan_stops_a_phase_with_its_epoch_and_cases(world, monkeypatch, phase, where, before, after):
    block(**ONE_EPOCH)(world)
    if phase in ("coarse", "fine"):
        remove(POOL)(world)  # they then contrast the labelled cases
    monkeypatch.setattr(MGCLTrainer, "pretraining", (*before, Poison(world), *after))
    with pytest.raises(SystemExit) as refusal:
        trainer(world).run_training()
    error = refusal.value.__cause__
    assert error.where == where
    assert error.found.startswith("loss nan on the cases ") and "case_3" in error.found
    assert error.expected == "a finite loss"
    assert "these images" in error.remedy and "mgcl plan -d Dataset901_Tiny -c 2d -p nnUNetPlans --set" in error.remedy
