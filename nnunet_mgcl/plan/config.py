"""The `mgcl` block of a plan's configuration: what all trainings share, and a block for each method that is registered.

Sources: section 4.2 of Sun et al., Medical Image Analysis 97 (2024) 103250; what the paper does not give is our
choice and is listed in docs/method.md. The methods' own blocks stand in their files (`nnunet_mgcl/pretraining`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from nnunet_mgcl.system.errors import UserError


def _countable(number: int) -> int:
    if number >= 2**31:
        raise ValueError("a number below 2^31")
    return number


Count = Annotated[int, Field(ge=1), AfterValidator(_countable)]
Epochs = Count
BatchSize = Count
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Older:
    """Marks a key that older versions lacked or had another default for: `value` is what they did.

    `Annotated[int, Older(3)]`, on a key of any depth or on a whole block. What follows from it is in `older.py`.
    """

    value: Any


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Optimiser(_Block):
    """Adam, as in 4.2: of its four printed values the fourth (0.1) is stray."""

    lr: Positive = Field(1e-4, description="Adam's learning rate at the first epoch")
    beta1: Momentum = Field(0.9, description="Adam's first moment")
    weight_decay: NonNegative = Field(1e-5, description="Adam's weight decay")


class MethodSettings(_Block):
    """The block of a method. Its docstring's first line is what docs/configuration.md says of it."""

    def resolved(self, batch_size: int, patch_size: list[int], where: str) -> Self:
        """Fills in what is left to the plan; resolving again changes nothing.

        Args:
            batch_size: The plan's.
            patch_size: The plan's, of two or three axes.
            where: The block, as a message names it.

        Raises:
            UserError: The settings do not fit the plan.
        """
        return self


class PhaseSettings(Optimiser, MethodSettings):
    """What every phase that trains something has."""

    batch_2d: ClassVar[int | None] = None
    """Batch size in 2d that is taken for null; None: the plan's, as in 3d, where a sample is a case."""

    epochs: Epochs = Field(100, description="passes over the phase's samples")
    batch_size: BatchSize | None = Field(None, description="null: the plan's batch size")

    def resolved(self, batch_size: int, patch_size: list[int], where: str) -> Self:
        """Takes the phase's own batch size in 2d, or the plan's."""
        default = (self.batch_2d if len(patch_size) == 2 else None) or batch_size
        return self.model_copy(update={"batch_size": self.batch_size or default})


class SegmentConfig(Optimiser):
    """Phase `segment`: nnU-Net's own training loop on the labelled cases."""

    lr: Positive = Field(3e-4, description="Adam's learning rate at the first epoch; nnU-Net's polynomial decay")
    epochs: Epochs = Field(250, description="epochs as nnU-Net counts them")
    iterations: Count = Field(250, description="training iterations an epoch")
    val_iterations: Count = Field(50, description="validation iterations an epoch")
    checkpointing: bool = Field(
        False, description="compute activations again in the backward pass: the memory of one branch only"
    )


TSSHead = Literal["lesion", "mrff", "mrff_lesion", "mlp", "transformer"]


class TSSConfig(_Block):
    """Phase `tss`: the head that classifies the time since stroke, Eq. 9-16 or a reader of the segmented lesion."""

    enabled: bool | None = Field(None, description="null: where the dataset has a tss.csv")
    head: Annotated[TSSHead, Older("mrff")] = Field(
        "lesion", description="the head of the checkpoint: the paper's is mrff; mlp and transformer are of Table 5"
    )
    compared: Annotated[list[TSSHead], Older([])] = Field(
        ["lesion", "mrff", "mrff_lesion", "mlp", "transformer"],
        description="heads trained beside it on every fold, to compare and to switch to (mgcl head)",
    )
    modalities: list[str] | None = Field(None, description="modalities the head sees (Table 6); null: all")
    epochs: Epochs = Field(100, description="passes over the labelled cases with a known TSS")
    batch_size: BatchSize = Field(24, description="cases a batch")
    lr: Positive = Field(1e-3, description="Adam's learning rate, constant")
    focal_gamma: NonNegative = Field(2.0, description="gamma of the focal loss")
    focal_alpha: Share | None = Field(None, description="alpha of the focal loss; null: no class weighting")
    modality_dropout: Annotated[Annotated[float, Field(ge=0, lt=1)], Older(0.0)] = Field(
        0.0, description="probability that a modality's tokens are masked for a case, never all: for missing modalities"
    )
    copies: Annotated[Count | None, Older(None)] = Field(
        None, description="augmented copies of each case that are read once; null: new ones in every epoch, slower"
    )
    grid: Count = Field(4, description="sub-regions a side: m = grid * grid")
    heads: Count = Field(4, description="k attention heads a sub-region")
    lesion_grid: Annotated[Count, Older(1)] = Field(
        1, description="sub-regions a side of mrff_lesion, in the place of grid"
    )
    slices: Count | None = Field(None, description="b, slices a volume; null: from the plan")
    size: list[Count] | None = Field(
        None, min_length=2, max_length=2, description="height and width of a slice in voxels; null: from the plan"
    )


