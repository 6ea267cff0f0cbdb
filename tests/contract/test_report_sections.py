"""The report's sections on everything that a results folder may lack: a reason in words, never a NaN or a crash."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import pytest
import torch

from nnunet_mgcl.data.layout import DatasetLayout, FoldLayout
from nnunet_mgcl.engine.training_warnings import TrainingWarning, TrainingWarnings
from nnunet_mgcl.evaluation.calibration import maps as calibration
from nnunet_mgcl.evaluation.calibration.stored import KEY
from nnunet_mgcl.evaluation.runs.current_evaluation import current_evaluation
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.report import contents
from nnunet_mgcl.report.contents import report_sections
from nnunet_mgcl.report.cross_validation.curves import TITLE as CURVES
from nnunet_mgcl.report.cross_validation.tss import TITLE as TSS
from nnunet_mgcl.report.page.section import Section
from nnunet_mgcl.report.page.style import figure_style
from nnunet_mgcl.system.errors import UserError

NAME = "Dataset901_Tiny"
MASKS = {
    "labels": {"background": 0, "A": 1, "B": 2, "A+B": 3},
    "mgcl": {"modalities": {"A": [0, 2], "B": [1]}, "lesion_labels": {"A": [1, 3], "B": [2, 3]}},
}
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
IGNORE = {"labels": {"background": 0, "lesion": 1, "ignore": 2}}

pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.fixture(autouse=True)
def no_networks(monkeypatch) -> None:
    """These runs have none to look into."""
    monkeypatch.setattr(contents, "ANALYSES", {})


@pytest.fixture
def sections_of(dataset) -> Callable[..., dict[str, Section]]:
    """The sections by title, after a look at every word and figure."""

    def sections(model: Path, *folds: str) -> dict[str, Section]:
        run = ValidatedRun.find(DatasetLayout.find("901"), model, folds or None)
        with_titles = {s.title: s for s in report_sections(run, current_evaluation(run), torch.device("cpu"))}
        for section in with_titles.values():
            require_words(section)
        return with_titles

    return sections


def require_words(section: Section) -> None:
    """Draws the figures and refuses what is no word and no number."""
    texts = [section.title, *section.text]
    for table in section.tables:
        texts += [table.caption, *table.columns, *(cell for row in table.rows for cell in row)]
        assert all(len(row) == len(table.columns) for row in table.rows)
    for picture in section.pictures:
        texts += [picture.caption, picture.alt]
        with figure_style():
            picture.figure.draw_without_rendering()
        texts += [text.get_text() for text in picture.figure.findobj(match=lambda artist: hasattr(artist, "get_text"))]
        for axes in picture.figure.axes:
            assert axes.has_data(), f"{picture.name}: an empty axis"
    for text in texts:
        assert not re.search(r"\b(nan|inf|None|null)\b|\{|\}", text), f"{section.title}: {text}"
    assert section.text or section.tables or section.pictures


def names(section: Section) -> list[str]:
    return [picture.name for picture in section.pictures]


@pytest.mark.parametrize(
    ("labels", "highest", "targets"),
    [
        ({}, 1, ["lesion"]),
        (REGIONS, 2, ["whole", "core"]),
        (IGNORE, 2, ["lesion"]),
        (MASKS, 3, ["A", "B"]),
        ({"channel_names": {"0": "DWI"}, "mgcl": {"modalities": {"DWI": [0]}}}, 1, ["lesion"]),
    ],
    ids=["label", "regions", "ignore", "masks", "one modality"],
)
def test_every_kind_of_labels(make_run, sections_of, labels, highest, targets) -> None:
    sections = sections_of(make_run(labels=labels, highest=highest))
    assert [table.caption for table in sections["Segmentation"].tables] == [*targets, "Empty masks"]
    assert names(sections["Dice per lesion volume"]) == [f"dice_per_volume_{i}_{t}" for i, t in enumerate(targets, 1)]
    assert sections["Dice per lesion volume"].text  # case_05 has no lesion
    assert "tss_roc" in names(sections[TSS])


def test_one_fold(make_run, sections_of) -> None:
    sections = sections_of(make_run(folds=(1,)), "1")
    notes = str(astuple(sections["Overview"].tables[1]))
    assert "One fold only" in notes and "none for fold 1" in notes
    assert ("Youden's index", "none", "0", "undefined", "undefined", "undefined", "") in sections[TSS].tables[1].rows


def test_a_fold_of_one_class(make_run, sections_of, dataset) -> None:
    rows = [f"case_{i:02},{int(i < 5)}" for i in range(15)]
    (dataset / "tss.csv").write_text("\n".join(["case,tss_class", *rows, ""]))
    sections = sections_of(make_run(), "0")
    assert "no negative cases" in str(sections["Fold by fold"].text)
    assert "AUROC and average precision are undefined: no negative cases" in str(sections[TSS].text)
    assert "tss_roc" not in names(sections[TSS])


def test_raw_and_calibrated_probabilities_are_compared(make_run, sections_of, monkeypatch) -> None:
    model = make_run()
    raw = sections_of(model)[TSS]
    assert "The probabilities are not calibrated: 7 positive and 7 negative cases" in str(raw.text)
    assert "tss_reliability" in names(raw) and len(raw.tables) == 2
    monkeypatch.setattr(calibration, "CASES_OF_A_CLASS", 3)
    for path in model.glob("fold_*/validation/tss.csv"):
        header, *rows = [line.split(",") for line in path.read_text().splitlines()]
        for row in rows:  # better than chance
            own = header.index("probability")
            row[own] = str(0.05 + float(row[own]) / 10 + (0.1 if int(row[0][-2:]) % 2 else 0))
        path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    (model / "evaluation.json").unlink()
    calibrated = sections_of(model)[TSS]
    assert "mgcl predict calibrates by Platt scaling" in str(calibrated.text)
    assert [row[0] for row in calibrated.tables[2].rows] == ["Raw", "Calibrated", "No skill"]
    (picture,) = (p for p in calibrated.pictures if p.name == "tss_reliability")
    assert "14 raw and 14 calibrated" in picture.caption
    plans = json.loads((model / "plans.json").read_text())
    assert plans[KEY]  # as mgcl evaluate leaves it
    (model / "plans.json").write_text(json.dumps({name: plans[name] for name in plans if name != KEY}))
    sections_of(model)
    assert json.loads((model / "plans.json").read_text()) == plans, "what another training removed is stored again"
    some = str(sections_of(model, "0")[TSS].text)
    assert "in the model's plans.json, fitted on the predictions of all folds" in some
    assert "The probabilities are not calibrated" not in some


@pytest.mark.parametrize("lost", ["head", "table", "cases"])
def test_without_a_tss_the_reason_is_told(make_run, sections_of, dataset, lost) -> None:
    if lost == "cases":
        (dataset / "tss.csv").write_text("case,tss_class\ncase_14,1\n")
    model = make_run(tss=lost != "head")
    if lost == "table":
        (dataset / "tss.csv").unlink()
    folds = ["0"] if lost == "cases" else []
    section = sections_of(model, *folds)[TSS]
    reasons = {"head": "no trained TSS head", "table": "no tss.csv", "cases": "the TSS of no validated case is known"}
    assert reasons[lost] in section.text[0]
    assert not section.tables and not section.pictures


def test_a_stock_trainer_has_nnunet_s_own_curves_and_no_phases(make_run, sections_of) -> None:
    from matplotlib.figure import Figure

    model = make_run("nnUNetTrainer", tss=False)
    for fold in (0, 1):
        Figure(figsize=(3, 5)).savefig(model / f"fold_{fold}" / "progress.png")
    sections = sections_of(model)
    assert names(sections[CURVES]) == ["progress_fold_0", "progress_fold_1"]
    assert all(picture.figure.get_figwidth() == 5 for picture in sections[CURVES].pictures)  # they are tall
    assert "No progress.png in fold 2" in str(sections[CURVES].text)
    assert "was not trained by a trainer of this plugin" in sections["Inside the network"].text[0]
    assert "random_seed" not in str(sections["Settings"].tables)


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        ("checkpoint_final.pth", "no checkpoint_final.pth"),
        ("preprocessed", "nnUNetPlans_2d, nnU-Net's folder"),
        ("phases", None),
    ],
)
def test_networks_are_looked_into_where_there_is_all_it_takes(
    make_run, sections_of, dataset, monkeypatch, lost, why
) -> None:
    monkeypatch.setattr(contents, "ANALYSES", {"Mine": lambda fold: Section("Mine", (f"fold {fold.fold}",))})
    model = make_run()
    if lost != "checkpoint_final.pth":
        (model / "fold_0" / "checkpoint_final.pth").touch()
        shutil.rmtree(dataset / "nnUNetPlans_2d" if lost == "preprocessed" else model / "fold_0" / "phases")
    sections = sections_of(model)
    if why:
        assert why in sections["Inside the network"].text[0]
    else:
        assert sections["Mine"].text == ("fold 0",)
    assert not any(str(dataset.parent) in text for section in sections.values() for text in section.text)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (lambda path: RuntimeError(f"junk\nno archive in {path}"), "RuntimeError: no archive in {model}/x.pth"),
        (lambda path: FileNotFoundError(2, "No such file", str(path)), "No such file: '{model}/x.pth'"),
        (lambda path: UserError(path, "half a file", "a file", "mend it"), "{model}/x.pth: half a file"),
        (lambda _: KeyboardInterrupt(), None),
    ],
    ids=["other", "system", "user", "interrupted"],
)
def test_an_analysis_that_fails_costs_its_own_section_alone(
    make_run, sections_of, monkeypatch, capsys, error, words
) -> None:
    model = make_run()

    def fail(_):
        raise error(model / "x.pth")

    monkeypatch.setattr(contents, "ANALYSES", {"Bad": fail, "Good": lambda _: Section("Good", ("text",))})
    (model / "fold_0" / "checkpoint_final.pth").touch()
    if words is None:
        with pytest.raises(KeyboardInterrupt):
            sections_of(model)
        return
    sections = sections_of(model)
    assert words.format(model=model.name) in sections["Bad"].text[0] and sections["Good"].text == ("text",)
    assert str(model.parent) not in sections["Bad"].text[0]
    assert "“Bad” is left out" in capsys.readouterr().out


UNEVEN = '{"seed": {"axes": ["a", "b"], "curves": {"A": [1, 2]}, "at": {"A": [1]}}}'


@pytest.mark.parametrize(
    "text", ["[]", '{"seed"', '{"seed": {}}', '{"seed": {"axes": ["a", "b"], "curves": {}}}', "7", UNEVEN]
)
def test_broken_notes_of_the_training_are_named(make_run, sections_of, text) -> None:
    model = make_run()
    for name in ("curves.json", "state.json"):
        (model / "fold_1" / "phases" / name).write_text(text)
    section = sections_of(model)[CURVES]
    assert "phases/curves.json of fold 1 cannot be read" in str(section.text)
    assert "phases/state.json of fold 1 cannot be read" in str(section.text)
    assert "coarse of FLAIR (folds 0, 2)" in str(section.text)
    assert len(section.pictures[0].figure.axes[0].get_lines()) == 2 * 2


def test_losses_that_are_no_numbers_are_gaps(make_run, sections_of) -> None:
    model = make_run()
    for fold in range(3):
        path = model / f"fold_{fold}" / "phases" / "curves.json"
        curves = json.loads(path.read_text())
        curves["seed"]["curves"]["DWI"][2] = float("nan")
        curves["tss"]["curves"]["mrff"] = [float("nan"), float("inf")]
        path.write_text(json.dumps(curves))
    section = sections_of(model)[CURVES]
    assert "seed of DWI (folds 0, 1, 2); tss of mrff (folds 0, 1, 2)" in str(section.text)
    assert section.pictures[0].alt.endswith("FLAIR 0.6.")


def test_curves_of_every_phase_branch_and_fold(make_run, sections_of) -> None:
    model = make_run()
    (model / "fold_2" / "phases" / "curves.json").unlink()
    section = sections_of(model)[CURVES]
    phases = ("seed", "pseudo_label_1", "coarse", "coarse_knn", "segment", "pseudo_label_2", "tss")
    assert names(section) == [f"curves_{phase}" for phase in phases]
    assert len(section.pictures[0].figure.axes[0].get_lines()) == 2 * 2
    assert [picture.name for picture in section.pictures if "0.7" in picture.caption] == ["curves_pseudo_label_1"]
    text = " ".join(section.text)
    assert "coarse of FLAIR (folds 0, 1, 2)" in text and "No phases/curves.json in fold 2" in text


def test_contrast_is_drawn_between_its_bounds_and_neighbours_at_their_epochs(make_run, sections_of) -> None:
    pictures = {picture.name: picture for picture in sections_of(make_run(folds=(0,)), "0")[CURVES].pictures}
    coarse, (knn,) = (pictures[f"curves_{name}"].figure.axes[0].get_lines() for name in ("coarse", "coarse_knn"))
    assert [list(line.get_ydata()) for line in coarse] == [[3.1, 3.0], [3.2, 3.2], [2.8, 2.9]]
    assert knn.get_xydata().tolist() == [[0, 0.6], [2, 0.8]]


def test_warnings_of_every_fold_s_training_are_in_the_overview(make_run, sections_of) -> None:
    model = make_run()
    assert "Warnings of the training" not in [table.caption for table in sections_of(model)["Overview"].tables]
    warning = TrainingWarning("coarse", "DWI", "at chance", "train it longer")
    TrainingWarnings(FoldLayout(model / "fold_1").warnings, print).replace("coarse", "DWI", [warning])
    (model / "fold_2" / "phases" / "warnings.json").write_text("{")
    tables = {table.caption: table.rows for table in sections_of(model)["Overview"].tables}
    own, broken = tables["Warnings of the training"]
    assert own == ("1", "coarse DWI", "at chance", "train it longer")
    assert broken[:2] == ("2", "phases/warnings.json cannot be read") and "not valid JSON" in broken[2]


def test_settings_name_neither_folders_nor_hosts(make_run, sections_of, workspace) -> None:
    tables = {table.caption: table for table in sections_of(make_run())["Settings"].tables}
    text = str([astuple(table) for table in tables.values()])
    assert str(workspace) not in text and "secret-host" not in text
    rows = {row[0]: row[1:] for row in tables["Versions"].rows}
    assert rows["torch"][1] == "2.9.9+fake" and rows["GPU"] == ("", "A GPU") and "cuDNN" not in rows
    assert ("random_seed", "12345") in tables["Settings of the phases (mgcl block of the plan)"].rows
    train = "for fold in 0 1 2; do nnUNetv2_train Dataset901_Tiny 2d $fold -tr MGCLTrainer -p nnUNetPlans; done"
    assert tables["Commands"].rows[0] == ("train", train)
    assert tables["Folds; the TSS is of the validation cases"].rows[2] == ("Fold 2", "10", "5", "2", "2", "1")


def test_versions_are_told_by_fold_and_with_their_changes(make_run, sections_of) -> None:
    model = make_run()
    (model / "fold_1" / "debug.json").write_text(json.dumps({"torch_version": "2.8"}))
    (model / "fold_2" / "debug.json").unlink()
    for fold, releases in enumerate((["0.1.0"], ["0.1.0", "0.2.0"], ["0.1.0"])):
        noted = [{"nnunet_mgcl": release, "Python": "3.11.7"} for release in releases]
        (model / f"fold_{fold}" / "phases" / "versions.json").write_text(json.dumps(noted))
    (versions,) = (table for table in sections_of(model)["Settings"].tables if table.caption == "Versions")
    training = {row[0]: row[2] for row in versions.rows}
    assert training["torch"] == "2.9.9+fake (fold 0); 2.8 (fold 1)" and training["nnunetv2"] == "not noted"
    assert training["nnunet_mgcl"] == "0.1.0 (folds 0, 2); 0.1.0, then 0.2.0 (fold 1)"
    assert training["Python"] == "3.11.7"


def test_a_dataset_without_any_lesion(make_run, sections_of, dataset, write_mask) -> None:
    model = make_run()
    for path in [*(dataset / "gt_segmentations").iterdir(), *model.glob("fold_*/validation/*.nii.gz")]:
        write_mask(path, torch.zeros(4, 12, 10).numpy())
    sections = sections_of(model)
    assert "undefined" in str(sections["Segmentation"].text)
    assert not sections["Dice per lesion volume"].pictures


def test_cases_of_a_single_patient_have_no_interval(make_run, sections_of, dataset) -> None:
    rows = [f"case_{i:02},{i % 2},p" for i in range(15)]
    (dataset / "tss.csv").write_text("\n".join(["case,tss_class,patient", *rows, ""]))
    sections = sections_of(make_run())
    assert "All cases are of one patient" in str(sections["Overview"].tables[1])
    assert sections["Overview"].tables[0].rows[0][3] == "undefined"


def test_numbers_are_those_of_the_evaluation(make_run, sections_of, write_mask) -> None:
    model = make_run()
    write_mask(model / "fold_1" / "validation" / "case_05.nii.gz", torch.zeros(4, 12, 10).numpy())  # has no lesion
    sections = sections_of(model)
    content = json.loads((model / "evaluation.json").read_text())
    dice = content["segmentation"]["lesion"]["dice"]
    text = sections["Overview"].text[0]
    assert "another training is not in them" in text and "mgcl predict takes the mean of all folds" in text
    headline = {row[0]: row[1:] for row in sections["Overview"].tables[0].rows}
    assert headline["Dice, lesion"] == (
        str(dice["cases"]["n"]), f"{dice['cases']['mean']:.3f}", "{:.3f} to {:.3f}".format(*dice["cases"]["ci95"]), "",
        f"{dice['folds']['mean']:.3f} ± {dice['folds']['sd']:.3f}",
    )  # fmt: skip
    sensitivity = content["tss"]["operating_points"]["0.5"]["pooled"]["SEN"]
    assert headline["TSS, Sensitivity at 0.5"][1] == f"{sensitivity['value']:.3f}"
    fold = {row[0]: row[1:] for row in sections["Fold by fold"].tables[0].rows}["Fold 1"]
    own = dice["per_fold"]["1"]
    assert fold[0] == "4" == str(own["n"])
    assert headline["TSS, Sensitivity at 0.5"][0] == "7" and headline["TSS, Accuracy at 0.5"][0] == "14"
    segmentation = {row[0]: row[1:] for row in sections["Segmentation"].tables[0].rows}
    distance = content["segmentation"]["lesion"]["hd95_mm"]["cases"]
    assert segmentation["HD95 (mm)"][3] == f"{distance['median']:.1f}"
    brier = content["tss"]["measures"]["pooled"]["Brier"]
    assert {row[0]: row[1:] for row in sections[TSS].tables[0].rows}["Brier score"][2] == f"{brier['no_skill']:.3f}"
    accuracy = f"{content['tss']['operating_points']['0.5']['pooled']['ACC']['no_skill']:.3f}"
    assert headline["TSS, Brier score"][3] == f"{brier['no_skill']:.3f}" != headline["TSS, Brier score"][1]
    assert headline["TSS, Accuracy at 0.5"][3] == accuracy == sections[TSS].tables[1].rows[0][6]
    assert headline["TSS, Sensitivity at 0.5"][3] == "" == sections[TSS].tables[0].rows[3][3]  # ECE
    assert fold[1] == f"{own['mean']:.3f} ± {own['sd']:.3f}"
