"""A trained fold, taken apart for the analysis figures: its networks before and after each phase, and its cases."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset, labelled_sources
from nnunet_mgcl.data.layout import FoldLayout
from nnunet_mgcl.engine.branches import Branch, build_branches
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.engine.state import PhaseState
from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.inference.mgcl_predictor import MGCLPredictor
from nnunet_mgcl.network.branch import UNet, unwrap
from nnunet_mgcl.network.mgcl_network import MGCLNetwork
from nnunet_mgcl.plan.build import resolved_config
from nnunet_mgcl.plan.config import MGCLConfig
from nnunet_mgcl.pretraining.handover import Giver, givers, load_parts
from nnunet_mgcl.pretraining.lookup import phases_of
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.safe_loading import load_weights


@dataclass(frozen=True)
class TrainedFold:
    """One fold of a model of this plugin.

    Attributes:
        run: The model.
        fold: Its number.
        device: Where to compute.
    """

    run: ValidatedRun
    fold: int
    device: torch.device

    @cached_property
    def config(self) -> MGCLConfig:
        """The resolved `mgcl` block."""
        return resolved_config(self.run.plan)

    @cached_property
    def branches(self) -> list[Branch]:
        """One a modality."""
        return build_branches(self.config, self.run.plans.plans, self.run.configuration, self.run.dataset_json)

    @property
    def is_3d(self) -> bool:
        """Whether the encoders read volumes rather than slices."""
        return len(self.run.plan.patch_size) == 3

    @property
    def cases(self) -> list[str]:
        """The fold's validation cases, on which nothing of it was trained."""
        return sorted(self.run.splits[self.fold]["val"])

    @property
    def images(self) -> Path:
        """nnU-Net's preprocessed labelled cases."""
        return self.run.layout.preprocessed / self.run.plan.data_identifier

    def dataset(self, branch: Branch) -> ModalityDataset:
        """The branch's channels of the validation cases, with their true masks."""
        ignore_label = self.run.plans.get_label_manager(self.run.dataset_json).ignore_label
        return ModalityDataset(
            labelled_sources(self.images, self.cases, branch.channels, branch.lesion_labels, ignore_label)
        )

    @cached_property
    def phases(self) -> Sequence[Pretext]:
        """The phases before `segment` of the fold's trainer."""
        return phases_of(self.run.model)

    @property
    def pictured(self) -> list[Pretext]:
        """The phases of which the report shows what they have learned."""
        return [phase for phase in self.phases if phase.unit]

    def phase(self, name: str) -> Pretext:
        """One of the trainer's phases."""
        return next(phase for phase in self.phases if phase.name == name)

    @property
    def encoder_phase(self) -> Pretext | None:
        """The last of them that trains encoders."""
        return next((phase for phase in reversed(self.pictured) if "encoder" in phase.trains), None)

    def untrained(self, branch: Branch) -> UNet:
        """The branch's U-Net as the first phase that is pictured initialises it: the seed makes the same weights again.

        `coarse` where the trainer has none.
        """
        names = [phase.name for phase in self.pictured] or ["coarse"]
        reseed(self.config.random_seed, self.fold, names[0], branch.name, "initialisation")
        return branch.build_unet().to(self.device).eval()

    def initial(self, branch: Branch, phase: Pretext) -> UNet:
        """The branch's U-Net as a phase begins with it."""
        reseed(self.config.random_seed, self.fold, phase.name, branch.name, "initialisation")
        unet = branch.build_unet()
        for giver in self._givers(branch, phase):
            load_parts(unet, self._weights(giver.name, branch), giver.trains)
        return unet.to(self.device).eval()

    def pretrained(self, branch: Branch, phase: Pretext) -> UNet:
        """The branch's U-Net as a phase left it."""
        unet = self.initial(branch, phase)
        load_parts(unet, self._weights(phase.name, branch), phase.trains)
        return unet.eval()

    def final(self, branch: Branch) -> UNet:
        """The branch's U-Net at the end of training, to be changed at will."""
        return deepcopy(self.network.branches[self.branches.index(branch)])

    def why_not(self, branch: Branch, phase: Pretext) -> str | None:
        """Why there is no before and after of a phase, in words; None where there is."""
        if not self.layout.phase(phase.name).is_dir():
            return f"{phase.name}: phases/{phase.name} was removed"
        needed = [*(giver.name for giver in self._givers(branch, phase)), phase.name]
        if any(not self._path(part, branch).is_file() for part in needed):
            return f"{branch.name}: the weights of {' and '.join(needed)} are no longer all in phases/"
        if self.state.is_skipped(phase.name, branch.name):
            return f"{branch.name}: {phase.name} was skipped, its cases held a single class; nothing was trained"
        return None

    def _givers(self, branch: Branch, phase: Pretext) -> list[Giver]:
        """The phases that a phase has started from."""
        return givers([*self.phases][: [*self.phases].index(phase)], branch.name, self)

    @cached_property
    def network(self) -> MGCLNetwork:
        """The whole network of `checkpoint_final.pth`, in eval mode."""
        predictor = MGCLPredictor(device=self.device, perform_everything_on_device=self.device.type == "cuda")
        with redirect_stdout(io.StringIO()):  # nnU-Net tells where it looked for the trainer
            predictor.initialize_from_trained_model_folder(str(self.run.model), [self.fold])
        network: Any = unwrap(predictor.network)  # nnU-Net compiles it where nnUNet_compile says so
        _require_numbers(self.layout.root / "checkpoint_final.pth", predictor.list_of_parameters[0])
        network.load_state_dict(predictor.list_of_parameters[0])
        return network.to(self.device).eval()

    @property
    def layout(self) -> FoldLayout:
        """The fold's folders."""
        return FoldLayout(self.run.model / f"fold_{self.fold}")

    @property
    def state(self) -> PhaseState:
        """Which phases are done."""
        return PhaseState(self.layout.state, writes=False)

    def _weights(self, phase: str, branch: Branch) -> dict[str, torch.Tensor]:
        weights = load_weights(self._path(phase, branch))
        _require_numbers(self._path(phase, branch), weights)
        return weights

    def _path(self, phase: str, branch: Branch) -> Path:
        return self.layout.phase(phase, branch.name) / "network.pth"


def _require_numbers(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    if not all(bool(own.isfinite().all()) for own in weights.values()):
        raise UserError(path, "weights that are no numbers", "those of a training that went well", "train it again")
