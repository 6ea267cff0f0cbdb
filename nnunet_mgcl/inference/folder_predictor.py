"""Predicts a whole folder: nnU-Net's segmentations and `tss.csv`, alone or as one of several processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os.path import basename, isfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from nnunet_mgcl.data.images.files import check_stem
from nnunet_mgcl.evaluation.calibration.stored import changed_folds
from nnunet_mgcl.inference.input_folder import Images, channel_of, refuse_unreadable
from nnunet_mgcl.inference.mgcl_predictor import MGCLPredictor
from nnunet_mgcl.inference.missing import stand_ins
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
from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.system.errors import UserError, counted, some
from nnunet_mgcl.system.files import write_json


class FolderPredictor(MGCLPredictor):
    """Writes what `nnUNetv2_predict` writes, and `tss.csv`."""

    def initialize_from_trained_model_folder(
        self, model_training_output_dir: str, use_folds: Any, checkpoint_name: str = "checkpoint_final.pth"
    ) -> None:
        """As in `MGCLPredictor`; notes where the model lies, for the record beside the predictions."""
        super().initialize_from_trained_model_folder(model_training_output_dir, use_folds, checkpoint_name)
        self.model = Path(model_training_output_dir)
        self._checkpoints = [self.model / f"fold_{fold}" / checkpoint_name for fold in self.folds]
        self.plans_manager.plans[MODEL_KEY] = self.model.resolve().name
        self.report: TSSReport | None = None

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
        self._part, self._images, self.present = part, images, images.present
        self._mention_missing(images)
        earlier = self._begin(images, output, overwrite)
        files = str(images.folder), str(output), save_probabilities, overwrite
        with self._naming_the_unreadable(images, npp), TemporaryDirectory() as folder:
            self._stand_ins = Path(folder)
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
        if silent := sorted(case for case, row in self.report.rows.items() if not row["probability"]):
            print(f"No TSS of {some(silent)}: the head knows nothing of cases with their modalities alone")
        self.report.add_mismatch(images.folder, output, ending, max(1, nps), self.allow_tqdm, images.missing)
        self.report.add_volumes(output, ending, self._reader)
        print(f"TSS probabilities: {self._calibration_described()}")
        if part.total == 1:
            return self.report.path
        modalities = list(self.config.modalities or {})
        return merge_parts(output, part, self.calibration, modalities) if parts_agree(output, part) else None

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
        missing = sorted({*images.missing.left_out}) if images.missing else []
        flags = {
            "step_size": self.tile_step_size,
            "mirroring": self.use_mirroring,
            "fast": self.fast,
            "missing": missing,
        }
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
            known = self.roles, self.calibration, list(self.config.modalities or {})
            self.report = TSSReport(table, self.folds, self.targets, not overwrite, *known)
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
        wanted = [i for i, path in enumerate(outputs) if basename(path) in self._images.cases]
        todo = [i for i in wanted if overwrite or not self._is_done(outputs[i], save_probabilities)]
        if not overwrite:
            print(f"{len(wanted) - len(todo)} of {len(wanted)} cases are predicted already")
        inputs, self._outputs, previous = ([each[i] for i in todo] for each in lists)
        inputs = [self._files(basename(path), files) for path, files in zip(self._outputs, inputs, strict=True)]
        self._pending = [basename(path) for path in self._outputs]
        return inputs, self._outputs, previous

    def _files(self, case: str, files: list[str]) -> list[str]:
        """The files of a case, with stand-ins for those that it lacks."""
        if case not in self.present:
            return files
        ending, channels = self.dataset_json["file_ending"], channel_names(self.dataset_json)
        own = {channel_of(path, ending): path for path in self._images.cases[case]}
        return [str(path) for path in stand_ins(own, channels, self._stand_ins, ending)]

    def _mention_missing(self, images: Images) -> None:
        """Says how many cases lack something, and what that means for the TSS."""
        modalities = list(self.config.modalities or {})
        lacking = sorted(case for case, present in images.present.items() if len(present) < len(modalities))
        if not lacking:
            return
        print(f"{counted(len(lacking), 'case')} without all of {', '.join(modalities)}: {some(lacking)}")
        tss = self.config.tss
        if self.no_tss_reason is None and tss.head != "lesion" and not tss.modality_dropout:
            print(
                f"WARNING: head {tss.head} was trained without tss.modality_dropout: expect less of it for these cases"
            )

    def predict_logits_from_preprocessed_data(self, data: torch.Tensor) -> torch.Tensor:
        """As in `MGCLPredictor`; adds the case's row to the report."""
        case = self._pending[0]
        logits = super().predict_logits_from_preprocessed_data(data)
        if self.report is not None:
            self.report.add(case, self._probabilities, self.present.get(case))
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
