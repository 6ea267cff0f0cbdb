"""What a fold learns depends on its training cases alone, whatever the method."""

from __future__ import annotations

import hashlib
import shutil
from functools import partial

import numpy as np
import pytest
import torch

from nnunet_mgcl.tss.classifiers import networks, radiomics, radiomics_svm
from nnunet_mgcl.tss.classifiers.methods import METHODS
from tests.conftest import rewrite_case
from tests.scans import write_image
from tests.unit.tss.classifiers.conftest import MODEL

VALIDATED, TRAINING = "case_0", "case_3"
PARTS = {"image", "true mask", "predicted mask", "TSS"}
LEARNS_CLASSES_ONLY = ["mismatch"]


@pytest.fixture
def splits():
    """Fold 0 trains on two early and three late cases: one may change its class, and the share of classes tells."""
    return [[VALIDATED], ["case_1", TRAINING], ["case_2", "case_4", "case_5"]]


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """33 million weights, textures and a search of 20 machines take a minute."""
    monkeypatch.setattr(networks, "resnet18", partial(networks.resnet18, widen_factor=0.125))
    monkeypatch.setattr(radiomics, "INTENSITY", ["statistics"])
    monkeypatch.setattr(radiomics_svm, "KEPT", [2, 4])
    monkeypatch.setattr(radiomics_svm, "PENALTIES", [0.1, 1.0])


def digest(content):
    return hashlib.sha256(content).hexdigest()


def learned(fold):
    """Hashes of a fold's files, but for what is said of validation cases, what it cost and what it began with."""
    found, others = {}, {"validation", "phases", "inputs.json", ".lock"}
    for path in (path for path in fold.rglob("*") if path.is_file() and path.relative_to(fold).parts[0] not in others):
        if path.suffix == ".pth":  # as a file it has the name of its temporary file in it
            state = torch.load(path, weights_only=True)
            found |= {f"{path.name} {name}": digest(tensor.numpy().tobytes()) for name, tensor in state.items()}
        else:
            found[path.name] = digest(path.read_bytes())
    return found


def spoil(dataset, case, part) -> None:
    """Replaces one thing of a case by noise, wherever a command could read it."""
    random = np.random.default_rng([*f"{case} {part}".encode()])  # no two cases alike: a split refuses twins
    preprocessed, shape = dataset.preprocessed / "nnUNetPlans_2d", (6, 32, 32)
    if part == "image":
        rewrite_case(preprocessed, case, image=lambda image: random.normal(size=image.shape).astype(np.float32))
        for path in (dataset.raw / "imagesTr").glob(f"{case}_*"):
            write_image(path, random.normal(size=shape).astype(np.float32))
    elif part == "TSS":
        early, late = f"{case},1\n", f"{case},99\n"
        rows = dataset.tss.read_text().splitlines(keepends=True)
        rows = [(late if float(row.split(",")[1]) < 4.5 else early) if case in row else row for row in rows]
        for path in (dataset.tss, dataset.raw / "tss.csv"):
            path.write_text("".join(rows))
    else:
        noise = np.zeros(shape, np.uint8)
        noise[2:4, 8:16, 8:16] = random.integers(0, 8, (2, 8, 8))  # of a lesion's size, of which features are quick
        files = dataset.preprocessed.parents[1].glob(f"results/*/{MODEL}/fold_*/validation/{case}.nii.gz")
        if part == "true mask":
            rewrite_case(preprocessed, case, mask=lambda mask: noise[None].astype(mask.dtype))
            folders = dataset.raw / "labelsTr", dataset.preprocessed / "gt_segmentations"
            files = (folder / f"{case}.nii.gz" for folder in folders)
        for path in files:
            write_image(path, noise)


@pytest.mark.parametrize("method", METHODS)
def test_a_fold_learns_from_what_it_should_of_its_training_cases(classifier, dataset, method) -> None:
    """And each kind of noise is seen where it should be."""
    fold = dataset.preprocessed.parents[1] / "results" / dataset.name / f"{method}__nnUNetPlans__2d/fold_0"

    def train():
        shutil.rmtree(fold, ignore_errors=True)
        classifier(method, "--epochs", "1", "-f", "0")
        return learned(fold)

    read = {"TSS"} if method in LEARNS_CLASSES_ONLY else {"image", "TSS", f"{METHODS[method].masks} mask"} & PARTS
    assert (before := train())
    for part in sorted(PARTS):
        spoil(dataset, VALIDATED, part)
    assert train() == before
    for part in sorted(PARTS - read):
        spoil(dataset, TRAINING, part)
    assert train() == before
    for part in sorted(read):
        spoil(dataset, TRAINING, part)
        now = train()
        assert now != before, part
        before = now
