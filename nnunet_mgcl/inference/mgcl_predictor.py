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
from rich.progress import track

from nnunet_mgcl.data.images.checks import value_mistake
from nnunet_mgcl.data.images.files import check_stem
from nnunet_mgcl.evaluation.calibration.stored import StoredCalibration, changed_folds, stored_calibration
from nnunet_mgcl.inference.input_folder import (
    Cases,
    find_images,
    image_digests,
    is_whole,
    refuse_unreadable,
)
from nnunet_mgcl.inference.prediction_record import (
    MODEL_KEY,
    Record,
    earlier_records,
    other_prediction,
    parts_agree,
    prediction_record,
    record_path,
    require_same,
)
from nnunet_mgcl.inference.tss_report import TSSReport, earlier_tables, merge_parts
from nnunet_mgcl.mismatch.case_mismatch import MismatchOptions, measure_cases, mismatch_columns
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
        self.model, self.checkpoint = Path(model_training_output_dir), checkpoint_name
        read_dataset_json(self.model / "dataset.json")  # nnU-Net reads them without a check
        self.folds = [use_folds] if isinstance(use_folds, str) else [str(fold) for fold in use_folds]
        plans = PlansManager(read_plans(self.model / "plans.json"))
        for configuration in plans.available_configurations:
            require_layers(planned(plans, configuration))
        try:
            with loading_safely(self._checkpoints):
                super().initialize_from_trained_model_folder(model_training_output_dir, use_folds, checkpoint_name)
        except RuntimeError as error:  # an unknown trainer, or another network
            what = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
            raise UserError(
                self.model, f"cannot be loaded ({what})",
                "checkpoints that fit the plans.json and dataset.json beside them", "copy it again from its source",
            ) from None  # fmt: skip
        self.config = resolved_config(self.configuration_manager)
        self.report: TSSReport | None = None
        dataset_json = self.dataset_json | {"mgcl": {"lesion_labels": self.config.lesion_labels}}
        self.roles, self.targets = find_roles(dataset_json), label_targets(dataset_json)
        self.no_tss_reason = self._no_tss_reason(checkpoint_name)
        self.calibration: StoredCalibration | None = None
        if self.no_tss_reason is None:
            self.calibration = stored_calibration(self.plans_manager.plans, self.model / "plans.json")
        self.plans_manager.plans[MODEL_KEY] = self.model.resolve().name
        self._part = (0, 1)
        self._probabilities: list[float] = []
        self._cases: Iterator[str] = iter(())
        self._outputs: list[str] = []
        self._images: Cases = {}
        self._pending: list[str] = []
        self._noted: dict[str, str] | None = None

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
            UserError: An image is damaged, or the prediction to continue is none of these weights, flags and images.
        """
        folder, self._part = Path(output), (part_id, num_parts)
        earlier = self._begin(Path(source), folder, overwrite, max(1, npp))
        with self._naming_the_unreadable(npp):
            if npp == 0 and nps == 0:
                self.predict_from_files_sequential(source, output, save_probabilities, overwrite, prev_stage)
            else:
                self.predict_from_files(
                    source, output, save_probabilities, overwrite, npp, nps, prev_stage, num_parts, part_id
                )
        self._require_whole()
        if self.report is None:
            names = ", ".join(path.name for path in earlier)
            gone = f" Removed what an earlier prediction left: {names}." if earlier else ""
            print(f"No tss.csv: {self.no_tss_reason}.{gone}")
            return None
        self._add_mismatch(self.report, Path(source), folder, max(1, nps))
        self.report.add_volumes(folder, self.dataset_json["file_ending"], self._reader)
        print(f"TSS probabilities: {self._calibration_described()}")
        if num_parts == 1:
            return self.report.path
        return merge_parts(folder, num_parts, self.calibration) if parts_agree(folder, num_parts) else None

    def _begin(self, images: Path, folder: Path, overwrite: bool, threads: int) -> list[Path]:
        """Notes what is predicted, and with what; begins `report`. Nothing is changed where it is refused.

        Returns:
            The tables that an earlier prediction has left.
        """
        part_id, num_parts = self._part
        table = folder / ("tss.csv" if num_parts == 1 else f"tss_part{part_id}.csv")
        earlier = earlier_tables(table)
        if self.no_tss_reason and earlier and not overwrite:
            raise other_prediction(earlier[0], f"the prediction to continue has a TSS, but {self.no_tss_reason}")
        found = find_images(images, self.dataset_json["file_ending"])
        self._images = {case: found[case] for case in list(found)[part_id::num_parts]}
        record, noted_in = self._record(threads), record_path(folder, part_id, num_parts)
        if overwrite:
            for path in [*earlier, *earlier_records(noted_in), *self._earlier_predictions(folder)]:
                path.unlink(missing_ok=True)  # it would look like this run's
        else:
            self._noted = require_same(noted_in, record, self.plans_manager.plans)
            record["images"] = (self._noted or {}) | record["images"]
        if self.no_tss_reason is None:
            columns, keep = mismatch_columns(self.roles), not overwrite
            self.report = TSSReport(table, self.folds, self.targets, keep, columns, self.calibration)
        write_json(noted_in, record)
        return earlier

    @contextmanager
    def _naming_the_unreadable(self, processes: int) -> Iterator[None]:
        """Where a process died over a case, nnU-Net does not say over which."""
        try:
            yield
        except UserError:
            raise
        except Exception:
            ahead = self._pending[: 3 * processes or None]  # a process has one handed over, one waiting, one at work
            refuse_unreadable({case: self._images[case] for case in ahead}, self._reader)
            raise

    @property
    def _reader(self) -> BaseReaderWriter:
        return self.plans_manager.image_reader_writer_class()

    def _record(self, threads: int) -> Record:
        """What is predicted, and with what."""
        flags = {"step_size": self.tile_step_size, "mirroring": self.use_mirroring}
        plans, images = self.plans_manager.plans, image_digests(self._images, threads)
        return prediction_record(self.model, self._checkpoints, plans, self.dataset_json, flags, images)

    @property
    def _checkpoints(self) -> list[Path]:
        return [self.model / f"fold_{fold}" / self.checkpoint for fold in self.folds]

    def _earlier_predictions(self, folder: Path) -> list[Path]:
        """What nnU-Net has written of these cases."""
        endings = (self.dataset_json["file_ending"], ".npz", ".pkl")
        return [folder / f"{case}{ending}" for case in self._images for ending in endings]

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
        files = [path for case in report.rows if (path := folder / f"{case}{ending}").is_file()]
        if not columns or not files:
            return
        measured = measure_cases(files, images, ending, self.roles, MismatchOptions(), processes)
        for case in track(measured, "Mismatch", len(files), disable=not self.allow_tqdm):
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
        for output in outputs:
            check_stem(basename(output), self.dataset_json["file_ending"], list_of_lists_or_source_folder)
        todo = [i for i, output in enumerate(outputs) if overwrite or not self._is_done(output, save_probabilities)]
        if not overwrite:
            print(f"{len(outputs) - len(todo)} of {len(outputs)} cases are predicted already")
        self._outputs = [outputs[i] for i in todo]
        self._pending = [basename(output) for output in self._outputs]
        self._cases = iter(self._pending)
        return [inputs[i] for i in todo], [outputs[i] for i in todo], [previous[i] for i in todo]

    def predict_from_data_iterator(
        self, data_iterator: Any, save_probabilities: bool = False, num_processes_segmentation_export: int = 3
    ) -> list[Any]:
        """As in nnU-Net, noting whose data comes next (the preprocessing workers decide the order)."""
        return super().predict_from_data_iterator(
            self._noting_cases(data_iterator), save_probabilities, num_processes_segmentation_export
        )

    def predict_logits_from_preprocessed_data(self, data: torch.Tensor) -> torch.Tensor:
        """As in nnU-Net; looks at the values first, and adds the case's row to the report."""
        case = next(self._cases, "")
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

    # ------------------------------------------------------------------

    def _noting_cases(self, data_iterator: Any) -> Iterator[dict[str, Any]]:
        for preprocessed in data_iterator:
            self._cases = iter([basename(preprocessed["ofile"])])
            self._pending.remove(basename(preprocessed["ofile"]))
            yield preprocessed

    def _require_whole(self) -> None:
        """Reads what was exported: ITK says nothing where the disk is full, and reads zeros for what is missing."""
        for path in (Path(output + self.dataset_json["file_ending"]) for output in self._outputs):
            if not is_whole(path, self._reader):
                found, remedy = (
                    "a segmentation that is not whole",
                    "free some space, and go on with --continue_prediction",
                )
                raise UserError(path, found, "room on the disk for all of it", remedy)

    def _is_done(self, output: str, save_probabilities: bool) -> bool:
        if self.report is not None and basename(output) not in self.report.rows:
            return False
        if self._noted is not None and basename(output) not in self._noted:  # nobody knows what made it
            return False
        if save_probabilities and not isfile(output + ".npz"):
            return False
        return is_whole(Path(output + self.dataset_json["file_ending"]), self._reader)
