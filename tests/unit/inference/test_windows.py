"""Windows in batches: bit for bit nnU-Net's own loop, wherever the network says of a batch what it says of each."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import nn

from nnunet_mgcl.inference.windows import Batching, accumulate, mirrored, same_in_batches

PATCH = {2: (16, 12), 3: (4, 16, 12)}
SHAPE = (2, 7, 25, 19)
OUTPUTS = 3


class PerSample(nn.Module):
    """Depends on where a voxel lies and on the whole window, and of a batch says of each what it says of it alone."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        ramp = torch.linspace(0, 1, x[0, 0].numel()).view(x.shape[2:])
        whole = torch.stack([own.sum() for own in x]).view(-1, *[1] * (x.ndim - 1))
        return torch.cat([x[:, :1] * ramp, x[:, 1:] + 0.01 * whole, x[:, :1] - x[:, 1:] * ramp.flip(-1)], dim=1)


def predictor(axes: int, mirroring: bool) -> nnUNetPredictor:
    own = nnUNetPredictor(
        use_mirroring=mirroring, device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False
    )
    own.network, own.allowed_mirroring_axes = PerSample(), tuple(range(axes))
    own.configuration_manager = SimpleNamespace(patch_size=PATCH[axes])
    own.label_manager = SimpleNamespace(num_segmentation_heads=OUTPUTS)
    return own


@pytest.mark.parametrize(("axes", "mirroring"), product((2, 3), (True, False)))
@pytest.mark.parametrize("batching", [Batching(1), Batching(7), Batching(16), Batching(1000), Batching(9, workers=3)])
def test_logits_are_those_of_nnunets_loop(axes, mirroring, batching) -> None:
    torch.manual_seed(0)
    image, own = 3 * torch.randn(SHAPE), predictor(axes, mirroring)
    slicers = own._internal_get_sliding_window_slicers(SHAPE[1:])
    expected = own._internal_predict_sliding_window_return_logits(image, slicers, False)
    singly = own.network.calls
    own.network.calls = 0
    flips = range(axes) if mirroring else None
    gaussian = compute_gaussian(PATCH[axes], sigma_scale=1 / 8, value_scaling_factor=10, device=torch.device("cpu"))
    found = accumulate(own.network, image, slicers, flips, OUTPUTS, gaussian, torch.device("cpu"), batching)
    assert found.dtype == torch.half and torch.equal(found, expected)
    if batching.workers == 1:
        together = max(1, batching.size // len(mirrored(flips)))
        assert own.network.calls == -(-len(slicers) // together) and singly == len(slicers) * len(mirrored(flips))


def test_infinite_sums_are_refused_as_in_nnunet() -> None:
    image, slicers = torch.full((2, 1, 16, 12), 1e38), [(slice(None), 0, slice(0, 16), slice(0, 12))]
    with pytest.raises(RuntimeError, match="infinite"):
        accumulate(PerSample(), image, slicers, None, OUTPUTS, 1, torch.device("cpu"), Batching(1))


def test_a_network_that_mixes_samples_is_noticed() -> None:
    windows = torch.randn(4, 2, 8, 8)
    assert same_in_batches(PerSample(), windows)
    assert not same_in_batches(nn.Sequential(PerSample(), nn.BatchNorm2d(OUTPUTS)).train(), windows)


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    slicers = [(slice(None), z, slice(0, 16), slice(0, 12)) for z in range(7)]
    torch.set_num_threads(2)
    accumulate(PerSample(), torch.randn(SHAPE), slicers, None, OUTPUTS, 1, torch.device("cpu"), Batching(2, workers=2))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
