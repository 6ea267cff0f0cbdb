"""The `mgcl` block of a plan's configuration, as typed and validated models with the paper's defaults.

Sources: section 4.2 of Sun et al., Medical Image Analysis 97 (2024) 103250; what the paper does not give is our
choice and is listed in docs/method.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


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


class SupervisedConfig(Optimiser):
    """What `seed` and `self_train` share."""

    epochs: Epochs = Field(80, description="passes over the phase's samples")
    batch_size: BatchSize | None = Field(None, description="null: the plan's batch size")


class SeedConfig(SupervisedConfig):
    """Phase `seed`: each branch by itself, Dice + cross-entropy."""

    stretch: Annotated[Annotated[float, Field(ge=1, le=100)], Older(1.0)] = Field(
        4.0,
        description="`epochs` is the shortest length; up to so many times as long while the loss on left-out training "
        "cases falls; 1: never",
    )


class SelfTrainConfig(SupervisedConfig):
    """Phase `self_train`: each branch by itself, Dice + cross-entropy."""

    epochs: Epochs = Field(120, description="passes over the phase's samples")


class PseudoLabelConfig(_Block):
    """Phase `pseudo_label`."""

    confidence: Annotated[float, Field(ge=0, le=1)] = Field(
        0.7, description="a pool case joins self_train when its mean predicted lesion probability reaches this"
    )
    mirroring: bool = Field(True, description="nnU-Net's mirroring at prediction time")


class ContrastConfig(Optimiser):
    """What the two contrastive phases share."""

    temperature: Positive = Field(0.1, description="tau of Eq. 4 and 8")
    embedding_dim: Annotated[int, Field(ge=2)] = Field(128, description="length of an embedding")


class CoarseConfig(ContrastConfig):
    """Phase `coarse`: slices (2d) or slabs (3d) train the encoder, Eq. 1-4."""

    epochs: Epochs = Field(120, description="passes over the phase's slices (2d) or cases (3d)")
    batch_size: BatchSize | None = Field(None, description="null: 70 in 2d (4.2), the plan's batch size in 3d")
    pooling: Annotated[Literal["max", "mean"], Older("mean")] = Field(
        "max", description="what H_s sees: the in-plane maximum of every encoder level, or the mean of the deepest one"
    )


class FineConfig(ContrastConfig):
    """Phase `fine`: patches train the decoder, Eq. 5-8."""

    epochs: Epochs = Field(200, description="passes over the phase's slices (2d) or cases (3d)")
    batch_size: BatchSize | None = Field(None, description="null: 6 in 2d (4.2), the plan's batch size in 3d")
    patch_size: Count | None = Field(
        None,
        description="side of a patch in plane, in voxels; null: a 32nd of the plan's patch (4.2: 16 of 512), 4 to 16",
    )
    negatives: Annotated[Positive | None, Older(None)] = Field(
        3.0, description="negative patches of a batch a positive one, drawn at random; null: all"
    )
    area_threshold: Share = Field(0.1, description="t: a patch is positive from this lesion share on")


class SegmentConfig(Optimiser):
    """Phase `segment`: nnU-Net's own training loop on the labelled cases."""

    lr: Positive = Field(3e-4, description="Adam's learning rate at the first epoch; nnU-Net's polynomial decay")
    epochs: Epochs = Field(250, description="epochs as nnU-Net counts them")
    iterations: Count = Field(250, description="training iterations an epoch")
    val_iterations: Count = Field(50, description="validation iterations an epoch")
    checkpointing: bool = Field(
        False, description="compute activations again in the backward pass: the memory of one branch only"
    )


class MeanTeacherConfig(_Block):
    """What `MGCLTrainerMeanTeacher` adds to `segment`: the pool, labelled by an average of the network's weights."""

    weight: NonNegative = Field(1.0, description="weight of the pool's loss beside the labelled samples'")
    batch_size: BatchSize | None = Field(None, description="unlabelled samples a step and GPU; null: as labelled ones")
    momentum: Momentum = Field(0.99, description="share of its weights that the teacher keeps at a step")
    start: Annotated[float, Field(ge=0, lt=1)] = Field(0.2, description="share of segment before the pool takes part")
    ramp: Share = Field(0.2, description="share of segment over which its weight then rises")


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
    seed: SeedConfig = SeedConfig()
    pseudo_label: PseudoLabelConfig = PseudoLabelConfig()
    self_train: SelfTrainConfig = SelfTrainConfig()
    coarse: CoarseConfig = CoarseConfig()
    fine: FineConfig = FineConfig()
    segment: SegmentConfig = SegmentConfig()
    mean_teacher: MeanTeacherConfig = MeanTeacherConfig()
    tss: TSSConfig = TSSConfig()
