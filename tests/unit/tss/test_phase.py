from __future__ import annotations

import shutil
from contextlib import nullcontext
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from nnunet_mgcl.data.tss_table import TSSRow, TSSTable
from nnunet_mgcl.plan.build import build_classifier
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.tss import batches
from nnunet_mgcl.tss.batches import TSSVolumes
from nnunet_mgcl.tss.phase import TSS
from nnunet_mgcl.tss.probability import (
    load_head,
    read_inputs,
    trained_heads,
    tss_probabilities,
    tss_probability,
)
from nnunet_mgcl.tss.volumes import fit_volume, load_volume

KNOWN = ["case_0", "case_1", "case_2"]
HEADS = ["mrff", "mrff_lesion", "mlp", "transformer"]
ALL = {"tss": {"head": "lesion", "compared": ["mlp", "lesion", "mrff", "mrff_lesion"]}}


def folder(context, head="mrff"):
    return context.layout.phase("tss", head)


def image(context, slices=4):
    return torch.randn(3, slices, 32, 32, generator=torch.Generator().manual_seed(0))


def probability(context, volume):
    return tss_probability(context.network, volume, context.config, context.configuration)


@pytest.fixture
def epochs(monkeypatch):
    """The cases of every batch, epoch by epoch (two batches of at most two cases)."""
    seen = []
    loss = TSS._loss

    def spy(phase, context, heads, module, batch):
        seen.extend(batch["keys"])
        return loss(phase, context, heads, module, batch)

    monkeypatch.setattr(TSS, "_loss", spy)
    return seen


class TestTraining:
    @pytest.mark.parametrize("dimensions", [2, 3])
    @pytest.mark.parametrize("head", HEADS)
    def test_tss_changes_the_head_and_nothing_else(self, make_context, dimensions, head) -> None:
        context = make_context(dimensions, norm="BatchNorm", mgcl={"tss": {"head": head}})
        context.network.train()  # as nnU-Net's last epoch may leave it
        before = deepcopy(context.network.state_dict())
        TSS().run(context)
        after = context.network.state_dict()
        changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
        assert all(name.startswith("tss.") for name in changed)
        assert {name for name in after if name.startswith("tss.") and name.endswith("weight")} <= changed
        assert "tss.trained" in changed

    def test_afterwards_the_head_is_frozen_and_the_rest_is_not(self, make_context) -> None:
        context = make_context()
        TSS().run(context)
        assert not any(p.requires_grad for p in context.network.tss.parameters())
        assert all(p.requires_grad for p in context.network.branches.parameters())
        assert all(p.grad is None for p in context.network.branches.parameters())

    def test_result_lies_under_the_head_s_name_and_says_that_it_is_trained(self, make_context) -> None:
        context = make_context(mgcl={"tss": {"head": "mlp"}})
        TSS().run(context)
        assert context.state.is_done("tss", "mlp")
        assert [path.name for path in folder(context, "mlp").iterdir()] == ["network.pth"]
        left = torch.load(folder(context, "mlp") / "network.pth", weights_only=True)
        assert bool(left["trained"])
        assert all(torch.equal(value, left[name]) for name, value in context.network.tss.state_dict().items())

    @pytest.mark.parametrize("finished", [True, False])
    def test_other_classes_than_the_head_was_trained_on_are_refused(self, make_context, monkeypatch, finished) -> None:
        context = make_context()
        if not finished:
            monkeypatch.setattr(context.curves, "update", lambda *_, **__: pytest.exit("killed"))
        with nullcontext() if finished else pytest.raises(pytest.exit.Exception):
            TSS().run(context)
        context = make_context()
        context.table = TSSTable(context.table.rows | {"case_2": TSSRow(True, None, None)})
        with pytest.raises(UserError, match=r"tss\.csv[\s\S]*case_2 was False, is True[\s\S]*restore"):
            TSS().run(context)

    def test_another_class_of_a_case_that_is_not_trained_on_changes_nothing(self, make_context) -> None:
        TSS().run(make_context())
        context = make_context()
        context.table = TSSTable(context.table.rows | {"validation": TSSRow(True, None, None)})
        TSS().run(context)
        assert context.network.tss.trained

    def test_without_a_head_there_is_nothing_to_do(self, make_context) -> None:
        context = make_context(mgcl={"tss": {"enabled": False}})
        assert context.network.tss is None
        TSS().run(context)
        assert not context.layout.phases.exists()

    def test_every_known_training_case_is_seen_once_an_epoch_in_a_new_order(self, make_context, epochs, lines) -> None:
        context = make_context(mgcl={"tss": {"epochs": 6}})
        TSS().run(context)
        passes = [tuple(epochs[start : start + 3]) for start in range(0, len(epochs), 3)]
        assert len(passes) == 6
        assert all(sorted(one) == KNOWN for one in passes)
        assert len(set(passes)) > 1
        assert lines[0] == "tss mrff: 3 cases with a known TSS, 2 of them < 4.5 h"

    def test_head_learns_to_tell_the_training_cases_apart(self, make_context, monkeypatch) -> None:
        monkeypatch.setattr(batches, "augment_volume", lambda volume, _: volume)
        context = make_context(mgcl={"tss": {"epochs": 40, "lr": 0.01, "batch_size": 3}})
        volumes = TSSVolumes(context, KNOWN)
        TSS().run(context)
        found = {case: probability(context, torch.tensor(volumes.images.load_case(case)[0][:])) for case in KNOWN}
        assert min(found["case_0"], found["case_1"]) > 0.5 > found["case_2"]


