"""Phase `tss`: heads learn the time since stroke on the frozen network (section 4.2)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import compress
from math import ceil

import torch
from torch import Tensor, nn
from tqdm import tqdm

from nnunet_mgcl.engine.context import FoldContext
from nnunet_mgcl.engine.results import mark_finished, save_result
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.engine.training_loop import Batch, Job, train
from nnunet_mgcl.evaluation.calibration.stored import JOIN
from nnunet_mgcl.losses import tss_focal_loss
from nnunet_mgcl.network.branch import unwrap
from nnunet_mgcl.network.lesion_head import LesionHead
from nnunet_mgcl.network.tss_classifier import TSSClassifier
from nnunet_mgcl.network.tss_heads import FEATURES, LESIONS
from nnunet_mgcl.plan.build import build_classifier
from nnunet_mgcl.plan.config import Optimiser
from nnunet_mgcl.system.differences import differences
from nnunet_mgcl.system.errors import UserError, counted
from nnunet_mgcl.system.files import is_there, read_json, write_json
from nnunet_mgcl.tss.batches import TSSCopies, TSSVolumes, open_batches, read_copy
from nnunet_mgcl.tss.lesion_fit import fit_lesion_head, fit_subset
from nnunet_mgcl.tss.probability import PHASE, encoder_chunk, load_head, read_inputs
from nnunet_mgcl.tss.volumes import load_volume

COMPARED = "compared"
"""The part of the phase in which heads that read volumes of every epoch anew are trained beside the chosen one."""


class TSS:
    """Trains `network.tss`, then the heads it is compared with, on the fold's labelled cases with a known TSS.

    The head of the checkpoint is trained by itself: what it is compared with changes no bit of it.
    """

    name = PHASE

    def run(self, context: FoldContext) -> None:
        """Trains the heads, or loads the one of the checkpoint where an earlier run finished it."""
        head = context.network.tss
        if head is None:
            return
        self._refuse_another_table(context)
        chosen = context.config.tss.head
        self._run_part(context, chosen, {chosen: head})
        others = [kind for kind in dict.fromkeys(context.config.tss.compared) if kind != chosen]
        if "lesion" in others:
            self._run_part(context, "lesion", {"lesion": self._new_head(context, "lesion")})
        if slow := [kind for kind in others if kind != "lesion"]:
            self._run_part(context, COMPARED, {kind: self._new_head(context, kind) for kind in slow})

    def _new_head(self, context: FoldContext, kind: str) -> TSSClassifier:
        reseed(context.config.random_seed, context.fold, self.name, kind, "initialisation")
        return build_classifier(context.configuration, kind).to(context.device)

    def _modalities(self, context: FoldContext) -> list[str]:
        """Names of those that the heads see."""
        return [context.branches[index].name for index in context.network.tss_branches]

    def _run_part(self, context: FoldContext, part: str, heads: dict[str, TSSClassifier]) -> None:
        """Trains heads together; each leaves its `network.pth` under its own name."""
        if not context.state.is_done(self.name, part):
            self._train(context, part, heads)
            for kind, head in heads.items():
                head.trained.fill_(True)
                save_result(context, self.name, kind, head)
            mark_finished(context, self.name, part)
        for kind, head in heads.items():  # on every rank the first one's
            load_head(head, context.layout, kind)

    def _refuse_another_table(self, context: FoldContext) -> None:
        """A head that was trained on some classes, in part or in whole, does not go on with others."""
        assert context.table is not None
        path = context.layout.phase(self.name) / "classes.json"
        classes = {case: context.table.positive(case) for case in context.train_cases}
        if not is_there(path):
            if context.is_first_rank:
                write_json(path, classes)
        elif differing := differences(read_json(path), classes):
            raise UserError(
                context.dataset_layout.tss, f"other TSS classes than the head was trained on ({differing})",
                "the same table until a fold is finished",
                "restore tss.csv and run mgcl prepare, or train without --c",
            )  # fmt: skip

    def _train(self, context: FoldContext, part: str, heads: dict[str, TSSClassifier]) -> None:
        table = context.table
        assert table is not None
        known = [case for case in context.train_cases if table.positive(case) is not None]
        cases = [case for case in known if context.incomplete.mask(case, self._modalities(context)).any()]
        positive = _classes(context, cases)
        context.log(
            f"{self.name} {part}: {counted(len(cases), 'case')} with a known TSS, {sum(positive)} of them < 4.5 h"
        )
        for head in heads.values():
            if head.reads != FEATURES:
                head.regions.fill_(context.branches[0].label_manager.has_regions)
        if part == "lesion":
            self._fit(context, heads[part], cases)
        else:
            self._descend(context, part, heads, cases)

    def _fit(self, context: FoldContext, classifier: TSSClassifier, cases: list[str]) -> None:
        """The convex fits on the network's own segmentation of the training cases, not augmented.

        A case that lacks a modality will be read by the fit of those that it has.
        """
        network, head, names = context.network, classifier.head, self._modalities(context)
        assert isinstance(head, LesionHead)
        whole = context.incomplete.with_all(cases, names)
        auroc = fit_lesion_head(head, self._measures(context, classifier, whole), _classes(context, whole))
        told = "not known (too few cases)" if auroc is None else f"{auroc:.3f}"
        context.log(f"{self.name} lesion: AUROC cross-validated inside the training cases {told}")
        for present in head.proper_subsets():
            absent = {branch for branch, there in zip(network.tss_branches, present, strict=True) if not there}
            own = context.incomplete.with_all(cases, compress(names, present))
            if len({*_classes(context, own)}) < 2:
                context.log(f"tss lesion: no fit for {JOIN.join(compress(names, present))}, which too few cases have")
                continue
            with network.with_present({*network.present} - absent):
                fit_subset(head, present, self._measures(context, classifier, own), _classes(context, own))

    def _measures(self, context: FoldContext, classifier: TSSClassifier, cases: list[str]) -> Tensor:
        """`(N, measures)` of the modalities that are present."""
        images, network = context.dataset_class(context.labelled_folder, list(cases)), context.network
        rows = []
        for case in cases:
            image = load_volume(images, case)
            with network.with_present({*network.present} & {*context.incomplete.present(case)}):
                inputs, _ = read_inputs(network, [classifier], image, context.config, context.configuration)
            rows.append(inputs[classifier.reads])
            if not rows[-1].isfinite().all():
                raise UserError(
                    f"phase {self.name} (lesion), case {case}", "measures of the lesion that are no numbers",
                    "finite ones", "check this image for extreme values",
                )  # fmt: skip
        return torch.cat(rows)

    def _descend(self, context: FoldContext, part: str, heads: dict[str, TSSClassifier], cases: list[str]) -> None:
        """Focal loss and Adam; heads that are trained together meet the same batches."""
        tss = context.config.tss
        module = _Together(heads) if part == COMPARED else heads[part]
        module.requires_grad_(True)
        context.network.branches.requires_grad_(False)
        train(
            context,
            Job(
                self.name,
                part,
                module,
                Optimiser(lr=tss.lr),
                cosine=False,
                epochs=tss.epochs,
                iterations=ceil(len(cases) / (tss.batch_size * context.world_size)),
                batches=self._batches(context, heads, cases),
                step=lambda wrapped, batch: (self._loss(context, heads, wrapped, batch), None),
            ),
        )
        module.requires_grad_(False)
        context.network.branches.requires_grad_(True)

    def _batches(
        self, context: FoldContext, heads: dict[str, TSSClassifier], cases: list[str]
    ) -> Callable[[], AbstractContextManager[Iterator[Batch]]]:
        """Volumes that are augmented anew in every epoch, or a few copies of them that were read once."""
        tss, volumes = context.config.tss, TSSVolumes(context, cases)
        if not tss.copies:
            return partial(open_batches, context, volumes)
        reads_fused = not context.config.lesion_labels and any(head.reads == LESIONS for head in heads.values())
        if reads_fused and tss.modality_dropout:
            context.log("tss.copies is not used: with modality_dropout the one lesion of all modalities varies")
            return partial(open_batches, context, volumes)
        numbers = tqdm(range(tss.copies), desc=f"{self.name} copies", disable=not context.is_first_rank)
        copies = [read_copy(context, volumes, heads, number) for number in numbers]
        return partial(open_batches, context, TSSCopies(volumes, copies))

    def _loss(self, context: FoldContext, heads: dict[str, TSSClassifier], module: nn.Module, batch: Batch) -> Tensor:
        """The sum of the heads' losses, none of which has a parameter of another's."""
        valid, target = (batch[key].to(context.device) for key in ("valid", "target"))
        tss, network = context.config.tss, context.network
        cases = present = None
        if context.incomplete or tss.modality_dropout:
            cases = torch.stack([context.incomplete.mask(case) for case in batch["keys"]])
            cases[:, network.tss_branches] = draw_present(cases[:, network.tss_branches], tss.modality_dropout)
            cases = cases.to(context.device)
            present = cases[:, network.tss_branches]
        if "inputs" in batch:
            inputs = {reads: own.to(context.device) for reads, own in batch["inputs"].items()}
        else:
            volumes, chunk = batch["volumes"].to(context.device), encoder_chunk(context.configuration)
            inputs = network.tss_inputs(volumes, valid, chunk, heads.values(), cases)
        together = isinstance(unwrap(module), _Together)
        logits = module(inputs, valid, present) if together else [module(*inputs.values(), valid, present)]
        losses = [tss_focal_loss(own, target, gamma=tss.focal_gamma, alpha=tss.focal_alpha) for own in logits]
        return torch.stack(losses).sum()


class _Together(nn.ModuleDict):
    """Several heads as one module, whose forward takes what all of them read to their logits, `(B,)` each."""

    def forward(self, inputs: dict[str, Tensor], valid: Tensor, present: Tensor | None = None) -> list[Tensor]:
        return [head(inputs[str(head.reads)], valid, present) for head in self.values()]


def draw_present(has: Tensor, dropout: float) -> Tensor:
    """Which modalities `(B, M)` bool each case of a batch is read with.

    Args:
        has: `(B, M)` bool, which of the head's it has: one at least.
        dropout: The probability that one is left out; where all would be, one of them stays. 0 draws nothing.
    """
    if not dropout:
        return has
    present = has & (torch.rand(has.shape) >= dropout)
    kept = torch.multinomial(has.float(), 1)
    none = ~present.any(dim=1, keepdim=True)
    return present | (none & (torch.arange(has.shape[1]) == kept))


def _classes(context: FoldContext, cases: Iterable[str]) -> list[bool]:
    """Whether the TSS of each is < 4.5 h."""
    assert context.table is not None
    return [bool(context.table.positive(case)) for case in cases]


def forget_head(context: FoldContext) -> None:
    """Where `segment` trains (on), a head of an earlier run knows encoders that are lost with their checkpoint."""
    context.state.forget(PHASE)
    folder = context.layout.phase(PHASE)
    if context.is_first_rank and folder.exists():
        shutil.rmtree(folder)
        context.log("tss: removed the head of an earlier run, whose encoders are lost")
