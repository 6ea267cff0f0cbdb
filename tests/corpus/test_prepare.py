"""`mgcl prepare` on odd tables, pools and preprocessed folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_mgcl.cli import main
from tests.corpus.row import Row, either, meet, refused, works
from tests.corpus.spoil import (
    DEEP,
    DIM,
    LONG,
    PIXDIM,
    SLOPE,
    Spoil,
    both,
    content_of,
    edited,
    fifo,
    folder,
    header,
    link,
    nothing,
    removed,
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
    for modality in (tree / POOL / name for name in ("DWI", "FLAIR", "PWI")):
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
    """`test_prepare.py` and `test_tss_table.py` in tests/unit/data have more."""

    def bad(name: str, spoil: Spoil, *says: str, quick: bool = False) -> Row:
        return refused(f"tss.csv: {name}", spoil, PREPARE, *(says or ("tss.csv",)), quick=quick)

    return [
        bad("a dangling link", link(TABLE, "gone.csv"), quick=True),
        bad("a pipe", fifo(TABLE), quick=True),
        bad("a cell of 200,000 characters", table(f"case_0,{LONG}"), quick=True),
        bad("NUL", content_of(TABLE, b"case,tss_hours\ncase_0,\0\n")),
        bad("hours with an underscore", table("case_0,1_0"), "line 2", quick=True),
        bad("hours of a formula", table("case_0,=1+1"), "line 2"),
        bad("a patient of a formula", table('case_0,1,"@SUM(A1)"', "case,tss_hours,patient"), "line 2", quick=True),
        works("tss.csv: hours with blanks around", table("case_0, 1.5 "), PREPARE, ready),
        works("tss.csv: ASCII only", nothing, PREPARE, ready, encoding="ascii"),
        bad("a case that ASCII lacks", table("Müller,1"), "line 2"),
    ]


def pool() -> list[Row]:
    """`tests/unit/data/pool/test_case.py` and `test_train_data.py` have more."""

    def bad(name: str, spoil: Spoil, quick: bool = False) -> Row:
        return refused(f"pool: {name}", spoil, PREPARE, "pool_1_0000.nii.gz", quick=quick)

    slopes = {"1e30": 1e30, "1e-40": 1e-40, "NaN": float("nan"), "infinite": float("inf")}
    return [
        *(either(f"pool: slope {name}", header(IMAGE, SLOPE, _0=value), PREPARE, ready, "pool_1_0000.nii.gz",
                 quick=name == "1e30") for name, value in slopes.items()),
        bad("spacing infinite", header(IMAGE, PIXDIM, _1=float("inf")), quick=True),
        bad("spacing 1e-30", header(IMAGE, PIXDIM, _1=1e-30)),
        bad("a negative dimension", header(IMAGE, DIM, _1=-32)),
        bad("the largest dimensions", header(IMAGE, DIM, _1=32767, _2=32767, _3=32767)),
        bad("a pipe", fifo(IMAGE)),
        bad("one voxel", voxels(IMAGE, lambda v: v[:1, :1, :1])),
        refused("pool: imagesUn is a pipe", both(removed(f"{RAW}/imagesUn"), fifo(f"{RAW}/imagesUn")), PREPARE,
                "imagesUn"),
        refused("pool: no room", nothing, PREPARE, "Dataset901_Tiny", file_size=4000, quick=True),
    ]  # fmt: skip


def structures() -> list[Row]:
    """`tests/unit/system/test_spoilt_json.py` has the content of plans, dataset.json and the pool's manifest."""
    everywhere = both(*(edited(path, lambda d: d.update(theirs={"a": [None]}, licence="CC0")) for path in BOTH))
    return [
        *(refused(f"manifest.sqlite: {name}", both(prepared, text(f"{POOL}/manifest.sqlite", content)), PREPARE,
                  "manifest.sqlite", quick=True) for name, content in {"deep": DEEP, "empty": ""}.items()),
        refused("manifest.json of an earlier version: deep", text(f"{POOL}/manifest.json", DEEP), PREPARE,
                "manifest.json", quick=True),
        refused("a pipe for a case", fifo(f"{CASES}/case_3.b2nd"), PREPARE, "case_3", quick=True),
        refused("a folder for a case", folder(f"{CASES}/case_3.b2nd"), PREPARE, "case_3"),
        refused("dataset.json: a list", text(BOTH[1], "[1]"), PREPARE, "dataset.json", quick=True),
        refused("dataset.json: the raw one as a list", text(BOTH[0], "[1]"), PREPARE, "dataset.json", quick=True),
        refused("plans: a list", text(f"{HERE}/nnUNetPlans.json", "[1]"), PREPARE, "nnUNetPlans", quick=True),
        works("dataset.json: unknown keys", everywhere, PREPARE, ready, quick=True),
        refused("option: no such plans", nothing, f"{PREPARE} -p Other", "Other.json"),
        refused("option: no process", nothing, PREPARE.replace("-np 1", "-np -1"), "-np"),
        refused("option: a name that was not converted", nothing, "prepare -d Dataset901_Tin -c 2d", "Dataset901_Tin"),
    ]  # fmt: skip


ROWS = [*tables(), *pool(), *structures()]


def test_row(row: Row, planned: Path) -> None:
    row.spoil(planned)
    meet(row, planned, OUTPUTS)
