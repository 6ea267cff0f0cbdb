"""The report's sections on everything that a results folder may lack: a reason in words, never a NaN or a crash."""

from __future__ import annotations

import json
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
from nnunet_mgcl.system.errors import UserError
from tests.labels import IGNORE, MASKS, REGIONS
from tests.sections import words_of

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
            words_of(section)
            assert all(axes.has_data() for picture in section.pictures for axes in picture.figure.axes)
        return with_titles

    return sections


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


def test_one_fold_of_one_class(make_run, sections_of, dataset) -> None:
    rows = [f"case_{i:02},{int(i < 5)}" for i in range(15)]
    (dataset / "tss.csv").write_text("\n".join(["case,tss_class", *rows, ""]))
    sections = sections_of(make_run(folds=(0,)), "0")
    notes = str(sections["Overview"].tables[1])
    assert "One fold only" in notes and "none for fold 0" in notes
    assert ("Youden's index", "none", "0", "undefined", "undefined", "undefined", "") in sections[TSS].tables[1].rows
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


@pytest.mark.parametrize(
    ("table", "reason"),
    [(None, "no tss.csv"), ("case,tss_class\ncase_14,1\n", "the TSS of no validated case is known")],
)
def test_without_a_tss_the_reason_is_told(make_run, sections_of, dataset, table, reason) -> None:
    model = make_run()
    (dataset / "tss.csv").write_text(table) if table else (dataset / "tss.csv").unlink()
    section = sections_of(model, "0")[TSS]
    assert reason in section.text[0] and not section.tables and not section.pictures


def test_a_stock_trainer_has_nnunet_s_own_curves_and_no_phases(make_run, sections_of) -> None:
    from matplotlib.figure import Figure

    model = make_run("nnUNetTrainer", tss=False)
    for fold in (0, 1):
        Figure(figsize=(3, 5)).savefig(model / f"fold_{fold}" / "progress.png")
    sections = sections_of(model)
    assert "no trained TSS head" in sections[TSS].text[0]
    assert names(sections[CURVES]) == ["progress_fold_0", "progress_fold_1"]
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


