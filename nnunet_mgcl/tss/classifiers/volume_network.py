"""Networks of whole volumes: all modalities as channels, with or without the lesion masks (Table 4)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.system.errors import UserError, some
from nnunet_mgcl.system.files import replacing
from nnunet_mgcl.tss.classifiers.networks import build_densenet, build_resnet
from nnunet_mgcl.tss.classifiers.protocol import Classifier, TrainingCase
from nnunet_mgcl.tss.volumes import augment_volume

BATCH = 8
WEIGHTS = "network.pth"


class VolumeNetwork(Classifier):
    """Binary cross-entropy, both classes with the same weight; AdamW with a cosine; augmented as TSS heads are."""

    epochs: ClassVar[int] = 40
    lr: ClassVar[float] = 3e-4

    @staticmethod
    @abstractmethod
    def build(channels: int, slices: int) -> nn.Module:
        """A network of volumes `(B, C, b, H, W)` with one logit, at random."""

    def fit(self, cases: Sequence[TrainingCase]) -> None:
        """Trains from a random start for a fixed number of epochs: no case chooses one.

        Raises:
            UserError: The loss is no number.
        """
        settings, epochs = self.settings, self.settings.epochs or self.epochs
        volumes = [self._volume(case.name) for case in tqdm(cases, "reading", leave=False)]
        reseed(settings.seed, self.name, settings.fold, "start")
        self.network = self.build(*volumes[0].shape[:2]).to(settings.device)
        optimiser = torch.optim.AdamW(self.network.parameters(), settings.lr or self.lr, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
        positive = torch.tensor([case.positive for case in cases], dtype=torch.float32)
        weight = torch.where(positive == 1, 0.5 / positive.mean(), 0.5 / (1 - positive.mean()))  # 1 on average
        for epoch in (bar := tqdm(range(epochs), f"{self.name}, fold {settings.fold}", unit="epoch")):
            reseed(settings.seed, self.name, settings.fold, epoch)
            losses = []
            for chosen in _batches(len(volumes)):
                images = _augmented([volumes[i] for i in chosen]).to(settings.device)
                target, share = (each[chosen].to(settings.device) for each in (positive, weight))
                loss = binary_cross_entropy_with_logits(self.network(images)[:, 0], target, share)
                if not loss.isfinite():
                    found = f"a loss of {float(loss)} in epoch {epoch} ({some([cases[i].name for i in chosen])})"
                    raise UserError(f"{self.name}, fold {settings.fold}", found, "a number", "lower --lr")
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses.append(loss.detach())
                self.steps, self.samples = self.steps + 1, self.samples + len(chosen)
            bar.set_postfix(loss=f"{torch.stack(losses).mean():.4f}")
            schedule.step()
        self.network.eval()

    @torch.no_grad()
    def probability(self, case: str) -> float:
        """Of the volume as it is."""
        return float(self.network(self._volume(case)[None].to(self.settings.device)).sigmoid())

    def save(self, folder: Path) -> None:
        """Leaves the weights."""
        with replacing(folder / WEIGHTS) as temporary:
            torch.save(self.network.state_dict(), temporary)

    def _volume(self, case: str) -> Tensor:
        return self.cases.volume(case, masked=self.masks != "none")


def _augmented(volumes: Sequence[Tensor]) -> Tensor:
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    return torch.stack([augment_volume(volume, generator) for volume in volumes])


def _batches(count: int) -> list[Tensor]:
    """All cases in a random order, in batches; no batch of one, which batch normalisation could not take."""
    return [part for part in torch.randperm(count).split(BATCH) if len(part) > 1]


class ResNet(VolumeNetwork):
    """3D ResNet-18 of whole images."""

    name = "resnet"
    build = staticmethod(build_resnet)


class ResNetMask(ResNet):
    """Each modality's image times its predicted lesion."""

    name, masks = "resnet-mask", "predicted"


class ResNetTrueMask(ResNet):
    """Each modality's image times its true lesion: the paper's, and not possible for a patient who comes in."""

    name, masks = "resnet-truemask", "true"


class DenseNet(VolumeNetwork):
    """3D DenseNet-121 of whole images."""

    name = "densenet"
    build = staticmethod(build_densenet)


class DenseNetMask(DenseNet):
    """Each modality's image times its predicted lesion."""

    name, masks = "densenet-mask", "predicted"


class DenseNetTrueMask(DenseNet):
    """Each modality's image times its true lesion, as `ResNetTrueMask`."""

    name, masks = "densenet-truemask", "true"


NETWORKS: list[type[Classifier]] = [
    ResNet, ResNetMask, ResNetTrueMask, DenseNet, DenseNetMask, DenseNetTrueMask
]  # fmt: skip
