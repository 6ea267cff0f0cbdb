"""Masks on the images' grid, strides of thick slices, IBSI's phantom, and what is chosen inside the training cases."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import nn

from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.evaluation.measures.classification import auroc
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.mismatch.baseline import RATIO_RULE, baselines
from nnunet_mgcl.mismatch.case_mismatch import MismatchOptions, measure_case
from nnunet_mgcl.mismatch.roles import find_roles
from nnunet_mgcl.plan.dataset_json import read_dataset_json
from nnunet_mgcl.plan.plans import resolve_block
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.system.files import read_json
from nnunet_mgcl.tss.classifiers import radiomics_svm
from nnunet_mgcl.tss.classifiers.cases import Cases
from nnunet_mgcl.tss.classifiers.masks import PredictedMasks
from nnunet_mgcl.tss.classifiers.mismatch_rule import MismatchRule
from nnunet_mgcl.tss.classifiers.networks import build_densenet, build_resnet
from nnunet_mgcl.tss.classifiers.protocol import Settings, TrainingCase
from nnunet_mgcl.tss.classifiers.radiomics import _extract, _write, radiomic_features
from nnunet_mgcl.tss.classifiers.radiomics_svm import RadiomicsSVM
from nnunet_mgcl.tss.classifiers.volume_network import VolumeNetwork
from tests.conftest import preprocess, write_image
from tests.unit.mismatch.conftest import draw_head
from tests.unit.tss.classifiers.conftest import MODEL


def make_cases(layout: DatasetLayout, plans: dict, masks: bool = True) -> Cases:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    json = read_dataset_json(layout.dataset_json)
    config = resolve_block(plans, "2d", json, tss_known=True)
    manager = PlansManager(plans)
    model = layout.preprocessed.parents[1] / "results" / layout.name / MODEL
    run = ValidatedRun.find(layout, model, None) if masks else None
    source = PredictedMasks(run, manager, manager.get_configuration("2d")) if run else None
    return Cases(layout, plans, "2d", config, json, source)


@pytest.mark.parametrize("turned", [False, True])
def test_predicted_masks_lie_where_nnunet_puts_the_truth(dataset, plans, masks_json, turned) -> None:
    """Cropped, turned and resampled: the model has predicted the truth."""
    if turned:
        plans |= {"transpose_forward": [1, 0, 2], "transpose_backward": [1, 0, 2]}
        plans["configurations"]["2d"] |= {"spacing": [4.0, 2.0], "patch_size": [8, 48]}
        folder = dataset.preprocessed / "nnUNetPlans_2d"
        for path in folder.glob("*"):
            path.unlink()
        for path in (dataset.raw / "imagesTr").glob("*"):  # a margin that is cropped
            voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
            voxels[:, :2], voxels[..., 28:] = 0, 0
            write_image(path, voxels)
        preprocess(dataset.raw, folder, plans, masks_json)
    cases = make_cases(dataset, read_plans(dataset.plans("nnUNetPlans")) | plans)
    for case in ("case_0", "case_4"):
        _, labels, properties = cases.load(case)
        masks = cases.masks(case, labels, properties)
        assert [*masks] == ["DWI", "FLAIR", "PWI"]
        for mask, own in zip(masks.values(), cases.lesions.values(), strict=True):
            assert np.array_equal(mask, np.isin(labels, own)) and mask.any()
        assert cases.spacing(properties) == ((3.0, 4.0, 2.0) if turned else (6.0, 3.0, 3.0))


@pytest.mark.parametrize("slices", [1, 3, 6, 8, 25, 40])
def test_a_network_keeps_four_slices_and_halves_every_side_in_plane(slices) -> None:
    for build, last in ((build_resnet, "layer4"), (build_densenet, "features.denseblock4")):
        network, shapes = build(2, slices).eval(), []
        network.get_submodule(last).register_forward_hook(lambda *a, s=shapes: s.append(a[2].shape[2:]))
        assert network(torch.randn(1, 2, slices, 64, 96)).shape == (1, 1)
        depth, *plane = shapes[0]
        assert plane == [2, 3]
        assert min(slices, 4) <= depth < 8


def phantom():
    """IBSI's digital phantom `(z, y, x)`, 2 mm; 0 is outside (Zwanenburg et al., Radiology 2020)."""
    return np.array([
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [0, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ], dtype=np.float32)  # fmt: skip


def test_the_library_agrees_with_ibsi(tmp_path) -> None:
    """The reference manual's values for the digital phantom, whose grey levels are taken as they are."""
    image, mask = phantom(), (phantom() > 0).astype(np.uint8)
    files = [_write(tmp_path / name, array, (2.0, 2.0, 2.0)) for name, array in (("i.nii", image), ("m.nii", mask))]
    families = ["morph", "statistics", "glcm", "szm"]
    found = dict(_extract(*files, families, base_discretisation_method="none", base_discretisation_n_bins=None))
    wanted = {
        "morph_volume": 556, "morph_vol_approx": 592, "morph_area_mesh": 388, "stat_mean": 2.15, "stat_var": 3.05,
        "stat_skew": 1.08, "stat_kurt": -0.355, "stat_energy": 567, "szm_sze_3d": 0.255,
    }  # fmt: skip
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=5e-3), name


