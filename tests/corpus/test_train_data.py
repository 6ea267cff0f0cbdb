"""A training of odd tables, splits, pools and preprocessed cases."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from nnunet_mgcl.cli import main
from tests.conftest import rewrite_case, write_image
from tests.corpus.row import TRAIN, Row, began, listing, meet, refused, works
from tests.corpus.spoil import Spoil, both, content_of, copied, cut, folder, link, nothing, removed, text, updated

RAW, HERE = "raw/Dataset901_Tiny", "preprocessed/Dataset901_Tiny"
TABLE, POOL, SPLITS = f"{RAW}/tss.csv", f"{RAW}/imagesUn", f"{HERE}/splits_final.json"
DATASET, CASES = (f"{RAW}/dataset.json", f"{HERE}/dataset.json"), f"{HERE}/nnUNetPlans_2d"
ALL_QUICK = True
OUTPUTS = (f"{HERE}/tss.csv", SPLITS, f"{CASES}_unlabelled/*", "results/*")
PREPARE = "prepare -d 901 -c 2d -np 1"
ENDINGS = (".b2nd", "_seg.b2nd", ".pkl")
NAMES = [f"case_{number}" for number in range(6)]
NOISE = np.random.default_rng(0).normal(10, 1, size=(2, 6, 32, 32)).astype(np.float32)


def prepared(tree: Path) -> None:
    """An earlier run has preprocessed the pool."""
    main(PREPARE.split())


# ---------------------------------------------------------------------- table and split


def tss(*rows: str, header: str = "case,tss_hours", encoding: str = "utf-8") -> Spoil:
    return text(TABLE, "\n".join([header, *rows, ""]), encoding)


def patients(letters: str) -> Spoil:
    """The TSS of the last case is unknown."""
    rows = [f"{case},{hours},{letter}" for case, hours, letter in zip(NAMES, [*"12368", ""], letters, strict=True)]
    return tss(*rows, header="case,tss_hours,patient")


def tables() -> list[Row]:
    def bad(name: str, spoil: Spoil, *says: str, words: str = TRAIN) -> Row:
        return refused(f"tss: {name}", spoil, words, "tss.csv", *says)

    values = ["-1", "three", "inf", "nan", "", "270"]
    classes = {"one class": (1, 2, 3), "one case of a class": (1, 9, 9)}
    return [
        *(bad(f"{value!r} hours", tss("case_1,2", f"case_0,{value}"), "line 3", f"tss_hours {value!r}")
          for value in values),
        *(bad(name, tss(*(f"case_{n},{hour}" for n, hour in enumerate(hours))), "classes [", "tss.enabled=false")
          for name, hours in classes.items()),
        bad("unknown case", tss("case_0,1", "case_9,3"), "line 3", "'case_9'"),
        bad("case with file ending", tss("case_0.nii.gz,3"), "line 2", "did you mean 'case_0'?"),
        bad("duplicate", tss("case_0,1", "case_1,2", "case_1,2"), "line 4", "'case_1'"),
        bad("decimal comma", tss("case_0,2,5"), "line 2", "3 fields"),
        bad("class that is none", tss("case_0,2", header="case,tss_class"), "line 2", "'2'"),
        bad("no column of cases", tss("case_0,1", header="tss_class,tss_hours"), "line 1", "case"),
        bad("no column of values", tss("case_0,a", header="case,patient"), "line 1", "tss_hours"),
        bad("both columns of values", tss(header="case,tss_hours,tss_class"), "line 1", "tss_class"),
        bad("misspelt column", tss("case_0,1", header="case,tss_hour"), "line 1", "'tss_hours'?"),
        bad("semicolons", tss("case_0;1", header="case;tss_hours"), "semicolons"),
        bad("tabs", tss("case_0\t1", header="case\ttss_hours"), "tabs"),
        bad("empty file", text(TABLE, ""), "line 1"),
        bad("header only", tss(), "no row"),
        bad("UTF-16", tss("case_0,1", encoding="utf-16"), "UTF-8"),
        bad("a folder", folder(TABLE), "a folder"),
        bad("empty patient", tss("case_0,1,", header="case,tss_hours,patient"), "line 2", "empty patient"),
        bad("spoilt copy", text(f"{HERE}/tss.csv", "case,tss_hours\ncase_0,x\n"), HERE, "'x'"),
        refused("tss: one patient", tss(*(f"{case},1,A" for case in NAMES), header="case,tss_hours,patient"), TRAIN,
                "Dataset901_Tiny", "1 patient(s)"),
        refused("tss: change that the split does not allow", both(prepared, patients("AAAAAA")), PREPARE,
                f"{SPLITS}, fold 0", "patients A in train and val"),
        works("tss: byte order mark", tss("case_0,1", "case_1,2", "case_3,6", "case_4,8", encoding="utf-8-sig"), TRAIN,
              began),
        works("tss: quotes", tss('"case_0","1"\r', '"case_1","2"\r', '"case_3","6"\r', '"case_4","8"\r',
              header='"case","tss_hours"\r'), TRAIN, began),
        works("tss: patient of a case with an unknown TSS", patients("ABCDEF"), TRAIN, began),
        works("neither table nor pool", removed(TABLE, POOL), TRAIN, began),
    ]  # fmt: skip


def fold(val: list[Any], train: list[str] | None = None) -> dict[str, list[Any]]:
    return {"train": [case for case in NAMES if case not in val] if train is None else train, "val": val}


def splits() -> list[Row]:
    folds: dict[str, tuple[Any, str]] = {
        "empty list": ([], "no list of folds"),
        "null": (None, "no list of folds"),
        "folds of null": ([None], "fold 0"),
        "an object": (fold(["case_0"]), "no list of folds"),
        "fold without val": ([{"train": NAMES}], "fold 0"),
        "numbers for names": ([fold([0, 1])], "fold 0"),
        "a text for names": ([fold(["case_0"]) | {"val": "case_0"}], "fold 0"),
        "unknown case": ([fold(["case_9"])], "case_9"),
        "missing case": ([fold(["case_0"], NAMES[2:])], "case_1 in no fold"),
        "case on both sides": ([fold(["case_0"], NAMES)], "case_0 in train and val"),
        "case twice": ([fold(["case_0"], [*NAMES[1:], "case_1"])], "case_1 twice in train"),
        "nothing to train": ([fold(NAMES, [])], "no training case"),
        "nothing to validate": ([fold([])], "no validation case"),
        "one class to train": ([fold(NAMES[3:])], "classes [1]"),
    }  # fmt: skip
    one_patient = {"AABACD": ["case_0", "case_1"], "ABCDEA": ["case_4", "case_5"]}
    same_scan = both(
        *(copied(f"{CASES}/case_1{end}", f"{CASES}/case_5{end}") for end in (".b2nd", "_seg.b2nd", ".pkl"))
    )
    return [
        *(refused(f"split: {name}", text(SPLITS, json.dumps(content)), TRAIN, SPLITS, part)
          for name, (content, part) in folds.items()),
        *(refused(f"split: patients {letters}", both(text(SPLITS, json.dumps([fold(val)])), patients(letters)), TRAIN,
                  SPLITS, "patients A in train and val") for letters, val in one_patient.items()),
        refused("split: no JSON", text(SPLITS, "[{"), TRAIN, SPLITS, "not valid JSON"),
        refused("split: the same scan in train and val", same_scan, TRAIN, "new split, fold", "case_1 and case_5"),
        refused("a fold beyond the split", text("results/Dataset901_Tiny/MGCLTrainer__nnUNetPlans__2d/fold_5/"
                "checkpoint_latest.pth", ""), "nnUNetv2_train 901 2d 5", "fold 5", "0 to 4"),
        refused("a negative fold", nothing, "nnUNetv2_train 901 2d -1", "fold -1", "0 to 4"),
    ]  # fmt: skip


# ---------------------------------------------------------------------- pool and cases


def pool_image(name: str, array: np.ndarray, spacing: tuple[float, ...] = (3.0, 3.0, 6.0, 1.0)) -> Spoil:
    return lambda tree: write_image(tree / POOL / name, array, spacing[: array.ndim])


def with_voxel(value: float) -> np.ndarray:
    array = NOISE[0].copy()
    array[3, 3, 3] = value
    return array


def colours(tree: Path) -> None:
    voxels = np.zeros((8, 8, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tree / POOL / "x_0000.nii.gz")


def only_pool_0(tree: Path) -> None:
    for path in (tree / POOL).glob("*"):
        if not path.name.startswith("pool_0"):
            path.unlink()


def two_channels(tree: Path) -> None:
    for case in NAMES:
        rewrite_case(tree / CASES, case, image=lambda image: image[:2])


def dataset(**keys: Any) -> Spoil:
    """Sets keys of dataset.json in raw and in the copy, as planning leaves it."""
    return both(*(updated(path, **keys) for path in DATASET))


GROUPED = {"DWI": [0, 2], "FLAIR": [1]}
GROUPS = dataset(mgcl={"modalities": GROUPED})
DWI_AND_ADC = dataset(channel_names={"0": "DWI", "1": "ADC"}, mgcl={})


def pool() -> list[Row]:
    image, spacing = f"{POOL}/x_0000.nii.gz", (2.0, 2.0, 6.0)
    images = {
        "NaN": (with_voxel(np.nan), "NaN or infinite"), "infinite": (with_voxel(np.inf), "NaN or infinite"),
        "one value": (0 * NOISE[0], "one value"), "2d": (NOISE[0, 0], "2d"),
        "a volume over time": (NOISE, "more than one volume"),
        "values that normalisation loses": (NOISE[0] * np.float32(1e36), "after normalisation"),
        "values too small for it": (NOISE[0] * np.float32(1e-30), "after normalisation"),
    }  # fmt: skip
    names = ["x.nii.gz", "x_0000.nii", "IM0001.dcm", "x_seg_0000.nii.gz"]
    prepared_then = {
        "a file": both(removed(POOL), text(POOL, "")), "a link to a drive that is away": link(POOL, "gone"),
        "empty": both(removed(POOL), lambda tree: (tree / POOL).mkdir()),
    }  # fmt: skip
    return [
        *(refused(f"pool: {name}", pool_image("x_0000.nii.gz", array), TRAIN, image, part)
          for name, (array, part) in images.items()),
        *(refused(f"pool: the name {name}", content_of(f"{POOL}/{name}", b"DICM"), TRAIN, f"{POOL}/{name}", "the name")
          for name in names),
        *(refused(f"pool: {name}", both(prepared, spoil), TRAIN, POOL, "folder") for name, spoil in
          prepared_then.items()),
        *(refused(f"pool: {name}", spoil, TRAIN, image, "cannot be read") for name, spoil in {
            "no image": content_of(image, b"no image"), "an empty file": content_of(image, b""),
            "half an image": both(copied(f"{POOL}/pool_1_0000.nii.gz", image), cut(image, -300))}.items()),
        refused("pool: colours", colours, TRAIN, image, "colours"),
        refused("pool: a folder among the files", folder(image), TRAIN, image, "a folder"),
        refused("pool: a broken link", link(image, "gone"), TRAIN, image, "link to nothing"),
        refused("pool: unknown channel", pool_image("x_0003.nii.gz", NOISE[0]), TRAIN, "x_0003.nii.gz", "channel 3"),
        refused("pool: FLAIR in a DWI + ADC dataset", both(DWI_AND_ADC, two_channels), TRAIN, "_0002.nii.gz",
                "channel 2"),
        refused("pool: two wrong images", both(content_of(image, b""), content_of(f"{POOL}/y_0000.nii.gz", b"")), TRAIN,
                image, "1 more"),
        refused("pool: part of a channel group", GROUPS, TRAIN, f"{POOL}, case pool_1", "without channel 2 (PWI)"),
        refused("pool: other spacing in a channel group", both(GROUPS, only_pool_0, pool_image("pool_0_0002.nii.gz",
                NOISE[0], spacing)), TRAIN, "pool_0_0002.nii.gz", str(spacing), "pool_0_0000"),
        refused("pool: unreadable file of a channel group", both(GROUPS, content_of(f"{POOL}/case_0_0002.nii.gz",
                b"x")), TRAIN, "case_0_0002.nii.gz", "cannot be read"),
        # A start looks at no case of a prepared pool; the case is named when it is read (test_loading.py).
        works("pool: prepared image cut, the raw one away", both(prepared, removed(POOL),
                cut(f"{CASES}_unlabelled/DWI/pool_1.b2nd", -300)), TRAIN, began),
        works("pool: an odd name", pool_image("Müller, J. #3_0000.nii.gz", NOISE[0]), TRAIN, began),
    ]  # fmt: skip


def unset(variable: str) -> Spoil:
    return lambda tree: os.environ.pop(variable)  # the fixture puts it back


def one_case(tree: Path) -> None:
    for path in (tree / CASES).iterdir():
        if not path.name.startswith("case_0"):
            path.unlink()


def cases() -> list[Row]:
    again = "nnUNetv2_preprocess -d 901 -plans_name nnUNetPlans -c 2d"
    lesion, swapped = {"background": 0, "lesion": 1}, {"0": "FLAIR", "1": "DWI", "2": "PWI"}
    stale = {"mgcl.modalities.PWI is gone": {"mgcl": {"modalities": GROUPED}}, "labels.DWI is gone": {"labels": lesion},
             "channel_names.0 was DWI, is FLAIR": {"channel_names": swapped}}  # fmt: skip
    return [
        *(refused(f"stale dataset.json: {part}", updated(DATASET[0], **keys), TRAIN, DATASET[0], part, DATASET[1])
          for part, keys in stale.items()),
        works("dataset.json changed in what training does not read", updated(DATASET[0], numTraining=7), TRAIN, began),
        refused("labels of an older dataset.json", dataset(labels=lesion, mgcl={}), TRAIN, f"{CASES}/case_0",
                "labels [1]", again),
        refused("channels of an older dataset.json", both(removed(POOL), DWI_AND_ADC), TRAIN, f"{CASES}/case_0",
                "3 channels", again),
        *(refused(f"case: {name}", spoil, TRAIN, f"{CASES}/case_3", "cannot be read", again) for name, spoil in {
            "half an image": cut(f"{CASES}/case_3.b2nd", -300), "no mask": removed(f"{CASES}/case_3_seg.b2nd"),
            "half its properties": cut(f"{CASES}/case_3.pkl", -300)}.items()),
        refused("cases: a stray file", text(f"{CASES}/.DS_Store", ""), TRAIN, f"{CASES}/.DS_Store"),
        refused("cases: none", both(removed(CASES), lambda tree: (tree / CASES).mkdir()), TRAIN, CASES, again),
        refused("cases: one", both(removed(TABLE), one_case), TRAIN, "Dataset901_Tiny", "1 patient(s)"),
        refused("not preprocessed", nothing, "nnUNetv2_train 901 3d_fullres 0", "nnUNetPlans_3d_fullres",
                "nnUNetv2_preprocess -d 901 -plans_name nnUNetPlans -c 3d_fullres"),
        refused("not planned", removed(HERE), PREPARE, HERE, "nnUNetv2_plan_and_preprocess -d 901"),
        refused("planned without plans", removed(f"{HERE}/nnUNetPlans.json"), PREPARE, "nnUNetPlans.json",
                "nnUNetv2_plan_and_preprocess -d 901"),
        *(refused(f"dataset {name}", nothing, f"prepare -d {name} -c 2d", name) for name in ("902", "tiny")),
        refused("no nnUNet_preprocessed", unset("nnUNet_preprocessed"), PREPARE, "nnUNet_preprocessed", "export"),
        refused("no nnUNet_results", unset("nnUNet_results"), TRAIN, "nnUNet_results", "export"),
    ]  # fmt: skip


ROWS = [works("a good dataset", nothing, TRAIN, began), *tables(), *splits(), *pool(), *cases()]


def test_row(row: Row, planned: Path) -> None:
    row.spoil(planned)
    before = listing(planned)
    meet(row, planned, OUTPUTS)
    assert before.items() <= listing(planned).items()
