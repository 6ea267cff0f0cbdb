import os

import pytest

from nnunet_mgcl.convert.manifest import ManifestRow
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
