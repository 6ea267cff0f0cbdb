"""Batches of whole volumes for the TSS heads: augmented anew in every epoch, or a few copies that were read once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.engine.training_loop import Batch
from nnunet_mgcl.network.tss_classifier import TSSClassifier
from nnunet_mgcl.tss.probability import PHASE, encoder_chunk
from nnunet_mgcl.tss.volumes import augment_volume, fit_volume, load_volume


class TSSVolumes(Dataset[dict[str, Any]]):
    """Whole volumes of labelled cases, fitted to the head's geometry and augmented."""

    def __init__(self, context: FoldContext, cases: list[str]) -> None:
        assert context.table is not None
        self.images = context.dataset_class(context.labelled_folder, list(cases))
        self.cases, self.table = cases, context.table
        self.tss = context.config.tss

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        volume, valid = fit_volume(load_volume(self.images, self.cases[index]), self.tss)
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        return {"volumes": augment_volume(volume, generator), "valid": valid, **self.answer(index)}

    def answer(self, index: int) -> dict[str, Any]:
        """The case's class and name."""
        case = self.cases[index]
        return {"target": float(bool(self.table.positive(case))), "keys": case}


@dataclass(frozen=True)
class Copy:
    """One augmented copy of every case.

    Attributes:
        inputs: What the heads read of the N cases, by the name in `TSSClassifier.reads`.
        valid: Their real slices, `(N, b)` bool.
    """

    inputs: dict[str, Tensor]
    valid: Tensor


class TSSCopies(Dataset[dict[str, Any]]):
    """What the frozen network says of augmented copies; each time a case is asked for, one of them is drawn."""

    def __init__(self, volumes: TSSVolumes, copies: Sequence[Copy]) -> None:
        self.volumes, self.copies = volumes, copies

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        copy = self.copies[int(torch.randint(len(self.copies), ()))]
        inputs = {reads: own[index] for reads, own in copy.inputs.items()}
        return {"inputs": inputs, "valid": copy.valid[index], **self.volumes.answer(index)}


def read_copy(context: FoldContext, volumes: TSSVolumes, heads: Mapping[str, TSSClassifier], number: int) -> Copy:
    """Augments every case once, always in the same way, and reads what heads need of it.

    Args:
        context: The phase's context.
        volumes: The cases.
        heads: That are trained on it.
        number: Of the copy.
    """
    reseed(context.config.random_seed, context.fold, PHASE, "copy", number)
    network, chunk, rows, valid = context.network, encoder_chunk(context.configuration), [], []
    for batch in DataLoader(volumes, context.config.tss.batch_size, num_workers=_workers(volumes)):
        cases = None
        if context.incomplete:
            cases = torch.stack([context.incomplete.mask(case) for case in batch["keys"]]).to(context.device)
        augmented, real = batch["volumes"].to(context.device), batch["valid"].to(context.device)
        rows.append(network.tss_inputs(augmented, real, chunk, heads.values(), cases))
        valid.append(batch["valid"])
    return Copy({reads: torch.cat([row[reads].cpu() for row in rows]) for reads in rows[0]}, torch.cat(valid))


@contextmanager
def open_batches(context: FoldContext, dataset: TSSVolumes | TSSCopies) -> Iterator[Iterator[Batch]]:
    """An endless stream of batches."""
    sampler: DistributedSampler[Any] | None = DistributedSampler(dataset) if context.world_size > 1 else None
    loader = DataLoader(
        dataset,
        context.config.tss.batch_size,
        shuffle=sampler is None,
        sampler=sampler,
        num_workers=0 if isinstance(dataset, TSSCopies) else _workers(dataset),
        pin_memory=context.device.type == "cuda",
    )
    yield _endless(context, loader, sampler)


def _workers(volumes: TSSVolumes) -> int:
    return min(get_allowed_n_proc_DA(), len(volumes))


def _endless(context: FoldContext, loader: DataLoader[Any], sampler: DistributedSampler[Any] | None) -> Iterator[Batch]:
    """Epoch after epoch; the first batch of an epoch is drawn after the training loop has reseeded."""
    while True:
        if sampler is not None:  # the processes share one order, and a resumed run has that of its epoch
            sampler.set_epoch(context.from_first_rank(int(torch.randint(2**31, ()))))
        yield from loader
