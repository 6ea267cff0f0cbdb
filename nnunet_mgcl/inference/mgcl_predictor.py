"""nnU-Net's predictor that also asks the TSS head, on the very data it has preprocessed for segmentation."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import basename, isfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from rich.progress import track

from nnunet_mgcl.dataset_json import label_targets, read_dataset_json
from nnunet_mgcl.errors import UserError
from nnunet_mgcl.evaluation.mismatch.case_mismatch import MismatchOptions, mismatch_columns
from nnunet_mgcl.evaluation.mismatch.mismatch_tables import measure_cases
from nnunet_mgcl.evaluation.mismatch.roles import find_roles
from nnunet_mgcl.evaluation.stored_calibration import StoredCalibration, changed_folds, stored_calibration
from nnunet_mgcl.inference.tss_report import TSSReport, merge_parts
from nnunet_mgcl.network.branch import unwrap
from nnunet_mgcl.network.build import resolved_config
from nnunet_mgcl.phases.tss import tss_probability
from nnunet_mgcl.plans_file import read_plans

MODEL_KEY = "mgcl_model"
"""Where the plans.json beside the predictions names the model's folder: two trainers may share a plan."""


class MGCLPredictor(nnUNetPredictor):
    """Writes what `nnUNetv2_predict` writes, and `tss.csv`."""

    def initialize_from_trained_model_folder(
        self, model_training_output_dir: str, use_folds: Any, checkpoint_name: str = "checkpoint_final.pth"
    ) -> None:
        """As in nnU-Net; also finds out whether every fold has a trained TSS head."""
        if use_folds is None:
            use_folds = self.auto_detect_available_folds(model_training_output_dir, checkpoint_name)
        read_dataset_json(Path(model_training_output_dir, "dataset.json"))  # nnU-Net reads them without a check
        read_plans(Path(model_training_output_dir, "plans.json"))
        super().initialize_from_trained_model_folder(model_training_output_dir, use_folds, checkpoint_name)
        self.config = resolved_config(self.configuration_manager)
        self.folds = [use_folds] if isinstance(use_folds, str) else [str(fold) for fold in use_folds]
        self.report: TSSReport | None = None
        dataset_json = self.dataset_json | {"mgcl": {"lesion_labels": self.config.lesion_labels}}
        self.roles, self.targets = find_roles(dataset_json), label_targets(dataset_json)
        self.no_tss_reason = self._no_tss_reason(checkpoint_name)
        self.model = Path(model_training_output_dir)
        self.calibration: StoredCalibration | None = None
        if self.no_tss_reason is None:
            self.calibration = stored_calibration(self.plans_manager.plans, self.model / "plans.json")
        self.plans_manager.plans[MODEL_KEY] = self.model.resolve().name
        self._part = (0, 1)
        self._probabilities: list[float] = []
        self._cases: Iterator[str] = iter(())

    def _no_tss_reason(self, checkpoint_name: str) -> str | None:
        if not self.config.tss.enabled:
            return "the model has no TSS head (no tss.csv, or tss.enabled=false in its plan)"
        untrained = [
            fold
            for fold, weights in zip(self.folds, self.list_of_parameters, strict=True)
            if not bool(weights["tss.trained"])
        ]
        if untrained:
            return (
                f"the TSS head in {checkpoint_name} of fold {', '.join(untrained)} is untrained "
                "(it is trained after the segmentation: use checkpoint_final.pth)"
            )
        return None

    def predict_cases(
        self,
        source: str,
        output: str,
        *,
        save_probabilities: bool,
        overwrite: bool,
        npp: int,
        nps: int,
        prev_stage: str | None,
        num_parts: int,
        part_id: int,
    ) -> Path | None:
        """Predicts a folder with `nnUNetv2_predict`'s flags; returns `tss.csv` where it is complete.

        Raises:
            UserError: The prediction to continue is none of this model and these folds.
        """
        folder, self._part = Path(output), (part_id, num_parts)
        table = folder / ("tss.csv" if num_parts == 1 else f"tss_part{part_id}.csv")
        earlier = _earlier_tables(table)
        if overwrite:
            for path in earlier:  # they would look like this run's
                path.unlink(missing_ok=True)
        if self.no_tss_reason is None:
            further = mismatch_columns(self.roles)
            keep, calibration = not overwrite, self.calibration
            self.report = TSSReport(table, self.folds, self.targets, keep, further, calibration)
        elif earlier and not overwrite:
            raise UserError(
                earlier[0],
                f"the prediction to continue has a TSS, but {self.no_tss_reason}",
                "a prediction of the same model",
                "choose another -o, or leave --continue_prediction out",
            )
        if npp == 0 and nps == 0:
            self.predict_from_files_sequential(source, output, save_probabilities, overwrite, prev_stage)
        else:
            self.predict_from_files(
                source, output, save_probabilities, overwrite, npp, nps, prev_stage, num_parts, part_id
            )
        if self.report is None:
            names = ", ".join(path.name for path in earlier)
            gone = f" Removed what an earlier prediction left: {names}." if earlier else ""
            print(f"No tss.csv: {self.no_tss_reason}.{gone}")
            return None
        ending, reader = self.dataset_json["file_ending"], self.plans_manager.image_reader_writer_class()
        self._add_mismatch(self.report, Path(source), folder, max(1, nps))
        self.report.add_volumes(folder, ending, reader)
        print(f"TSS probabilities: {self._calibration_described()}")
        return table if num_parts == 1 else merge_parts(folder, num_parts, self.calibration)

    def _calibration_described(self) -> str:
        """How the probabilities in `tss.csv` were calibrated, or what to do for it."""
        model = (
            f"-tr {self.trainer_name} -p {self.plans_manager.plans_name} -c {self.model.resolve().name.split('__')[-1]}"
        )
        command = f"mgcl evaluate -d {self.plans_manager.dataset_name} {model}"
        if self.calibration is None:
            return f"uncalibrated. After all folds, this calibrates the model or says why not: {command}"
        told = (
            f"calibrated ({self.calibration.method}, from {self.calibration.cases} cases); "
            "probability_raw and probability_fold_* are not"
        )
        if changed := changed_folds(self.calibration, self.model):
            return f"{told}. But fold {', '.join(map(str, changed))} has been validated again since: run {command}"
        return told

    def _add_mismatch(self, report: TSSReport, images: Path, folder: Path, processes: int) -> None:
        """Adds what `mgcl mismatch` would write about the predicted lesions, if the model has the channels for it."""
        ending, columns = self.dataset_json["file_ending"], mismatch_columns(self.roles)
        cases = [case for case in report.rows if (folder / f"{case}{ending}").is_file()]
        if not columns or not cases:
            return
        measured = measure_cases(cases, images, folder, ending, self.roles, MismatchOptions(), processes)
        for case in track(measured, "Mismatch", len(cases), disable=not self.allow_tqdm):
            report.add_cells(case.row["case"], {column: case.row[column] for column in columns})

    # ------------------------------------------------------------------ nnU-Net's hooks

    def _manage_input_and_output_lists(
        self,
        list_of_lists_or_source_folder: Any,
        output_folder_or_list_of_truncated_output_files: Any,
        folder_with_segs_from_prev_stage: str | None = None,
        overwrite: bool = True,
        part_id: int = 0,
        num_parts: int = 1,
        save_probabilities: bool = False,
    ) -> tuple[list[Any], list[str], list[Any]]:
        """As in nnU-Net, but a case counts as predicted only where its TSS is there too.

        Without worker processes nnU-Net forgets -num_parts; here they share the cases all the same.
        """
        if num_parts == 1:
            part_id, num_parts = self._part
        inputs, outputs, previous = super()._manage_input_and_output_lists(
            list_of_lists_or_source_folder,
            output_folder_or_list_of_truncated_output_files,
            folder_with_segs_from_prev_stage,
            True,
            part_id,
            num_parts,
            save_probabilities,
        )
        todo = [i for i, output in enumerate(outputs) if overwrite or not self._is_done(output, save_probabilities)]
        if not overwrite:
            print(f"{len(outputs) - len(todo)} of {len(outputs)} cases are predicted already")
        self._cases = iter([basename(outputs[i]) for i in todo])
        return [inputs[i] for i in todo], [outputs[i] for i in todo], [previous[i] for i in todo]

    def predict_from_data_iterator(
        self, data_iterator: Any, save_probabilities: bool = False, num_processes_segmentation_export: int = 3
    ) -> list[Any]:
        """As in nnU-Net, noting whose data comes next (the preprocessing workers decide the order)."""
        return super().predict_from_data_iterator(
            self._noting_cases(data_iterator), save_probabilities, num_processes_segmentation_export
        )

    def predict_logits_from_preprocessed_data(self, data: torch.Tensor) -> torch.Tensor:
        """As in nnU-Net; adds the case's row to the report."""
        self._probabilities = []
        logits = super().predict_logits_from_preprocessed_data(data)
        if self.report is not None:
            self.report.add(next(self._cases), self._probabilities)
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

    # ------------------------------------------------------------------

    def _noting_cases(self, data_iterator: Any) -> Iterator[dict[str, Any]]:
        for preprocessed in data_iterator:
            self._cases = iter([basename(preprocessed["ofile"])])
            yield preprocessed

    def _is_done(self, output: str, save_probabilities: bool) -> bool:
        if self.report is not None and basename(output) not in self.report.rows:
            return False
        if save_probabilities and not isfile(output + ".npz"):
            return False
        return _is_whole(output + self.dataset_json["file_ending"], self.plans_manager.image_reader_writer_class())


def _earlier_tables(table: Path) -> list[Path]:
    """What earlier predictions left where this one writes; one that is not shared does the work of all parts."""
    joined = table.with_name("tss.csv")
    parts = [table] if table != joined else sorted(table.parent.glob("tss_part*.csv"))
    return [path for path in (joined, *parts) if path.exists()]


def _is_whole(path: str, reader: BaseReaderWriter) -> bool:
    """Whether a segmentation is there to its last voxel: a killed run may have left half a file."""
    try:
        if path.endswith((".nii", ".nii.gz")):  # of which SimpleITK reads as 0 what is missing
            np.asanyarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]
        else:
            reader.read_seg(path)
    except Exception:  # no such file, or the reader's or decompressor's own error
        return False
    return True