class MGCLConfig(_Block):
    """The whole block, `configurations.<configuration>.mgcl` of a plans file."""

    random_seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(12345, description="seeds Python, NumPy and torch")
    pretraining_seed: Annotated[Annotated[int, Field(ge=0, lt=2**31)] | None, Older(None)] = Field(
        None, description="seeds the label-free phases in its place, so that trainings of several seeds share them"
    )
    modalities: dict[str, list[int]] | None = Field(
        None, description="channels of each branch; null: dataset.json's mgcl.modalities, else one branch a channel"
    )
    lesion_labels: dict[str, list[int]] | None = Field(
        None, description="labels that are lesion for each branch; null: dataset.json's, else every label for all"
    )
    warm_start: Annotated[bool, Older(False)] = Field(
        True,
        description="self_train goes on with seed's network, and coarse, fine and segment with self_train's; false: "
        "each from He initialisation, as the paper is read",
    )
    labelled_fraction: Annotated[Share, Older(1.0)] = Field(
        1.0, description="share of its training cases that each fold trains on; the others are left out"
    )
    left_out_joins_pool: Annotated[bool, Older(False)] = Field(
        False, description="training cases that labelled_fraction leaves out join the pool, without their labels"
    )
    segment: SegmentConfig = SegmentConfig()
    tss: TSSConfig = TSSConfig()

    def block(self, name: str) -> Any:
        """The block of a method, as its `Settings`."""
        return getattr(self, name)

    @property
    def labels_by_branch(self) -> list[list[int]]:
        """The labels that are lesion for each branch, in their order; of a resolved block with a mask per modality."""
        assert self.modalities is not None and self.lesion_labels is not None
        return [self.lesion_labels[name] for name in self.modalities]

    def blocks(self) -> dict[str, MethodSettings]:
        """The methods' blocks, by name."""
        return {name: own for name, own in self if isinstance(own, MethodSettings)}


@dataclass(frozen=True)
class Block:
    """A method's block as the plan knows it: its settings, the parts of a U-Net that it trains, its views of a crop."""

    settings: type[MethodSettings]
    trains: tuple[str, ...] = ()
    views: int = 1


BLOCKS: dict[str, Block] = {}
"""By their names in the plan. A method that is imported registers its own."""


def register(name: str, block: Block) -> None:
    """Lets plans have a block; nnU-Net imports the files of nnUNet_extTrainer again and again, so the last one counts.

    Raises:
        UserError: The name is taken by other settings, or by a key of the block itself.
    """
    taken = BLOCKS[name].settings if name in BLOCKS else None
    if block.trains and not issubclass(block.settings, PhaseSettings):
        raise TypeError(f"{block.settings.__qualname__}: the settings of what trains something are PhaseSettings")
    if name in MGCLConfig.model_fields or (taken and taken.__qualname__ != block.settings.__qualname__):
        raise UserError(
            f"method {block.settings.__qualname__}", f"the block {name!r}, which is taken", "a name of its own",
            "give the method another name",
        )  # fmt: skip
    BLOCKS[name] = block


def config_model(names: Iterable[str] | None = None) -> type[MGCLConfig]:
    """The whole block's model with the blocks of some methods; None: of all that are registered."""
    return _config_model(tuple((name, BLOCKS[name].settings) for name in sorted(BLOCKS if names is None else names)))


@lru_cache
def _config_model(blocks: tuple[tuple[str, type[MethodSettings]], ...]) -> type[MGCLConfig]:
    fields: dict[str, Any] = {name: (settings, settings()) for name, settings in blocks}
    return create_model("MGCLConfig", __base__=MGCLConfig, __doc__=MGCLConfig.__doc__, **fields)
