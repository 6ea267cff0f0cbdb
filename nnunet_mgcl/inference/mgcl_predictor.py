"""nnU-Net's predictor that also asks the TSS head, on the very data it has preprocessed for segmentation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os.path import basename, isfile
from pathlib import Path
from typing import Any

import torch
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.images.checks import value_mistake
from nnunet_mgcl.data.images.files import check_stem
from nnunet_mgcl.evaluation.calibration.stored import StoredCalibration, changed_folds, stored_calibration
from nnunet_mgcl.inference.input_folder import Images, refuse_unreadable
from nnunet_mgcl.inference.parts import Part
from nnunet_mgcl.inference.prediction_record import (
    MODEL_KEY,
    NAME,
    other_prediction,
    parts_agree,
    prediction_record,
    require_same,
)
from nnunet_mgcl.inference.segmentations import is_whole, require_whole
from nnunet_mgcl.inference.tss_report import NAME as TABLE
from nnunet_mgcl.inference.tss_report import TSSReport, merge_parts
from nnunet_mgcl.mismatch.roles import find_roles
from nnunet_mgcl.network.branch import unwrap
from nnunet_mgcl.plan.build import resolved_config
from nnunet_mgcl.plan.dataset_json import label_targets, read_dataset_json
from nnunet_mgcl.plan.plans import planned
from nnunet_mgcl.plan.plans_file import read_plans
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.system.safe_loading import loading_safely, require_layers
from nnunet_mgcl.tss.probability import tss_probability


class MGCLPredictor(nnUNetPredictor):
    """Writes what `nnUNetv2_predict` writes, and `tss.csv`."""

    def initialize_from_trained_model_folder(
        self, model_training_output_dir: str, use_folds: Any, checkpoint_name: str = "checkpoint_final.pth"
    ) -> None:
        """As in nnU-Net; also finds out whether every fold has a trained TSS head."""
        if use_folds is None:
            use_folds = self.auto_detect_available_folds(model_training_output_dir, checkpoint_name)
        self.model = Path(model_training_output_dir)
        self.folds = [use_folds] if isinstance(use_folds, str) else [str(fold) for fold in use_folds]
        self._checkpoints = [self.model / f"fold_{fold}" / checkpoint_name for fold in self.folds]
        read_dataset_json(self.model / "dataset.json")  # nnU-Net reads them without a check
        plans = PlansManager(read_plans(self.model / "plans.json"))
        for configuration in plans.available_configurations:
            require_layers(planned(plans, configuration))
        try:
            with loading_safely(self._checkpoints):
                super().initialize_from_trained_model_folder(model_training_output_dir, use_folds, checkpoint_name)
        except RuntimeError as error:  # an unknown trainer, or another network
            what = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
            expected = "checkpoints that fit the plans.json and dataset.json beside them"
            raise UserError(
                self.model, f"cannot be loaded ({what})", expected, "copy it again from its source"
            ) from None
        self.config = resolved_config(self.configuration_manager)
        self._reader: BaseReaderWriter = self.plans_manager.image_reader_writer_class()
        dataset_json = self.dataset_json | {"mgcl": {"lesion_labels": self.config.lesion_labels}}
        self.roles, self.targets = find_roles(dataset_json), label_targets(dataset_json)
        self.no_tss_reason = self._no_tss_reason(checkpoint_name)
        self.calibration: StoredCalibration | None = None
        if self.no_tss_reason is None:
            self.calibration = stored_calibration(self.plans_manager.plans, self.model / "plans.json")
        self.plans_manager.plans[MODEL_KEY] = self.model.resolve().name
        self.report: TSSReport | None = None
        self._probabilities: list[float] = []
        self._pending: list[str] = []

    def _no_tss_reason(self, checkpoint_name: str) -> str | None:
        if not self.config.tss.enabled:
            return "the model has no TSS head (no tss.csv, or tss.enabled=false in its plan)"
        trained = [bool(weights["tss.trained"]) for weights in self.list_of_parameters]
        if all(trained):
            return None
        untrained = ", ".join(fold for fold, is_trained in zip(self.folds, trained, strict=True) if not is_trained)
        return (
            f"the TSS head in {checkpoint_name} of fold {untrained} is untrained "
            "(it is trained after the segmentation: use checkpoint_final.pth)"
        )

    def predict_cases(
        self,
        images: Images,
        output: Path,
        part: Part,
        *,
        save_probabilities: bool,
        overwrite: bool,
        npp: int,
        nps: int,
        prev_stage: str | None,
    ) -> Path | None:
        """Predicts a folder with `nnUNetv2_predict`'s flags; returns `tss.csv` where it is complete.

        Raises:
            UserError: A case cannot be predicted, or the prediction to continue is none of these weights, flags and
                images.
        """
        self._part = part
        earlier = self._begin(images, output, overwrite)
        files = str(images.folder), str(output), save_probabilities, overwrite
        with self._naming_the_unreadable(images, npp):
            if npp == 0 and nps == 0:
                self.predict_from_files_sequential(*files, prev_stage)
            else:
                self.predict_from_files(*files, npp, nps, prev_stage, part.total, part.number)
        ending = self.dataset_json["file_ending"]
        require_whole((Path(path + ending) for path in self._outputs), self._reader)
        if self.report is None:
            names = ", ".join(path.name for path in earlier)
            gone = f" Removed what an earlier prediction left: {names}." if earlier else ""
            print(f"No tss.csv: {self.no_tss_reason}.{gone}")
            return None
        self.report.add_mismatch(images.folder, output, ending, max(1, nps), self.allow_tqdm)
        self.report.add_volumes(output, ending, self._reader)
        print(f"TSS probabilities: {self._calibration_described()}")
        if part.total == 1:
            return self.report.path
        return merge_parts(output, part, self.calibration) if parts_agree(output, part) else None

    def _begin(self, images: Images, folder: Path, overwrite: bool) -> list[Path]:
        """Notes what is predicted, and with what; begins `report`. Nothing is changed where it is refused.

        Returns:
            The tables that an earlier prediction has left.
        """
        part, plans = self._part, self.plans_manager.plans
        earlier = part.earlier(folder / TABLE)
        if self.no_tss_reason and earlier and not overwrite:
            raise other_prediction(earlier[0], f"the prediction to continue has a TSS, but {self.no_tss_reason}")
        cases = list(images.cases)[part.number :: part.total]
        digests = {case: images.digests[case] for case in cases}
        flags = {"step_size": self.tile_step_size, "mirroring": self.use_mirroring}
        record = prediction_record(self.model, self._checkpoints, plans, self.dataset_json, flags, digests)
        self._noted: dict[str, str] | None = None
        if overwrite:
            endings = (self.dataset_json["file_ending"], ".npz", ".pkl")
            exported = [folder / f"{case}{ending}" for case in cases for ending in endings]
            for path in [*earlier, *part.earlier(folder / NAME), *exported]:
                path.unlink(missing_ok=True)  # it would look like this run's
        else:
            self._noted = require_same(folder, part, record, plans)
            record["images"] = (self._noted or {}) | record["images"]
        self.report = None
        if self.no_tss_reason is None:
            table = part.file(folder / TABLE)
            self.report = TSSReport(table, self.folds, self.targets, not overwrite, self.roles, self.calibration)
        write_json(part.file(folder / NAME), record)
        return earlier

    @contextmanager
    def _naming_the_unreadable(self, images: Images, processes: int) -> Iterator[None]:
        """Where a process died over a case, nnU-Net does not say over which."""
        try:
            yield
        except UserError:
            raise
        except Exception:
            ahead = self._pending[: 3 * processes or None]  # a process has one handed over, one waiting, one at work
            refuse_unreadable({case: images.cases[case] for case in ahead}, self._reader)
            raise

    def _calibration_described(self) -> str:
        """How the probabilities in `tss.csv` were calibrated, or what to do for it."""
        plans, configuration = self.plans_manager, self.model.resolve().name.split("__")[-1]
        model = f"-tr {self.trainer_name} -p {plans.plans_name} -c {configuration}"
        command = f"mgcl evaluate -d {plans.dataset_name} {model}"
        if self.calibration is None:
            return f"uncalibrated. After all folds, this calibrates the model or says why not: {command}"
        method, cases = self.calibration.method, self.calibration.cases
        told = f"calibrated ({method}, from {cases} cases); probability_raw and probability_fold_* are not"
        if changed := changed_folds(self.calibration, self.model):
            return f"{told}. But fold {', '.join(map(str, changed))} has been validated again since: run {command}"
        return told

    # ------------------------------------------------------------------ nnU-Net's hooks

    def _manage_input_and_output_lists(
        self,
        source: Any,
        output: Any,
        previous_stage: str | None = None,
        overwrite: bool = True,
        part_id: int = 0,
        num_parts: int = 1,
        save_probabilities: bool = False,
    ) -> tuple[list[Any], list[str], list[Any]]:
        """As in nnU-Net, but a case counts as predicted only where its TSS is there too.

        Without worker processes nnU-Net forgets -num_parts; here they share the cases all the same.
        """
        lists = super()._manage_input_and_output_lists(
            source, output, previous_stage, True, self._part.number, self._part.total, save_probabilities
        )
        outputs = lists[1]
        for path in outputs:
            check_stem(basename(path), self.dataset_json["file_ending"], source)
        todo = [i for i, path in enumerate(outputs) if overwrite or not self._is_done(path, save_probabilities)]
        if not overwrite:
            print(f"{len(outputs) - len(todo)} of {len(outputs)} cases are predicted already")
        inputs, self._outputs, previous = ([each[i] for i in todo] for each in lists)
        self._pending = [basename(path) for path in self._outputs]
        return inputs, self._outputs, previous

    def predict_from_data_iterator(
        self, data_iterator: Any, save_probabilities: bool = False, num_processes_segmentation_export: int = 3
    ) -> list[Any]:
        """As in nnU-Net, noting whose data comes next (the preprocessing workers decide the order)."""
        return super().predict_from_data_iterator(
            self._noting_cases(data_iterator), save_probabilities, num_processes_segmentation_export
        )

    def _noting_cases(self, data_iterator: Any) -> Iterator[dict[str, Any]]:
        for preprocessed in data_iterator:
            case = basename(preprocessed["ofile"])
            self._pending.remove(case)
            self._pending.insert(0, case)
            yield preprocessed

    def predict_logits_from_preprocessed_data(self, data: torch.Tensor) -> torch.Tensor:
        """As in nnU-Net; looks at the values first, and adds the case's row to the report."""
        case = self._pending.pop(0) if self._pending else ""
        if mistake := value_mistake(data.cpu().numpy()):
            remedy = "replace the case's images or move them elsewhere, then go on with --continue_prediction"
            raise UserError(f"case {case}", *mistake, remedy)
        self._probabilities = []
        logits = super().predict_logits_from_preprocessed_data(data)
        if self.report is not None:
            self.report.add(case, self._probabilities)
        return logits

    def predict_sliding_window_return_logits(self, input_image: torch.Tensor) -> torch.Tensor:
        """As in nnU-Net, which calls this once a fold with the fold's weights loaded; asks the TSS head as well."""
        logits = super().predict_sliding_window_return_logits(input_image)
        if self.report is not None:
            network: Any = unwrap(self.network)
            probability = tss_probability(network, input_image, self.config, self.configuration_manager)
            assert probability is not None
            self._probabilities.append(probability)
        return logits

    def _is_done(self, output: str, save_probabilities: bool) -> bool:
        case = basename(output)
        if self.report is not None and case not in self.report.rows:
            return False
        if self._noted is not None and case not in self._noted:  # nobody knows what made it
            return False
        if save_probabilities and not isfile(output + ".npz"):
            return False
        return is_whole(Path(output + self.dataset_json["file_ending"]), self._reader)
