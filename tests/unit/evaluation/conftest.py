"""What tests of summaries share."""

from __future__ import annotations

import pytest

from nnunet_mgcl.evaluation import bootstrap


@pytest.fixture
def few_resamples(monkeypatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 60)