class TestHeads:
    """The convex head, and the heads that are trained beside the one of the checkpoint."""

    def left(self, context) -> dict:
        return {
            kind: torch.load(folder(context, kind) / "network.pth", weights_only=True)
            for kind in trained_heads(context.layout)
        }

    @pytest.mark.parametrize("dimensions", [2, 3])
    def test_lesion_head_is_fitted_to_the_optimum_on_the_network_s_own_lesions(self, make_context, dimensions) -> None:
        context = make_context(dimensions, mgcl={"tss": {"head": "lesion"}})
        TSS().run(context)
        head, images = context.network.tss, TSSVolumes(context, KNOWN).images
        rows = torch.cat(
            [
                read_inputs(context.network, [head], load_volume(images, case), context.config, context.configuration)[
                    0
                ][head.reads]
                for case in KNOWN
            ]
        ).double()
        standard = (rows - rows.mean(0)) / rows.std(0, unbiased=False)
        torch.testing.assert_close(head.head.mean, rows.mean(0).float())
        torch.testing.assert_close(head.head.scale, rows.std(0, unbiased=False).float())
        weight = head.head.linear.weight[0].double().detach().requires_grad_()
        bias = head.head.linear.bias.double().detach().requires_grad_()
        target = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(standard @ weight + bias, target, reduction="sum")
        (loss + weight.square().sum() / 2).backward()
        assert max(weight.grad.abs().max(), bias.grad.abs().max()) < 1e-4
        assert bool(head.trained) and not bool(head.regions)

    def test_every_set_of_modalities_is_fitted_as_prediction_will_read_it(self, make_context) -> None:
        """Alone or together, on the lesions of the branches that are there."""
        context = make_context(mgcl={"tss": {"head": "lesion"}})
        TSS().run(context)
        network, images = context.network, TSSVolumes(context, KNOWN).images
        head = network.tss
        for present in ((True, False), (False, True)):
            branches = [branch for branch, there in zip(network.tss_branches, present, strict=True) if there]
            with network.with_present(branches):
                parts = context.config, context.configuration
                rows = [read_inputs(network, [head], load_volume(images, case), *parts)[0] for case in KNOWN]
                own = torch.cat([row[head.reads] for row in rows])[:, head.head.columns(present)].double()
                mean = head.head.subsets[int(head.head.index(torch.tensor([present])))].double()
                said = [tss_probability(network, load_volume(images, case), *parts) for case in KNOWN]
            fitted = mean[: len(head.head.mean)][head.head.columns(present)]
            torch.testing.assert_close(fitted, own.mean(0), rtol=1e-4, atol=1e-5)
            standard = (own - own.mean(0)) / own.std(0, unbiased=False).clamp(min=1e-12)
            target = np.array([1, 1, 0])
            plain = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000).fit(standard.nan_to_num().numpy(), target)
            assert said == pytest.approx(plain.predict_proba(standard.nan_to_num().numpy())[:, 1], abs=1e-3)
        assert network.present == [0, 1]

    @pytest.mark.parametrize("copies", [1, 3])
    def test_copies_are_read_once_and_as_an_epoch_would(self, make_context, copies, monkeypatch) -> None:
        context = make_context(mgcl={"tss": {"head": "mrff", "compared": [], "epochs": 4, "copies": copies}})
        read, met = type(context.network).tss_inputs, []
        passes = []
        monkeypatch.setattr(type(context.network), "tss_inputs", lambda *given: passes.append(given) or read(*given))
        loss = TSS._loss

        def spy(phase, context, heads, module, batch):
            met.extend(own.numpy().tobytes() for own in batch["inputs"]["channel means of the encoders"])
            return loss(phase, context, heads, module, batch)

        monkeypatch.setattr(TSS, "_loss", spy)
        TSS().run(context)
        assert sum(len(given[1]) for given in passes) == copies * len(KNOWN)
        wanted = {own.numpy().tobytes() for given in passes for own in next(iter(read(*given).values()))}
        assert {*met} <= wanted and len(met) == 4 * len(KNOWN)
        assert len({*met}) > len(KNOWN) or copies == 1

    @pytest.mark.parametrize("head", HEADS)
    def test_modality_dropout_reaches_the_heads_of_tokens(self, make_context, head) -> None:
        weights = []
        for dropout in (0.0, 0.5):
            context = make_context(mgcl={"tss": {"head": head, "modality_dropout": dropout}})
            TSS().run(context)
            weights.append({name: value.clone() for name, value in context.network.tss.state_dict().items()})
            shutil.rmtree(context.layout.phases)
        assert not all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())

    def test_every_head_lies_under_its_name_and_the_checkpoint_has_the_chosen_one(self, make_context, lines) -> None:
        context = make_context(mgcl=ALL)
        TSS().run(context)
        left = self.left(context)
        assert list(left) == ["lesion", "mrff", "mrff_lesion", "mlp"]
        assert all(bool(state["trained"]) for state in left.values())
        chosen = context.network.tss.state_dict()
        assert all(torch.equal(value, chosen[name]) for name, value in left["lesion"].items())
        assert sum("cases with a known TSS" in line for line in lines) == 2  # the fit, and the others at once

    def test_what_a_head_is_compared_with_changes_no_bit_of_it(self, make_context, monkeypatch) -> None:
        alone = make_context(mgcl={"tss": {"head": "mrff", "compared": []}})
        TSS().run(alone)
        expected = alone.network.tss.state_dict()
        alone.layout.state.unlink()
        beside = make_context(mgcl={"tss": {"head": "mrff", "compared": ALL["tss"]["compared"]}})
        TSS().run(beside)
        assert all(torch.equal(value, expected[name]) for name, value in beside.network.tss.state_dict().items())

    def test_heads_answer_for_a_case_at_once_as_each_does_by_itself(self, make_context) -> None:
        context = make_context(mgcl=ALL)
        TSS().run(context)
        heads = {kind: build_classifier(context.configuration, kind) for kind in trained_heads(context.layout)}
        for kind, head in heads.items():
            load_head(head, context.layout, kind)
        asked = (image(context), context.config, context.configuration)
        together = tss_probabilities(context.network, heads, *asked)
        for kind, head in heads.items():
            assert tss_probabilities(context.network, {kind: head}, *asked)[kind] == together[kind]
        assert together["lesion"] == probability(context, image(context))
        assert len(set(together.values())) == len(heads)