def test_features_are_of_each_lesion_on_each_channel() -> None:
    image = np.random.default_rng(0).normal(size=(2, 4, 16, 16)).astype(np.float32)
    masks = {name: np.zeros(image.shape[1:], bool) for name in ("DWI", "FLAIR")}
    masks["DWI"][1:3, 4:9, 4:9] = True
    masks["FLAIR"][0, 0, :3] = True  # too small
    found = radiomic_features(image, masks, {0: "adc", 1: "flair"}, (6.0, 3.0, 3.0))
    for number, channel in enumerate(("adc", "flair")):
        assert found[f"DWI_{channel}_stat_mean"] == pytest.approx(image[number][masks["DWI"]].mean(), abs=1e-5)
    assert found["DWI_morph_vol_approx"] == pytest.approx(50 * 54)
    assert found["FLAIR_voxels"] == 3 and not [name for name in found if name.startswith("FLAIR_adc")]


def machine(tmp_path, monkeypatch, patients):
    """A machine of cases whose third feature tells the class, beside noise and a feature that a case lacks."""
    random = np.random.default_rng(2)
    cases = [TrainingCase(f"case_{n}", n % 2 == 0, patients(n)) for n in range(80)]
    rows = {case.name: dict(zip("abcdef", random.normal(size=6), strict=True)) for case in cases}
    for case in cases:
        rows[case.name]["c"] += 6 * case.positive
    del rows["case_39"]["e"]
    monkeypatch.setattr(RadiomicsSVM, "_measured", lambda _, case: rows[case])
    own = RadiomicsSVM(None, Settings(1, 0, tmp_path, torch.device("cpu")))
    own.fit(cases)
    return own, cases, rows


