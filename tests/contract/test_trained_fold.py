"""`TrainedFold` finds again what a real training began its phases with, and what they left."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy

import pytest
import torch

from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.network.branch import decoder_state, encoder_state
from nnunet_mgcl.pretraining.contrast import phase as contrast
from nnunet_mgcl.report.analysis import embeddings_section as embeddings
from nnunet_mgcl.report.analysis import perception_section as perception
from nnunet_mgcl.report.analysis.embeddings_section import embeddings_section
from nnunet_mgcl.report.analysis.trained_fold import TrainedFold
from nnunet_mgcl.report.contents import _analyses
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer

BLOCK = {
    "modalities": {"DWI": [0], "others": [1, 2]},
    "random_seed": 7,
    **{phase: {"epochs": 1, "batch_size": 12, "embedding_dim": 8, "lr": 0.01} for phase in ("coarse", "fine")},
    "segment": {"epochs": 1, "iterations": 1, "val_iterations": 1},
    "tss": {"enabled": False},
}
SPLITS = [
    {"train": ["case_0"], "val": ["case_1"]},
    {"train": [f"case_{n}" for n in range(4)], "val": ["case_4", "case_5"]},
]
FOLD = 1
KERNEL = {"coarse": "0.convs.0.conv.weight", "fine": "convs.0.conv.weight"}


def assert_same(found, expected) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def weights(model, phase="fine"):
    """The parts of a U-Net, or of a phase's model, that take part in a phase."""
    state = {f"encoder.{name}": value for name, value in encoder_state(model).items()}
    if phase == "fine" and hasattr(model, "decoder"):
        state |= {f"decoder.{name}": value for name, value in decoder_state(model).items()}
    return deepcopy(state)


SEEN: dict[tuple[str, str, str], dict[str, torch.Tensor]] = {}
"""The weights that each contrastive phase of the one training had before its first step and after its last."""


@pytest.fixture
def fold(real_dataset, no_pictures, plans, masks_json, workspace, monkeypatch, once) -> TrainedFold:
    """A fold trained in all phases, of which each test has a copy."""
    shutil.rmtree(real_dataset.raw / "imagesUn")  # the labelled cases, which hold both classes, are contrasted
    del masks_json["mgcl"]
    real_dataset.splits.write_text(json.dumps(SPLITS))
    for path in (real_dataset.dataset_json, real_dataset.raw / "dataset.json"):
        path.write_text(json.dumps(masks_json))

    def spy(context, job):
        SEEN["before", job.phase, job.branch] = weights(job.module)
        curve = train(context, job)
        SEEN["after", job.phase, job.branch] = weights(job.module)
        return curve

    def build(folder) -> None:
        monkeypatch.setenv("nnUNet_results", str(folder))
        content = deepcopy(plans) | {"continue_training": False}
        content["configurations"]["2d"] |= {"mgcl": BLOCK, "batch_size": 3}
        MGCLTrainer(content, "2d", FOLD, masks_json, torch.device("cpu")).run_training()

    train = contrast.train
    monkeypatch.setattr(contrast, "train", spy)
    model = once("trained fold", workspace / "results", build) / real_dataset.name / "MGCLTrainer__nnUNetPlans__2d"
    return TrainedFold(ValidatedRun(real_dataset, model, SPLITS, [FOLD]), FOLD, torch.device("cpu"))


def test_networks_before_and_after_each_phase_are_those_of_the_training(fold) -> None:
    assert len(SEEN) == 8
    for branch in fold.branches:
        for phase in ("coarse", "fine"):
            own = fold.phase(phase)
            assert fold.why_not(branch, own) is None
            for moment, unet in (("before", fold.initial(branch, own)), ("after", fold.pretrained(branch, own))):
                assert_same(weights(unet, phase), SEEN[moment, phase, branch.name])
            name = f"{'encoder' if phase == 'coarse' else 'decoder'}.stages.0.{KERNEL[phase]}"
            assert not torch.equal(*(SEEN[moment, phase, branch.name][name] for moment in ("before", "after")))


def test_final_network_may_be_changed_at_will(fold) -> None:
    for index, branch in enumerate(fold.branches):
        kept = fold.network.branches[index].state_dict()
        final = fold.final(branch)
        assert_same(final.state_dict(), kept)
        torch.nn.init.zeros_(final.decoder.seg_layers[-1].weight)
        assert kept["decoder.seg_layers.1.weight"].any()


def test_its_representations_are_shown_before_and_after_each_phase(fold, monkeypatch) -> None:
    monkeypatch.setattr(embeddings, "draw_clouds", lambda *_: None)  # a minute of t-SNE
    section = embeddings_section(fold)
    for phase, table, samples in (("coarse", section.tables[0], 12), ("fine", section.tables[1], 600)):  # at most
        stages = ["before", f"after {phase}", "after segment"]
        assert [row[:2] for row in table.rows] == [(name, stage) for name in ("DWI", "others") for stage in stages]
        assert {row[7] for row in table.rows} == {str(samples)} and {row[9] for row in table.rows} == {"2"}


def test_a_phase_without_its_weights_is_told_by_its_reason(fold) -> None:
    branch = fold.branches[0]
    (fold.layout.phase("coarse", branch.name) / "network.pth").unlink()
    assert "the weights of coarse are no longer" in fold.why_not(branch, fold.phase("coarse"))
    assert "the weights of coarse and fine are no longer" in fold.why_not(branch, fold.phase("fine"))


def test_weights_that_are_no_numbers_are_not_looked_into(fold) -> None:
    branch = fold.branches[0]
    files = [
        fold.layout.phase("coarse", branch.name) / "network.pth",
        fold.layout.root / "checkpoint_final.pth",
    ]
    for path in files:
        content = torch.load(path, weights_only=False)
        weights = content.get("network_weights", content)
        next(iter(weights.values())).view(-1)[0] = torch.nan
        torch.save(content, path)
    for path, look in zip(
        files, (lambda: fold.pretrained(branch, fold.phase("coarse")), lambda: fold.network), strict=True
    ):
        with pytest.raises(UserError, match="no numbers") as error:
            look()
        assert str(path) in str(error.value)


def test_half_a_file_costs_the_sections_that_read_it_alone(fold, capsys) -> None:
    path = fold.layout.phase("coarse", "DWI") / "network.pth"
    path.write_bytes(path.read_bytes()[:100])
    sections = {section.title: section for section in _analyses(fold.run, fold.device)}
    assert [title for title, section in sections.items() if "could not be made" in section.text[0]] == [
        embeddings.TITLE, perception.TITLE,
    ]  # fmt: skip
    assert capsys.readouterr().out.count("is left out") == 2


def test_a_final_network_needs_no_phases(fold) -> None:
    shutil.rmtree(fold.layout.phases)
    sections = {section.title: section for section in _analyses(fold.run, fold.device)}
    assert sections[perception.TITLE].tables and "phases/coarse was removed" in str(sections[embeddings.TITLE].text)
