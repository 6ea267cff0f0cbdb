"""Whole runs on scans of `raw_scans`, in this process."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.convert import run as module
from nnunet_mgcl.convert.case import convert_case
from nnunet_mgcl.convert.dataset import convert_dataset
from nnunet_mgcl.convert.manifest.table import read_manifest
from nnunet_mgcl.convert.output import case_files
from nnunet_mgcl.convert.registration import alignment
from nnunet_mgcl.convert.registration.grid import Grid
from nnunet_mgcl.convert.registration.rigid import Registration
from nnunet_mgcl.convert.scans.reader import read_scan
from nnunet_mgcl.convert.settings import Options, Settings
from nnunet_mgcl.data.tss_table import read_tss_table
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import write_text
from nnunet_mgcl.system.run_lock import run_lock
from nnunet_mgcl.system.workers import run_here

SETTINGS = Settings(channels=(), modalities={}, reference="none")


def convert_here(jobs, processes):
    return ((job.row.case, run_here(convert_case, job)) for job in jobs)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """No worker processes, no pictures, no waiting for the disk: they cost seconds."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(module, "convert_cases", convert_here)
    monkeypatch.setattr("nnunet_mgcl.convert.case.draw_case", lambda path, *_, **__: write_text(path, "picture"))


class Run:
    """Converts the manifest in `folder` again and again."""

    def __init__(self, folder: Path, raw: Path) -> None:
        self.manifest, self.raw = folder / "manifest.csv", raw
        self.dataset = raw / "Dataset501_Stroke"
        self.lines: list[str] = []

    def __call__(self, *, manifest: Path | None = None, **changes):
        options = {key: changes.pop(key) for key in ("incomplete", "accept", "test") if key in changes}
        options = Options(self.raw, 501, "Stroke", replace(SETTINGS, **changes), **options)
        self.lines.clear()
        manifest = read_manifest(manifest or self.manifest, self.lines.append)
        return convert_dataset(manifest, options, self.lines.append, lambda results, _: results)

    def edit(self, old: str, new: str) -> None:
        text = self.manifest.read_text()
        assert old in text
        self.manifest.write_text(text.replace(old, new))

    def files(self) -> dict[str, tuple[int, bytes]]:
        paths = [path for path in self.dataset.rglob("*") if path.is_file() and path.name != ".lock"]
        return {str(p.relative_to(self.dataset)): (p.stat().st_mtime_ns, p.read_bytes()) for p in paths}

    def names(self) -> list[str]:
        return sorted(name for name in self.files() if name.startswith(case_files.FOLDERS))

    def json(self) -> dict:
        return json.loads((self.dataset / "dataset.json").read_text())

    def image(self, name: str) -> sitk.Image:
        return sitk.ReadImage(str(self.dataset / f"{name}.nii.gz"))


@pytest.fixture
def run(raw_scans, tmp_path) -> Run:
    return Run(raw_scans, tmp_path / "raw")


def test_rows_with_a_mask_are_labelled_and_the_others_the_pool(run):
    assert run().complete
    assert run.names() == [
        *(f"imagesTr/{case}_000{channel}.nii.gz" for case in ("a", "b") for channel in range(3)),
        *("imagesUn/c_0002.nii.gz", "labelsTr/a.nii.gz", "labelsTr/b.nii.gz"),
    ]
    content = run.json()
    assert content["channel_names"] == {"0": "DWI", "1": "ADC", "2": "FLAIR"}
    assert content["labels"] == {"background": 0, "lesion": 1}
    assert content["numTraining"] == 2
    assert content["mgcl"] == {"modalities": {"DWI": [0, 1], "FLAIR": [2]}}
    table = read_tss_table(run.dataset / "tss.csv", ["a", "b"])
    assert (table.hours("a"), table.hours("b"), table.patient("b")) == (2.5, None, "Q")
    assert any("ADC is a channel of the modality DWI" in line for line in run.lines)

    grid = Grid.of(run.image("imagesTr/a_0000"))
    assert all(Grid.of(run.image(name)) == grid for name in ("imagesTr/a_0001", "imagesTr/a_0002", "labelsTr/a"))
    assert Grid.of(run.image("imagesUn/c_0002")) != grid  # the pool keeps its own
    assert run.image("labelsTr/a").GetPixelID() == sitk.sitkUInt8
    for case in ("a", "b"):  # one ADC map was written in mm^2/s, the other in 10^-3 mm^2/s
        values = sitk.GetArrayFromImage(run.image(f"imagesTr/{case}_0001"))
        assert 800 < np.median(values[values > 0]) < 1000
    assert any(line.startswith("a: ADC: mm^2/s") for line in run.lines)