def test_the_machine_finds_the_feature_that_tells(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(radiomics_svm, "KEPT", [1, 2])
    own, _, rows = machine(tmp_path, monkeypatch, patients=lambda n: f"p{n}")
    rows |= {"new_0": {"c": 6.0}, "new_1": {"c": 0.0, "unknown": 3.0}}
    assert own.probability("new_0") > 0.9 and own.probability("new_1") < 0.1
    own.save(tmp_path)
    known = read_json(tmp_path / "svm.json")
    assert all("c" in one["features"] for one in known["machines"]) and known["inner_auroc"] == 1


def test_the_file_of_a_fold_has_all_of_the_machines(tmp_path, monkeypatch) -> None:
    own, _, rows = machine(tmp_path, monkeypatch, patients=lambda n: f"p{n}")
    own.save(tmp_path)
    machines = read_json(tmp_path / "svm.json")["machines"]
    for case in ("case_0", "case_1", "case_39"):
        wanted = []
        for known in machines:
            pairs = zip(known["features"], known["median"], strict=True)
            values = np.array([rows[case].get(name, median) for name, median in pairs])
            scaled = (values - known["mean"]) / known["scale"]
            distances = ((np.array(known["support_vectors"]) - scaled) ** 2).sum(1)
            decision = known["coefficients"] @ np.exp(-known["gamma"] * distances) + known["intercept"]
            slope, offset = known["platt"]
            wanted.append(1 / (1 + np.exp(slope * decision + offset)))
        assert len(wanted) == 5 and own.probability(case) == pytest.approx(np.mean(wanted))


def test_probabilities_of_a_machine_with_a_small_c_are_as_frequent_as_the_class(tmp_path, monkeypatch) -> None:
    """All its cases are support vectors then, and nothing but the inner folds' own maps fixes where 0.5 lies."""
    monkeypatch.setattr(radiomics_svm, "PENALTIES", [0.01])
    random = np.random.default_rng(3)
    cases = [TrainingCase(f"case_{n}", n % 14 < 9, f"p{n}") for n in range(140)]
    rows = {case.name: {key: random.normal() + case.positive for key in "abcdefgh"} for case in cases}
    monkeypatch.setattr(RadiomicsSVM, "_measured", lambda _, case: rows[case])
    own = RadiomicsSVM(None, Settings(1, 0, tmp_path, torch.device("cpu")))
    own.fit(cases)
    said = [own.probability(case.name) for case in cases]
    assert np.mean(said) == pytest.approx(9 / 14, abs=0.05)
    called = [(probability > 0.5) == case.positive for probability, case in zip(said, cases, strict=True)]
    assert np.mean(called) > 0.8


def test_a_patient_is_on_one_side_of_the_inner_folds(tmp_path, monkeypatch) -> None:
    own, cases, _ = machine(tmp_path, monkeypatch, patients=lambda n: f"p{n // 4}")
    for train, left_out in own.search.cv:
        assert not {cases[i].patient for i in train} & {cases[i].patient for i in left_out}


def test_the_mismatch_is_that_of_its_command(dataset, plans, masks_json) -> None:
    cases = make_cases(dataset, read_plans(dataset.plans("nnUNetPlans")))
    names, roles = [f"case_{n}" for n in range(6)], find_roles(masks_json)
    for name, ratio in zip(names[:4], (1.3, 1.0, 1.1, 1.6), strict=True):  # of the others FLAIR shows no head
        head = draw_head(lesions=[(40, 20, 10, 14, ratio)])
        sitk.WriteImage(head.flair, str(dataset.raw / f"imagesTr/{name}_0001.nii.gz"))
        label = sitk.GetImageFromArray(head.mask.astype(np.uint8))
        label.CopyInformation(head.flair)
        sitk.WriteImage(label, str(cases.source.file(name)))
    rule = MismatchRule(cases, Settings(1, 0, dataset.raw, torch.device("cpu")))
    rule.fit([TrainingCase(name, n < 2, name) for n, name in enumerate(names)])
    said = {name: rule.probability(name) for name in names}
    assert rule.unanswered == names[4:] and [said[name] for name in names[4:]] == [pytest.approx(2 / 6)] * 2
    assert len(rule.remarks()) == 1
    positive = {name: n in (1, 2, 3) for n, name in enumerate(names)}
    measured = (
        measure_case(dataset.raw / "imagesTr", ".nii.gz", roles, MismatchOptions(), cases.source.file(name))
        for name in names
    )
    wanted = baselines([case.row for case in measured], positive, 1.15)[RATIO_RULE]
    answered = np.array([said[name] for name in names[:4]])
    known = np.array([positive[name] for name in names[:4]])
    assert auroc(answered, known) == pytest.approx(wanted["AUROC"])
    assert np.mean((answered >= 0.5) == known) == pytest.approx(wanted["ACC"]) and wanted["cases"] == 4


class Small(VolumeNetwork):
    """Quick, in the place of 33 million weights."""

    name = "small"

    @staticmethod
    def build(channels, slices):
        return nn.Sequential(
            nn.Conv3d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 1)
        )


def test_a_network_learns_what_tells_the_classes() -> None:
    """Bright and dark volumes: a label, a sign or a case that got lost on the way shows."""
    random = torch.Generator().manual_seed(0)
    classes = {f"case_{n}": n % 3 == 0 for n in range(12)}
    volumes = {n: torch.randn(1, 4, 32, 32, generator=random) + 2.0 * early for n, early in classes.items()}
    cases = SimpleNamespace(channel_names={0: "DWI"}, volume=lambda case, masked: volumes[case])
    network = Small(cases, Settings(3, 0, None, torch.device("cpu"), epochs=40, lr=3e-2))
    network.fit([TrainingCase(name, early, name) for name, early in classes.items()])
    volumes |= {"bright": torch.randn(1, 4, 32, 32) + 2, "dark": torch.randn(1, 4, 32, 32)}
    assert network.probability("bright") > 0.7 and network.probability("dark") < 0.3
