"""The contract of a method: everything that the rest of the package knows of it stands in its class.

A `Pretext` is a phase before `segment`; an `InSegment` acts inside it. Either brings its settings, which become a block
of the plan, of the JSON schema and of docs/configuration.md. A trainer names the methods that it uses:

    class MGCLTrainerToy(MGCLTrainer):
        pretraining = (Toy(),)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from torch import Tensor, nn

from nnunet_mgcl.data.cases.modality_dataset import ModalityDataset
from nnunet_mgcl.engine.branches import Branch
from nnunet_mgcl.engine.context import FoldContext, RunContext
from nnunet_mgcl.engine.datasets import kinds, unlabelled_dataset
from nnunet_mgcl.engine.loading import Sampling, apart, iterations_per_epoch, open_batches
from nnunet_mgcl.engine.results import finish_branch
from nnunet_mgcl.engine.seeding import reseed
from nnunet_mgcl.engine.training_loop import Batch, Job, Observer, train
from nnunet_mgcl.engine.training_warnings import TrainingWarning
from nnunet_mgcl.network.branch import UNet
from nnunet_mgcl.plan.config import Block, MethodSettings, MGCLConfig, register
from nnunet_mgcl.pretraining.handover import start_from, state_of
from nnunet_mgcl.pretraining.monitor.probes import Probe, default_probe


class Method:
    """What every method has.

    Attributes:
        name: Of its folder in `phases/`, of its curve and in messages.
        block: Of its block in the plan; where it is not given, `name`.
        title: What it does in a few words, for the report.
        Settings: The block: a nested class.
        trains: The parts of each branch's U-Net that it hands on, some of `handover.PARTS`.
        views: Augmentations of every crop.
    """

    name: str
    block: str
    title: str = ""
    Settings: type[MethodSettings]
    trains: ClassVar[tuple[str, ...]] = ()
    views: ClassVar[int] = 1

    def __init_subclass__(cls) -> None:
        if "name" in cls.__dict__ and "block" not in cls.__dict__:
            cls.block = cls.name
        if hasattr(cls, "block") and hasattr(cls, "Settings"):
            register(cls.block, Block(cls.Settings, cls.trains, cls.views))

    def settings(self, config: MGCLConfig) -> Any:
        """Its block of a resolved configuration."""
        return config.block(self.block)

    def titles(self) -> dict[str, str]:
        """Titles of its panels among the learning curves, by the panels' names."""
        return {self.name: f"{self.name}: {self.title}"} if self.title else {}


