"""Real worker processes; a start costs seconds."""

from __future__ import annotations

import os

import pytest

from nnunet_mgcl.convert.case import Job, convert_cases
from nnunet_mgcl.convert.manifest.table import ManifestRow
from nnunet_mgcl.convert.settings import Settings
from nnunet_mgcl.system.errors import UserError

pytestmark = pytest.mark.slow


class Deadly:
    """Ends the process that unpickles it, without a word."""

    def __reduce__(self):
        return os._exit, (9,)


def test_the_case_that_kills_its_process_is_named_and_the_others_are_converted(raw_scans, tmp_path):
    settings = Settings(("FLAIR",), {"FLAIR": ("FLAIR",)})
    jobs = []
    for case in ("a", "b", "deadly", "c"):
        row = ManifestRow(case, {"FLAIR": str(raw_scans / f"{case[0]}_flair.nii.gz")}, {}, None, None, "line 2")
        jobs.append(Job(tmp_path, row, "Un", Deadly() if case == "deadly" else settings, "print", False))
    results = dict(convert_cases(jobs, 2))
    with pytest.raises(UserError, match="killed"):
        results.pop("deadly").result()
    assert {case: future.result().case for case, future in results.items()} == {case: case for case in "abc"}
    assert sorted(path.name[0] for path in (tmp_path / "imagesUn").iterdir()) == ["a", "b", "c"]
