import os

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.convert.manifest.table import ManifestRow
from nnunet_mgcl.convert.settings import Settings, fingerprint


def print_of(source, destination="Un") -> str:
    row = ManifestRow("x", {"T2": str(source)}, {}, None, None, "line 2")
    return fingerprint(row, destination, Settings(("T2",), {"T2": ("T2",)}))


def test_every_file_of_a_dicom_folder_counts(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.dcm").write_bytes(b"slice")
    before = print_of(f"{tmp_path}#1.2.3")
    assert print_of(f"{tmp_path}#1.2.3") == before != print_of(f"{tmp_path}#1.2.3", "Ts")
    os.utime(tmp_path / "1.dcm", (0, 0))
    touched = print_of(f"{tmp_path}#1.2.3")
    (tmp_path / "3.dcm").write_bytes(b"slice")
    assert len({before, touched, print_of(f"{tmp_path}#1.2.3")}) == 3


def test_a_case_of_the_pool_has_a_group_a_modality_and_others_one_for_all():
    settings = Settings(("DWI", "ADC", "FLAIR"), {"DWI": ("DWI", "ADC"), "FLAIR": ("FLAIR",)}, reference="FLAIR")
    row = ManifestRow("x", {"DWI": "", "ADC": ""}, {}, None, None, "line 2")
    assert settings.groups(row, "Un") == [("DWI", "ADC")]
    assert settings.groups(row, "Tr") == [("FLAIR", "DWI", "ADC")]


@pytest.mark.parametrize("ending", ["mhd", "nhdr"])
def test_the_voxels_beside_a_header_count(tmp_path, ending):
    header = tmp_path / f"scan.{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4, 4), np.uint8)), str(header))
    (voxels,) = (path for path in tmp_path.iterdir() if path != header)
    before = print_of(header)
    (tmp_path / "other").touch()
    assert print_of(header) == before
    os.utime(voxels, (0, 0))
    assert print_of(header) != before


@pytest.mark.parametrize("text", ["planes/plane%d.raw 1 2 1\n", "LIST\nplanes/plane1.raw\nplanes/plane2.raw\n"])
def test_the_voxels_in_files_of_a_pattern_or_a_list_count(tmp_path, text):
    (tmp_path / "planes").mkdir()
    for number in (1, 2):
        (tmp_path / "planes" / f"plane{number}.raw").write_bytes(bytes(16))
    (tmp_path / "scan.mhd").write_text(f"ElementDataFile = {text}")
    before = print_of(tmp_path / "scan.mhd")
    os.utime(tmp_path / "planes" / "plane2.raw", (0, 0))
    assert print_of(tmp_path / "scan.mhd") != before
