"""`mgcl head` puts another trained head into a model; models of older versions go on with theirs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_mgcl.cli import main
from nnunet_mgcl.data.tss_table import TSSRow, TSSTable
from nnunet_mgcl.evaluation.runs.tss_validation import write_tss
from nnunet_mgcl.plan.build import build_classifier
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.tss.probability import tss_probability
from tests.contract.models import predictor, save_fold

TABLE = TSSTable({"a": TSSRow(True, 2.0, None), "b": TSSRow(False, 9.0, None)})
SAID = {"lesion": {"a": 0.9, "b": 0.2}, "mrff": {"a": 0.3, "b": 0.5}}
ARGUMENTS = ["head", "-d", "901", "-c", "2d"]


def finish(trainer) -> Path:
    """Leaves a fold with checkpoints and two trained heads, and its validation; returns its folder."""
    save_fold(trainer, "checkpoint_best.pth", head_is_trained=False)
    fold = trainer.fold_layout
    heads = {"lesion": trainer.mgcl_network.tss, "mrff": build_classifier(trainer.configuration_manager, "mrff")}
    for kind, head in heads.items():
        head.trained.fill_(True)
        fold.phase("tss", kind).mkdir(parents=True)
        torch.save(head.state_dict(), fold.phase("tss", kind) / "network.pth")
    trainer.save_checkpoint(str(fold.root / "checkpoint_final.pth"))
    plans = trainer.plans_manager.plans
    write_json(fold.inputs, {"plan": plans["configurations"]["2d"]})
    write_json(Path(trainer.output_folder_base) / "plans.json", plans | {"mgcl_calibration": {"method": "platt"}})
    fold.validation.mkdir()
    write_tss(fold.validation, "lesion", SAID, TABLE)
    return fold.root


@pytest.fixture
def folds(make_trainer) -> list[Path]:
    return [finish(make_trainer(fold=fold, mgcl={"tss": {"head": "lesion", "grid": 2}})) for fold in (0, 1)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_all_folds_answer_with_the_other_head_and_the_rest_is_as_it_was(folds) -> None:
    model = folds[0].parent
    before = predictor(model, nnUNetPredictor).list_of_parameters
    assert main([*ARGUMENTS, "--use", "mrff"]) == 0
    used = predictor(model)
    assert used.no_tss_reason is None and used.calibration is None
    assert used.config.tss.head == "mrff" and "lesion" in used.config.tss.compared
    for fold, old, new in zip(folds, before, used.list_of_parameters, strict=True):
        used.network.load_state_dict(new, strict=True)
        left = torch.load(fold / "phases" / "tss" / "mrff" / "network.pth", weights_only=True)
        assert all(torch.equal(new[f"tss.{key}"], value) for key, value in left.items())
        assert all(torch.equal(new[key], value) for key, value in old.items() if not key.startswith("tss."))
        tss = json.loads((fold / "phases" / "inputs.json").read_text())["plan"]["mgcl"]["tss"]
        assert (tss["head"], tss["grid"]) == ("mrff", 2)
    assert "untrained" in predictor(model, checkpoint="checkpoint_best.pth").no_tss_reason


def test_validation_is_that_of_the_other_head_and_the_way_back_is_exact(folds, capsys) -> None:
    validation = folds[0] / "validation"
    before = files(validation)
    main([*ARGUMENTS, "--use", "mrff"])
    rows = list(csv.DictReader((validation / "tss.csv").open()))
    assert [(row["probability"], row["predicted_class"], row["probability_lesion"]) for row in rows] == [
        ("0.300000", "0", "0.900000"), ("0.500000", "1", "0.200000"),
    ]  # fmt: skip
    summary = json.loads((validation / "tss_summary.json").read_text())
    assert (summary["head"], summary["AUROC"], summary["heads"]["lesion"]["AUROC"]) == ("mrff", 0.0, 1.0)
    printed = " ".join(capsys.readouterr().out.split())
    assert "0.000*" in printed and "best of several on validation cases" in printed
    main([*ARGUMENTS, "--use", "mrff"])
    assert rows == list(csv.DictReader((validation / "tss.csv").open()))
    main([*ARGUMENTS, "--use", "lesion"])
    assert files(validation) == before


def test_killed_switch_is_finished_by_the_same_command(folds, monkeypatch) -> None:
    from nnunet_mgcl.tss import head_switch

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(head_switch, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            head_switch.switch_model(folds[0].parent, "2d", "mrff")
    main([*ARGUMENTS, "--use", "mrff"])
    assert predictor(folds[0].parent).no_tss_reason is None
    assert all(json.loads((f / "validation" / "tss_summary.json").read_text())["head"] == "mrff" for f in folds)


@pytest.mark.parametrize(
    ("missing", "use", "said"),
    [
        ("checkpoint_final.pth", "mrff", "a finished fold"),
        ("phases/tss/mrff/network.pth", "mrff", "no mrff"),
        (None, "mlp", "no mlp"),
        ("column", "mrff", "no column probability_mrff"),
    ],
)
def test_what_cannot_be_done_in_all_folds_is_done_in_none(folds, missing, use, said) -> None:
    if missing == "column":
        write_tss(folds[1] / "validation", "lesion", {"lesion": SAID["lesion"]}, TABLE)
    elif missing:
        (folds[1] / missing).unlink()
    before = files(folds[0].parent)
    with pytest.raises(SystemExit, match=said):
        main([*ARGUMENTS, "--use", use])
    assert files(folds[0].parent) == before


def test_model_of_an_older_version_loads_strictly_and_predicts_the_same(make_trainer) -> None:
    """Its block knows no other head than mrff, and none of the keys that came since."""
    trainer = make_trainer(mgcl={"tss": {"head": "mrff", "compared": [], "grid": 2}})
    model, image = Path(save_fold(trainer)), torch.randn(3, 6, 32, 32)
    expected = tss_probability(trainer.mgcl_network, image, trainer.config, trainer.configuration_manager)
    plans = json.loads((model / "plans.json").read_text())
    for key in ("compared", "lesion_grid"):
        del plans["configurations"]["2d"]["mgcl"]["tss"][key]
    write_json(model / "plans.json", plans)
    used = predictor(model, folds=[0])
    used.network.load_state_dict(used.list_of_parameters[0], strict=True)
    assert tss_probability(used.network, image, used.config, used.configuration_manager) == expected
    assert make_trainer(fold=1, mgcl={"tss": {"grid": 2}}).config.tss.head == "mrff"  # and so does a further fold
