import os

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_mgcl.convert.manifest.table import ManifestRow
from nnunet_mgcl.convert.settings import Settings, fingerprint


@pytest.fixture
def series(tmp_path):
    """A DICOM folder, as far as a fingerprint looks at it."""
    (tmp_path / "series").mkdir()
    for number in range(3):
        (tmp_path / "series" / f"{number}.dcm").write_bytes(b"slice")
    return tmp_path / "series"


def test_every_file_of_a_dicom_folder_counts(series):
    settings = Settings(("DWI",), {"DWI": ("DWI",)})
    row = ManifestRow("x", {"DWI": f"{series}#1.2.3"}, {}, None, None, "line 2")
    before = fingerprint(row, "Un", settings)
    assert fingerprint(row, "Un", settings) == before
    assert fingerprint(row, "Ts", settings) != before
    os.utime(series / "1.dcm", (0, 0))
    touched = fingerprint(row, "Un", settings)
    assert touched != before
    (series / "3.dcm").write_bytes(b"slice")
    assert fingerprint(row, "Un", settings) != touched


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
    settings = Settings(("T2",), {"T2": ("T2",)})
    row = ManifestRow("x", {"T2": str(header)}, {}, None, None, "line 2")
    before = fingerprint(row, "Un", settings)
    (tmp_path / "other").touch()
    assert fingerprint(row, "Un", settings) == before
    os.utime(voxels, (0, 0))
    assert fingerprint(row, "Un", settings) != before


def test_the_voxels_in_files_of_a_pattern_or_a_list_count(tmp_path):
    (tmp_path / "planes").mkdir()
    planes = [tmp_path / "planes" / f"plane{number}.raw" for number in (1, 2)]
    for text in ("ElementDataFile = planes/plane%d.raw 1 2 1\n", "ElementDataFile = LIST\n{0}\n{1}\n"):
        for plane in planes:
            plane.write_bytes(bytes(16))
        names = (plane.relative_to(tmp_path) for plane in planes)
        (tmp_path / "scan.mhd").write_text(text.format(*names))
        settings = Settings(("T2",), {"T2": ("T2",)})
        row = ManifestRow("x", {"T2": str(tmp_path / "scan.mhd")}, {}, None, None, "line 2")
        before = fingerprint(row, "Un", settings)
        os.utime(planes[1], (0, 0))
        assert fingerprint(row, "Un", settings) != before
