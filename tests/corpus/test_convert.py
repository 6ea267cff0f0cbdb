"""`mgcl convert` on odd manifests, scans and options."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from nnunet_mgcl.cli import main
from tests.corpus.row import Row, either, meet, refused, works
from tests.corpus.spoil import (
    DATATYPE,
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
    fifo,
    folder,
    header,
    link,
    moved,
    nothing,
    replaced,
    text,
    voxel,
    voxels,
)

HERE, MANIFEST = "raw/Dataset007_Odd", "scans/manifest.csv"
OUTPUTS = (f"{HERE}/*", "draft.csv")
BASE = "convert --id 7 --name Odd -o raw -np 1"
CONVERT = f"{BASE} -i {MANIFEST} --reference none"
DRAFT = "convert --init scans -o draft.csv"
B_DWI, B_ADC, B_MASK = "scans/b_dwi.nii.gz", "scans/b_adc.nii.gz", "scans/b_mask.nii.gz"


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def converted(tree: Path, printed: str) -> None:
    """All three cases are in the dataset, their ADC maps in 10^-6 mm^2/s, their masks of the lesion drawn."""
    dataset = json.loads((tree / HERE / "dataset.json").read_text())
    assert dataset["numTraining"] == 2 and dataset["channel_names"] == {"0": "DWI", "1": "ADC", "2": "FLAIR"}
    assert dataset["labels"] == {"background": 0, "lesion": 1}
    for case in ("a", "b"):
        adc = array(tree / HERE / "imagesTr" / f"{case}_0001.nii.gz")
        assert 750 < np.median(adc[adc > 100]) < 950
        assert array(tree / HERE / "labelsTr" / f"{case}.nii.gz").sum() == array(tree / B_MASK).astype(bool).sum()
    assert table(tree / HERE / "tss.csv")["a"]["tss_hours"] in ("2.5", "")


def cases(*names: str, folder: str = "imagesTr") -> Callable[[Path, str], None]:
    """These cases are in the dataset."""

    def check(tree: Path, printed: str) -> None:
        assert {path.name.split("_0")[0] for path in (tree / HERE / folder).iterdir()} == set(names)

    return check


def cell(old: str, new: str) -> Spoil:
    """Changes a text of the manifest."""
    return replaced(MANIFEST, old, new)


def ran(words: str) -> Spoil:
    """An earlier command, which may have refused."""

    def run(tree: Path) -> None:
        with contextlib.suppress(SystemExit):
            main(words.split())

    return run


# ---------------------------------------------------------------------- the table


def manifests() -> list[Row]:
    def row(name: str, change: Spoil, *says: str, quick: bool = False) -> Row:
        return refused(f"manifest: {name}", change, CONVERT, *(says or ("manifest.csv",)), quick=quick)

    channels = [
        row("ACD for ADC", cell(",ADC,", ",ACD,"), "ACD", "ADC", quick=True),
        row("a kind that may be another", cell(",DWI,ADC,", ",DTI,b0,"), "--as-named DTI", quick=True),
        works(
            "manifest: that kind as it is named",
            cell(",DWI,ADC,", ",DTI,b0,"),
            f"{CONVERT} --as-named DTI",
            cases("a", "b"),
            "DTI, b0: no known kind of scan",
            quick=True,
        ),
        row("a mask for no modality", cell(",mask,", ",mask_DIW,"), "line 1", quick=True),
        row("no mask for a modality", cell(",mask,", ",mask_DWI,"), "line 1", quick=True),
        works("manifest: a kind nobody knows", cell(",FLAIR,", ",XYZQ,"), CONVERT, cases("a", "b"), "XYZQ", "unit"),
        works("manifest: the kind T1", cell(",FLAIR,", ",T1,"), CONVERT, cases("a", "b")),
        works("manifest: adc in lower case", cell(",DWI,ADC,FLAIR,", ",dwi,adc,flair,"), CONVERT, cases("a", "b")),
    ]
    forms = [
        works("manifest: byte order mark", lambda t: text(MANIFEST, (t / MANIFEST).read_text(), "utf-8-sig")(t),
              CONVERT, converted),
        works("manifest: CRLF and quotes", lambda t: content_of(
            MANIFEST, (t / MANIFEST).read_bytes().replace(b"a_dwi.nii.gz", b'"a_dwi.nii.gz"').replace(b"\n", b"\r\n")
        )(t), CONVERT, converted, quick=True),
        row("UTF-16", lambda t: text(MANIFEST, (t / MANIFEST).read_text(), "utf-16")(t)),
        row("Latin-1", lambda t: text(MANIFEST, (t / MANIFEST).read_text() + "ü,,,c_flair.nii.gz,,,\n", "latin-1")(t)),
        row("NUL", lambda t: content_of(MANIFEST, (t / MANIFEST).read_bytes() + b"d,\0,,,,,\n")(t)),
        row("a cell of 200,000 characters", cell(",2.5,", f",{LONG},"), quick=True),
        row("hours with an underscore", cell(",2.5,", ",1_0,"), "line 2", quick=True),
        row("a folder", folder(MANIFEST), quick=True),
        row("a pipe", fifo(MANIFEST), quick=True),
    ]  # fmt: skip
    return [*channels, *forms]


# ---------------------------------------------------------------------- the scans


def adc_units() -> list[Row]:
    told = f"{CONVERT} --adc-unit mm2/s"
    return [
        refused("ADC: one unit told for maps in two", nothing, told, "a", quick=True),
        refused("ADC: and accepted", ran(told), f"{told} --accept a b", "adc_unit"),
        refused("ADC: of no unit", voxels("scans/a_adc.nii.gz", lambda v: v * 37), CONVERT, "a_adc.nii.gz"),
    ]


def scans_() -> list[Row]:
    def bad(name: str, change: Spoil, *says: str, quick: bool = False) -> Row:
        return refused(f"scan: {name}", change, CONVERT, *(says or ("b_dwi.nii.gz",)), quick=quick)

    inf = float("inf")
    spoilt = {
        "a dimension of 0": header(B_DWI, DIM, _3=0), "8 dimensions": header(B_DWI, DIM, _0=8),
        "a larger dimension": header(B_DWI, DIM, _3=900),
        "the largest dimensions": header(B_DWI, DIM, _1=32767, _2=32767, _3=32767),
        "spacing infinite": header(B_DWI, PIXDIM, _3=inf), "slope 1e38": header(B_DWI, SLOPE, _0=1e38),
        "an unknown type": header(B_DWI, DATATYPE, _0=777), "type complex": header(B_DWI, DATATYPE, _0=32, _1=64),
        "not compressed": lambda t: nibabel.save(nibabel.load(t / B_DWI), t / "scans/b.nii")
        or (t / "scans/b.nii").rename(t / B_DWI), "a folder of pictures": folder(B_DWI),
        "all NaN": voxels(B_DWI, lambda v: v * np.nan), "one voxel": voxels(B_DWI, lambda v: v[:1, :1, :1]),
    }  # fmt: skip
    quick = {"a dimension of 0", "all NaN"}
    rows = [bad(name, change, "Not converted: b", "b_dwi.nii.gz", quick=name in quick)
            for name, change in spoilt.items()]  # fmt: skip
    rows += [  # the standard takes such a slope for none
        either(f"scan: slope {slope}", header(B_DWI, SLOPE, _0=slope), CONVERT, converted, "Not converted: b")
        for slope in (float("nan"), inf)
    ]
    same = both(
        *(copied(f"scans/a_{kind}.nii.gz", f"scans/b_{kind}.nii.gz") for kind in ("dwi", "adc", "flair", "mask"))
    )
    return [
        *rows,
        bad("a patient twice", same, "a", "b", quick=True),
        bad("one of a labelled case in the pool", copied("scans/a_flair.nii.gz", "scans/c_flair.nii.gz"),
            "line 4, column FLAIR", "case a, FLAIR"),
        works("scan: MHA", both(as_image(B_DWI, ".mha"), cell("b_dwi.nii.gz", "b_dwi.mha")), CONVERT, converted),
        works("scan: NRRD", both(as_image(B_ADC, ".nrrd"), cell("b_adc.nii.gz", "b_adc.nrrd")), CONVERT, converted),
        works("scan: an odd but good name", both(moved(B_DWI, "scans/Müller, J. #3 (1).nii.gz"),
              cell("b_dwi.nii.gz", '"Müller, J. #3 (1).nii.gz"')), CONVERT, converted, quick=True),
        works("scan: a link", both(moved(B_DWI, "elsewhere.nii.gz"), link(B_DWI, "../elsewhere.nii.gz")), CONVERT,
              converted),
        works("scan: a terminal of ASCII", both(moved(B_DWI, "scans/Müller.nii.gz"), cell("b_dwi", "Müller")), CONVERT,
              converted, encoding="ascii"),
        refused("scan: a terminal of ASCII and a bad file", both(content_of("scans/Müller.nii.gz", b""),
                cell("b_dwi", "Müller")), CONVERT, "ller.nii.gz", encoding="ascii"),
        refused("scan: no room", nothing, CONVERT, "Dataset007_Odd", file_size=2000),
    ]  # fmt: skip


def masks() -> list[Row]:
    def bad(name: str, change: Spoil, *says: str, words: str = CONVERT, quick: bool = False) -> Row:
        return refused(f"mask: {name}", change, words, *(says or ("b_mask.nii.gz",)), quick=quick)

    def labels(values: np.ndarray) -> np.ndarray:
        new = values.astype(np.uint8)
        new[np.nonzero(new)] = np.resize([1, 2, 4], int(new.sum()))
        return new

    def shifted(tree: Path) -> None:
        image = sitk.ReadImage(str(tree / B_MASK))
        image.SetOrigin((0, 0, 3))
        sitk.WriteImage(image, str(tree / B_MASK))

    return [
        works("mask: labels 1, 2, 4 as one", voxels(B_MASK, labels), f"{CONVERT} --labels lesion=any", converted,
              quick=True),
        bad("labels 1, 2, 4 as 1", voxels(B_MASK, labels), "b_mask.nii.gz", "--labels"),
        bad("NaN", voxel(B_MASK, np.nan)),
        bad("another grid", shifted, "line 3", "mask", quick=True),
        bad("another grid, before any registration", shifted, "line 3", "mask",
            words=CONVERT.replace("--reference none", "--reference FLAIR")),
        bad("4D", voxels(B_MASK, lambda v: np.stack([v, v]))),
        bad("a folder", folder(B_MASK)),
        works("mask: without a lesion", voxels(B_MASK, lambda v: v * 0), CONVERT, cases("a", "b")),
    ]  # fmt: skip


# ---------------------------------------------------------------------- options and other sources


def options() -> list[Row]:
    bad = [
        "--id 0", "--id 1000", "--id -7", "--name ../x", "--name ''", "--name /tmp/x", "--name a/b",
        "--labels lesion=1.5", "--labels lesion=99999", "--labels lesion=\u0661", "--labels =1", "--labels a=1 b=1",
        "--labels a=any b=1", "--labels a", "--labels a=x", "--labels background=2", "--labels ignore=2",
        "--labels a=0", "--channels DW", "--channels DWI DWI", "--channels ''", "--modality X=", "--modality X=DWI,ADC",
        "--modality X=DWI,DIW", "--modality ../x=DWI,ADC FLAIR=FLAIR", "--modality A=DWI,DWI B=ADC,FLAIR",
        "--reference FLIAR", "--as-named ADX", "--spacing 1 nan 6", "--spacing 1 1 inf", "--spacing 1e-3 1e-3 6",
        "--spacing 1e-30 1 1", "--spacing 1e9 1 1", "--max-shift 1e999", "--max-shift nan", "--max-rotation 0",
        "-np 0", "--incomplete pool --test", "--incomplete missing --test", "--suffix DWI=dwi", "--suffix DWI=x",
        "--accept ../a", "--accept aa", "-o /dev/null", "-o /proc/x", f"-o {MANIFEST}", f"-o {MANIFEST}/raw",
        "-i none.csv",
    ]  # fmt: skip
    paths = {"/dev/null", "/proc/x", MANIFEST, f"{MANIFEST}/raw", "none.csv"}

    def named(option: str, value: str, *_: str) -> str:
        return value.removesuffix("/raw") if value in paths else option

    return [
        refused(f"option: {words}", nothing, f"{CONVERT} {words}", named(*words.split()), quick=True) for words in bad
    ] + [
        refused("option: no --reference among channels", nothing, f"{BASE} -i {MANIFEST}", "DWI | ADC | FLAIR | none",
                quick=True),
        works("option: no --reference and one channel", nothing, f"{BASE} -i {MANIFEST} --channels DWI",
              cases("a", "b"), quick=True),
        refused("option: a number that is taken", text("raw/Dataset007_Mine/dataset.json", "{}"), CONVERT,
                "Dataset007_Mine"),
        works("option: a number that a failed run did not take",
              ran(CONVERT.replace("Odd", "Typo").replace("manifest", "gone")), CONVERT, converted),
        refused("option: a file in the dataset's place", text(HERE, ""), CONVERT, "Dataset007_Odd", quick=True),
        refused("option: a link in the dataset's place", both(text("raw/readme", ""), link(HERE, "gone")), CONVERT,
                "Dataset007_Odd", quick=True),
        refused("option: a dataset of others", text(f"{HERE}/dataset.json", "{}"), CONVERT, "Dataset007_Odd"),
        either("option: a dataset.json that is none", both(ran(CONVERT), text(f"{HERE}/dataset.json", "[1]")), CONVERT,
               converted, "dataset.json"),
    ]  # fmt: skip


def drafts() -> list[Row]:
    def rewritten(*columns: str) -> Callable[[Path, str], None]:
        def check(tree: Path, printed: str) -> None:
            header_ = (tree / "draft.csv").read_text().splitlines()[0].split(",")
            assert set(columns) <= set(header_)

        return check

    return [
        refused("draft: a file", nothing, "convert --init scans/manifest.csv -o draft.csv", "manifest.csv"),
        refused("draft: over a manifest", nothing, f"convert --init scans -o {MANIFEST}", "manifest.csv"),
        either("draft: over a dangling link", link("draft.csv", "gone/there"), DRAFT, rewritten("DWI"), "draft.csv"),
        works("draft: pipes and loops among the scans", both(fifo("scans/x_dwi.nii.gz"), link("scans/loop", "."),
              link("scans/y_dwi.nii.gz", "y_dwi.nii.gz")), DRAFT, rewritten("DWI", "ADC", "FLAIR")),
        works("draft: an odd name in ASCII", moved("scans/t_dwi.nii.gz", "scans/Müller_dwi.nii.gz"), DRAFT,
              rewritten("DWI"), encoding="ascii"),
    ]  # fmt: skip


ROWS = [*manifests(), *adc_units(), *scans_(), *masks(), *options(), *drafts()]


def test_row(row: Row, scans: Path) -> None:
    row.spoil(scans)
    before_any_work = row.name.startswith("option: ") and not row.check
    meet(row, scans, () if before_any_work else OUTPUTS)
