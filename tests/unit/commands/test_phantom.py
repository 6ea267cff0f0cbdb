import pytest

from nnunet_mgcl.cli import main
from nnunet_mgcl.errors import UserError

TINY = ["--cases", "2", "--unlabelled", "1", "--test", "0", "--matrix", "16", "--slices", "4", "-np", "1"]


def test_it_writes_the_dataset_and_the_preview(tmp_path, capsys):
    assert main(["phantom", "-o", str(tmp_path), *TINY, "--id", "7", "--name", "Tiny", "--preview"]) == 0
    folder = tmp_path / "Dataset007_Tiny"
    assert sorted(p.name for p in folder.iterdir()) == [
        "dataset.json",
        "imagesTr",
        "imagesUn",
        "labelsTr",
        "preview.png",
        "tss.csv",
    ]
    assert "not clinical" in capsys.readouterr().out


def test_it_writes_unregistered_scans_and_names_the_next_command(tmp_path, capsys):
    assert main(["phantom", "-o", str(tmp_path), *TINY, "--unregistered"]) == 0
    assert (tmp_path / "Phantom_scans" / "manifest.csv").is_file()
    assert f"mgcl convert -i {tmp_path / 'Phantom_scans' / 'manifest.csv'}" in capsys.readouterr().out


def test_it_asks_for_a_folder(tmp_path):
    with pytest.raises(UserError, match="-o"):
        main(["phantom", *TINY])


def test_a_folder_without_masks_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="--lesion-masks"):
        main(["phantom", "-o", str(tmp_path), *TINY, "--lesion-masks", str(tmp_path / "none")])
    assert list(tmp_path.iterdir()) == []
