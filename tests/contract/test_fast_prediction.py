"""`mgcl predict --fast` and the default: whose calls of the network they make, and that they say the same."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nnunet_mgcl.cli import main
from nnunet_mgcl.inference import mgcl_predictor
from nnunet_mgcl.inference.mgcl_predictor import MGCLPredictor
from nnunet_mgcl.network.branch import unwrap
from tests.contract.models import predictor, rows, voxels

COMMAND = ("-f", "0", "1", "-device", "cpu", "-npp", "0", "-nps", "0", "--disable_progress_bar")


def run(model, images, output, *words):
    assert main(["predict", "-i", str(images), "-o", str(output), "-m", str(model), *COMMAND, *words]) == 0
    return {path.name: voxels(path) for path in sorted(output.glob("*.nii.gz"))}, rows(output / "tss.csv")


def test_fast_says_what_the_exact_prediction_says(masks_model, images, tmp_path) -> None:
    exact, table = run(masks_model, images, tmp_path / "exact")
    for words in ((), ("--batch", "5")):
        found, fast = run(masks_model, images, tmp_path / f"fast{len(words)}", "--fast", *words)
        assert found.keys() == exact.keys() and all(np.mean(found[case] != exact[case]) < 1e-3 for case in exact)
        assert {case: row["probability"] for case, row in fast.items()} == {
            case: row["probability"] for case, row in table.items()
        }
    assert json.loads((tmp_path / "fast0/mgcl_prediction.json").read_text())["flags"]["fast"] is True
    with pytest.raises(SystemExit, match=r"flags\.fast"):
        run(masks_model, images, tmp_path / "fast0", "--continue_prediction")


@pytest.mark.parametrize("alike", [True, False])
def test_the_default_batches_only_what_is_bit_by_bit_the_same(masks_model, images, alike, monkeypatch) -> None:
    used = predictor(masks_model, MGCLPredictor)
    used.use_mirroring = True
    monkeypatch.setattr(mgcl_predictor, "same_in_batches", lambda *_: alike)
    samples = []
    unwrap(used.network).register_forward_pre_hook(lambda _, given: samples.append(len(given[0])))
    used.predict_from_files_sequential([[str(images / f"case_0_{channel:04}.nii.gz") for channel in range(3)]], None)
    assert (max(samples) > 1) == alike and len(used.tss) == 1


def test_a_batch_without_samples_is_refused(masks_model, images, tmp_path) -> None:
    with pytest.raises(SystemExit, match="--batch"):
        run(masks_model, images, tmp_path / "out", "--batch", "0")