def test_a_unit_that_an_adc_map_contradicts_cannot_be_accepted(run):
    for accept in ([], ["b"], ["b"]):
        outcome = run(adc_unit="mm2/s", accept=accept)  # true of a
        assert list(outcome.failures) == ["b"] and not outcome.held_back
        assert not [name for name in run.names() if "/b_" in name]
    assert "column adc_unit, 1e-3" in outcome.failures["b"].remedy

    run.edit("tss_hours,patient", "tss_hours,patient,adc_unit")
    run.edit(",2.5,P", ",2.5,P,")
    run.edit(",,Q", ",,Q,1e-3")
    run.edit("c_flair.nii.gz,,,", "c_flair.nii.gz,,,,")
    assert run(adc_unit="mm2/s").complete
    run.edit("Q,1e-3", "Q,auto")
    assert run(adc_unit="mm2/s").converted == ["b"]
    run.edit("Q,auto", "Q,mm2/s")
    assert list(run().failures) == ["b"]


def test_running_again_converts_only_the_case_whose_source_was_touched(run, raw_scans):
    run()
    before = run.files()
    assert run().converted == [] and run.files() == before
    os.utime(raw_scans / "b_flair.nii.gz", (0, 0))
    assert run().converted == ["b"]
    after = run.files()
    assert {name for name in before if before[name][0] != after[name][0]} == {
        *(f"imagesTr/b_000{channel}.nii.gz" for channel in range(3)),
        *("labelsTr/b.nii.gz", "dataset.json"),
        *(f"mgcl_convert/{name}" for name in ("cases/b.json", "cases/b.png", "index.html")),
    }
    assert {name for name in before if before[name][1] != after[name][1]} == {"mgcl_convert/cases/b.json"}


@pytest.mark.parametrize(
    ("change", "concerned"),
    [
        ({"adc_unit": "1e-3"}, ["a", "b"]),  # the pool case has no ADC map
        ({"interpolation": "bspline"}, ["a", "b"]),  # the pool case is not resampled
        ({"spacing": (4.0, 4.0, 6.0)}, ["a", "b", "c"]),
        ({"dwi_volume": "last"}, ["a", "b"]),
        ({"max_shift": 3.0}, []),  # nothing is registered
        ({"labels": {"core": 1}}, ["a", "b"]),
    ],
)
def test_a_changed_option_concerns_some_cases(run, change, concerned):
    run()
    outcome = run(**change)
    assert sorted([*outcome.converted, *outcome.failures]) == concerned  # of the two units of ADC only one can be told


def test_a_changed_time_or_patient_changes_the_table_only(run):
    run()
    images = {name: content for name, content in run.files().items() if name.startswith(case_files.FOLDERS)}
    for old, new, expected in (
        (",2.5,P", ',4.4999999,"R, S"', ("R, S", "Q", 4.4999999)),  # all digits: below 4.5 it must stay
        (",,Q", ",,", ("R, S", "b", 4.4999999)),  # without a patient it is one of its own
        (',4.4999999,"R, S"', ",,", None),
    ):
        run.edit(old, new)
        assert run().converted == []
        if expected:
            table = read_tss_table(run.dataset / "tss.csv", ["a", "b"])
            assert (table.patient("a"), table.patient("b"), table.hours("a")) == expected
    assert not (run.dataset / "tss.csv").exists()
    assert {name: content for name, content in run.files().items() if name.startswith(case_files.FOLDERS)} == images


def test_a_case_that_left_the_manifest_or_changed_its_place_loses_its_files(run):
    run()
    run.edit("c,,,c_flair.nii.gz,,,\n", "")
    run.edit(",b_mask.nii.gz,", ",,")
    outcome = run()
    assert (outcome.removed, outcome.converted) == (["c"], ["b"])
    assert [name for name in run.names() if "/b" in name] == [f"imagesUn/b_000{channel}.nii.gz" for channel in range(3)]
    assert not [name for name in run.files() if Path(name).name.startswith("c")]
    assert run.json()["numTraining"] == 1


