"""Rows with a mask that lack a modality, as labelled cases (`--incomplete missing`)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.cli import main
from nnunet_mgcl.convert import case
from nnunet_mgcl.convert.build import build_dataset
from nnunet_mgcl.convert.output.case_files import read_records
from nnunet_mgcl.convert.quality import picture
from nnunet_mgcl.convert.registration import alignment
from nnunet_mgcl.convert.registration.grid import Grid
from nnunet_mgcl.convert.registration.rigid import Registration
from nnunet_mgcl.plan.dataset_json import read_dataset_json
from nnunet_mgcl.system.errors import UserError

HEADER = "case,DWI,ADC,FLAIR,mask_DWI,mask_FLAIR\n"
ROW_B = "b,b_dwi.nii.gz,b_adc.nii.gz,b_flair.nii.gz,b_mask.nii.gz,empty\n"


@pytest.fixture
def convert(run):
    return partial(run, incomplete="missing")


@pytest.fixture
def masks(run, raw_scans):
    """Writes a manifest with a mask a modality: a row of case a with some cells emptied, and case b."""
    sitk.WriteImage(sitk.ReadImage(str(raw_scans / "a_flair.nii.gz")) > 150, str(raw_scans / "a_flair_mask.nii.gz"))

    def write(*empty: str) -> None:
        row = "a,a_dwi.nii.gz,a_adc.nii.gz,a_flair.nii.gz,a_mask.nii.gz,a_flair_mask.nii.gz\n"
        for name in empty:
            assert f",{name}.nii.gz" in row
            row = row.replace(f",{name}.nii.gz", ",")
        run.manifest.write_text(HEADER + row + ROW_B)

    return write


def values(run, name) -> np.ndarray:
    return sitk.GetArrayFromImage(run.image(name))


def missing(run) -> dict[str, list[str]] | None:
    return read_dataset_json(run.dataset / "dataset.json")["mgcl"].get("missing")


def test_a_row_without_a_modality_is_labelled_and_done_when_run_again(run, convert, monkeypatch):
    whole = run()
    assert whole.complete and missing(run) is None and not read_records(run.dataset)["a"].missing
    label = values(run, "labelsTr/a")
    drawn, views = [], picture._views
    monkeypatch.setattr(picture, "_views", lambda images, *rest: drawn.append([*images]) or views(images, *rest))
    monkeypatch.setattr(case, "draw_case", picture.draw_case)
    run.edit("a_flair.nii.gz", "")
    outcome = convert()
    assert outcome.complete and outcome.converted == ["a"] and drawn == [["DWI", "ADC"]]
    assert [name for name in run.names() if "/a" in name] == [
        *(f"imagesTr/a_000{channel}.nii.gz" for channel in range(3)), "labelsTr/a.nii.gz",
    ]  # fmt: skip
    assert not values(run, "imagesTr/a_0002").any() and values(run, "imagesTr/a_0001").any()
    assert Grid.of(run.image("imagesTr/a_0002")) == Grid.of(run.image("imagesTr/a_0000"))
    np.testing.assert_array_equal(values(run, "labelsTr/a"), label)
    assert missing(run) == {"a": ["FLAIR"]} and run.json()["numTraining"] == 2
    assert [line for line in run.lines if line.startswith("a: labelled")] == [
        "a: labelled without FLAIR: empty images stand in for its channels"
    ]
    record = read_records(run.dataset)["a"]
    assert record.missing == ("FLAIR",) and list(record.channels) == ["DWI", "ADC"] and not record.all_doubts
    assert (run.dataset / "mgcl_convert" / "index.html").read_text().count("training, without FLAIR<") == 1

    before = run.files()
    assert convert().converted == [] and run.files() == before
    run.edit("a_adc.nii.gz,", "a_adc.nii.gz,a_flair.nii.gz")
    assert convert().converted == ["a"] and missing(run) is None and values(run, "imagesTr/a_0002").any()


def test_another_name_of_what_is_missing_needs_no_conversion(run, convert):
    run.edit("a_flair.nii.gz", "")
    for name in ("FLAIR", "T2"):
        outcome = convert(modalities={"DWI": ("DWI", "ADC"), name: ("FLAIR",)})
        assert missing(run) == {"a": [name]}
        assert outcome.converted == ([] if name == "T2" else ["a", "b", "c"])
        assert f"training, without {name}<" in (run.dataset / "mgcl_convert" / "index.html").read_text()


def test_a_new_column_that_a_case_lacks_gives_it_an_empty_image(run, convert):
    run.edit("a_flair.nii.gz", "")
    assert run(channels=("DWI", "ADC")).complete and missing(run) is None
    assert sorted(convert().converted) == ["a", "b", "c"]
    assert not values(run, "imagesTr/a_0002").any() and missing(run) == {"a": ["FLAIR"]}


def test_the_empty_image_lies_on_the_cases_own_grid(run, convert, raw_scans):
    run.manifest.write_text(
        "case,DWI,ADC,FLAIR,mask\na,,,a_flair.nii.gz,a_flair_mask.nii.gz\n"
        "b,b_dwi.nii.gz,b_adc.nii.gz,b_flair.nii.gz,b_mask.nii.gz\n"
    )
    sitk.WriteImage(sitk.ReadImage(str(raw_scans / "a_flair.nii.gz")) > 150, str(raw_scans / "a_flair_mask.nii.gz"))
    for spacing in (None, (4.0, 4.0, 6.0)):
        assert convert(spacing=spacing).complete
        grids = {Grid.of(run.image(name)) for name in ("imagesTr/a_0000", "imagesTr/a_0001", "imagesTr/a_0002")}
        (grid,) = grids | {Grid.of(run.image("labelsTr/a"))}
        assert grid.spacing == (spacing or (2.0, 4.0, 5.0))
        assert not values(run, "imagesTr/a_0000").any() and not values(run, "imagesTr/a_0001").any()
    assert missing(run) == {"a": ["DWI"]}


def test_a_mask_may_be_missing_with_its_modality(run, convert, masks):
    masks("a_flair", "a_flair_mask")
    assert convert().complete
    assert set(np.unique(values(run, "labelsTr/a"))) == {0, 1} and missing(run) == {"a": ["FLAIR"]}
    assert read_records(run.dataset)["a"].lesion_ml.keys() == {"DWI"}  # unknown is not 0
    assert any(line == "a: labelled without FLAIR: empty images stand in for its channels" for line in run.lines)


def test_a_part_of_a_modality_and_its_mask_are_left_out(run, convert, masks):
    masks("a_adc")
    assert convert().complete
    assert set(np.unique(values(run, "labelsTr/a"))) == {0, 2} and missing(run) == {"a": ["DWI"]}
    assert not values(run, "imagesTr/a_0000").any() and values(run, "imagesTr/a_0002").any()
    assert "a: DWI left out, DWI lacks ADC" in run.lines
    assert "a: labelled without DWI: empty images stand in for its channels, mask_DWI is not used" in run.lines


@pytest.mark.parametrize(
    ("empty", "message"),
    [
        (("a_mask",), r"mask_DWI \(line 2, case a\)"),
        (("a_flair", "a_mask"), r"mask_DWI \(line 2, case a\)"),
        (("a_flair", "a_adc"), r"no modality with all of its channels: line 2, case a"),
    ],
)
def test_what_cannot_be_labelled_is_refused_before_any_work(run, convert, masks, empty, message):
    masks(*empty)
    with pytest.raises(UserError, match=message) as error:
        convert()
    assert ("--incomplete pool" in error.value.remedy) == ("a_mask" in empty)
    with pytest.raises(UserError) as refusal:
        run()
    assert "--incomplete missing" not in refusal.value.remedy
    assert not run.raw.exists()
    assert run(incomplete="pool").complete


def test_the_remedies_of_a_missing_reference_work(run, convert):
    run.edit("a_flair.nii.gz", "")
    with pytest.raises(UserError) as error:
        convert(reference="FLAIR")
    assert "--reference DWI | ADC, which all have; --reference none" in error.value.remedy
    assert "--incomplete pool" in error.value.remedy
    with pytest.raises(UserError) as error:
        run(reference="FLAIR")
    assert "--incomplete missing" not in error.value.remedy
    for reference in ("DWI", "none"):
        with pytest.raises(UserError) as error:
            run(reference=reference)
        assert "--incomplete missing labels these rows" in error.value.remedy
        assert convert(reference=reference, max_shift=1e3, max_rotation=360).complete
    run.edit("a_adc.nii.gz", "")  # a part of its modality
    run.edit("a,a_dwi.nii.gz,,", "a,a_dwi.nii.gz,,a_flair.nii.gz")
    with pytest.raises(UserError, match="or a channel of its modality: line 2, case a") as error:
        convert(reference="DWI")
    assert "--reference FLAIR, which all have" in error.value.remedy


def test_a_case_that_is_held_back_is_not_listed(run, convert, monkeypatch):
    moved = Registration(sitk.Euler3DTransform(), 0.5, 0.6, 40.0, 1.0)
    monkeypatch.setattr(alignment, "register", lambda fixed, moving, *, engine: moved)
    run.edit("a_adc.nii.gz", "")
    own = {channel: (channel,) for channel in ("DWI", "ADC", "FLAIR")}
    options = {"modalities": own, "reference": "DWI"}
    assert "a" in [record.case for record in convert(**options).held_back]
    assert missing(run) is None and not [name for name in run.names() if "/a" in name]
    convert(**options, accept=["a"])
    assert missing(run) == {"a": ["ADC"]} and not values(run, "imagesTr/a_0001").any()


def test_rows_without_a_mask_go_to_the_pool_as_ever(run, convert):
    run.edit("c,,,", "c,c_dwi.nii.gz,,")
    assert convert().complete
    assert [name for name in run.names() if "/c" in name] == ["imagesUn/c_0002.nii.gz"]
    assert "c: DWI left out, DWI lacks ADC" in run.lines and missing(run) is None


@pytest.mark.parametrize(("incomplete", "offered"), [("pool", False), ("missing", True)])
def test_test_cases_lack_nothing(run, incomplete, offered):
    with pytest.raises(UserError, match=f"--incomplete {incomplete}") as error:
        run(test=True, incomplete=incomplete)
    assert ("mgcl predict --allow-missing" in error.value.remedy) == offered


@pytest.mark.usefixtures("converting_here")
def test_command_and_python_do_the_same(raw_scans, tmp_path, capsys):
    manifest = raw_scans / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("a_flair.nii.gz", ""))
    command = ["convert", "-i", str(manifest), "--id", "501", "--name", "Stroke", "-o", str(tmp_path), "-np", "1"]
    assert main([*command, "--reference", "none", "--incomplete", "missing"]) == 0
    assert "2 labelled, 1 in the pool" in capsys.readouterr().out
    lines: list[str] = []
    found = build_dataset(manifest, 501, "Stroke", tmp_path, reference="none", incomplete="missing", log=lines.append)
    assert [own.name for own in found.training] == ["a", "b"]
    assert found.dataset_json["mgcl"]["missing"] == {"a": ["FLAIR"]}
    assert main([*command, "--reference", "none", "--incomplete", "missing"]) == 0
    assert "(0 converted, 3 unchanged, 0 removed)" in capsys.readouterr().out
