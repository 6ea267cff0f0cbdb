"""Runs the code of docs/python.md as it stands there, on tiny models and images."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import nnunet_mgcl
from tests.conftest import TINY_CASES, write_image
from tests.contract.models import predict

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.usefixtures("converting_here", "few_resamples")


@pytest.fixture
def place(masks_model, masks_json, tiny_template, scan_template, tmp_path, monkeypatch) -> Path:
    """A folder with what the page names."""
    raw = tmp_path / "page" / "nnUNet_raw" / "Dataset501_Stroke"
    shutil.copytree(tiny_template, raw)
    shutil.copytree(scan_template, tmp_path / "page" / "scans")
    (raw / "dataset.json").write_text(json.dumps(masks_json))
    for number, case in enumerate(TINY_CASES[:2], start=1):
        for channel in range(3):
            source = raw / "imagesTr" / f"{case}_{channel:04}.nii.gz"
            for folder, name in ((raw / "imagesTs", f"t{number}"), (raw.parents[1] / "new", f"p{number}")):
                folder.mkdir(exist_ok=True)
                shutil.copy(source, folder / f"{name}_{channel:04}.nii.gz")
        write_image(raw / "labelsTs" / f"t{number}.nii.gz", np.full((6, 32, 32), number, np.uint8))
    (raw / "tssTs.csv").write_text("case,tss_hours\nt1,2\nt2,9\n")
    model = tmp_path / "page" / "nnUNet_results" / "Dataset501_Stroke" / "MGCLTrainer__nnUNetPlans__2d"
    shutil.copytree(masks_model, model)
    predict(str(model), raw / "imagesTs", tmp_path / "page" / "OUT")
    for variable in ("raw", "preprocessed", "results", "extTrainer"):
        monkeypatch.delenv(f"nnUNet_{variable}")
    monkeypatch.chdir(tmp_path / "page")
    return tmp_path / "page"


def test_every_block_runs_in_the_order_of_the_page(place, capsys) -> None:
    names = {"__name__": "__main__"}
    for block in BLOCKS:
        line = PAGE.read_text()[: PAGE.read_text().index(block)].count("\n")
        exec(compile("\n" * line + block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    for told in re.findall(r"^ *print\(.*\)  # (.*)$", "".join(BLOCKS), flags=re.MULTILINE):
        assert told in printed, told
    assert "2 labelled, 1 in the pool" in printed
    assert len(BLOCKS) == 10 and torch.isfinite(names["embeddings"].grad).all()
    assert {name for name in nnunet_mgcl.__all__ if name in names} >= {"Model", "evaluate_folder", "build_dataset"}


def test_the_page_names_what_is_public_and_nothing_else() -> None:
    table = PAGE.read_text().split("|---|---|\n")[1].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == sorted(nnunet_mgcl.__all__)
    imported = re.findall(r"^from nnunet_mgcl(\S*) import (.+)$", "".join(BLOCKS), flags=re.MULTILINE)
    assert {module for module, _ in imported} == {""}
    assert {name for _, names in imported for name in names.split(", ")} <= {*nnunet_mgcl.__all__}