def test_a_manifest_without_any_case_that_is_there_is_refused(run, raw_scans):
    run()
    before = run.files()
    other = raw_scans / "other.csv"
    other.write_text("case,DWI,ADC,FLAIR\nt,t_dwi.nii.gz,t_adc.nii.gz,t_flair.nii.gz\n")
    with pytest.raises(UserError, match="none of the 3 cases that are there") as error:
        run(manifest=other)
    assert "--test" in error.value.remedy
    assert run.files() == before
    assert run(manifest=other, test=True).complete


def test_files_of_the_dataset_that_somebody_changed_are_converted_again(run):
    run()
    (run.dataset / "labelsTr" / "a.nii.gz").unlink()
    assert run().converted == ["a"]
    assert (run.dataset / "labelsTr" / "a.nii.gz").exists()


def _double(path: Path) -> None:
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(path))


def _shift(path: Path) -> None:
    image = sitk.ReadImage(str(path))
    image.SetOrigin((0, 0, 3))
    sitk.WriteImage(image, str(path))


HEADERS = {
    "b_mask": (_shift, "line 3, column mask: ", "another grid"),
    "b_dwi": (_double, "line 3, column DWI: ", "2 volumes"),
    "b_adc": (lambda path: path.write_bytes(b"no"), "line 3, column ADC: ", "cannot be read"),
}


@pytest.mark.parametrize("scan", HEADERS)
def test_what_headers_tell_is_said_before_the_first_case_is_converted(run, raw_scans, monkeypatch, scan):
    spoil, cell, found = HEADERS[scan]
    path = raw_scans / f"{scan}.nii.gz"
    spoil(path)
    told = []

    def convert(jobs, _):
        told.extend(line for line in run.lines if line.startswith("b: not to be converted"))
        assert [job.row.case for job in jobs] == ["a", "c"]
        return convert_here(jobs, 1)

    monkeypatch.setattr(module, "convert_cases", convert)
    error = run().failures["b"]
    assert error.where == f"{run.manifest}, {cell}{path}"
    assert found in error.found
    assert len(told) == 1 and error.where in told[0] and error.found in told[0]


def test_a_mask_is_found_on_the_grid_of_a_dicom_series_too(run, raw_scans, write_series, values):
    write_series(raw_scans / "dicom", values)
    mask = sitk.GetImageFromArray((values > 500).astype(np.uint8))
    scan = read_scan(str(raw_scans / "dicom"), channel="DWI")[0]
    mask.CopyInformation(scan)
    sitk.WriteImage(mask, str(raw_scans / "dicom_mask.nii.gz"))
    run.manifest.write_text("DWI,mask\ndicom,dicom_mask.nii.gz\n")
    assert run().complete
    _shift(raw_scans / "dicom_mask.nii.gz")
    assert "column mask" in run().failures["case_001"].where


def test_any_label_makes_one_of_several(run, raw_scans):
    mask = sitk.ReadImage(str(raw_scans / "a_mask.nii.gz"))
    values = sitk.GetArrayFromImage(mask)
    drawn = values > 0
    values[drawn] = np.resize([1, 2, 4], drawn.sum())
    labels = sitk.GetImageFromArray(values)
    labels.CopyInformation(mask)
    sitk.WriteImage(labels, str(raw_scans / "a_mask.nii.gz"))
    error = run().failures["a"]
    assert error.where.endswith(f"line 2, column mask: {raw_scans / 'a_mask.nii.gz'}")
    assert "--labels lesion=any" in error.remedy and "--labels lesion=1 label_2=2 label_4=4" in error.remedy

    assert run(labels={"lesion": "any"}).complete
    np.testing.assert_array_equal(sitk.GetArrayFromImage(run.image("labelsTr/a")), drawn)
    assert run.json()["labels"] == {"background": 0, "lesion": 1}
    assert run(labels={"lesion": 1, "label_2": 2, "label_4": 4}).complete
    assert set(np.unique(sitk.GetArrayFromImage(run.image("labelsTr/a")))) == {0, 1, 2, 3}


