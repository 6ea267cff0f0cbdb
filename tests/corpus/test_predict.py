"""`mgcl predict` on odd images, models and flags."""

from __future__ import annotations

import csv
import json
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
    DEEP,
    DIGITS,
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
        "a dimension of 0": header(IMAGE, DIM, _3=0), "a negative dimension": header(IMAGE, DIM, _3=-6),
        "the largest dimensions": header(IMAGE, DIM, _1=32767, _2=32767, _3=32767),
        "spacing 0": header(IMAGE, PIXDIM, _1=0), "spacing NaN": header(IMAGE, PIXDIM, _1=nan),
        "spacing infinite": header(IMAGE, PIXDIM, _1=inf), "spacing 1e-30": header(IMAGE, PIXDIM, _1=1e-30),
    }  # fmt: skip
    quick = {"a dimension of 0", "spacing NaN", "spacing 1e-30"}
    values = {  # a slope that is no number counts as none, for NIfTI's readers
        "slope infinite": header(IMAGE, SLOPE, _0=inf),
        "all NaN": voxels(IMAGE, lambda v: v * np.nan), "one NaN": voxel(IMAGE, nan), "infinite": voxel(IMAGE, inf),
        "float32's largest": voxels(IMAGE, lambda v: np.sign(v - 10) * np.float32(3.3e38)),
    }  # fmt: skip
    return [
        *(bad(name, spoil, quick=name in quick) for name, spoil in headers.items()),
        *(either(f"image: {name}", spoil, PREDICT, BOTH_CASES, "case_1")
          for name, spoil in values.items()),
        either("image: spacing negative", header(IMAGE, PIXDIM, _3=-6), PREDICT, BOTH_CASES, "case_1"),
        either("image: one value", voxels(IMAGE, lambda v: v * 0), PREDICT, BOTH_CASES, "case_1"),
        bad("a channel on another grid", other_grid, "case_1", quick=True),
        bad("empty", content_of(IMAGE, b"")),
        bad("half", cut(IMAGE, 3000), quick=True),
        bad("of text", content_of(IMAGE, b"case,probability\n")),
        bad("a folder", folder(IMAGE)),
        bad("a pipe", fifo(IMAGE), quick=True),
        bad("a dangling link", link(IMAGE, "gone")),
        bad("a link to itself", link(IMAGE, "case_1_0000.nii.gz")),
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

    def in_2d(change: Callable[[dict], object]) -> Spoil:
        return edited(PLANS, lambda plans: change(plans["configurations"]["2d"]))

    def evil(tree: Path) -> None:
        torch.save({"network_weights": Evil()}, tree / CHECKPOINT)

    def evil_among_good(tree: Path) -> None:
        torch.save(torch.load(tree / CHECKPOINT, weights_only=False) | {"theirs": Evil()}, tree / CHECKPOINT)

    def of_others(tree: Path) -> None:
        torch.save({"state_dict": {}}, tree / CHECKPOINT)

    def of_other_shape(tree: Path) -> None:
        checkpoint = torch.load(tree / CHECKPOINT, weights_only=False)
        name, weights = next(iter(checkpoint["network_weights"].items()))
        checkpoint["network_weights"][name] = weights.flatten()[:1]
        torch.save(checkpoint, tree / CHECKPOINT)

    def a_zip(tree: Path) -> None:
        with zipfile.ZipFile(tree / CHECKPOINT, "w") as file:
            file.writestr("readme", "x")

    plans = {
        "a list": (text(PLANS, "[1]"), "plans.json"), "deep": (text(PLANS, DEEP), "plans.json"),
        "digits": (text(PLANS, f'{{"plans_name": {DIGITS}}}'), "plans.json"), "half": (cut(PLANS, 300), "plans.json"),
        "configurations as a list": (edited(PLANS, lambda p: p.update(configurations=[1])), "configurations"),
        "a configuration as a list": (edited(PLANS, lambda p: p["configurations"].update({"2d": [1]})), "2d"),
        "unresolved": (in_2d(lambda c: c.pop("mgcl")), "plans.json"),
        "a block of text": (in_2d(lambda c: c.update(mgcl="x")), "mgcl"),
        "an unknown reader": (edited(PLANS, lambda p: p.update(image_reader_writer="Nope")), "Nope"),
        "an unknown normalisation": (in_2d(lambda c: c.update(normalization_schemes=["Nope"] * 3)), "Nope"),
        "no patch size": (in_2d(lambda c: c.pop("patch_size")), "patch_size"),
        "an unknown network": (in_2d(lambda c: c["architecture"].update(network_class_name="os.system")), "os.system"),
        "a calibration as a list": (edited(PLANS, lambda p: p.update(mgcl_calibration=[1])), "mgcl_calibration"),
    }  # fmt: skip
    datasets = {
        "labels as a list": (lambda d: d.update(labels=[1]), "labels"),
        "no background": (lambda d: d["labels"].pop("background"), "background"),
        "no channel_names": (lambda d: d.pop("channel_names"), "channel_names"),
        "no file_ending": (lambda d: d.pop("file_ending"), "file_ending"),
        "mgcl as a list": (lambda d: d.update(mgcl=[1]), "mgcl"),
    }  # fmt: skip
    quick = {"unresolved", "no file_ending", "an unknown reader", "labels as a list"}
    return [
        *(bad(f"plans: {name}", spoil, part, quick=name in quick) for name, (spoil, part) in plans.items()),
        *(bad(f"dataset.json: {name}", edited(DATASET, change), part, quick=name in quick)
          for name, (change, part) in datasets.items()),
        bad("a checkpoint that runs code", evil, "checkpoint_final.pth", quick=True),
        either("model: a good checkpoint that runs code", evil_among_good, PREDICT, BOTH_CASES, "checkpoint_final.pth"),
        bad("half a checkpoint", cut(CHECKPOINT, 20_000), "checkpoint_final.pth", quick=True),
        bad("an empty checkpoint", content_of(CHECKPOINT, b""), "checkpoint_final.pth"),
        bad("a checkpoint of a pickle", content_of(CHECKPOINT, pickle.dumps({})), "checkpoint_final.pth"),
        bad("a checkpoint of others", of_others, "checkpoint_final.pth"),
        bad("a checkpoint of another network", of_other_shape, "model", "size mismatch"),
        bad("a checkpoint that is a zip", a_zip, "checkpoint_final.pth"),
        bad("a checkpoint that is a folder", folder(CHECKPOINT), "checkpoint_final.pth"),
        bad("a checkpoint that is a pipe", fifo(CHECKPOINT), "checkpoint_final.pth"),
        bad("dataset.json: a list", text(DATASET, "[1]"), "dataset.json"),
        bad("no plans", removed(PLANS), "plans.json"),
        bad("no dataset.json", removed(DATASET), "dataset.json"),
        bad("a pipe for plans", fifo(PLANS), "plans.json"),
        works("model: unknown keys", both(edited(PLANS, lambda p: p.update(theirs=[1])),
              edited(DATASET, lambda d: d.update(theirs={}))), PREDICT, BOTH_CASES, quick=True),
    ]  # fmt: skip


def flags() -> list[Row]:
    bad = {
        "-step_size 0": "-step_size", "-step_size nan": "-step_size", "-step_size 3": "-step_size",
        "-step_size -1": "-step_size", "-num_parts 0": "-num_parts", "-part_id 2": "-part_id", "-f 9": "fold_9",
        "-f ../fold_0": "../fold_0", "-chk ../../other.pth": "other.pth", "-f all": "fold_all", "-i gone": "gone",
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
        refused("continued: a table that is a folder", both(first(), folder("out/tss.csv")), again, "tss.csv"),
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
    assert not (model / "out/plans.json").exists() or json.loads((model / "out/plans.json").read_text())
