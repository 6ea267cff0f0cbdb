"""Names that are paths, or files of nnU-Net's, are refused by every command, and nothing outside is touched."""

from __future__ import annotations

import json

import pytest

from nnunet_mgcl.cli import main
from nnunet_mgcl.data.layout import DatasetLayout, dataset_name
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.names import is_name

BAD = ["../../x", "a/b", "a\\b", "..", ".", "a\nb", "x" * 300]
MODEL = ["-d", "901", "-c", "2d"]


@pytest.fixture
def root(tmp_path, monkeypatch, plans, dataset_json):
    """A planned dataset without a case, and a model without a checkpoint."""
    for variable in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{variable}", str(tmp_path / variable))
        (tmp_path / variable / "Dataset901_Tiny").mkdir(parents=True)
    layout = DatasetLayout.find("Dataset901_Tiny")
    layout.splits.write_text(json.dumps([{"train": ["a"], "val": ["b"]}]))
    layout.dataset_json.write_text(json.dumps(dataset_json))
    layout.plans("nnUNetPlans").write_text(json.dumps(plans))
    return tmp_path


def files(root) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["plan", "-d", "901", "--overwrite"], "-o"),
        (["plan", "-d", "901"], "-p"),
        (["prepare", *MODEL], "-p"),
        *(([command, *MODEL], "-p") for command in ("head", "summary", "evaluate", "report")),
        *(([command, *MODEL], "-tr") for command in ("head", "summary", "evaluate", "report")),
        *((["predict", *MODEL, "-i", "in", "-o", "out"], option) for option in ("-p", "-tr", "-chk", "-f")),
        (["summary", *MODEL], "-f"),
        (["evaluate", *MODEL], "-f"),
        (["report", *MODEL], "--case"),
        (["compare", "-d", "901", "MGCLTrainer__nnUNetPlans__2d"], None),
        *(([command], "-d") for command in ("plan", "prepare -c 2d", "head -c 2d", "mismatch -o out")),
        (["phantom", "-o", "."], "--name"),
        (["convert", "-i", "manifest.csv", "--id", "5", "--reference", "DWI"], "--name"),
    ],
)  # fmt: skip
def test_paths_are_refused(root, monkeypatch, raw_scans, command, option, name):
    monkeypatch.chdir(raw_scans)
    (raw_scans / "in").mkdir()
    before = files(root)
    words = [*command[0].split(), *command[1:], *([option] if option else []), name]
    with pytest.raises(SystemExit) as error:
        main(words)
    assert name[:10] in str(error.value) or repr(name)[:10] in str(error.value)
    assert files(root) == before
    assert not (raw_scans / "out").exists()


@pytest.mark.parametrize("name", ["dataset", "dataset_fingerprint", "splits_final", "A__B", ".hidden", "plän", " "])
def test_new_plans_are_not_called_like_files_of_nnunet(root, name):
    before = files(root)
    with pytest.raises(SystemExit, match="--plans-name"):
        main(["plan", "-d", "901", "-o", name, "--overwrite"])
    assert files(root) == before


@pytest.mark.parametrize(
    "text", ["1_0", "\uff19\uff10\uff11", " 901", "-5", "Dataset", "Dataset901/../x", "9" * 5000, ""]
)
def test_dataset_is_a_number_or_a_name(root, text):
    with pytest.raises(UserError, match="dataset "):
        dataset_name(text)
    assert dataset_name("901") == dataset_name(901) == dataset_name("Dataset901_Tiny") == "Dataset901_Tiny"


def test_names_with_dots_and_blanks_are_names():
    assert all(map(is_name, ["case.1", "a b", "ä", "...", "x" * 200]))