def test_a_run_that_fails_as_a_whole_leaves_no_dataset(run, monkeypatch):
    def interrupted(jobs, _):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "convert_cases", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert not run.dataset.exists()
    (run.dataset / "mgcl_convert").mkdir(parents=True)
    (run.dataset / "notes.txt").write_text("mine")
    with pytest.raises(KeyboardInterrupt):
        run()
    assert [path.name for path in run.dataset.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("killed", [False, True])
def test_a_case_that_fails_after_its_source_has_changed_leaves_nothing_stale(run, raw_scans, monkeypatch, killed):
    run()
    good = (raw_scans / "a_dwi.nii.gz").read_bytes()
    (raw_scans / "a_dwi.nii.gz").write_bytes(good[:1000])
    dead = Future()
    dead.set_exception(UserError("case a", "its process was killed", "", ""))
    with monkeypatch.context() as patch:
        if killed:
            patch.setattr(module, "convert_cases", lambda jobs, _: ((job.row.case, dead) for job in jobs))
        outcome = run()
    assert list(outcome.failures) == ["a"] and not outcome.complete
    assert not [name for name in run.files() if Path(name).name.startswith("a")]
    assert run.json()["numTraining"] == 1
    (raw_scans / "a_dwi.nii.gz").write_bytes(good)
    assert run().complete


def test_no_output_names_a_source_or_holds_a_headers_text(run, raw_scans, tmp_path):
    secret = tmp_path / "Mustermann_Erika"
    shutil.copytree(raw_scans, secret)
    for path in secret.glob("*.nii.gz"):
        image = sitk.ReadImage(str(path))
        for key in ("ITK_FileNotes", "descrip", "aux_file", "intent_name", "db_name"):
            image.SetMetaData(key, "Mustermann")
        sitk.WriteImage(image, str(path))
    (secret / "c_flair.nii.gz").write_bytes(b"broken")
    assert list(run(manifest=secret / "manifest.csv").failures) == ["c"]
    for name, (_, content) in run.files().items():
        content = gzip.decompress(content) if name.endswith(".gz") else content
        assert b"Mustermann" not in content, name
        assert str(tmp_path).encode() not in content, name


@pytest.fixture
def doubtful(monkeypatch):
    """Every registration turns out to move the head by 40 mm."""
    found = Registration(sitk.Euler3DTransform(), 0.5, 0.6, 40.0, 1.0)
    monkeypatch.setattr(alignment, "register", lambda fixed, moving, *, engine: found)


def held_back(outcome) -> list[str]:
    return [record.case for record in outcome.held_back]


def test_a_doubtful_registration_is_held_back_until_it_is_accepted(run, doubtful):
    outcome = run(reference="DWI")
    assert held_back(outcome) == ["a", "b"] and not outcome.complete
    assert run.names() == ["imagesUn/c_0002.nii.gz"]
    assert (run.dataset / "mgcl_convert" / "cases" / "a.png").exists()

    outcome = run(reference="DWI")  # looked at nothing, changed nothing
    assert outcome.converted == [] and not outcome.complete

    outcome = run(reference="DWI", accept=["a"])
    assert outcome.converted == ["a"] and held_back(outcome) == ["b"]
    assert run.json()["numTraining"] == 1

    assert run(reference="DWI", accept=["a"], max_shift=50.0).complete


def test_only_what_was_looked_at_can_be_accepted(run, raw_scans, doubtful):
    accepted = {"reference": "DWI", "accept": ["a", "b"]}
    assert held_back(run(**accepted)) == ["a", "b"]  # never converted before: there is no picture yet
    assert any(line.startswith("a: --accept does not count yet") for line in run.lines)
    assert run(**accepted).complete

    os.utime(raw_scans / "b_flair.nii.gz", (0, 0))  # another scan than the one that was looked at
    assert held_back(run(**accepted)) == ["b"]
    assert run.json()["numTraining"] == 1
    assert run(**accepted).complete

    (run.dataset / "labelsTr" / "a.nii.gz").unlink()  # its scans are the same
    outcome = run(**accepted)
    assert outcome.converted == ["a"] and outcome.complete


@pytest.fixture
def fits(raw_scans, monkeypatch) -> dict[str, float]:
    """How well the FLAIR of each of four labelled cases fits its DWI."""
    fits = {"a": 0.9, "b": 0.88, "c": 0.92, "t": 0.59}
    paths = {case: str(raw_scans / f"{case}_flair.nii.gz") for case in fits}
    sums = {sitk.GetArrayFromImage(sitk.ReadImage(path)).sum(): case for case, path in paths.items()}

    def register(fixed, moving, *, engine):
        fit = fits[sums[sitk.GetArrayFromImage(moving).sum()]]
        return Registration(sitk.Euler3DTransform(), 0.4, fit, 1.0, 1.0)

    monkeypatch.setattr(alignment, "register", register)
    rows = [f"{c},{c}_dwi.nii.gz,{c}_adc.nii.gz,{c}_flair.nii.gz,{c}_mask.nii.gz\n" for c in fits]
    (raw_scans / "manifest.csv").write_text("case,DWI,ADC,FLAIR,mask\n" + "".join(rows))
    return fits


def test_a_case_that_fits_much_worse_than_the_others_is_held_back_until_it_is_accepted(run, fits):
    outcome = run(reference="DWI")
    assert held_back(outcome) == ["t"]
    assert "FLAIR to DWI: fits much worse" in outcome.records["t"].all_doubts[0]
    assert not [name for name in run.names() if "/t" in name]
    assert run.json()["numTraining"] == 3
    assert (run.dataset / "mgcl_convert" / "cases" / "t.png").exists()
    assert run(reference="DWI").converted == []

    assert run(reference="DWI", accept=["t"]).complete
    assert run.json()["numTraining"] == 4
    assert run(reference="DWI", accept=["t"]).converted == []
    assert held_back(run(reference="DWI")) == ["t"]


def test_a_case_is_compared_with_those_that_are_there_now(run, fits, raw_scans):
    run(reference="DWI")
    for fit, converted, waiting in ((0.6, ["a", "b", "c", "t"], []), (0.9, ["a", "b", "c"], ["t"])):
        for case in ("a", "b", "c"):
            fits[case] = fit
            os.utime(raw_scans / f"{case}_flair.nii.gz", (fit, fit))
        outcome = run(reference="DWI")
        assert outcome.converted == converted and held_back(outcome) == waiting
        assert run.json()["numTraining"] == 4 - len(waiting)
        assert bool([name for name in run.names() if "/t" in name]) is not bool(waiting)


def test_masks_a_modality_become_a_bit_mask(run, raw_scans):
    text = "case,DWI,ADC,FLAIR,mask_FLAIR,mask_DWI\na,a_dwi.nii.gz,a_adc.nii.gz,a_flair.nii.gz,{},a_mask.nii.gz\n"
    mask = sitk.ReadImage(str(raw_scans / "a_flair.nii.gz")) > 150
    sitk.WriteImage(mask, str(raw_scans / "a_flair_mask.nii.gz"))
    dwi = sitk.GetArrayFromImage(sitk.ReadImage(str(raw_scans / "a_mask.nii.gz")))
    for cell, values in (("a_flair_mask.nii.gz", {0, 3}), ("empty", {0, 1})):
        run.manifest.write_text(text.format(cell))
        assert run().converted == ["a"]
        labels = sitk.GetArrayFromImage(run.image("labelsTr/a"))
        assert ((labels & 1) == dwi).all() and set(np.unique(labels)) == values
    content = run.json()
    assert content["labels"] == {"background": 0, "DWI": 1, "FLAIR": 2, "DWI+FLAIR": 3}
    assert content["mgcl"]["lesion_labels"] == {"DWI": [1, 3], "FLAIR": [2, 3]}


def test_incomplete_rows_are_refused_or_go_to_the_pool(run):
    run.edit("a_flair.nii.gz", "")
    for reference, remedy in (("none", "does without"), ("FLAIR", "with another --reference (DWI | ADC | none)")):
        with pytest.raises(UserError, match="FLAIR \\(line 2, case a\\)") as error:
            run(reference=reference)
        assert "--channels DWI ADC" in error.value.remedy and error.value.remedy.endswith(remedy)

    assert run(incomplete="pool").complete
    assert [name for name in run.names() if "/a" in name] == ["imagesUn/a_0000.nii.gz", "imagesUn/a_0001.nii.gz"]
    assert any(line.startswith("a: no FLAIR: to the pool") for line in run.lines)

    assert run(channels=("DWI", "ADC")).complete
    assert [name for name in run.names() if "/a" in name] == [
        *("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "labelsTr/a.nii.gz")
    ]
    assert any(line.startswith("c: left out") for line in run.lines)


def test_a_damaged_image_of_a_folder_is_named(run, raw_scans):
    (raw_scans / "c").mkdir()
    run.edit("c_flair.nii.gz", "c")
    start = bytes(128) + b"DICM" + b"\x02\x00\x02\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.4\x00"
    (raw_scans / "c" / "damaged.dcm").write_bytes(start)
    assert run().failures["c"].where.endswith(f"manifest.csv, line 4, column FLAIR: {raw_scans}/c/damaged.dcm")


def test_the_pool_has_whole_modalities(run):
    run.edit("c,,,c_flair.nii.gz", "c,,c_adc.nii.gz,c_flair.nii.gz")
    with pytest.raises(UserError, match="DWI without DWI \\(line 4, case c\\)"):
        run()
    assert run(incomplete="pool").complete
    assert [name for name in run.names() if "/c" in name] == ["imagesUn/c_0002.nii.gz"]


@pytest.fixture
def test_manifest(run, raw_scans) -> Path:
    path = raw_scans / "test.csv"
    path.write_text("case,DWI,ADC,FLAIR,mask,tss_hours\nt,t_dwi.nii.gz,t_adc.nii.gz,t_flair.nii.gz,,4\n")
    return path


def test_test_cases_join_the_dataset_and_stay_when_training_cases_change(run, test_manifest, raw_scans):
    with pytest.raises(UserError, match="no dataset that mgcl convert has finished"):
        run(manifest=test_manifest, test=True)
    run()
    before = run.files()
    assert run(manifest=test_manifest, test=True).complete
    added = ["imagesTs/t_0000.nii.gz", "imagesTs/t_0001.nii.gz", "imagesTs/t_0002.nii.gz"]
    assert [name for name in run.names() if name not in before] == added
    after = run.files()
    assert {name for name in before if after[name] != before[name]} == {"mgcl_convert/index.html"}
    os.utime(raw_scans / "a_dwi.nii.gz", (0, 0))
    assert run().converted == ["a"]
    assert [name for name in run.names() if "Ts" in name] == added
    assert not any("test cases" in line for line in run.lines)
    run(spacing=(4.0, 4.0, 6.0))
    assert any("1 test cases were prepared with other options" in line for line in run.lines)


def test_new_patients_come_one_by_one(run, test_manifest, raw_scans):
    run()
    run(manifest=test_manifest, test=True)
    for channel in ("dwi", "adc", "flair"):
        scan = sitk.ReadImage(str(raw_scans / f"t_{channel}.nii.gz"))
        sitk.WriteImage(sitk.Flip(scan, (True, False, False)), str(raw_scans / f"u_{channel}.nii.gz"))
    row = "{0},{1}_dwi.nii.gz,{1}_adc.nii.gz,{1}_flair.nii.gz\n"
    test_manifest.write_text("case,DWI,ADC,FLAIR\n" + row.format("u", "u"))
    assert run(manifest=test_manifest, test=True).removed == []
    assert {name[:10] for name in run.names() if "Ts" in name} == {"imagesTs/t", "imagesTs/u"}
    test_manifest.write_text("case,DWI,ADC,FLAIR\n" + row.format("v", "t"))
    assert "the same scan as case t" in str(run(manifest=test_manifest, test=True).failures["v"])
    for path in (run.dataset / "imagesTs").glob("t_*"):
        path.unlink()
    assert run(manifest=test_manifest, test=True).removed == ["t"]


def test_test_cases_are_prepared_as_the_training_cases_were(run, test_manifest):
    spacing = (4.0, 4.0, 6.0)
    run(spacing=spacing)
    with pytest.raises(UserError, match=r"--spacing(.|\n)*not given for the test cases(.|\n)*4.0 4.0 6.0"):
        run(manifest=test_manifest, test=True)
    with pytest.raises(UserError, match="--channels"):
        run(manifest=test_manifest, test=True, channels=("DWI", "FLAIR"), spacing=spacing)
    for row, message in (("a,t_dwi.nii.gz,t_adc.nii.gz", "a among training and test"), ("t,t_dwi.nii.gz,", "no ADC")):
        test_manifest.write_text(f"case,DWI,ADC,FLAIR\n{row},t_flair.nii.gz\n")
        with pytest.raises(UserError, match=message):
            run(manifest=test_manifest, test=True, spacing=spacing)


def test_masks_of_test_cases_have_the_form_of_the_training_cases(run, test_manifest):
    run()
    text = "case,DWI,ADC,FLAIR,{}\nt,t_dwi.nii.gz,t_adc.nii.gz,t_flair.nii.gz,{}\n"
    test_manifest.write_text(text.format("mask_DWI,mask_FLAIR", "t_mask.nii.gz,empty"))
    with pytest.raises(UserError, match="the masks of the test cases"):
        run(manifest=test_manifest, test=True)
    for columns, cells in (("mask_DWI,mask_FLAIR", ","), ("mask", "t_mask.nii.gz")):
        test_manifest.write_text(text.format(columns, cells))
        assert run(manifest=test_manifest, test=True).complete


def test_what_others_have_written_is_left_alone(run):
    others = run.dataset / "imagesTr" / "other_0000.nii.gz"
    others.parent.mkdir(parents=True)
    others.touch()
    with pytest.raises(UserError, match="has not written"):
        run()
    others.unlink()
    others.parent.rmdir()
    run()
    others.touch()
    before = run.files()
    with pytest.raises(UserError, match="imagesTr/other_0000"):
        run()
    assert run.files() == before


def test_two_runs_at_a_time_are_refused(run, refused_elsewhere):
    run()
    with run_lock(run.dataset / case_files.CONVERT_FOLDER / ".lock", run.dataset, "test"):
        assert "another mgcl convert" in refused_elsewhere(run)


class Killed(BaseException):
    """No `except Exception` sees it."""


def _dying(monkeypatch, after: int) -> None:
    """Lets the process die at the n-th change of the disk."""
    left = [after]

    def counted(function):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return function(*args, **kwargs)

        return call

    for owner, name in ((os, "replace"), (os, "unlink"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))


def test_a_run_killed_anywhere_is_finished_by_the_next_one(run, raw_scans, monkeypatch):
    """From one state of the manifest to another, with a case changed, one moved to the pool and one removed."""
    channels = ("DWI", "FLAIR")
    run(channels=channels)
    start = Path(shutil.copytree(run.raw, run.raw.with_name("start")))
    whole = {frozenset(run.names())}
    run.edit("c,,,c_flair.nii.gz,,,\n", "")
    run.edit(",b_mask.nii.gz,", ",,")
    os.utime(raw_scans / "a_dwi.nii.gz", (0, 0))
    run(channels=channels)
    whole.add(frozenset(run.names()))
    expected = _contents(run)
    for after in range(200):
        shutil.rmtree(run.raw)
        shutil.copytree(start, run.raw)
        with monkeypatch.context() as patch:
            _dying(patch, after)
            try:
                run(channels=channels)
            except Killed:
                killed = True
            else:
                killed = False
        if (run.dataset / "dataset.json").exists():  # nnU-Net may take it for whole
            assert frozenset(run.names()) in whole
        assert run(channels=channels).complete
        assert _contents(run) == expected
        if not killed:
            break
    assert after > 20


def _contents(run: Run) -> dict[str, bytes]:
    """All but the records, which hold times."""
    return {name: content for name, (_, content) in run.files().items() if not name.startswith("mgcl_convert/cases")}


class TestSameScanTwice:
    """Other names and other patients do not make other scans of them."""

    @pytest.fixture
    def row(self, raw_scans) -> str:
        """Case d is a copy of case a, of another patient; its DWI is stored otherwise."""
        for name in ("adc", "flair", "mask"):
            shutil.copy(raw_scans / f"a_{name}.nii.gz", raw_scans / f"d_{name}.nii.gz")
        sitk.WriteImage(sitk.ReadImage(str(raw_scans / "a_dwi.nii.gz")), str(raw_scans / "d_dwi.mha"))
        return "d,d_dwi.mha,d_adc.nii.gz,d_flair.nii.gz,d_mask.nii.gz,2.5,S\n"

    @pytest.mark.parametrize("channel", ["DWI", "FLAIR"])
    def test_the_later_case_is_refused_by_name_and_leaves_nothing(self, run, row, channel):
        row = row if channel == "DWI" else "d,,,d_flair.nii.gz,,,S\n"
        run.manifest.write_text(run.manifest.read_text() + row)
        outcome = run()
        assert list(outcome.failures) == ["d"] and not outcome.complete
        error = outcome.failures["d"]
        assert f"line 5, column {channel}" in error.where and f"case a, {channel}" in error.found
        assert not any("/d" in name for name in run.files())
        assert run.json()["numTraining"] == 2

    def test_the_case_that_was_there_stays(self, run, row):
        run()
        before = run.names()
        run.edit("\na,", f"\n{row}a,")
        assert list(run().failures) == ["d"]
        assert run.names() == before
        run.edit(row, "")
        assert run().complete

    def test_a_test_case_is_compared_with_the_training_cases(self, run, row):
        run()
        tests = run.manifest.with_name("tests.csv")
        tests.write_text(run.manifest.read_text().splitlines()[0] + "\n" + row)
        assert "case a" in run(manifest=tests, test=True).failures["d"].found