@pytest.mark.parametrize(
    "text", ["[]", '{"seed"', '{"seed": {"axes": ["a", "b"], "curves": {"A": [1, 2]}, "at": {"A": [1]}}}']
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
    path = model / "fold_1" / "phases" / "curves.json"
    curves = json.loads(path.read_text())
    curves["seed"]["curves"]["DWI"][2] = float("nan")
    curves["tss"]["curves"]["mrff"] = [float("nan"), float("inf")]
    path.write_text(json.dumps(curves))
    section = sections_of(model, "1")[CURVES]
    assert "seed of DWI (fold 1); tss of mrff (fold 1)" in str(section.text)
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
    coarse, (knn, _) = (section.pictures[i].figure.axes[0].get_lines() for i in (2, 3))
    of_fold_0 = [list(line.get_ydata()) for line in coarse][:3]
    assert of_fold_0 == [[3.1, 3.0], [3.2, 3.2], [2.8, 2.9]], "contrast is drawn between its bounds"
    assert knn.get_xydata().tolist() == [[0, 0.6], [2, 0.8]], "neighbours at their epochs"


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
    assert rows["GPU"] == ("", "A GPU") and "cuDNN" not in rows
    assert ("random_seed", "12345") in tables["Settings of the phases (mgcl block of the plan)"].rows
    train = "for fold in 0 1 2; do nnUNetv2_train Dataset901_Tiny 2d $fold -tr MGCLTrainer -p nnUNetPlans; done"
    assert tables["Commands"].rows[0] == ("train", train)
    assert tables["Folds; the TSS is of the validation cases"].rows[2] == ("Fold 2", "10", "5", "2", "2", "1")


def test_versions_are_told_by_fold_and_with_their_changes(make_run, sections_of) -> None:
    model = make_run()
    (model / "fold_1" / "debug.json").write_text('{"torch_version": "2.8"}')
    (model / "fold_2" / "debug.json").unlink()
    for fold, releases in enumerate((["0.1.0"], ["0.1.0", "0.2.0"], ["0.1.0"])):
        noted = [{"nnunet_mgcl": release, "Python": "3.11.7"} for release in releases]
        (model / f"fold_{fold}" / "phases" / "versions.json").write_text(json.dumps(noted))
    tables = {table.caption: table.rows for table in sections_of(model)["Settings"].tables}
    training = {row[0]: row[2] for row in tables["Versions"]}
    assert training["torch"] == "2.9.9+fake (fold 0); 2.8 (fold 1)" and training["nnunetv2"] == "not noted"
    assert training["nnunet_mgcl"] == "0.1.0 (folds 0, 2); 0.1.0, then 0.2.0 (fold 1)"
    assert training["Python"] == "3.11.7"


def test_a_dataset_of_one_patient_without_any_lesion(make_run, sections_of, dataset, write_mask) -> None:
    rows = [f"case_{i:02},{i % 2},p" for i in range(15)]
    (dataset / "tss.csv").write_text("\n".join(["case,tss_class,patient", *rows, ""]))
    model = make_run()
    for path in [*(dataset / "gt_segmentations").iterdir(), *model.glob("fold_*/validation/*.nii.gz")]:
        write_mask(path, torch.zeros(4, 12, 10).numpy())
    sections = sections_of(model)
    assert "undefined" in str(sections["Segmentation"].text)
    assert not sections["Dice per lesion volume"].pictures
    assert "All cases are of one patient" in str(sections["Overview"].tables[1])
    assert sections["Overview"].tables[0].rows[0][3] == "undefined"


def test_numbers_are_those_of_the_evaluation(make_run, sections_of, write_mask) -> None:
    model = make_run()
    write_mask(model / "fold_1" / "validation" / "case_05.nii.gz", torch.zeros(4, 12, 10).numpy())  # has no lesion
    sections = sections_of(model)
    content = json.loads((model / "evaluation.json").read_text())
    dice = content["segmentation"]["lesion"]["dice"]
    headline = {row[0]: row[1:] for row in sections["Overview"].tables[0].rows}
    assert headline["Dice, lesion"] == (
        str(dice["cases"]["n"]), f"{dice['cases']['mean']:.3f}", "{:.3f} to {:.3f}".format(*dice["cases"]["ci95"]), "",
        f"{dice['folds']['mean']:.3f} ± {dice['folds']['sd']:.3f}",
    )  # fmt: skip
    point = content["tss"]["operating_points"]["0.5"]["pooled"]
    fold = {row[0]: row[1:] for row in sections["Fold by fold"].tables[0].rows}["Fold 1"]
    own = dice["per_fold"]["1"]
    assert fold[:2] == ("4", f"{own['mean']:.3f} ± {own['sd']:.3f}") and own["n"] == 4
    assert headline["TSS, Sensitivity at 0.5"][:2] == ("7", f"{point['SEN']['value']:.3f}")
    assert headline["TSS, Accuracy at 0.5"][0] == "14"
    segmentation = {row[0]: row[1:] for row in sections["Segmentation"].tables[0].rows}
    distance = content["segmentation"]["lesion"]["hd95_mm"]["cases"]
    assert segmentation["HD95 (mm)"][3] == f"{distance['median']:.1f}"
    brier = f"{content['tss']['measures']['pooled']['Brier']['no_skill']:.3f}"
    assert {row[0]: row[1:] for row in sections[TSS].tables[0].rows}["Brier score"][2] == brier
    accuracy = f"{point['ACC']['no_skill']:.3f}"
    assert headline["TSS, Brier score"][3] == brier != headline["TSS, Brier score"][1]
    assert headline["TSS, Accuracy at 0.5"][3] == accuracy == sections[TSS].tables[1].rows[0][6]
    assert headline["TSS, Sensitivity at 0.5"][3] == "" == sections[TSS].tables[0].rows[3][3]  # ECE
