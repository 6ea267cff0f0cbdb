"""A method that is one file: two views of a crop agree, other crops do not (NT-Xent). A trainer of three lines."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from nnunet_mgcl.plan.config import PhaseSettings, Positive
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.training.mgcl_trainer import MGCLTrainer


class ToySettings(PhaseSettings):
    """Phase `toy`: views of a slice agree."""

    temperature: Positive = Field(0.2, description="tau")


class Toy(Pretext):
    """Positive: the other view of the crop. Negative: all other crops of the batch."""

    name, title = "toy", "two views of a slice"
    trains, label_free, views = ("encoder",), True, 2
    Settings = ToySettings

    def model(self, run, branch, unet):
        return ToyModel(unet)

    def step(self, model, batch):
        embeddings = F.normalize(model(batch["views"].flatten(0, 1)), dim=1)
        return nt_xent(embeddings, temperature=0.2), None


class ToyModel(nn.Module):
    """The encoder with a projection that is thrown away."""

    def __init__(self, unet):
        super().__init__()
        self.encoder = unet.encoder
        self.projection = nn.Linear(unet.encoder.output_channels[-1], 16)

    def forward(self, images):
        return self.projection(self.encoder(images)[-1].flatten(2).mean(2))


def nt_xent(embeddings, temperature):
    """Embeddings `(2 * B, D)`, the views of a crop B apart."""
    similarity = embeddings @ embeddings.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    return F.cross_entropy(similarity, torch.arange(len(embeddings)).roll(len(embeddings) // 2))


class ToyTrainer(MGCLTrainer):
    """nnU-Net from an encoder that has seen the pool only."""

    pretraining = (Toy(),)
