"""nnU-Net's predictor that also asks the TSS head, on the very data it has preprocessed for segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os.path import basename
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.images.checks import value_mistake
from nnunet_mgcl.evaluation.calibration.stored import JOIN, StoredCalibration, map_of, stored_calibration
from nnunet_mgcl.inference.array_input import check_array
from nnunet_mgcl.inference.tss_prediction import TSSPrediction
from nnunet_mgcl.inference.windows import Batching, accumulate, fitting_batch, mirrored, same_in_batches
from nnunet_mgcl.mismatch.roles import find_roles
from nnunet_mgcl.network.branch import unwrap
from nnunet_mgcl.plan.build import resolved_config
from nnunet_mgcl.plan.dataset_json import channel_names, label_targets, read_dataset_json
from nnunet_mgcl.plan.plans import planned
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.resources import offer_trainers
from nnunet_mgcl.system.safe_loading import loading_safely, require_layers
from nnunet_mgcl.tss.probability import tss_probability

UNNAMED = ""
"""A patient whose image has no name."""


class MGCLPredictor(nnUNetPredictor):
    """nnU-Net's predictor, whose every call returns what it returns there and leaves the TSS in `tss`.

    Attributes:
        folds: Names of the model's folds.
        targets: The labels of each target: a modality's lesion, or a label or region of the dataset.
        no_tss_reason: Why the model has no TSS; None where it has one.
        calibration: The map of its probabilities, if `mgcl evaluate` has stored one.
        present: The modalities that a case is predicted from, by its name; cases that are not named here have all.
    """

    no_tss_reason: str | None = "no model was loaded"

    def __init__(self, *arguments: Any, fast: bool = False, batch: int | None = None, **named: Any) -> None:
        """As in nnU-Net.

        Args:
            arguments: nnU-Net's.
            fast: Whether windows pass the network in batches also where that changes the last bits of its logits.
            batch: Samples a batch, mirrored copies included; None: what fits.
            named: nnU-Net's.
        """
        super().__init__(*arguments, **named)
        self.fast, self.batch = fast, batch
        self._batching: Batching | None = None
        self._batching_known = False

    def initialize_from_trained_model_folder(
        self, model_training_output_dir: str, use_folds: Any, checkpoint_name: str = "checkpoint_final.pth"
    ) -> None:
        """As in nnU-Net, without `mgcl env`; also finds out whether every fold has a trained TSS head.

        Raises:
            UserError: The folder holds no whole model of this plugin.
        """
        offer_trainers()
        model = Path(model_training_output_dir)
        if use_folds is None:
            use_folds = self.auto_detect_available_folds(model_training_output_dir, checkpoint_name)
        folds = [use_folds] if isinstance(use_folds, str) else [str(fold) for fold in use_folds]
        read_dataset_json(model / "dataset.json")  # nnU-Net reads them without a check
        plans = PlansManager(read_plans(model / "plans.json"))
        for configuration in plans.available_configurations:
            require_layers(planned(plans, configuration))
        try:
            with loading_safely([model / f"fold_{fold}" / checkpoint_name for fold in folds]):
                super().initialize_from_trained_model_folder(model_training_output_dir, use_folds, checkpoint_name)
        except RuntimeError as error:  # an unknown trainer, or another network
            what = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
            expected = "checkpoints that fit the plans.json and dataset.json beside them"
            raise UserError(model, f"cannot be loaded ({what})", expected, "copy it again from its source") from None
        self._understand(folds, checkpoint_name, model / "plans.json")

    def manual_initialization(
        self, network: Any, plans_manager: Any, configuration_manager: Any, parameters: Any, *others: Any, **named: Any
    ) -> None:
        """As in nnU-Net, for a network of this plugin; the folds are called 0, 1, ... in the order of `parameters`."""
        super().manual_initialization(network, plans_manager, configuration_manager, parameters, *others, **named)
        folds = [str(number) for number in range(len(parameters or ()))]
        self._understand(folds, "the given parameters", Path("plans.json"))

    def _understand(self, folds: list[str], checkpoint: str, plans: Path) -> None:
        """What this package reads from a model that nnU-Net has loaded."""
        self.folds = folds
        self.config = resolved_config(self.configuration_manager)
        self._reader: BaseReaderWriter = self.plans_manager.image_reader_writer_class()
        dataset_json = self.dataset_json | {"mgcl": {"lesion_labels": self.config.lesion_labels}}
        self.roles, self.targets = find_roles(dataset_json), label_targets(dataset_json)
        self.no_tss_reason = self._no_tss_reason(checkpoint)
        self.calibration: StoredCalibration | None = None
        if self.no_tss_reason is None:
            self.calibration = stored_calibration(self.plans_manager.plans, plans)
        self.present: dict[str, list[str]] = {}
        self._batching_known = False
        self._begin_call([])

    def _no_tss_reason(self, checkpoint: str) -> str | None:
        if not self.config.tss.enabled:
            return "the model has no TSS head (no tss.csv, or tss.enabled=false in its plan)"
        if not self.folds:
            return "no parameters were given"
        trained = [bool(weights["tss.trained"]) for weights in self.list_of_parameters]
        if all(trained):
            return None
        untrained = ", ".join(fold for fold, is_trained in zip(self.folds, trained, strict=True) if not is_trained)
        return (
            f"the TSS head in {checkpoint} of fold {untrained} is untrained "
            "(it is trained after the segmentation: use checkpoint_final.pth)"
        )

    @property
    def tss(self) -> list[TSSPrediction]:
        """The TSS of the last call's images, in the order in which the call returns or writes their segmentations.

        A call is one of nnU-Net's `predict_single_npy_array`, `predict_from_list_of_npy_arrays`,
        `predict_from_data_iterator`, `predict_from_files` and `predict_from_files_sequential`;
        `predict_logits_from_preprocessed_data` by itself adds an entry.

        Raises:
            UserError: The model has no trained TSS head.
        """
        if self.no_tss_reason is not None:
            remedy = "ask no_tss_reason before; to have a TSS, train with a tss.csv beside the raw data"
            raise UserError("the TSS", self.no_tss_reason, "a trained TSS head in every fold", remedy)
        return list(self._tss)

    def _begin_call(self, cases: Sequence[str]) -> None:
        """Forgets the call before.

        Args:
            cases: Names of what is predicted, in this order unless the data say another; empty where there are none.
        """
        self._tss: list[TSSPrediction] = []
        self._pending = list(cases)
        self._probabilities: list[float | None] = []

    # ------------------------------------------------------------------ nnU-Net's hooks

    def predict_single_npy_array(
        self, input_image: np.ndarray, image_properties: dict, segmentation_previous_stage: Any = None,
        output_file_truncated: str | None = None, save_or_return_probabilities: bool = False,
    ) -> Any:  # fmt: skip
        """As in nnU-Net; `tss` has one entry then.

        Raises:
            UserError: The image is none that the model can read, or its spacing is missing.
        """
        self._begin_call([basename(output_file_truncated)] if output_file_truncated else [])
        check_array(input_image, image_properties, channel_names(self.dataset_json))
        return super().predict_single_npy_array(
            input_image, image_properties, segmentation_previous_stage, output_file_truncated,
            save_or_return_probabilities,
        )  # fmt: skip

    def get_data_iterator_from_raw_npy_data(
        self, image_or_list_of_images: Any, segs_from_prev_stage_or_list_of_segs_from_prev_stage: Any,
        properties_or_list_of_properties: Any, truncated_ofname: Any, num_processes: int = 3,
    ) -> Any:  # fmt: skip
        """As in nnU-Net, whose `predict_from_list_of_npy_arrays` begins with it; looks at the images first.

        Raises:
            UserError: An image is none that the model can read, or its spacing is missing.
        """
        self._begin_call([])
        images, properties = (
            value if isinstance(value, list) else [value]
            for value in (image_or_list_of_images, properties_or_list_of_properties)
        )
        if len(images) != len(properties):
            found = f"{len(images)} images and {len(properties)} properties"
            raise UserError("the images", found, "as many of both", "give every image its {'spacing': (z, y, x)}")
        for number, (image, own) in enumerate(zip(images, properties, strict=True)):
            check_array(image, own, channel_names(self.dataset_json), f"image {number} of the list")
        return super().get_data_iterator_from_raw_npy_data(
            images, segs_from_prev_stage_or_list_of_segs_from_prev_stage, properties, truncated_ofname, num_processes
        )

    def _manage_input_and_output_lists(self, *arguments: Any, **named: Any) -> tuple[list[Any], Any, list[Any]]:
        """As in nnU-Net, whose calls on files begin with it; notes what they write."""
        lists = super()._manage_input_and_output_lists(*arguments, **named)
        self._begin_call([basename(path) for path in lists[1] or ()])
        return lists

    def predict_from_data_iterator(
        self, data_iterator: Any, save_probabilities: bool = False, num_processes_segmentation_export: int = 3
    ) -> list[Any]:
        """As in nnU-Net, noting whose data comes next (the preprocessing workers decide the order)."""
        self._begin_call(self._pending)
        return super().predict_from_data_iterator(
            self._noting_cases(data_iterator), save_probabilities, num_processes_segmentation_export
        )

    def _noting_cases(self, data_iterator: Any) -> Iterator[dict[str, Any]]:
        for preprocessed in data_iterator:
            case = basename(preprocessed["ofile"] or "")
            if case in self._pending:
                self._pending.remove(case)
            self._pending.insert(0, case)
            yield preprocessed

    def predict_logits_from_preprocessed_data(self, data: torch.Tensor) -> torch.Tensor:
        """As in nnU-Net; looks at the values first, and sums up what the folds' heads say.

        Raises:
            UserError: The normalisation has made useless values of the image.
        """
        case = self._pending.pop(0) if self._pending else UNNAMED
        modalities = self.config.modalities or {}
        present = self.present.get(case, list(modalities))
        if mistake := value_mistake(data[sorted(c for name in present for c in modalities[name])].cpu().numpy()):
            go_on = "replace the case's images or move them elsewhere, then go on with --continue_prediction"
            where, remedy = (f"case {case}", go_on) if case else ("the image", "give another image, or leave it out")
            raise UserError(where, *mistake, remedy)
        self._probabilities = []
        network: Any = unwrap(self.network)
        with network.with_present([index for index, name in enumerate(modalities) if name in present]):
            logits = super().predict_logits_from_preprocessed_data(data)
        said = [probability for probability in self._probabilities if probability is not None]
        if self.no_tss_reason is None and len(said) == len(self.folds):
            folds = dict(zip(self.folds, said, strict=True))
            calibration = map_of(self.calibration, JOIN.join(present), JOIN.join(modalities))
            self._tss.append(TSSPrediction.of_folds(folds, calibration, case))
        return logits

    def _internal_predict_sliding_window_return_logits(
        self, data: torch.Tensor, slicers: Any, do_on_device: bool = True
    ) -> torch.Tensor:
        """As in nnU-Net; in batches where they say the same, or where the user wants them to."""
        axes = self.allowed_mirroring_axes if self.use_mirroring else None
        image = data.to(self.device if do_on_device else "cpu")
        if not self._batching_known:
            self._batching, self._batching_known = self._chosen_batching(image, slicers, len(mirrored(axes))), True
        if self._batching is None:
            return super()._internal_predict_sliding_window_return_logits(data, slicers, do_on_device)
        gaussian: Any = 1
        if self.use_gaussian:
            patch = tuple(self.configuration_manager.patch_size)
            gaussian = compute_gaussian(patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=image.device)
        outputs = self.label_manager.num_segmentation_heads
        while True:
            try:
                return accumulate(self.network, image, slicers, axes, outputs, gaussian, self.device, self._batching)
            except torch.OutOfMemoryError:
                if (smaller := self._batching.size // 2) < len(mirrored(axes)):
                    raise
                self._batching = replace(self._batching, size=smaller)

    def _chosen_batching(self, image: torch.Tensor, slicers: Any, copies: int) -> Batching | None:
        """How an image's windows are put together; None: as nnU-Net does."""
        size, workers = self.batch or copies, torch.get_num_threads() if self.device.type == "cpu" else 1
        if self.batch is None and self.device.type == "cuda":
            size = fitting_batch(self.network, image[slicers[0]][None].to(self.device), copies)
        if self.fast:
            return Batching(size, workers)
        windows = torch.stack([image[slicers[number % len(slicers)]] for number in range(size)]).to(self.device)
        return Batching(size) if size > 1 and same_in_batches(self.network, windows) else None

    def predict_sliding_window_return_logits(self, input_image: torch.Tensor) -> torch.Tensor:
        """As in nnU-Net, which calls this once a fold with the fold's weights loaded; asks the TSS head as well."""
        logits = super().predict_sliding_window_return_logits(input_image)
        if self.no_tss_reason is None:
            network: Any = unwrap(self.network)
            self._probabilities.append(tss_probability(network, input_image, self.config, self.configuration_manager))
        return logits
