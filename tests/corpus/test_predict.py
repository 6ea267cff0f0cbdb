"""`mgcl predict` on odd images, models and flags."""

from __future__ import annotations

import csv
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from nnunet_mgcl.cli import main
from tests.corpus.row import Row, either, meet, refused, works
from tests.corpus.spoil import (
    DIM,
    LONG,
    PIXDIM,
    SLOPE,
    Spoil,
    array,
    as_image,
    both,
    content_of,
    copied,
    cut,
    edited,
    fifo,
    folder,
    header,
    link,
    moved,
    nothing,
    removed,
    text,
    voxel,
    voxels,
)

OUTPUTS = ("out/*",)
FLAGS = "-f 0 -device cpu -npp 0 -nps 0 --disable_tta --disable_progress_bar"
PREDICT = f"predict -i images -o out -m model {FLAGS}"
IMAGE, PLANS, DATASET = "images/case_1_0000.nii.gz", "model/plans.json", "model/dataset.json"
CHECKPOINT = "model/fold_0/checkpoint_final.pth"


def predicted(*cases: str) -> Callable[[Path, str], None]:
    """These cases have a segmentation of labels on the image's grid, and a row with a probability."""

    def check(tree: Path, printed: str) -> None:
        with (tree / "out/tss.csv").open(newline="") as file:
            rows = {row["case"]: row for row in csv.DictReader(file)}
        assert set(rows) == set(cases)
        for case in cases:
            assert array(tree / f"out/{case}.nii.gz").max() <= 3
            assert 0 <= float(rows[case]["probability"]) <= 1
            assert all(float(rows[case][f"volume_ml_{name}"]) >= 0 for name in "AB")

    return check


BOTH_CASES = predicted("case_0", "case_1")


def first(words: str = PREDICT) -> Spoil:
    """An earlier prediction."""
    return lambda tree: main(words.split())


def other_grid(tree: Path) -> None:
    image = sitk.ReadImage(str(tree / IMAGE))
    sitk.WriteImage(sitk.Crop(image, [4, 0, 0], [0, 0, 0]), str(tree / IMAGE))


def other_model(tree: Path) -> None:
    """A second model, of other weights."""
    copied("model", "other")(tree)
    path = tree / "other/fold_0/checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    for weights in checkpoint["network_weights"].values():
        if weights.is_floating_point():
            weights.mul_(-1.5)
    torch.save(checkpoint, path)


