"""`mgcl prepare` on odd tables, pools and preprocessed folders."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

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
    both,
    content_of,
    cut,
    edited,
    fifo,
    folder,
    header,
    link,
    nothing,
    removed,
    replaced,
    text,
    voxels,
)

RAW, HERE = "raw/Dataset901_Tiny", "preprocessed/Dataset901_Tiny"
CASES, POOL = f"{HERE}/nnUNetPlans_2d", f"{HERE}/nnUNetPlans_2d_unlabelled"
IMAGE, TABLE = f"{RAW}/imagesUn/pool_1_0000.nii.gz", f"{RAW}/tss.csv"
OUTPUTS = (f"{HERE}/tss.csv", f"{HERE}/splits_final.json", f"{POOL}/*")
PREPARE = "prepare -d 901 -c 2d -np 1"
BOTH = (f"{RAW}/dataset.json", f"{HERE}/dataset.json")


def ready(tree: Path, printed: str) -> None:
    """The copies are there, and every pool image as numbers that training can use."""
    assert "is ready for 2d" in printed
    assert (tree / HERE / "tss.csv").read_bytes() == (tree / TABLE).read_bytes()
    pool_is_usable(tree)


def pool_is_usable(tree: Path) -> None:
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    for modality in (
        path for path in (tree / POOL).iterdir() if path.is_dir() and path.name in ("DWI", "FLAIR", "PWI")
    ):
        cases = [path.stem for path in modality.glob("*.b2nd") if not path.stem.endswith("_seg")]
        for case in cases:
            data, *_ = nnUNetDatasetBlosc2(str(modality), cases).load_case(case)
            values = np.array(data[:])
            assert np.isfinite(values).all() and values.std() > 0, f"{modality.name}/{case}"


def prepared(tree: Path) -> None:
    """An earlier run."""
    main(PREPARE.split())


def table(row: str, header: str = "case,tss_hours") -> Spoil:
    rows = ["case_1,2", "case_2,3", "case_3,6", "case_4,8"]
    return text(TABLE, "\n".join([header, row, *(f"{r},p{r[5]}" if header.count(",") == 2 else r for r in rows), ""]))


def tables() -> list[Row]:
    def bad(name: str, spoil: Spoil, *says: str, quick: bool = False) -> Row:
        return refused(f"tss.csv: {name}", spoil, PREPARE, *(says or ("tss.csv",)), quick=quick)

    hours = {"1_0": "an underscore", "\u0663": "Arabic digits", "\uff12": "full-width digits", "1e400": "infinity",
             "0x1p1": "hexadecimal", "=1+1": "a formula"}  # fmt: skip
    patients = ("=HYPERLINK(1)", "+49", "-1", "@SUM(A1)", "\t=1")
    return [
        bad("a dangling link", link(TABLE, "gone.csv"), quick=True),
        bad("a dangling link after a good one", both(prepared, link(TABLE, "gone.csv")), quick=True),
        bad("a link to itself", both(prepared, link(TABLE, "tss.csv")), quick=True),
        bad("a pipe", fifo(TABLE), quick=True),
        bad("a pipe after a good one", both(prepared, fifo(TABLE))),
        either(
            "tss.csv: the copy is a dangling link", link(f"{HERE}/tss.csv", "gone.csv"), PREPARE, ready, "tss.csv"),
        either("tss.csv: the copy is a pipe", fifo(f"{HERE}/tss.csv"), PREPARE, ready, "tss.csv"),
        bad("a cell of 200,000 characters", table(f"case_0,{LONG}"), quick=True),
        bad("NUL", content_of(TABLE, b"case,tss_hours\ncase_0,\0\n")),
        bad("an open quote", table('"case_0,1')),
        *(bad(f"hours with {name}", table(f"case_0,{value}"), "line 2", quick=name == "an underscore")
          for value, name in hours.items()),
        *(bad(f"a patient {value!r}", table(f'case_0,1,"{value}"', "case,tss_hours,patient"), "line 2",
              quick=value == "@SUM(A1)") for value in patients),
        works("tss.csv: hours with blanks around", table("case_0, 1.5 "), PREPARE, ready),
        works("tss.csv: ASCII only", nothing, PREPARE, ready, encoding="ascii"),
        bad("a case that ASCII lacks", table("Müller,1"), "line 2"),
    ]  # fmt: skip


def pool() -> list[Row]:
    def bad(name: str, spoil: Spoil, *says: str, quick: bool = False) -> Row:
        return refused(f"pool: {name}", spoil, PREPARE, *(says or ("pool_1_0000.nii.gz",)), quick=quick)

    nan, inf = float("nan"), float("inf")
    largest = voxels(IMAGE, lambda v: (v / v.max()).astype(np.float32) * np.float32(3.3e38))
    spacings = {"0": 0.0, "NaN": nan, "infinite": inf, "1e-3": 1e-3, "1e-30": 1e-30, "1e30": 1e30}
    return [
        either("pool: float32's largest", largest, PREPARE, ready, "pool_1_0000.nii.gz", quick=True),
        either("pool: slope 1e30", header(IMAGE, SLOPE, _0=1e30), PREPARE, ready, "pool_1_0000.nii.gz", quick=True),
        either("pool: slope 1e-40", header(IMAGE, SLOPE, _0=1e-40), PREPARE, ready, "pool_1_0000.nii.gz"),
        either(
            "pool: slope NaN", header(IMAGE, SLOPE, _0=nan), PREPARE, ready, "pool_1_0000.nii.gz"),
        either(
            "pool: slope infinite", header(IMAGE, SLOPE, _0=inf), PREPARE, ready, "pool_1_0000.nii.gz"),
        *(bad(f"spacing {name}", header(IMAGE, PIXDIM, _1=value, _2=value, _3=value), quick=name in ("0", "NaN"))
          for name, value in spacings.items()),
        either("pool: spacing negative", header(IMAGE, PIXDIM, _3=-6), PREPARE, ready, "pool_1_0000.nii.gz"),
        bad("a dimension of 0", header(IMAGE, DIM, _3=0), quick=True),
        bad("a negative dimension", header(IMAGE, DIM, _1=-32)),
        bad("the largest dimensions", header(IMAGE, DIM, _1=32767, _2=32767, _3=32767)),
        bad("a pipe", fifo(IMAGE)),
        bad("a link to itself", link(IMAGE, "pool_1_0000.nii.gz")),
        bad("one voxel", voxels(IMAGE, lambda v: v[:1, :1, :1])),
        bad("imagesUn is a link to itself", link(f"{RAW}/imagesUn", "imagesUn"), "imagesUn"),
        bad("imagesUn is a pipe", both(removed(f"{RAW}/imagesUn"), fifo(f"{RAW}/imagesUn")), "imagesUn"),
        refused("pool: no room", nothing, PREPARE, "Dataset901_Tiny", file_size=4000, quick=True),
    ]  # fmt: skip


def preprocessed() -> list[Row]:
    manifest = f"{POOL}/manifest.json"
    shapes = {"a list": "[]", "null": "null", "a text": '"x"', "half": '{"labelled"', "deep": DEEP, "digits":
              f'{{"labelled": {DIGITS}}}', "labelled as a list": '{"labelled": [1]}', "modalities as a list":
              '{"modalities": [1]}', "a modality as a list": '{"modalities": {"DWI": [1]}, "DWI": [1]}'}  # fmt: skip
    rows = [
        either(f"manifest.json: {name}", both(prepared, text(manifest, content)), PREPARE, ready, "manifest.json",
               quick=name in ("a list", "deep"))
        for name, content in shapes.items()
    ]  # fmt: skip

    def move(tree: Path) -> None:
        """The dataset comes from another place, as a mount does."""
        prepared(tree)
        (tree / "raw").rename(tree / "disk")
        os.environ["nnUNet_raw"] = str(tree / "disk")  # the fixture puts it back

    def moved(tree: Path, printed: str) -> None:
        """All that was preprocessed is taken as it is."""
        assert printed.count(" 0 to preprocess") == 3
        assert str(tree) not in (tree / POOL / "manifest.json").read_text()
        pool_is_usable(tree)

    def evil(tree: Path) -> None:
        class Evil:
            def __reduce__(self):
                return os.system, (f"touch {tree}/ran",)

        (tree / CASES / "case_3.pkl").write_bytes(pickle.dumps(Evil()))

    def same_case(tree: Path) -> None:
        """Two labelled cases with the same images and mask."""
        for path in (tree / RAW / "imagesTr").glob("case_0_*"):
            shutil.copy(path, str(path).replace("case_0_", "case_5_"))
        shutil.copy(tree / RAW / "labelsTr/case_0.nii.gz", tree / RAW / "labelsTr/case_5.nii.gz")
        for path in (tree / CASES).glob("case_0*"):
            shutil.copy(path, str(path).replace("case_0", "case_5"))

    def bad(name: str, spoil: Spoil, *says: str, quick: bool = False) -> Row:
        return refused(f"preprocessed: {name}", spoil, PREPARE, *says, quick=quick)

    truncated = f"{POOL}/DWI/pool_1.b2nd"
    return [
        *rows,
        works("preprocessed: the raw data moved", move, PREPARE, moved, quick=True),
        either("preprocessed: a truncated image of the pool", both(prepared, cut(truncated, 200)), PREPARE, ready,
               "pool_1", quick=True),
        either("preprocessed: an empty image of the pool", both(prepared, cut(truncated, 0)), PREPARE, ready, "pool_1"),
        either("preprocessed: no mask of the pool", both(prepared, removed(f"{POOL}/DWI/pool_1_seg.b2nd")), PREPARE,
               ready, "pool_1"),
        either("preprocessed: properties of the pool cut", both(prepared, cut(f"{POOL}/DWI/pool_1.pkl", 20)), PREPARE,
               ready, "pool_1"),
        either("preprocessed: @eaDir in the pool", both(prepared, folder(f"{POOL}/DWI/@eaDir")), PREPARE, ready,
               "@eaDir", quick=True),
        either("preprocessed: .ipynb_checkpoints in the pool", both(prepared, folder(f"{POOL}/.ipynb_checkpoints")),
               PREPARE, ready, ".ipynb_checkpoints"),
        either("preprocessed: a folder among the cases", folder(f"{CASES}/.ipynb_checkpoints"), PREPARE, ready,
               ".ipynb_checkpoints"),
        bad("properties that run code", evil, "case_3", quick=True),
        bad("the same case twice", same_case, "case_0", "case_5", quick=True),
        bad("a pipe for a case", fifo(f"{CASES}/case_3.b2nd"), "case_3", quick=True),
        bad("a folder for a case", folder(f"{CASES}/case_3.b2nd"), "case_3"),
        bad("splits: deep", text(f"{HERE}/splits_final.json", DEEP), "splits_final.json"),
        bad("splits: null", text(f"{HERE}/splits_final.json", "null"), "splits_final.json"),
        bad("splits: folds of null", text(f"{HERE}/splits_final.json", "[null]"), "splits_final.json"),
        bad("splits: a pipe", fifo(f"{HERE}/splits_final.json"), "splits_final.json"),
        bad("splits: a dangling link", link(f"{HERE}/splits_final.json", "gone/there.json"), "splits_final.json"),
    ]  # fmt: skip


def structures() -> list[Row]:
    def everywhere(change: Callable[[dict], object]) -> Spoil:
        return both(*(edited(path, change) for path in BOTH))

    datasets = {
        "labels as a list": (lambda d: d.update(labels=["background", "lesion"]), "labels"),
        "no background": (lambda d: d["labels"].pop("background"), "background"),
        "no channel_names": (lambda d: d.pop("channel_names"), "channel_names"),
        "no file_ending": (lambda d: d.pop("file_ending"), "file_ending"),
        "a file ending of 1": (lambda d: d.update(file_ending=1), "file_ending"),
        "regions without an order": (lambda d: d["labels"].update(DWI=[1, 2]), "labels"),
        "labels of negative numbers": (lambda d: d["labels"].update(DWI=-1), "labels"),
        "numTraining as text": (lambda d: d.update(numTraining="six"), "dataset.json"),
    }  # fmt: skip
    configuration = lambda key, value: edited(  # noqa: E731
        f"{HERE}/nnUNetPlans.json", lambda p: p["configurations"]["2d"].update({key: value})
    )
    plans = {
        "a list": (text(f"{HERE}/nnUNetPlans.json", "[1]"), "nnUNetPlans"),
        "a configuration as a list": (
            edited(f"{HERE}/nnUNetPlans.json", lambda p: p["configurations"].update({"2d": [1]})), "2d"),
        "an unknown reader": (
            edited(f"{HERE}/nnUNetPlans.json", lambda p: p.update(image_reader_writer="Nope")), "Nope"),
        "a reader that is a path": (
            edited(f"{HERE}/nnUNetPlans.json", lambda p: p.update(image_reader_writer="../x")), "../x"),
        "an unknown normalisation": (configuration("normalization_schemes", ["Nope"] * 3), "Nope"),
        "two normalisations for three channels": (configuration("normalization_schemes", ["ZScoreNormalization"] * 2),
                                                  "normalization_schemes"),
        "an unknown resampling": (configuration("resampling_fn_data", "nope"), "nope"),
        "an unknown preprocessor": (configuration("preprocessor_name", "Nope"), "Nope"),
        "spacing of text": (configuration("spacing", "three"), "spacing"),
        "spacing 0": (configuration("spacing", [0, 3]), "spacing"),
        "a data_identifier of a path": (configuration("data_identifier", "../../x"), "data_identifier"),
        "no transpose": (edited(f"{HERE}/nnUNetPlans.json", lambda p: p.pop("transpose_forward")),
                         "transpose_forward"),
        "deep": (text(f"{HERE}/nnUNetPlans.json", DEEP), "nnUNetPlans.json"),
    }  # fmt: skip
    quick = {"no file_ending", "labels as a list", "an unknown reader", "an unknown normalisation", "no background"}
    known = {"numTraining as text"}
    return [
        (either(f"dataset.json: {name}", everywhere(change), PREPARE, ready, part) if name in known else refused(
            f"dataset.json: {name}", everywhere(change), PREPARE, part, quick=name in quick))
        for name, (change, part) in datasets.items()
    ] + [
        refused(f"plans: {name}", spoil, PREPARE, part, quick=name in quick) for name, (spoil, part) in plans.items()
    ] + [
        *(refused(f"dataset.json: {name}", both(*(text(path, content) for path in BOTH)), PREPARE, "dataset.json")
          for name, content in {"a list": "[1]", "null": "null", "a text": '"x"'}.items()),
        works("dataset.json: unknown keys", everywhere(lambda d: d.update(theirs={"a": [None]}, licence="CC0")),
              PREPARE, ready, quick=True),
        refused("dataset.json: digits", replaced(BOTH[1], '"numTraining": 6', f'"numTraining": {DIGITS}'), PREPARE,
                "dataset.json"),
        refused("option: no such plans", nothing, f"{PREPARE} -p Other", "Other.json"),
        refused("option: plans of a path", nothing, f"{PREPARE} -p ../Dataset901_Tiny/nnUNetPlans", "../Dataset901"),
        refused("option: no process", nothing, PREPARE.replace("-np 1", "-np -1"), "-np"),
        refused("option: a name that was not converted", nothing, "prepare -d Dataset901_Tin -c 2d", "Dataset901_Tin"),
    ]  # fmt: skip


ROWS = [*tables(), *pool(), *preprocessed(), *structures()]


def test_row(row: Row, planned: Path) -> None:
    row.spoil(planned)
    meet(row, planned, OUTPUTS)
    assert not (planned / "ran").exists(), "a file ran code"
