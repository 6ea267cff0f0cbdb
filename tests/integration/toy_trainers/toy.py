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
        return ToyModel(unet, self.settings(run.config).temperature)

    def step(self, model, batch):
        return model(batch["views"]), None


class ToyModel(nn.Module):
    """The encoder with a projection that is thrown away; views `(2, B, C, X, Y)` to their loss."""

    def __init__(self, unet, temperature):
        super().__init__()
        self.encoder, self.temperature = unet.encoder, temperature
        self.projection = nn.Linear(unet.encoder.output_channels[-1], 16)

    def forward(self, views):
        features = self.encoder(views.flatten(0, 1))[-1].flatten(2).amax(2)
        embeddings = F.normalize(self.projection(features), dim=1)
        similarity = embeddings @ embeddings.T / self.temperature
        similarity.fill_diagonal_(-torch.inf)
        other_view = torch.arange(len(embeddings), device=views.device).roll(views.shape[1])
        return F.cross_entropy(similarity, other_view)


class ToyTrainer(MGCLTrainer):
    """nnU-Net from an encoder that has seen the pool only."""

    pretraining = (Toy(),)
