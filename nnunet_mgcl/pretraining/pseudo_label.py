"""Phase `pseudo_label`: masks for the pool from the branch networks (sections 3.2.1 and 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from pydantic import Field
from torch import nn
from tqdm import tqdm

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset, sample_class_locations, save_pseudo_label
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.datasets import pool_dataset
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.plan.config import MethodSettings
from nnunet_mgcl.pretraining.handover import handed_on
from nnunet_mgcl.pretraining.monitor.lesion_counts import pseudo_label_notes, training_lesions
from nnunet_mgcl.pretraining.monitor.warning_signs import LesionCounts, pseudo_label_warning
from nnunet_mgcl.pretraining.protocol import Pretext
from nnunet_mgcl.pretraining.pseudo_label_notes import add_note, read_notes


class PseudoLabelSettings(MethodSettings):
    """Phase `pseudo_label`."""

    confidence: Annotated[float, Field(ge=0, le=1)] = Field(
        0.7, description="a pool case joins self_train when its mean predicted lesion probability reaches this"
    )
    mirroring: bool = Field(True, description="nnU-Net's mirroring at prediction time")


class PseudoLabel(Pretext):
    """Writes one mask a pool case and its confidence, for round 1 (networks of `seed`) or 2 (`self_train`).

    Confidence is a case's mean predicted lesion probability over the voxels predicted as lesion; cases without
    such voxels have none (docs/method.md).
    """

    block, unit, Settings = "pseudo_label", None, PseudoLabelSettings
    title = "confidence in the pool's masks"

    def __init__(self, round_: int, source: str) -> None:
        self.round, self.source = round_, source
        self.name, self.reads = f"pseudo_label_{round_}", (source,)

    def train_branch(self, run: FoldContext, branch: Branch, earlier: Sequence[Pretext]) -> None:
        """Predicts a branch's pool; ranks share the cases."""
        if not run.pool.get(branch.name):
            return
        reseed(run.config.random_seed, run.fold, self.name, branch.name)
        predictor = _predictor(run, branch, self._network(run, branch), self.settings(run.config).mirroring)
        dataset = pool_dataset(run, branch)
        done = read_notes(run.layout.pseudo_labels(self.round, branch.name), run.pool[branch.name])
        own = dataset.identifiers[run.rank :: run.world_size]
        own = [identifier for identifier in own if dataset.sources[identifier].case not in done]
        for identifier in tqdm(own, desc=f"{self.name} {branch.name}", disable=not run.is_first_rank):
            self._label_case(run, branch, predictor, dataset, identifier)
        run.wait_for_all()
        self._summarise(run, branch)

    def _network(self, context: FoldContext, branch: Branch) -> nn.Module:
        unet = branch.build_unet()
        unet.load_state_dict(handed_on(self.source, branch.name, context.layout))
        return unet.to(context.device)

    def _label_case(
        self,
        context: FoldContext,
        branch: Branch,
        predictor: nnUNetPredictor,
        dataset: ModalityDataset,
        identifier: str,
    ) -> None:
        folder = context.layout.pseudo_labels(self.round, branch.name)
        case = dataset.sources[identifier].case
        data, outside, _, _ = dataset.load_case(identifier)
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(np.asarray(data[:]))).cpu()
        segmentation, confidence = label_from_logits(branch, logits)
        segmentation = segmentation[None].astype(np.int16)
        segmentation[(np.asarray(outside[:]) < 0) & (segmentation == 0)] = -1  # as nnU-Net marks the empty surround
        locations = sample_class_locations(segmentation, branch.label_manager)
        save_pseudo_label(folder, case, segmentation, locations, branch.configuration.patch_size)
        add_note(folder, context.rank, case, confidence, int((segmentation > 0).sum()))  # last: the case is finished

    def _summarise(self, context: FoldContext, branch: Branch) -> None:
        cases = pseudo_label_notes(context, branch, self.round)
        confident = [c["confidence"] for c in cases.values() if c["confidence"] is not None]
        context.log(
            f"{self.name} {branch.name}: lesions in {len(confident)} of {len(cases)} pool cases"
            + (f", median confidence {np.median(confident):.2f}" if confident else "")
        )
        if context.is_first_rank and confident:
            context.curves.update(
                self.name, branch.name, sorted(confident, reverse=True), finished=True, axes=("pool case", "confidence")
            )
        pool = LesionCounts.of([case["voxels"] for case in cases.values()])
        training = training_lesions(context, branch)
        warning = pseudo_label_warning(context, self.name, self.source, branch.name, pool, training)
        context.warnings.replace(self.name, branch.name, [warning] if warning else [])
        context.state.mark_done(self.name, branch.name)


def label_from_logits(branch: Branch, logits: torch.Tensor) -> tuple[np.ndarray, float | None]:
    """The mask `([Z,] X, Y)` and its confidence (None where nothing is predicted as lesion)."""
    labels = branch.label_manager
    probabilities = labels.apply_inference_nonlin(logits)
    segmentation = np.asarray(labels.convert_logits_to_segmentation(logits.float()))
    lesion = probabilities.amax(0) if labels.has_regions else 1 - probabilities[0]
    predicted = segmentation > 0
    confidence = float(lesion.numpy()[predicted].mean()) if predicted.any() else None
    return segmentation, confidence


def _predictor(context: FoldContext, branch: Branch, unet: nn.Module, mirroring: bool) -> nnUNetPredictor:
    predictor = nnUNetPredictor(
        use_mirroring=mirroring,
        perform_everything_on_device=context.device.type == "cuda",
        device=context.device,
        allow_tqdm=False,
    )
    predictor.manual_initialization(
        unet,
        branch.plans,
        branch.configuration,
        None,
        branch.dataset_json,
        "MGCLTrainer",
        context.augmentation.mirror_axes,
    )
    return predictor
