"""Results folders that the version before the methods' contract has written: the demo's, without weights, images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.engine.state import PhaseState
from nnunet_mgcl.engine.training_warnings import read_warnings
from nnunet_mgcl.evaluation.runs.tss_validation import read_tss_summary
from nnunet_mgcl.plan.build import build_network, resolved_config
from nnunet_mgcl.plan.plans import comparable, resolve_block
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.pretraining.handover import givers
from nnunet_mgcl.report.cross_validation.curves import curves_section
from nnunet_mgcl.system.differences import differences
from nnunet_mgcl.training.results_folder import described_plan, earlier_block, refuse_other_plans
from nnunet_mgcl.training.variants import MGCLTrainer, MGCLTrainerRandomInit

DEMO = Path(__file__).with_name("demo_of_0_1")
PLANS = {MGCLTrainer: "MGCLPlans_demo", MGCLTrainerRandomInit: "MGCLPlans_demo_long"}
HANDED_ON = {MGCLTrainer: ["self_train", "coarse", "fine"], MGCLTrainerRandomInit: []}


@pytest.fixture(params=PLANS, ids=lambda trainer: trainer.__name__)
def trainer(request):
    return request.param


@pytest.fixture
def model(trainer, tmp_path, monkeypatch) -> Path:
    """The results folder, where nnU-Net would look for it."""
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    folder = f"{trainer.__name__}__{PLANS[trainer]}__2d"
    return Path(shutil.copytree(DEMO / folder, tmp_path / "Dataset501_Phantom" / folder))


def test_a_fold_goes_on_with_the_plan_it_was_begun_with(trainer, model) -> None:
    plans, dataset_json = read_plans(DEMO / f"{PLANS[trainer]}.json"), json.loads((model / "dataset.json").read_text())
    blocks = [phase.block for phase in trainer.pretraining]
    earlier = earlier_block(trainer.__name__, plans, "2d", blocks)
    config = resolve_block(plans, "2d", dataset_json, tss_known=True, earlier=earlier, blocks=blocks)
    plans["configurations"]["2d"]["mgcl"] = config.model_dump(mode="json")
    now = described_plan(plans, "2d", blocks)
    refuse_other_plans(model, now, "2d", dataset_json, blocks, print)
    begun_with = json.loads((model / "fold_0/phases/inputs.json").read_text())["plan"]
    assert not differences(comparable(begun_with, blocks), json.loads(json.dumps(now)))
    assert config.blocks().keys() == set(blocks)


def test_another_plan_is_still_told(trainer, model) -> None:
    plans = read_plans(model / "plans.json")
    blocks = [phase.block for phase in trainer.pretraining]
    now = described_plan(plans, "2d", blocks)
    now["mgcl"] = now["mgcl"] | {"segment": now["mgcl"]["segment"] | {"epochs": 77}}
    assert "epochs" in differences(described_plan(plans, "2d", blocks), now)


def test_its_network_is_built_and_its_phases_are_read(trainer, model) -> None:
    configuration = PlansManager(read_plans(model / "plans.json")).get_configuration("2d")
    assert build_network(configuration, 8, deep_supervision=False).tss is not None
    fold = FoldLayout(model / "fold_0")
    found = SimpleNamespace(config=resolved_config(configuration), layout=fold, state=PhaseState(fold.state))
    assert [phase.name for phase in givers(trainer.pretraining, "DWI", found)] == HANDED_ON[trainer]
    assert isinstance(read_warnings(fold.warnings), list)
    assert read_tss_summary(fold.validation / "tss_summary.json")["head"] == "lesion"


def test_its_curves_are_drawn_with_their_titles(trainer, model) -> None:
    plan = PlansManager(read_plans(model / "plans.json")).get_configuration("2d")
    section = curves_section(SimpleNamespace(model=model, folds=[0], is_stock=False, plan=plan))
    names = [picture.name for picture in section.pictures]
    assert {"curves_segment"} <= set(names)
    assert ("curves_coarse" in names) == bool(trainer.pretraining)
    titles = [picture.figure.axes[0].get_title() for picture in section.pictures]
    assert all(": " in title for title in titles), titles
