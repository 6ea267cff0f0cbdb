import csv
import json
import pickle
import shutil
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from nnunet_mgcl.phantom.cases import Case, pool_cases
from nnunet_mgcl.phantom.dataset import DATASET
from nnunet_mgcl.phantom.options import PhantomOptions, check_options
from nnunet_mgcl.phantom.patient import draw_patient
from nnunet_mgcl.phantom.preview import COLOURS, typical_cases, write_preview
from nnunet_mgcl.phantom.scanner.acquisition import CHANNELS, MODALITIES
from nnunet_mgcl.phantom.unregistered import SCANS
from nnunet_mgcl.phantom.writing import write_phantom
from nnunet_mgcl.system.errors import UserError

OPTIONS = PhantomOptions(cases=3, unlabelled=4, test=1, matrix=32, slices=6)
SMALL = replace(OPTIONS, cases=1, unlabelled=0, test=0)


def write(parent, options=OPTIONS, **kwargs):
    names = list(write_phantom(DATASET, parent, options, **kwargs))
    return parent / options.folder, names


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return write(tmp_path_factory.mktemp("raw"))[0]


def test_it_has_the_files_of_a_raw_dataset(phantom):
    files = Counter(name.split("/")[0] for name in contents(phantom))
    pool = sum(len(CHANNELS[modality]) for case in pool_cases(OPTIONS) for modality in case.modalities)
    images = {"imagesTr": 12, "labelsTr": 3, "imagesTs": 4, "labelsTs": 1, "imagesUn": pool}
    assert files == images | {"dataset.json": 1, "tss.csv": 1, "tssTs.csv": 1}


def test_equal_options_give_equal_bytes_and_another_seed_does_not(phantom, tmp_path):
    again, names = write(tmp_path, processes=2)
    assert len(names) == 8
    assert contents(again) == contents(phantom)
    other, _ = write(tmp_path, replace(OPTIONS, seed=1), overwrite=True)
    assert contents(other)["tss.csv"] != contents(phantom)["tss.csv"]


@pytest.mark.parametrize("part", ["head", "pose", "clock", "stroke", "distractors"])
def test_every_part_of_a_patient_depends_on_the_seed_alone(part):
    case = Case("phantom_001", (1, 1), hours=5.0)
    patients = [draw_patient(case, replace(OPTIONS, seed=seed)) for seed in (1, 1, 2)]
    one, same, other = (pickle.dumps(asdict(getattr(patient, part))) for patient in patients)
    assert one == same != other


def test_a_label_map_is_the_bit_mask_of_nested_lesions(phantom):
    for path in (phantom / "labelsTr").iterdir():
        labels = sitk.GetArrayFromImage(sitk.ReadImage(path))
        # FLAIR's visible part lies in DWI's core, and that in PWI's deficit.
        assert set(np.unique(labels)) <= {0, 4, 5, 7}
        assert (labels & 1).any()


def test_images_and_labels_share_a_grid_that_holds_the_head(phantom):
    paths = [*(phantom / "imagesTr").iterdir(), *(phantom / "labelsTr").iterdir()]
    for image in map(sitk.ReadImage, paths):
        assert image.GetSize() == (32, 32, 6)
        assert image.GetSpacing() == pytest.approx((230 / 32, 230 / 32, 21.0))  # 230 mm across, 126 mm high
        middle = image.TransformContinuousIndexToPhysicalPoint([15.5, 15.5, 2.5])
        assert middle == pytest.approx((0, 0, 0), abs=1e-3)


def test_dataset_json_declares_every_combination_and_says_that_it_is_synthetic(phantom):
    content = json.loads((phantom / "dataset.json").read_text())
    assert (content["labels"]["background"], content["labels"]["DWI+PWI"]) == (0, 5)
    assert sorted(content["labels"].values()) == list(range(8))
    assert content["mgcl"]["lesion_labels"] == {"DWI": [1, 3, 5, 7], "FLAIR": [2, 3, 6, 7], "PWI": [4, 5, 6, 7]}
    assert content["channel_names"] == {"0": "DWI", "1": "ADC", "2": "FLAIR", "3": "Tmax"}
    assert content["mgcl"]["modalities"] == {"DWI": [0, 1], "FLAIR": [2], "PWI": [3]}
    assert "SYNTHETIC" in content["description"]


def test_the_tables_name_the_training_and_the_test_cases(phantom):
    for table, folder in (("tss.csv", "labelsTr"), ("tssTs.csv", "labelsTs")):
        with open(phantom / table, encoding="utf-8", newline="") as file:
            cases = [row["case"] for row in csv.DictReader(file)]
        assert cases == sorted(p.name.removesuffix(".nii.gz") for p in (phantom / folder).iterdir())


def test_more_cases_leave_the_images_of_the_first_ones_alone(phantom, tmp_path):
    larger, _ = write(tmp_path, replace(OPTIONS, unlabelled=6))
    before, after = contents(phantom), contents(larger)
    assert all(after[name] == before[name] for name in before if name.startswith(("imagesTr", "labelsTr")))


