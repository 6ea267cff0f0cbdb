"""`mgcl report` on a results folder as training leaves it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import SimpleITK as sitk
from matplotlib.figure import Figure

from nnunet_mgcl import cli
from nnunet_mgcl.report.page.section import Picture, Section
from nnunet_mgcl.report.patient import page as patient_page

pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.fixture
def without_sections(monkeypatch) -> None:
    """A report of one word: what is tested is the command."""
    monkeypatch.setattr("nnunet_mgcl.report.contents.report_sections", lambda *_: [Section("Word", ("word",))])


def report(*arguments: str) -> int:
    return cli.main(["report", "-d", "901", "-c", "2d", *arguments])


def test_page_and_figures_are_written_and_say_nothing_about_this_machine(make_run, workspace, capsys) -> None:
    model = make_run()
    assert report() == 0
    page = (model / "report" / "index.html").read_text()
    figures = {path.name for path in (model / "report" / "figures").iterdir()}
    assert {"dice_per_volume_1_lesion.png", "dice_per_volume_1_lesion.svg", "tss_roc.svg", "curves_seed.svg"} <= figures
    assert str(model / "report" / "index.html") in capsys.readouterr().out
    everything = page + "".join(path.read_text() for path in (model / "report" / "figures").glob("*.svg"))
    for private in (str(workspace), os.uname().nodename + "<", "secret-host", os.environ.get("USER") or "/home/"):
        assert private not in everything or private == "root", private
    assert "Research only; no clinical use" in page and "Synthetic" not in page
    before = {path: path.read_bytes() for path in (model / "report").rglob("*") if path.is_file()}
    report()
    assert {path: path.read_bytes() for path in (model / "report").rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("without_sections")
class TestCommand:
    def test_some_folds_have_a_folder_of_their_own(self, make_run) -> None:
        model = make_run(folds=(0, 2))
        report("-f", "2", "0")
        assert (model / "report_folds_0_2" / "index.html").is_file()
        assert (model / "evaluation_folds_0_2.json").is_file()

    def test_a_current_evaluation_is_taken_as_it_is(self, make_run, capsys) -> None:
        model = make_run()
        report()
        assert "evaluation.json: there is none; evaluating" in capsys.readouterr().out
        before = (model / "evaluation.json").stat().st_mtime_ns
        report()
        assert "evaluating" not in capsys.readouterr().out
        assert (model / "evaluation.json").stat().st_mtime_ns == before

    @pytest.mark.parametrize("newer", ["validation", "segmentation", "reference", "table", "split"])
    def test_an_outdated_evaluation_is_done_again_with_its_settings(self, make_run, dataset, newer, capsys) -> None:
        model = make_run()
        cli.main(["evaluate", "-d", "901", "-c", "2d", "--tolerance", "1", "--sensitivity", "0.8"])
        path = {
            "validation": model / "fold_1" / "validation" / "summary.json",
            "segmentation": model / "fold_1" / "validation" / "case_06.nii.gz",
            "reference": dataset / "gt_segmentations" / "case_06.nii.gz",
            "table": dataset / "tss.csv",
            "split": dataset / "splits_final.json",
        }[newer]
        later = (model / "evaluation.json").stat().st_mtime + 10
        os.utime(path, (later, later))
        capsys.readouterr()
        report()
        assert "evaluation.json: older than" in capsys.readouterr().out
        settings = json.loads((model / "evaluation.json").read_text())["settings"]
        assert (settings["surface_dice_tolerance_mm"], settings["sensitivity"]) == (1, 0.8)

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"nnunet_mgcl": "0.0.1"}, "of nnunet_mgcl 0.0.1"),
            ({"folds": [0, 1]}, "of folds [0, 1], not [0, 1, 2]"),
            ({"model": "Other__p__2d"}, "of model Other__p__2d"),
            ({"dataset": "Dataset999_Other"}, "of dataset Dataset999_Other"),
            ({"tss": {"reason": None}}, "not the content that this version writes"),
            (None, "not valid JSON"),
        ],
    )
    def test_an_evaluation_that_is_of_no_use_is_done_again(self, make_run, change, why, capsys) -> None:
        path = make_run() / "evaluation.json"
        report()
        good = path.read_text()
        path.write_text(json.dumps(json.loads(good) | change) if change else good[:100])
        capsys.readouterr()
        report()
        assert f"evaluation.json: {why}" in capsys.readouterr().out
        assert path.read_text() == good

    def test_a_tss_that_is_gone_is_not_reported(self, make_run) -> None:
        model = make_run()
        report()
        for path in model.glob("fold_*/validation/tss.csv"):
            path.unlink()
        report()
        assert "no trained TSS head" in json.loads((model / "evaluation.json").read_text())["tss"]["reason"]

    def test_a_phantom_is_called_synthetic(self, make_run) -> None:
        model = make_run(labels={"phantom": {"cases": 15}})
        report()
        assert "Synthetic data: no patients" in (model / "report" / "index.html").read_text()


def test_figures_that_a_later_report_does_not_have_are_removed_but_no_others(make_run, monkeypatch) -> None:
    model, sections = make_run(), []
    monkeypatch.setattr("nnunet_mgcl.report.contents.report_sections", lambda *_: sections)
    monkeypatch.setattr(patient_page, "patient_sections", lambda *_: [drawn("case_03_images")])
    sections[:] = [drawn("cases", "tss_roc")]
    report()
    report("--case", "case_03")
    figures = model / "report" / "figures"
    (figures / "mine.png").touch()
    (model / "report" / ".99999.part.index.html").touch()
    sections[:] = [drawn("cases")]
    report()
    kept = {f"{name}.{ending}" for name in ("cases", "case_03_images") for ending in ("png", "svg")}
    assert {path.name for path in figures.iterdir()} == kept | {"mine.png"}
    assert {path.name for path in figures.parent.iterdir()} == {"figures", "index.html", "case_case_03.html"}


def drawn(*names: str) -> Section:
    return Section("Figures", pictures=tuple(Picture(name, Figure(figsize=(1, 1)), "", "") for name in names))


def test_pictures_of_single_slices_have_no_millilitres(make_run, dataset, workspace, capsys) -> None:
    """nnU-Net's reader gives PNG files a thickness of 999."""
    model = make_run()
    for name, change in (("plans", {"image_reader_writer": "NaturalImage2DIO"}), ("dataset", {"file_ending": ".png"})):
        path = model / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    for path in [*model.rglob("case_*.nii.gz"), *dataset.rglob("case_*.nii.gz")]:
        picture = sitk.GetImageFromArray(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[1])
        sitk.WriteImage(picture, str(path).replace(".nii.gz", ".png"))
    report()
    page = re.sub('src="[^"]*"', "", (model / "report" / "index.html").read_text())
    assert "volumes, single slices without a thickness" in page
    assert "Volume difference (ml) undefined: single slices without a thickness" in page
    assert not re.search(r"\d ml|999|nan|None", page.partition("</style>")[2])
    cases = json.loads((model / "evaluation.json").read_text())["cases"]
    assert max(case["targets"]["lesion"]["hd95_mm"] or 0 for case in cases) <= 16  # of 12 x 10 pixels
    cli.main(["evaluate", "-d", "901", "-c", "2d"])
    assert "no volumes, single slices without a thickness" in " ".join(capsys.readouterr().out.split())


class TestRefuses:
    @pytest.mark.parametrize(("case", "remedy"), [("case_03", "-f 0"), ("nosuch", "use one of case_05, case_06")])
    def test_a_case_that_these_folds_do_not_validate_before_they_are_evaluated(self, make_run, case, remedy) -> None:
        model = make_run()
        with pytest.raises(SystemExit, match=remedy):
            report("-f", "1", "--case", case)
        assert not list(model.glob("evaluation*"))


def test_a_new_patient_needs_the_model_and_no_validation(make_run, dataset, monkeypatch) -> None:
    model, seen = make_run(folds=()), []
    monkeypatch.setattr(patient_page, "patient_sections", lambda *given: seen.append(given) or [Section("Mine")])
    report("--case", "new", "-i", "images", "-s", "predictions")
    assert seen[0][1:] == ({}, "new", Path("images"), Path("predictions"))
    assert "new: Dataset901_Tiny" in (model / "report" / "case_new.html").read_text()
    assert not (model / "evaluation.json").exists()
    with pytest.raises(SystemExit, match="leave -f out"):
        report("--case", "new", "-i", "images", "-s", "predictions", "-f", "0")
