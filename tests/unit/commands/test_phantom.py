from nnunet_mgcl.cli import main


def test_it_writes_the_dataset_and_the_preview(tmp_path, capsys):
    numbers = ["--cases", "2", "--unlabelled", "1", "--test", "0", "--size", "16", "16", "4", "--id", "7"]
    assert main(["phantom", "-o", str(tmp_path), *numbers, "--name", "Tiny", "--preview"]) == 0
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
