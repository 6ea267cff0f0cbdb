from __future__ import annotations

import pytest
import torch

from nnunet_mgcl.system.devices import require_equal_shares, use_own_cores
from nnunet_mgcl.system.errors import UserError


def test_a_batch_that_the_gpus_cannot_share_equally_is_refused_where_they_must() -> None:
    for fine in ((4, True, 2), (3, False, 2), (3, True, 1), (2, True, 2)):
        require_equal_shares(*fine)
    for batch_size, ranks, fitting in ((3, 2, 2), (13, 4, 12), (2, 4, 4)):
        with pytest.raises(UserError, match=f"configuration.batch_size={fitting},"):
            require_equal_shares(batch_size, True, ranks)
    with pytest.raises(UserError, match=r"configuration.batch_size=4,"):
        require_equal_shares(3, False, 4)


def test_threads_are_no_more_than_the_cores_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr("os.sched_getaffinity", lambda _: {3}, raising=False)
        torch.set_num_threads(2)
        use_own_cores(torch.device("cuda"))
        assert torch.get_num_threads() == 2
        use_own_cores(torch.device("cpu"))
        assert torch.get_num_threads() == 1
        monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
        for told, threads in (("1", 1), ("2,1", 2), ("8", 3), ("", 3), ("many", 3), ("0", 1)):
            torch.set_num_threads(3)
            monkeypatch.setenv("OMP_NUM_THREADS", told)
            use_own_cores(torch.device("cpu"))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
