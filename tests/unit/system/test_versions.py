"""What a training notes of the releases it runs with."""

from __future__ import annotations

import json
from importlib.metadata import version

from nnunet_mgcl.system import versions


def test_versions_are_noted_once_and_again_where_they_changed(tmp_path, monkeypatch):
    path = tmp_path / "versions.json"
    versions.note_versions(path)
    versions.note_versions(path)
    (first,) = json.loads(path.read_text())
    assert first["nnunetv2"] == version("nnunetv2") and first["torch"] == version("torch")
    monkeypatch.setattr(versions, "__version__", "9.9")
    versions.note_versions(path)
    assert [each["nnunet_mgcl"] for each in json.loads(path.read_text())] == [first["nnunet_mgcl"], "9.9"]
