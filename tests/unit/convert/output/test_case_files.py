import json

import pytest

from nnunet_mgcl.convert.output.case_files import CONVERT_FOLDER, read_records, write_record
from nnunet_mgcl.convert.output.record import CaseRecord, ChannelRecord, RegistrationRecord
from nnunet_mgcl.system.errors import UserError

RECORD = CaseRecord(
    case="x",
    destination="Tr",
    fingerprint="abc",
    files={"imagesTr/x_0000.nii.gz": "12 bytes"},
    channels={
        "DWI": ChannelRecord((4, 4, 2), (1.0, 1.0, 5.0), ("volume 2 of 2 taken",)),
        "FLAIR": ChannelRecord((8, 8, 2), (0.5, 0.5, 5.0), (), RegistrationRecord("DWI", "sitk", 0.4, 0.5, 2.0, 1.0)),
    },
    size=(4, 4, 2),
    spacing=(1.0, 1.0, 5.0),
    lesion_ml={"lesion": 1.5},
    tss_hours=2.5,
    doubts=("moved",),
    poor_fits=("fits worse",),
)


def test_a_record_survives_the_disk(tmp_path):
    write_record(tmp_path, RECORD)
    assert read_records(tmp_path) == {"x": RECORD}


def test_a_record_of_an_earlier_version_is_read(tmp_path):
    write_record(tmp_path, RECORD)
    path = tmp_path / CONVERT_FOLDER / "cases" / "x.json"
    content = json.loads(path.read_text())
    del content["poor_fits"], content["channels"]["DWI"]["voxels"]
    path.write_text(json.dumps(content))
    record = read_records(tmp_path)["x"]
    assert record.all_doubts == ("moved",) and record.held_back


@pytest.mark.parametrize("content", [{}, [], {"case": "x"}, {"channels": {"DWI": {}}}])
def test_another_file_is_refused(tmp_path, content):
    write_record(tmp_path, RECORD)
    (tmp_path / CONVERT_FOLDER / "cases" / "x.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"x\.json"):
        read_records(tmp_path)