class TestVolumes:
    def test_target_image_and_valid_slices_of_a_case(self, make_context, monkeypatch) -> None:
        monkeypatch.setattr(batches, "augment_volume", lambda volume, _: volume)
        context = make_context(mgcl={"tss": {"slices": 6}})
        volumes = TSSVolumes(context, KNOWN)
        assert len(volumes) == 3
        assert [volumes[i]["target"] for i in range(3)] == [1, 1, 0]
        item = volumes[1]
        assert item["keys"] == "case_1"
        assert item["valid"].tolist() == [True] * 4 + [False] * 2
        assert np.array_equal(item["volumes"][:, :4].numpy(), volumes.images.load_case("case_1")[0][:])
        assert item["volumes"][:, 4:].eq(0).all()

    def test_augmentation_follows_torch_s_seed(self, make_context) -> None:
        volumes = TSSVolumes(make_context(), KNOWN)
        drawn = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            drawn.append(volumes[0]["volumes"])
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])
        assert drawn[0].shape == (3, 4, 32, 32)


class TestProbability:
    @pytest.mark.parametrize("dimensions", [2, 3])
    @pytest.mark.parametrize("slices", [2, 4, 9])
    def test_it_is_the_sigmoid_of_the_head_on_the_fitted_volume(self, make_context, dimensions, slices) -> None:
        context = make_context(dimensions)
        network = context.network
        network.tss.trained.fill_(True)
        volume, valid = fit_volume(image(context, slices), context.config.tss)
        assert volume.shape == (3, 4, 32, 32)
        network.eval()
        with torch.no_grad():
            expected = torch.sigmoid(network.tss(network.tss_features(volume[None], 100), valid[None])).item()
        assert probability(context, image(context, slices)) == pytest.approx(expected, abs=1e-6)

    def test_untrained_head_has_no_probability(self, make_context) -> None:
        context = make_context()
        assert probability(context, image(context)) is None
        context.network.tss.trained.fill_(True)
        assert 0 < probability(context, image(context)) < 1

    def test_asking_changes_no_buffer(self, make_context) -> None:
        context = make_context(norm="BatchNorm")
        context.network.tss.trained.fill_(True)
        context.network.train()
        before = deepcopy(context.network.state_dict())
        first = probability(context, image(context))
        assert probability(context, image(context)) == first
        assert all(torch.equal(value, before[name]) for name, value in context.network.state_dict().items())
