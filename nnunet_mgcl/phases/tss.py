"""Phase `tss`: the head learns the time since stroke on frozen encoders, focal loss (section 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

import torch
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from nnunet_mgcl.config import MGCLConfig, Optimiser
from nnunet_mgcl.data.volumes import VolumeGeometry, augment_volume, fit_volume, load_volume
from nnunet_mgcl.differences import differences
from nnunet_mgcl.errors import UserError
from nnunet_mgcl.files import read_json, write_json
from nnunet_mgcl.losses import tss_focal_loss
from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.phases.context import PhaseContext
from nnunet_mgcl.phases.supervised import finish_branch
from nnunet_mgcl.phases.training_loop import Batch, Job, train


class TSS:
    """Trains `network.tss`, nothing else, on the fold's labelled cases with a known TSS."""

    name = "tss"

    def run(self, context: PhaseContext) -> None:
        """Trains the head, or loads it where an earlier run finished it."""
        head = context.network.tss
        if head is None:
            return
        self._refuse_another_table(context)
        weights = context.fold_layout.phase(self.name, self._part(context)) / "network.pth"
        if context.state.is_done(self.name, self._part(context)):
            head.load_state_dict(torch.load(weights, map_location=context.device, weights_only=True))
            return
        self._train(context, head)
        head.trained.fill_(True)
        finish_branch(context, self.name, self._part(context), head)

    def _part(self, context: PhaseContext) -> str:
        return context.config.tss.head

    def _refuse_another_table(self, context: PhaseContext) -> None:
        """A head that was trained on some classes, in part or in whole, does not go on with others."""
        assert context.table is not None
        path = context.fold_layout.phase(self.name) / "classes.json"
        classes = {case: context.table.positive(case) for case in context.train_cases}
        if not path.is_file():
            if context.is_first_rank:
                write_json(path, classes)
        elif differing := differences(read_json(path), classes):
            raise UserError(
                context.dataset_layout.tss, f"other TSS classes than the head was trained on ({differing})",
                "the same table until a fold is finished",
                "restore tss.csv and run mgcl prepare, or train without --c",
            )  # fmt: skip

    def _train(self, context: PhaseContext, head: nn.Module) -> None:
        tss, table = context.config.tss, context.table
        assert table is not None
        cases = [case for case in context.train_cases if table.positive(case) is not None]
        positive = sum(bool(table.positive(case)) for case in cases)
        context.log(f"{self.name}: {len(cases)} cases with a known TSS, {positive} of them < 4.5 h")
        head.requires_grad_(True)
        context.network.branches.requires_grad_(False)
        train(
            context,
            Job(
                self.name,
                self._part(context),
                head,
                Optimiser(lr=tss.lr),
                cosine=False,
                epochs=tss.epochs,
                iterations=ceil(len(cases) / (tss.batch_size * context.world_size)),
                batches=lambda: _open_volumes(context, cases),
                step=lambda module, batch: (self._loss(context, module, batch), None),
            ),
        )
        head.requires_grad_(False)
        context.network.branches.requires_grad_(True)

    def _loss(self, context: PhaseContext, head: nn.Module, batch: Batch) -> Tensor:
        features = context.network.tss_features(
            batch["volumes"].to(context.device), encoder_chunk(context.configuration)
        )
        logits = head(features, batch["valid"].to(context.device))
        tss = context.config.tss
        return tss_focal_loss(logits, batch["target"].to(context.device), gamma=tss.focal_gamma, alpha=tss.focal_alpha)


class TSSVolumes(Dataset[dict[str, Any]]):
    """Whole volumes of labelled cases, fitted to the head's geometry and augmented."""

    def __init__(self, context: PhaseContext, cases: list[str]) -> None:
        assert context.table is not None
        self.images = context.dataset_class(context.labelled_folder, list(cases))
        self.cases, self.table = cases, context.table
        self.geometry = volume_geometry(context.config, context.is_3d)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        case = self.cases[index]
        volume, valid = fit_volume(load_volume(self.images, case), self.geometry)
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        target = float(bool(self.table.positive(case)))
        return {"volumes": augment_volume(volume, generator), "valid": valid, "target": target, "keys": case}


def volume_geometry(config: MGCLConfig, is_3d: bool) -> VolumeGeometry:
    """The size of the volumes that the head of a resolved configuration reads."""
    assert config.tss.slices and config.tss.size
    height, width = config.tss.size
    return VolumeGeometry(config.tss.slices, (height, width), 3 if is_3d else 2)


def encoder_chunk(configuration: Any) -> int:
    """Samples that pass a frozen encoder together: the plan's batch, for which it budgeted the memory."""
    return configuration.batch_size


def tss_probability(network: MGCLNetwork, image: Tensor, config: MGCLConfig, configuration: Any) -> float | None:
    """The probability of TSS < 4.5 h (rho of Eq. 16) of one preprocessed case `(C, Z, Y, X)`.

    Returns:
        None where the network has no head or an untrained one (nnU-Net's `checkpoint_best`).
    """
    if network.tss is None or not bool(network.tss.trained):
        return None
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        geometry = volume_geometry(config, len(configuration.patch_size) == 3)
        volume, valid = fit_volume(image.float(), geometry)
        features = network.tss_features(volume[None].to(device), encoder_chunk(configuration))
        return float(torch.sigmoid(network.tss(features, valid[None].to(device)))[0])


@contextmanager
def _open_volumes(context: PhaseContext, cases: list[str]) -> Iterator[Iterator[Batch]]:
    dataset = TSSVolumes(context, cases)
    sampler: DistributedSampler[Any] | None = DistributedSampler(dataset) if context.world_size > 1 else None
    loader = DataLoader(
        dataset,
        context.config.tss.batch_size,
        shuffle=sampler is None,
        sampler=sampler,
        num_workers=min(get_allowed_n_proc_DA(), len(cases)),
        pin_memory=context.device.type == "cuda",
    )
    yield _endless(context, loader, sampler)


def _endless(
    context: PhaseContext, loader: DataLoader[Any], sampler: DistributedSampler[Any] | None
) -> Iterator[Batch]:
    """Epoch after epoch; the first batch of an epoch is drawn after the training loop has reseeded."""
    while True:
        if sampler is not None:  # the processes share one order, and a resumed run has that of its epoch
            sampler.set_epoch(context.from_first_rank(int(torch.randint(2**31, ()))))
        yield from loader