class Pretext(Method):
    """A phase that trains parts of every branch's U-Net before `segment`.

    A phase starts from what earlier ones hand on, part by part, and leaves its own result in the fold's `phases/`, so
    that a run can stop and go on between any two of them. It returns at once for what is done already.

    Attributes:
        reads: Earlier phases whose files it reads, besides the parts that they hand on.
        label_free: Whether it needs neither labels nor a fold. It then sees images only, and one run over the pool
            serves all folds (`mgcl pretrain`).
        loader: nnU-Net's, or an heir that chooses cases and crops in its own way.
        figure: Which figure of the paper the report's picture of it is.
        unit: What the report shows before and after it, "slices" or "patches"; None: nothing.
    """

    reads: tuple[str, ...] = ()
    label_free: ClassVar[bool] = False
    loader: ClassVar[type[nnUNetDataLoader]] = nnUNetDataLoader
    figure: ClassVar[str] = ""

    @property
    def unit(self) -> str | None:
        """Slices where the encoder alone is trained, else patches."""
        return "slices" if self.trains == ("encoder",) else "patches"

    def model(self, run: RunContext, branch: Branch, unet: UNet) -> nn.Module:
        """What is trained: the U-Net with whatever is thrown away afterwards. Frozen parts need no gradient."""
        raise NotImplementedError

    def step(self, model: nn.Module, batch: Batch) -> tuple[Tensor, str | None]:
        """Loss of a batch on the device, and why it teaches nothing where it does not; with several `views`, of these.

        Args:
            model: What `model` returned, compiled and distributed as nnU-Net would.
            batch: `views` `(V, B, C, ...)`, and what the loader returned.
        """
        raise NotImplementedError

    def probe(self, config: MGCLConfig, branch: Branch, unet: UNet) -> Probe:
        """How samples are represented for the report's pictures and kNN."""
        return default_probe(self.unit, unet, branch.label_manager.ignore_label)

    def hands_on(self, config: MGCLConfig) -> bool:
        """Whether later phases and `segment` start from its parts."""
        return True

    def run(self, run: Any, earlier: Sequence[Pretext] = ()) -> None:
        """Trains every branch that is not done.

        Args:
            run: A `RunContext`, and a `FoldContext` unless `label_free`.
            earlier: The trainer's phases before this one.
        """
        for branch in run.branches:
            if not run.state.is_done(self.name, branch.name):
                self.train_branch(run, branch, earlier)

    def start(self, run: RunContext, branch: Branch, earlier: Sequence[Pretext]) -> UNet:
        """The branch's U-Net as the phase begins with it."""
        reseed(run.config.random_seed, run.fold, self.name, branch.name, "initialisation")
        unet = branch.build_unet()
        start_from(earlier, unet, branch.name, run)
        return unet

    def train_branch(self, run: Any, branch: Branch, earlier: Sequence[Pretext]) -> None:
        """Trains one branch on its images and leaves the parts."""
        unet = self.start(run, branch, earlier)
        job = self.job(run, branch, self.model(run, branch, unet), unlabelled_dataset(run, branch))
        train(run, job)
        run.warnings.replace(self.name, branch.name, self.warnings(run, branch, job.observer))
        finish_branch(run, self.name, branch.name, state_of(unet, self.trains))

    def warnings(self, run: RunContext, branch: Branch, observer: Observer) -> list[TrainingWarning]:
        """What went wrong with a branch, as far as its observer has seen."""
        return []

    def job(
        self, run: RunContext, branch: Branch, model: nn.Module, dataset: ModalityDataset, regions: bool = False
    ) -> Job:
        """The training of a model on a branch's cases, by the phase's settings; `regions` as of `Sampling`."""
        settings = self.settings(run.config)
        samples = self.views * settings.batch_size * run.world_size
        sampling = Sampling(regions, labels=not self.label_free, views=self.views, loader=self.loader)
        return Job(
            self.name,
            branch.name,
            model,
            settings,
            cosine=True,
            epochs=settings.epochs,
            iterations=iterations_per_epoch(run, dataset, settings.batch_size),
            batches=partial(open_batches, run, branch, dataset, settings.batch_size, sampling),
            step=partial(self._step, run),
            block=self.block,
            samples={kind: share * samples for kind, share in kinds(dataset).items()},
        )

    def _step(self, run: RunContext, model: nn.Module, batch: Batch) -> tuple[Tensor, str | None]:
        data = batch["data"].to(run.device, non_blocking=True)
        return self.step(model, {**batch, "views": apart(data, self.views)})


class InSegment(Method):
    """What acts inside `segment`: a teacher, unlabelled samples behind the labelled ones, another loss.

    It holds nothing between the folds: what a training needs is in the `Companion` that it begins.
    """

    def extra_samples(self, config: MGCLConfig, batch_size: int) -> int:
        """Samples that pass the network besides a labelled batch, on this rank."""
        return 0

    def loss(self, supervised: nn.Module) -> nn.Module:
        """The loss of `segment`, given nnU-Net's of the labelled samples."""
        return supervised

    def begin(self, context: FoldContext, loss: nn.Module, extra_samples: int) -> Companion:
        """Starts what goes along with the training.

        Raises:
            UserError: The dataset lacks what it needs.
        """
        raise NotImplementedError


class Companion:
    """What goes along with one training of `segment`."""

    def before_step(self, batch: Batch, progress: float) -> Batch:
        """The batch with whatever is added to it, after a share of the training, 0 to 1."""
        return batch

    def after_step(self, network: nn.Module) -> None:
        """Looks at the network after a step."""

    def save(self, path: Path, epoch: int) -> None:
        """Writes what `load` needs to go on with an epoch."""

    def load(self, path: Path, epoch: int) -> bool:
        """Goes on as it was at the start of an epoch; False where nothing of that epoch was saved."""
        return True

    def close(self) -> None:
        """Ends whatever it has opened."""