class Evil:
    """Touches `ran` in the working folder when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def images() -> list[Row]:
    def bad(name: str, spoil: Spoil, *says: str, quick: bool = False) -> Row:
        return refused(f"image: {name}", spoil, PREDICT, *(says or ("case_1",)), quick=quick)

    nan, inf = float("nan"), float("inf")
    headers = {
        "a dimension of 0": header(IMAGE, DIM, _3=0), "spacing NaN": header(IMAGE, PIXDIM, _1=nan),
        "the largest dimensions": header(IMAGE, DIM, _1=32767, _2=32767, _3=32767),
    }  # fmt: skip
    values = {  # a slope that is no number counts as none, for NIfTI's readers
        "slope infinite": header(IMAGE, SLOPE, _0=inf),
        "all NaN": voxels(IMAGE, lambda v: v * np.nan), "one NaN": voxel(IMAGE, nan), "infinite": voxel(IMAGE, inf),
        "float32's largest": voxels(IMAGE, lambda v: np.sign(v - 10) * np.float32(3.3e38)),
    }  # fmt: skip
    return [
        *(bad(name, spoil, quick="the" not in name) for name, spoil in headers.items()),
        *(either(f"image: {name}", spoil, PREDICT, BOTH_CASES, "case_1")
          for name, spoil in values.items()),
        either("image: spacing negative", header(IMAGE, PIXDIM, _3=-6), PREDICT, BOTH_CASES, "case_1"),
        either("image: one value", voxels(IMAGE, lambda v: v * 0), PREDICT, BOTH_CASES, "case_1"),
        bad("a channel on another grid", other_grid, "case_1", quick=True),
        bad("empty", content_of(IMAGE, b"")),
        bad("half", cut(IMAGE, 3000), quick=True),
        bad("a folder", folder(IMAGE)),
        bad("a pipe", fifo(IMAGE), quick=True),
        bad("a dangling link", link(IMAGE, "gone")),
        bad("4D", voxels(IMAGE, lambda v: np.stack([v, v]))),
        bad("2D", voxels(IMAGE, lambda v: v[0])),
        refused("image: MHA", both(*(as_image(f"images/case_{c}_000{n}.nii.gz", ".mha") for c in (0, 1)
                for n in range(3))), PREDICT, "mgcl convert", "--test", quick=True),
        either("image: a name that starts a formula", both(*(moved(f"images/case_1_000{n}.nii.gz",
               f"images/=1+1_000{n}.nii.gz") for n in range(3))), PREDICT, no_formula, "=1+1"),
        works("image: a name that ASCII lacks", both(*(moved(f"images/case_1_000{n}.nii.gz",
              f"images/Müller_000{n}.nii.gz") for n in range(3))), PREDICT, predicted("case_0", "Müller"),
              encoding="ascii"),
        works("image: other files beside", both(text("images/readme.md", ""), folder("images/@eaDir")), PREDICT,
              BOTH_CASES),
    ]  # fmt: skip


def no_formula(tree: Path, printed: str) -> None:
    with (tree / "out/tss.csv").open(newline="") as file:
        assert not [cell for row in csv.reader(file) for cell in row if cell[:1] in ("=", "+", "-", "@")]


def models() -> list[Row]:
    def bad(name: str, spoil: Spoil, *says: str, quick: bool = False) -> Row:
        return refused(f"model: {name}", spoil, PREDICT, *says, quick=quick)

    def evil(tree: Path) -> None:
        torch.save({"network_weights": Evil()}, tree / CHECKPOINT)

    def of_other_shape(tree: Path) -> None:
        checkpoint = torch.load(tree / CHECKPOINT, weights_only=False)
        name, weights = next(iter(checkpoint["network_weights"].items()))
        checkpoint["network_weights"][name] = weights.flatten()[:1]
        torch.save(checkpoint, tree / CHECKPOINT)

    def a_zip(tree: Path) -> None:
        with zipfile.ZipFile(tree / CHECKPOINT, "w") as file:
            file.writestr("readme", "x")

    plans = {
        "a list": (text(PLANS, "[1]"), "plans.json"),
        "unresolved": (edited(PLANS, lambda p: p["configurations"]["2d"].pop("mgcl")), "plans.json"),
        "an unknown reader": (edited(PLANS, lambda p: p.update(image_reader_writer="Nope")), "Nope"),
        "a calibration as a list": (edited(PLANS, lambda p: p.update(mgcl_calibration=[1])), "mgcl_calibration"),
    }  # fmt: skip
    return [
        *(bad(f"plans: {name}", spoil, part, quick=True) for name, (spoil, part) in plans.items()),
        bad("dataset.json: no file_ending", edited(DATASET, lambda d: d.pop("file_ending")), "file_ending", quick=True),
        bad("dataset.json: labels as a list", edited(DATASET, lambda d: d.update(labels=[1])), "labels", quick=True),
        bad("a checkpoint that runs code", evil, "checkpoint_final.pth", quick=True),
        bad("half a checkpoint", cut(CHECKPOINT, 20_000), "checkpoint_final.pth", quick=True),
        bad("a checkpoint of a pickle", content_of(CHECKPOINT, pickle.dumps({})), "checkpoint_final.pth"),
        bad("a checkpoint of another network", of_other_shape, "model", "size mismatch"),
        bad("a checkpoint that is a zip", a_zip, "checkpoint_final.pth"),
        bad("a checkpoint that is a pipe", fifo(CHECKPOINT), "checkpoint_final.pth"),
        bad("no plans", removed(PLANS), "plans.json"),
        bad("no dataset.json", removed(DATASET), "dataset.json"),
        works("model: unknown keys", both(edited(PLANS, lambda p: p.update(theirs=[1])),
              edited(DATASET, lambda d: d.update(theirs={}))), PREDICT, BOTH_CASES, quick=True),
    ]  # fmt: skip


def flags() -> list[Row]:
    bad = {
        "-step_size 0": "-step_size", "-step_size nan": "-step_size", "-step_size 3": "-step_size",
        "-step_size -1": "-step_size", "-num_parts 0": "-num_parts", "-part_id 2": "-part_id", "-f 9": "fold_9",
        "-f all": "fold_all", "-i gone": "gone",
        "-i images/case_0_0000.nii.gz": "case_0_0000", "-m gone": "gone", "-o images": "-o",
        "-m model/fold_0": "name the folder above", "-o /dev/null": "/dev/null",
        "-o /proc/x": "/proc/x", "-o model/plans.json": "plans.json", "-npp -1": "-npp", "-nps -2": "-nps",
    }  # fmt: skip
    quick = {"-step_size 0", "-npp -1", "-o model/plans.json"}
    again = f"{PREDICT} --continue_prediction"

    def same_rows(tree: Path, printed: str) -> None:
        BOTH_CASES(tree, printed)
        assert "2 of 2 cases are predicted already" in printed

    def other_rows(tree: Path, printed: str) -> None:
        raise AssertionError("two models' rows in one table")

    return [
        *(refused(f"flag: {words}", nothing, f"{PREDICT} {words}", part, quick=words in quick)
          for words, part in bad.items()),
        works("continued", first(), again, same_rows),
        refused("continued with another model", both(other_model, first()), again.replace("-m model", "-m other"),
                "out", quick=True),
        refused("continued with other flags", first(), again.replace("--disable_tta ", ""), "out"),
        refused("continued with another image", both(first(), voxels(IMAGE, lambda v: v[::-1] * 2)), again, "case_1"),
        refused("continued: a table that is a pipe", both(first(), fifo("out/tss.csv")), again, "tss.csv"),
        either("continued: a table that is a dangling link", both(first(), link("out/tss.csv", "gone")), again,
               BOTH_CASES, "tss.csv"),
        either("continued: a table with a long cell", both(first(), text("out/tss.csv", f"case,probability\n{LONG}")),
               again, BOTH_CASES, "tss.csv"),
        either("continued: half a segmentation", both(first(), cut("out/case_1.nii.gz", 100)), again, BOTH_CASES,
               "out"),
        refused("no room", nothing, PREDICT, "out", file_size=50, quick=True),
        works("ASCII only", nothing, PREDICT, BOTH_CASES, encoding="ascii"),
    ]  # fmt: skip


ROWS = [*images(), *models(), *flags()]


def test_row(row: Row, model: Path) -> None:
    row.spoil(model)
    meet(row, model, OUTPUTS)
    assert not (model / "ran").exists(), "a file ran code"
