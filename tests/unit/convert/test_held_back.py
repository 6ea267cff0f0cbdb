"""Registrations that a person has to look at."""

from __future__ import annotations

import os

import pytest
import SimpleITK as sitk

from nnunet_mgcl.convert.registration import alignment
from nnunet_mgcl.convert.registration.rigid import Registration


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
