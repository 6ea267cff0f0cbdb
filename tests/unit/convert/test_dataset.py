"""What a run makes of a manifest, and the next one of a changed manifest."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.convert import run as module
from nnunet_mgcl.convert.output import case_files
from nnunet_mgcl.convert.registration.grid import Grid
from nnunet_mgcl.convert.scans.reader import read_scan
from nnunet_mgcl.data.tss_table import read_tss_table
from nnunet_mgcl.system.errors import UserError


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

    text = "DWI,ADC,FLAIR,mask,case,adc_unit\n" + "{0}_dwi.nii.gz,{0}_adc.nii.gz,{0}_flair.nii.gz,{0}_mask.nii.gz,{0},"
    rows = [text.format("a"), text.partition("\n")[2].format("b")]
    for unit, converted in (("1e-3", ["b"]), ("auto", ["b"]), ("mm2/s", [])):
        run.manifest.write_text("\n".join(rows) + unit)
        assert run(adc_unit="mm2/s").converted == converted


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
    told, here = [], module.convert_cases

    def convert(jobs, processes):
        told.extend(line for line in run.lines if line.startswith("b: not to be converted"))
        assert [job.row.case for job in jobs] == ["a", "c"]
        return here(jobs, processes)

    monkeypatch.setattr(module, "convert_cases", convert)
    error = run().failures["b"]
    assert error.where == f"{run.manifest}, {cell}{path}" and found in error.found
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


def test_masks_a_modality_become_a_bit_mask(run, raw_scans):
    text = "case,DWI,ADC,FLAIR,mask_FLAIR,mask_DWI\na,a_dwi.nii.gz,a_adc.nii.gz,a_flair.nii.gz,{},a_mask.nii.gz\n"
    mask = sitk.ReadImage(str(raw_scans / "a_flair.nii.gz")) > 150
    sitk.WriteImage(mask, str(raw_scans / "a_flair_mask.nii.gz"))
    for cell, values in (("a_flair_mask.nii.gz", {0, 3}), ("empty", {0, 1})):
        run.manifest.write_text(text.format(cell))
        assert run().converted == ["a"]
        assert set(np.unique(sitk.GetArrayFromImage(run.image("labelsTr/a")))) == values
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
