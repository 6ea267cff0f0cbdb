import shlex

import pytest

from nnunet_mgcl.cli import main

TINY = ["--cases", "2", "--unlabelled", "1", "--test", "0", "--matrix", "16", "--slices", "4", "-np", "1"]


def test_it_writes_the_dataset_and_the_preview(tmp_path, capsys):
    assert main(["phantom", "-o", str(tmp_path), *TINY, "--id", "7", "--name", "Tiny", "--preview"]) == 0
    folder = tmp_path / "Dataset007_Tiny"
    written = {"dataset.json", "imagesTr", "imagesUn", "labelsTr", "preview.png", "tss.csv"}
    assert {path.name for path in folder.iterdir()} == written
    out = capsys.readouterr().out
    assert "not clinical" in out
    assert "Next: nnUNetv2_plan_and_preprocess -d 7 -c 2d --verify_dataset_integrity" in out


@pytest.mark.parametrize("tests", [0, 1])
def test_it_writes_unregistered_scans_and_names_the_next_commands(tmp_path, capsys, tests):
    raw = tmp_path / "a folder; its name"
    assert main(["phantom", "-o", str(raw), *TINY, "--test", str(tests), "--unregistered"]) == 0
    commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if line.startswith("Next: ")]
    scans = raw / "Phantom_scans"
    choices = shlex.split("--id 501 --name Phantom --reference FLAIR --modality DWI=DWI,ADC FLAIR=FLAIR PWI=Tmax")
    wanted = [
        ["Next:", "mgcl", "convert", "-i", str(scans / "manifest.csv"), *choices],
        ["Next:", "mgcl", "convert", "-i", str(scans / "manifest_test.csv"), *choices, "--test"],
    ]
    assert commands == wanted[: 1 + tests]
    assert (scans / "manifest.csv").is_file()


@pytest.mark.parametrize(
    ("words", "named"),
    [("", "-o"), ("-o . --lesion-masks none", "--lesion-masks"), ("-o . -np 0", "-np"), ("-o . -np -1", "-np")],
)
def test_what_it_cannot_draw_with_is_refused_before_anything_is_written(tmp_path, monkeypatch, words, named):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=named):
        main(["phantom", *TINY, *words.split()])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
@pytest.mark.parametrize(("options", "name"), [([], "Dataset501_Phantom"), (["--unregistered"], "Phantom_scans")])
def test_a_target_that_is_no_folder_is_refused(tmp_path, kind, options, name):
    raw = tmp_path / "raw"
    raw.mkdir()
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        (raw / name).write_text("kept")
    else:
        (raw / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SystemExit, match=name):
        main(["phantom", "-o", str(raw), *TINY, *options, "--overwrite"])
    assert (raw / name).is_symlink() or (raw / name).read_text() == "kept"
    assert len(list(raw.iterdir())) == 1


@pytest.mark.parametrize("inside", ["", "raw"])
@pytest.mark.parametrize("options", [[], ["--unregistered"]])
def test_an_output_that_is_a_file_is_refused(tmp_path, inside, options):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="-o"):
        main(["phantom", "-o", str(tmp_path / "file" / inside), *TINY, *options])


@pytest.mark.parametrize("where", ["nnunet_mgcl.phantom.dataset.draw_patient", "rich.progress.track"])
def test_ctrl_c_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, where):
    def interrupt(jobs, *args, **kwargs):
        if where == "rich.progress.track":
            next(jobs)  # drawn, and interrupted where the generator does not see it
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    assert main(["phantom", "-o", str(tmp_path), *TINY]) == 130
    assert capsys.readouterr().out.strip().splitlines()[-1].startswith("Interrupted")
    assert list(tmp_path.iterdir()) == []
