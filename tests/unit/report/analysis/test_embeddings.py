from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from nnunet_mgcl.pretraining.monitor.samples import draw
from nnunet_mgcl.report.analysis import embeddings
from nnunet_mgcl.report.analysis.embeddings import sources
from tests.unit.report.conftest import embed

SHARED = {"labels": {"background": 0, "a": 1, "b": 2, "c": 3, "ignore": 4}, "mgcl": {}}
"""One label map for all; what is 4 in the tiny masks is ignored then, what is 5 to 7 is lesion."""


def cut(array, size, fill):
    """The middle of `(C, Z, Y, X)`, voxel by voxel."""
    size = (array.shape[1], *size) if len(size) == 2 else size
    result = np.full((len(array), *size), fill, np.float32)
    starts = [(full - wanted) // 2 for full, wanted in zip(array.shape[1:], size, strict=True)]
    for at in np.ndindex(*size):
        source = tuple(start + own for start, own in zip(starts, at, strict=True))
        if all(0 <= own < full for own, full in zip(source, array.shape[1:], strict=True)):
            result[(slice(None), *at)] = array[(slice(None), *source)]
    return result


def label_of(mask, least, ignore):
    """Of one sample: None where it is to be left out."""
    annotated, lesion, inside = 0, 0, 0
    for value in mask.ravel():
        inside += value != -1
        annotated += value != ignore
        lesion += value > 0 and value != ignore
    if annotated == 0 or inside == 0 or inside / mask.size < least:
        return None
    return lesion > 0 and lesion / annotated >= least


def depth(level):
    return level.shape[1]


def expected(fold, branch, phase, unet):
    """Representations, labels and cases, sample by sample, from the equations in words."""
    rows, dataset, size = [], fold.dataset(branch), branch.configuration.patch_size
    seen = []
    unet.decoder.stages[-1].register_forward_hook(lambda *_: seen.append(_[2]))
    ignore = branch.label_manager.ignore_label
    for case in fold.cases:
        image, mask, *_ = dataset.load_case(case)
        image, mask = cut(np.asarray(image[:]), size, 0), cut(np.asarray(mask[:]), size, -1)[0]
        for part in [slice(None)] if fold.is_3d else range(len(mask)):
            with torch.no_grad():
                skips = unet.encoder(torch.from_numpy(image[:, part])[None])
                unet.decoder(skips)
            levels, fine = [skip[0].numpy() for skip in skips], seen.pop()[0].numpy()
            own = mask[part] if fold.is_3d else mask[part][None]
            if not fold.is_3d:
                levels, fine = [level[:, None] for level in levels], fine[:, None]
            if phase == "coarse":
                positions = levels[-1].shape[1]
                for p in range(positions):
                    slabs = [np.s_[p * n // positions : -(-(p + 1) * n // positions)] for n in map(depth, levels)]
                    values = [level[:, slab].max(axis=(1, 2, 3)) for level, slab in zip(levels, slabs, strict=True)]
                    slab = own[p * len(own) // positions : -(-(p + 1) * len(own) // positions)]
                    rows.append((np.concatenate(values), label_of(slab, 0, ignore), case))
            else:
                side = fold.config.fine.patch_size
                for z, y, x in np.ndindex(len(own), -(-own.shape[1] // side), -(-own.shape[2] // side)):
                    patch = np.s_[z, side * y : side * (y + 1), side * x : side * (x + 1)]
                    values = fine[(slice(None), *patch)].mean(axis=(1, 2))
                    rows.append((values, label_of(own[patch], 0.1, ignore), case))
    return [row for row in rows if row[1] is not None]


@pytest.mark.parametrize("phase", ["coarse", "fine"])
@pytest.mark.parametrize(
    ("dimensions", "patch_size", "labels"),
    [(2, (28, 40), None), (3, (12, 28, 40), None), (2, (32, 32), SHARED)],
    ids=["2d", "3d", "shared labels, ignore"],
)
def test_representations_and_labels_are_those_of_plain_loops(make_fold, dimensions, patch_size, labels, phase) -> None:
    fold = make_fold(dimensions, patch_size=patch_size, labels=labels)
    branch = fold.branches[2]
    cloud = embed(fold, branch, phase)
    final = fold.network.branches[2]
    kind = fold.phase(phase)
    units = {"before": fold.initial(branch, kind), f"after {phase}": fold.pretrained(branch, kind)}
    for stage, unet in {**units, "after segment": final}.items():
        values, lesion, cases = zip(*expected(fold, branch, phase, unet), strict=True)
        np.testing.assert_allclose(cloud.representations[stage], np.stack(values), atol=1e-5)
        assert cloud.lesion.tolist() == list(lesion) and cloud.patients.tolist() == list(cases)
    assert cloud.available == (len(lesion), sum(lesion)) and 0 < sum(lesion) < len(lesion)
    stages = list(cloud.representations.values())
    assert not any(np.allclose(one, other) for one, other in pairwise(stages))


def test_looking_leaves_the_final_network_as_it_is(make_fold) -> None:
    fold = make_fold()
    embed(fold, fold.branches[0], "fine")
    assert isinstance(fold.network.branches[0].decoder.seg_layers[-1], nn.Conv2d)


def test_cases_of_one_patient_are_one_patient(make_fold) -> None:
    fold = make_fold(patients={"case_0": "p", "case_2": "p"})
    cloud = embed(fold, fold.branches[0], "coarse")
    assert cloud.patients.tolist() == ["p"] * 12 + ["case_5"] * 6


def test_too_many_slices_are_thinned_out_evenly(make_fold, monkeypatch) -> None:
    fold = make_fold()
    monkeypatch.setattr(embeddings, "MAX_SLICES", 5)
    found = sources(fold, fold.branches[0])  # every 4th of 18
    assert found == [("case_0", [0, 4]), ("case_2", [2]), ("case_5", [0, 4])]
    assert len(embed(fold, fold.branches[0], "coarse").lesion) == 5


def test_too_many_volumes_are_thinned_out_evenly(make_fold, monkeypatch) -> None:
    fold = make_fold(3)
    monkeypatch.setattr(embeddings, "MAX_VOLUMES", 2)
    assert [case for case, _ in sources(fold, fold.branches[0])] == ["case_0", "case_5"]


def test_drawn_samples_keep_their_labels_and_patients(make_fold, monkeypatch) -> None:
    fold = make_fold()
    branch = fold.branches[0]
    whole = embed(fold, branch, "fine")
    monkeypatch.setattr(embeddings, "MAX_POINTS", 30)
    some = embed(fold, branch, "fine")
    chosen = draw(whole.lesion, fold.config.random_seed, 30)
    assert some.available == whole.available and len(some.lesion) == 30 < len(whole.lesion)
    for found, known in ((some.lesion, whole.lesion), (some.patients, whole.patients)):
        assert np.array_equal(found, known[chosen])
    for stage, representations in whole.representations.items():
        assert np.array_equal(some.representations[stage], representations[chosen])


@pytest.mark.parametrize("done", [True, False])
def test_before_is_the_network_of_self_train_where_the_phase_went_on_with_it(make_fold, done) -> None:
    fold = make_fold()
    branch = fold.branches[0]
    torch.manual_seed(3)
    teacher, path = branch.build_unet(), fold.layout.phase("self_train", branch.name) / "network.pth"
    path.parent.mkdir(parents=True)
    torch.save(teacher.state_dict(), path)
    if done:
        fold.layout.state.write_text(
            json.dumps({"done": [f"self_train/{branch.name}"], "skipped": [], "current": None})
        )
    name = "encoder.stages.0.0.convs.0.conv.weight"
    before, untrained = fold.initial(branch, fold.phase("coarse")).state_dict(), fold.untrained(branch).state_dict()
    assert torch.equal(before[name], (teacher.state_dict() if done else untrained)[name])
    assert not torch.equal(untrained[name], teacher.state_dict()[name])
