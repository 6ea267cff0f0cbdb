"""`mgcl convert` on odd manifests, scans and options."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
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
    cut,
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

    digits = {"1_0": "an underscore", "\u0663": "Arabic digits", "\uff12": "full-width digits", "1e400": "infinity",
              "-0.5": "a sign", "0x1p1": "hexadecimal", "169": "too long ago", "2.5h": "a unit",
              "=1+1": "a formula"}  # fmt: skip
    hours = [row(f"hours with {what}", cell(",2.5,", f",{value},"), "line 2", quick=value == "1_0")
             for value, what in digits.items()]  # fmt: skip
    patients = [row(f"a patient {value!r}", cell(",2.5,P", f',2.5,"{value}"'), "line 2", quick=value[0] == "=")
                for value in ("=HYPERLINK(1)", "+49 1", "-1", "@SUM(A1)", "\t=1")]  # fmt: skip
    names = [row(f"a case {value!r:.20}", cell("\na,", f'\n"{value}",'), "line 2")
             for value in ("=1", "../a", "a/b", "a b", "-a", "ü", "a_seg", "x" * 101, ".", "..")]  # fmt: skip
    channels = [
        row("ACD for ADC", cell(",ADC,", ",ACD,"), "ACD", "ADC", quick=True),
        row("FLIAR for FLAIR", cell(",FLAIR,", ",FLIAR,"), "FLIAR", "FLAIR"),
        row("DIW for DWI", cell(",DWI,", ",DIW,"), "DIW", "DWI"),
        row("DW for DWI", cell(",DWI,", ",DW,"), "DW", "DWI"),
        row("CBFF for CBF", cell(",FLAIR,", ",CFB,"), "CFB", "CBF"),
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
        row("a path of 200,000 characters", cell("a_dwi.nii.gz", LONG), "line 2"),
        row("an open quote", cell("a_dwi.nii.gz", '"a_dwi.nii.gz')),
        row("a folder", folder(MANIFEST), quick=True),
        row("a pipe", fifo(MANIFEST), quick=True),
        row("a link to itself", link(MANIFEST, "manifest.csv")),
        row("a dangling link", link(MANIFEST, "gone")),
        row("an onset in Arabic digits", both(
            cell("tss_hours", "onset_time,scan_time"), 
            cell(",2.5,", ",\u0662\u0660\u0662\u0664-03-01 07:00,2024-03-01 09:00,"),
            cell(",,Q", ",,,Q"), cell("c_flair.nii.gz,,,", "c_flair.nii.gz,,,,")), "line 2"),
        either("manifest: a case a.nii", cell("\na,", "\na.nii,"), CONVERT, cases("a.nii", "b"), "a.nii"),
    ]  # fmt: skip
    return [*hours, *patients, *names, *channels, *forms]


# ---------------------------------------------------------------------- the scans


def adc_map(tissue: float, background: float) -> Spoil:
    """The first example of the kind: 12 % of the volume a head, the rest a tiny constant."""

    def write(tree: Path) -> None:
        z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 60, 60)), indexing="ij")
        head = x**2 + y**2 + z**2 < 0.61**2
        random = np.random.default_rng(0)
        values = {"dwi": head * random.normal(100, 5, head.shape)}
        values["adc"] = np.where(head, random.normal(tissue, 0.05 * tissue, head.shape), background)
        for name, voxels_ in values.items():
            image = sitk.GetImageFromArray(voxels_.astype(np.float32))
            image.SetSpacing((2.0, 2.0, 5.0))
            sitk.WriteImage(image, str(tree / f"scans/a_{name}.nii.gz"))
        mask = sitk.GetImageFromArray((x**2 + y**2 + z**2 < 0.1).astype(np.uint8))
        mask.SetSpacing((2.0, 2.0, 5.0))
        sitk.WriteImage(mask, str(tree / "scans/a_mask.nii.gz"))

    return write


def tissue_of_a(low: float = 760, high: float = 840) -> Callable[[Path, str], None]:
    def check(tree: Path, printed: str) -> None:
        adc = array(tree / HERE / "imagesTr" / "a_0001.nii.gz")
        assert low < np.median(adc[20, 25:35, 25:35]) < high

    return check


ONLY_A = both(cell("b,b_dwi.nii.gz,b_adc.nii.gz,b_flair.nii.gz,b_mask.nii.gz,,Q\n", ""))
TWO = f"{CONVERT} --channels DWI ADC"


def adc_units() -> list[Row]:
    rows = [
        works(f"ADC: background {background:g}, tissue {tissue:g}", both(ONLY_A, adc_map(tissue, background)), TWO,
              tissue_of_a(), quick=background == 2.09e-8)
        for tissue, background in ((0.8e-3, 2.09e-8), (0.8, 2.09e-5), (800, 20.9), (0.8e-3, 1e-12), (0.8e-3, 0.0),
                                   (0.8e-3, -1e-4))
    ]  # fmt: skip
    told = f"{CONVERT} --adc-unit mm2/s"
    return [
        *rows,
        refused("ADC: one unit told for maps in two", nothing, told, "a", quick=True),
        refused("ADC: and accepted", ran(told), f"{told} --accept a b", "adc_unit"),
        refused("ADC: of no unit", voxels("scans/a_adc.nii.gz", lambda v: v * 37), CONVERT, "a_adc.nii.gz"),
        refused("ADC: all negative", voxels("scans/a_adc.nii.gz", lambda v: -abs(v) - 1), CONVERT, "a_adc.nii.gz"),
    ]


def scans_() -> list[Row]:
    def bad(name: str, change: Spoil, *says: str, quick: bool = False) -> Row:
        return refused(f"scan: {name}", change, CONVERT, *(says or ("b_dwi.nii.gz",)), quick=quick)

    nan, inf = float("nan"), float("inf")
    headers = {
        "a dimension of 0": header(B_DWI, DIM, _3=0), "a negative dimension": header(B_DWI, DIM, _3=-5),
        "8 dimensions": header(B_DWI, DIM, _0=8), "a larger dimension": header(B_DWI, DIM, _3=900),
        "the largest dimensions": header(B_DWI, DIM, _1=32767, _2=32767, _3=32767),
        "spacing 0": header(B_DWI, PIXDIM, _3=0), "spacing NaN": header(B_DWI, PIXDIM, _3=nan),
        "spacing infinite": header(B_DWI, PIXDIM, _3=inf),
        "spacing 1e-3": header(B_DWI, PIXDIM, _1=1e-3, _2=1e-3, _3=1e-3),
        "spacing 1e-30": header(B_DWI, PIXDIM, _1=1e-30), "slope 1e38": header(B_DWI, SLOPE, _0=1e38),
        "an unknown type": header(B_DWI, DATATYPE, _0=777), "type complex": header(B_DWI, DATATYPE, _0=32, _1=64),
    }  # fmt: skip
    quick = {"a dimension of 0", "spacing NaN", "spacing 1e-30"}
    rows = [bad(name, change, "Not converted: b", quick=name in quick) for name, change in headers.items()]
    as_it_is = {  # the standard takes such a slope for none
        "spacing negative": header(B_DWI, PIXDIM, _3=-5), "slope NaN": header(B_DWI, SLOPE, _0=nan),
        "slope infinite": header(B_DWI, SLOPE, _0=inf),
    }  # fmt: skip
    rows += [
        either(f"scan: {name}", change, CONVERT, converted, "Not converted: b") for name, change in as_it_is.items()
    ]
    files = {
        "empty": content_of(B_DWI, b""), "half": cut(B_DWI, -400), "not compressed": lambda t: nibabel.save(
            nibabel.load(t / B_DWI), t / "scans/b.nii") or (t / "scans/b.nii").rename(t / B_DWI),
        "of text": content_of(B_DWI, b"case,tss_hours\n"), "a folder of pictures": folder(B_DWI),
        "a pipe": fifo(B_DWI), "all NaN": voxels(B_DWI, lambda v: v * np.nan), "infinite": voxel(B_DWI, np.inf),
        "one value": voxels(B_DWI, lambda v: v * 0 + 3), "two-dimensional": voxels(B_DWI, lambda v: v[0]),
        "one voxel": voxels(B_DWI, lambda v: v[:1, :1, :1]),
        "of float32's largest": voxels(B_DWI, lambda v: v / v.max() * np.float32(3.3e38)),
    }  # fmt: skip
    rows += [bad(f"a file {name}", change, quick=name in ("a pipe", "all NaN")) for name, change in files.items()]
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
        works("mask: whole numbers in float64", voxels(B_MASK, lambda v: v.astype(np.float64)), CONVERT, converted),
        bad("fractions", voxel(B_MASK, 0.5)),
        bad("NaN", voxel(B_MASK, np.nan)),
        bad("negative", voxel(B_MASK, -1)),
        bad("huge", voxel(B_MASK, 1e30)),
        bad("another grid", shifted, "line 3", "mask", quick=True),
        bad("another grid, before any registration", shifted, "line 3", "mask",
            words=CONVERT.replace("--reference none", "--reference FLAIR")),
        bad("another shape", voxels(B_MASK, lambda v: v[:-1])),
        bad("4D", voxels(B_MASK, lambda v: np.stack([v, v]))),
        bad("a pipe", fifo(B_MASK)),
        bad("a folder", folder(B_MASK)),
        bad("spacing NaN", header(B_MASK, PIXDIM, _1=float("nan")), "b"),
        works("mask: without a lesion", voxels(B_MASK, lambda v: v * 0), CONVERT, cases("a", "b")),
    ]  # fmt: skip


# ---------------------------------------------------------------------- options and other sources


ONLY_T = text(MANIFEST, "case,DWI,ADC,FLAIR\nt,t_dwi.nii.gz,t_adc.nii.gz,t_flair.nii.gz\n")


def options() -> list[Row]:
    bad = {
        "--id 0": "--id", "--id 1000": "--id", "--id -7": "--id", "--name ../x": "--name", "--name ''": "--name",
        "--name /tmp/x": "--name", "--labels lesion=0": "--labels", "--labels lesion=1.5": "--labels",
        "--labels lesion=99999": "--labels", "--labels lesion=\u0661": "--labels", "--labels =1": "--labels",
        "--channels DWI DWI": "--channels", "--channels ''": "--channels", "--modality X=": "--modality",
        "--modality ../x=DWI,ADC FLAIR=FLAIR": "../x", "--modality A=DWI,DWI B=ADC,FLAIR": "--modality",
        "--spacing 1e-30 1 1": "--spacing", "--spacing 1e-3 1e-3 1e-3": "--spacing", "--spacing 1e9 1 1": "--spacing",
        "--max-shift 1e999": "--max-shift", "-o /dev/null": "/dev/null", "-o /proc/x": "/proc/x",
        "--accept ../a": "--accept", "--suffix DWI=x": "--suffix",
    }  # fmt: skip
    quick = {"--id 0", "--name ../x", "--spacing 1e-3 1e-3 1e-3", "-o /proc/x", "--modality ../x=DWI,ADC FLAIR=FLAIR"}
    return [
        refused(f"option: {words}", nothing, f"{CONVERT} {words}", part, quick=words in quick)
        for words, part in bad.items()
    ] + [
        refused("option: a test before the training", cell("c,,,c_flair.nii.gz,,,\n", ""), f"{CONVERT} --test",
                "Dataset007"),
        works("option: a test without a name", both(ran(CONVERT), ONLY_T),
            CONVERT.replace("--name Odd ", "") + " --test", cases("t", folder="imagesTs"), quick=True),
        refused("option: a number that is taken", text("raw/Dataset007_Mine/dataset.json", "{}"), CONVERT,
                "Dataset007_Mine"),
        works("option: a number that a failed run did not take",
              ran(CONVERT.replace("Odd", "Typo").replace("manifest", "gone")), CONVERT, converted),
        refused("option: a dataset of others", text(f"{HERE}/dataset.json", "{}"), CONVERT, "Dataset007_Odd"),
        refused("option: a file of others", both(ran(CONVERT), text(f"{HERE}/imagesTr/mine.nii.gz", "")), CONVERT,
                "mine.nii.gz"),
        either("option: a record that is none", both(ran(CONVERT), text(f"{HERE}/mgcl_convert/cases/a.json", "[1]")),
               CONVERT, converted, "a.json"),
        either("option: a dataset.json that is none", both(ran(CONVERT), text(f"{HERE}/dataset.json", "[1]")), CONVERT,
               converted, "dataset.json"),
    ]  # fmt: skip


def failed_id(tree: Path) -> None:
    """A run of which no case could be converted, under another name."""
    for path in (tree / "scans").glob("*.nii.gz"):
        shutil.copy(path, f"{path}.good")
        path.write_bytes(b"")
    ran(CONVERT.replace("Odd", "Typo"))(tree)
    for path in (tree / "scans").glob("*.good"):
        path.rename(str(path).removesuffix(".good"))


def drafts() -> list[Row]:
    def rewritten(*columns: str) -> Callable[[Path, str], None]:
        def check(tree: Path, printed: str) -> None:
            header_ = (tree / "draft.csv").read_text().splitlines()[0].split(",")
            assert set(columns) <= set(header_)

        return check

    def emptied(tree: Path) -> None:
        shutil.rmtree(tree / "scans")
        (tree / "scans").mkdir()

    def twice(tree: Path) -> None:
        emptied(tree)
        for kind in ("1_raw", "2_pre"):
            content_of(f"scans/d/{kind}/sub-1_dwi.nii.gz", b"")(tree)

    def a_folder_a_kind(tree: Path) -> None:
        emptied(tree)
        for kind in ("dwi-brain-mri", "adc-brain-mri"):
            content_of(f"scans/images/{kind}/0d1f7a52-9a3e-4c1b-8a55-1c2d3e4f5a6b.mha", b"")(tree)

    def programs(tree: Path) -> None:
        for number in range(300):
            text(f"scans/code/{number}.py", "")(tree)

    def few_lines(tree: Path, printed: str) -> None:
        assert printed.count(".py") < 20

    return [
        refused("draft: a kind twice", twice, DRAFT, "1_raw", "2_pre", quick=True),
        works("draft: a folder a kind", a_folder_a_kind, DRAFT, rewritten("DWI", "ADC")),
        works("draft: 300 programs among the scans", programs, DRAFT, few_lines),
        refused("draft: nothing", emptied, DRAFT, "scans"),
        refused("draft: a file", nothing, "convert --init scans/manifest.csv -o draft.csv", "manifest.csv"),
        refused("draft: nowhere", nothing, "convert --init gone -o draft.csv", "gone"),
        refused("draft: over a manifest", nothing, f"convert --init scans -o {MANIFEST}", "manifest.csv"),
        either("draft: over a dangling link", link("draft.csv", "gone/there"), DRAFT, rewritten("DWI"), "draft.csv"),
        works("draft: pipes and loops among the scans", both(fifo("scans/x_dwi.nii.gz"), link("scans/loop", "."),
              link("scans/y_dwi.nii.gz", "y_dwi.nii.gz")), DRAFT, rewritten("DWI", "ADC", "FLAIR")),
        works("draft: an odd name in ASCII", moved("scans/t_dwi.nii.gz", "scans/Müller_dwi.nii.gz"), DRAFT,
              rewritten("DWI"), encoding="ascii"),
        refused("BIDS: nowhere", nothing, f"{BASE} --bids gone", "gone"),
        refused("BIDS: no subject", nothing, f"{BASE} --bids scans", "scans"),
        works("option: a number that a run without a case did not take", failed_id, CONVERT, converted),
    ]  # fmt: skip


ROWS = [*manifests(), *adc_units(), *scans_(), *masks(), *options(), *drafts()]


def test_row(row: Row, scans: Path) -> None:
    row.spoil(scans)
    meet(row, scans, OUTPUTS)