@pytest.mark.parametrize("count", [1, 7, 40])
def test_the_pool_is_unpaired_and_fair(count):
    cases = pool_cases(replace(OPTIONS, unlabelled=count))
    share = Counter(modality for case in cases for modality in case.modalities)
    assert set(share) == set(MODALITIES)
    assert max(share.values()) - min(share.values()) <= 2
    assert sum(not case.stroke for case in cases) == round(0.15 * count)
    assert len({case.modalities for case in cases}) == min(count, 7)


@pytest.mark.parametrize(
    ("form", "marker", "foreign"),
    [
        *((DATASET, "dataset.json", name) for name in ("notes.txt", "predictions/phantom_001.nii.gz")),
        (DATASET, "dataset.json", "imagesTr/mine_0000.nii.gz"),
        (SCANS, "phantom.json", "phantom_001/T1.nii.gz"),
    ],
)
def test_overwrite_spares_what_is_not_a_phantom_and_somebodys_files_in_one(tmp_path, form, marker, foreign):
    folder = tmp_path / form.folder(OPTIONS)
    (folder / foreign).parent.mkdir(parents=True)
    (folder / foreign).touch()
    with pytest.raises(UserError, match="--overwrite"):
        write_phantom(form, tmp_path, OPTIONS)
    for content in ('{"name": "years of work"}', '["phantom"]', "7"):
        (folder / marker).write_text(content)
        with pytest.raises(UserError, match="not written"):
            write_phantom(form, tmp_path, OPTIONS, overwrite=True)
    (folder / marker).write_text('{"phantom": {}}')
    with pytest.raises(UserError, match=foreign):
        write_phantom(form, tmp_path, OPTIONS, overwrite=True)
    assert (folder / foreign).exists()


class Killed(BaseException):
    """A process dies here: nothing that it would have tidied up is tidied up."""


def test_a_run_killed_while_it_removes_the_old_phantom_leaves_the_new_one_whole(tmp_path, monkeypatch):
    folder, _ = write(tmp_path, SMALL)

    def rmtree(path, **kwargs):
        if Path(path).exists():
            next(Path(path).rglob("*.nii.gz")).unlink()
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", rmtree)
        with pytest.raises(Killed):
            write(tmp_path, replace(SMALL, seed=1), overwrite=True)
    wanted, _ = write(tmp_path / "other", replace(SMALL, seed=1))
    assert contents(folder) == contents(wanted)
    write(tmp_path, SMALL, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [OPTIONS.folder, "other"]


def test_a_run_killed_before_the_new_phantom_is_in_place_costs_nothing(tmp_path):
    folder, _ = write(tmp_path, SMALL)
    before = contents(folder)
    folder.rename(tmp_path / f".{folder.name}.old")
    (tmp_path / f".{folder.name}.part" / "imagesTr").mkdir(parents=True)
    with pytest.raises(UserError, match="--overwrite"):
        write(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert contents(folder) == before


def test_a_number_that_another_dataset_has_is_refused(tmp_path):
    (tmp_path / "Dataset501_Other").mkdir()
    with pytest.raises(UserError, match="same number"):
        write_phantom(DATASET, tmp_path, OPTIONS)


@pytest.mark.parametrize("form", [DATASET, SCANS])
def test_a_second_run_on_one_target_is_refused_and_the_first_goes_on(tmp_path, form, refused_elsewhere):
    first = write_phantom(form, tmp_path, OPTIONS)
    names = [next(first)]
    assert "another mgcl phantom" in refused_elsewhere(lambda: next(write_phantom(form, tmp_path, OPTIONS)))
    names += list(first)
    assert len(names) == len(set(names)) == 8
    assert [path.name for path in tmp_path.iterdir()] == [form.folder(OPTIONS)]


@pytest.mark.parametrize("name", [OPTIONS.folder, "Dataset501_Other"])
def test_what_came_while_it_drew_is_left_alone(tmp_path, name):
    drawing = write_phantom(DATASET, tmp_path, OPTIONS)
    next(drawing)
    (tmp_path / name).mkdir()
    (tmp_path / name / "work").touch()
    with pytest.raises(UserError, match=name):
        list(drawing)
    assert contents(tmp_path) == {f"{name}/work": b""}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("cases", 0), ("unlabelled", -1), ("id", 1000), ("matrix", 8), ("slices", 2)),
        *(("name", name) for name in ("../x", "", "Schlagänfall", "x²", "x\n")),
    ],
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(UserError, match=f"--{option}"):
        check_options(replace(OPTIONS, **{option: value}))


def test_the_preview_shows_an_early_and_a_late_stroke(tmp_path):
    options = replace(OPTIONS, cases=12)
    early, late = typical_cases(options)
    assert early.hours < 4.5 <= late.hours
    young, old = (draw_patient(case, options) for case in (early, late))
    assert young.clock.core_fraction < old.clock.core_fraction
    assert (young.clock.flair_visible, old.clock.flair_visible) == (False, True)
    write_preview(tmp_path / "preview.png", options)
    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")


def test_the_outline_on_the_tmax_map_is_no_colour_of_the_map():
    shades = colormaps["inferno"](np.linspace(0, 1, 50))[:, :3]
    assert np.linalg.norm(shades - to_rgb(COLOURS["PWI"]), axis=1).min() > 0.3
