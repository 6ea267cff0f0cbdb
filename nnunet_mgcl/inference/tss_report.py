"""`tss.csv` of a prediction: one row a case, written while the cases are predicted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from rich.progress import track

from nnunet_mgcl.data.images.single_slice import volume_ml
from nnunet_mgcl.evaluation.calibration.maps import Calibration
from nnunet_mgcl.evaluation.calibration.stored import JOIN, map_of
from nnunet_mgcl.evaluation.runs.tss_validation import MODALITIES
from nnunet_mgcl.inference.missing import Missing, roles_of
from nnunet_mgcl.inference.parts import Part
from nnunet_mgcl.inference.tss_prediction import TSSPrediction
from nnunet_mgcl.mismatch.case_mismatch import MismatchOptions, measure_cases, mismatch_columns
from nnunet_mgcl.mismatch.roles import Roles
from nnunet_mgcl.system.csv_table import Rows, read_csv, write_csv
from nnunet_mgcl.system.errors import UserError, reason
from nnunet_mgcl.system.files import is_there

Row = dict[str, str]

NAME = "tss.csv"
FOLD = "probability_fold_"
"""What the columns of the folds' raw probabilities begin with."""
WHAT = "what mgcl predict writes"
NO_VOLUME = "n/a"
"""Of a single slice without a thickness and of a modality that is missing; an empty cell waits for its segmentation."""


class TSSReport:
    """The rows of one output file, by case. Volumes are filled in last: a table without a gap in them is finished.

    Args:
        path: `tss.csv`, or `tss_part<N>.csv` where the cases are shared by several processes.
        folds: Names of the folds, in the order of their probabilities.
        targets: Labels that make up each target whose volume is reported.
        keep: Whether rows of an earlier run stay (`--continue_prediction`).
        roles: What `add_mismatch` can measure; its columns follow, and their cells may stay empty.
        calibration: Of the probabilities, those of an earlier run's rows too; None: they stay raw, as those of
            cases with modalities for which it has no map.
        modalities: The model's.

    Raises:
        UserError: The earlier run had other folds or targets.
    """

    def __init__(
        self,
        path: Path,
        folds: Sequence[str],
        targets: dict[str, list[int]],
        keep: bool = False,
        roles: Roles | None = None,
        calibration: Calibration | None = None,
        modalities: Sequence[str] = (),
    ) -> None:
        self.modalities = list(modalities)
        self.path, self.targets, self.roles, self.calibration = path, targets, roles, calibration
        self.fold_columns = [f"{FOLD}{fold}" for fold in folds]
        self.mismatch_columns = mismatch_columns(roles) if roles else ()
        answer = ("case", "probability", "predicted_class", "probability_raw", "calibration", MODALITIES)
        self.columns = [*answer, *self.fold_columns, *map(_volume, targets), *self.mismatch_columns]
        self.rows: dict[str, Row] = {}
        if keep and is_there(path):
            self._take_over()

    def _take_over(self) -> None:
        columns, rows = _read(self.path)
        if columns != self.columns:
            expected = f"those of this model and these folds, {self.columns}"
            remedy = (
                "continue with the -f that it was begun with, choose another -o, or leave --continue_prediction out"
            )
            raise UserError(self.path, f"columns {columns}", expected, remedy)
        without_volumes = dict.fromkeys(map(_volume, self.targets), "")
        for case, row in _recalibrated(self.path, rows, self.calibration, JOIN.join(self.modalities)).items():
            self.rows[case] = row | without_volumes
        self.write()

    def add(self, case: str, probabilities: Sequence[float | None], present: Sequence[str] | None = None) -> None:
        """Adds a case: the raw probability of TSS < 4.5 h of every fold, and what follows from them.

        Args:
            case: Its name.
            probabilities: Of the folds, in their order; None: a head says nothing of the case.
            present: The modalities that it was predicted from; None: all.
        """
        said = ("" if p is None else f"{p:.6f}" for p in probabilities)
        raw = dict(zip(self.fold_columns, said, strict=True))
        row = {"case": case, MODALITIES: JOIN.join(self.modalities if present is None else present)} | raw
        self.rows[case] = _calibrated(row, self.calibration, JOIN.join(self.modalities))
        self.write()

    def add_mismatch(
        self, images: Path, folder: Path, ending: str, processes: int, progress: bool, missing: Missing | None = None
    ) -> None:
        """Adds what `mgcl mismatch` would write about the predicted lesions; `add_volumes` writes it.

        Args:
            images: The folder of the images.
            folder: That of the segmentations.
            ending: Of the files.
            processes: How many measure.
            progress: Whether a bar is shown.
            missing: Knows the modalities where a case may lack some: what needs them is not measured.
        """
        groups: dict[str, list[Path]] = defaultdict(list)
        for case, row in self.rows.items():
            if (path := folder / f"{case}{ending}").is_file():
                groups[row[MODALITIES]].append(path)
        if self.roles is None or not self.mismatch_columns:
            return
        for present, files in groups.items():
            roles = roles_of(self.roles, self.targets, missing, present.split(JOIN)) if missing else self.roles
            measured = measure_cases(files, images, ending, roles, MismatchOptions(), processes)
            for own in track(measured, "Mismatch", len(files), disable=not progress):
                self.rows[own.row["case"]] |= {column: own.row[column] for column in self.mismatch_columns}

    def add_volumes(self, folder: Path, file_ending: str, reader: BaseReaderWriter) -> None:
        """Fills in the lesion volumes (ml) from the exported segmentations; a row without a segmentation is dropped."""
        self.rows = {case: row for case, row in self.rows.items() if (folder / f"{case}{file_ending}").is_file()}
        for case, row in self.rows.items():
            segmentation, properties = reader.read_seg(str(folder / f"{case}{file_ending}"))
            for name, labels in self.targets.items():
                volume = volume_ml(np.isin(segmentation, labels), properties["spacing"])
                unknown = volume is None or (name in self.modalities and name not in row[MODALITIES].split(JOIN))
                row[_volume(name)] = NO_VOLUME if unknown else f"{volume:.3f}"
        self.write()

    def write(self) -> None:
        """Writes all rows, sorted by case."""
        _write_rows(self.path, self.columns, self.rows)


def merge_parts(
    folder: Path, part: Part, calibration: Calibration | None = None, modalities: Sequence[str] = ()
) -> Path | None:
    """Joins the parts' files to `tss.csv` once all of them are finished; returns it, or None before."""
    paths = part.all_files(folder / NAME)
    if not all(path.is_file() for path in paths):
        return None
    tables = {path: _read(path) for path in paths}
    columns = tables[paths[0]][0]
    if any(others != columns for others, _ in tables.values()):  # of another prediction
        return None
    rows: dict[str, Row] = {}
    for path in paths:
        rows |= _recalibrated(path, tables[path][1], calibration, JOIN.join(modalities))
    if any(row[column] == "" for row in rows.values() for column in columns if column.startswith(_volume(""))):
        return None
    _write_rows(folder / NAME, columns, rows)
    return folder / NAME


def read_rows(path: Path) -> dict[str, Row]:
    """The rows of an earlier run by case; none where there is no file."""
    return _by_case(_read(path)[1]) if is_there(path) else {}


def _volume(target: str) -> str:
    return f"volume_ml_{target}"


def _calibrated(row: Row, calibration: Calibration | None, modalities: str) -> Row:
    """A row whose probability and class follow from what it says about the folds, by the map of its modalities.

    Where the folds say nothing of a case that lacks a modality, neither do they.
    """
    folds = {column: value for column, value in row.items() if column.startswith(FOLD)}
    present = row.get(MODALITIES, modalities)
    if present != modalities and not any(folds.values()):
        return row | dict.fromkeys(("probability", "predicted_class", "probability_raw", "calibration"), "")
    raw = {column: float(value) for column, value in folds.items()}
    tss = TSSPrediction.of_folds(raw, map_of(calibration, present, modalities))
    return row | {
        "probability": f"{tss.probability:.6f}",
        "predicted_class": str(tss.predicted_class),
        "probability_raw": f"{tss.probability_raw:.6f}",
        "calibration": tss.calibration,
    }


def _recalibrated(path: Path, rows: Rows, calibration: Calibration | None, modalities: str) -> dict[str, Row]:
    """The rows of an earlier run or another process, which may have known another calibration."""
    try:
        return {case: _calibrated(row, calibration, modalities) for case, row in _by_case(rows).items()}
    except (TypeError, ValueError) as error:
        expected = f"a probability in each column {FOLD}..."
        raise UserError(path, reason(error), expected, "predict into another -o") from None


def _read(path: Path) -> tuple[list[str], Rows]:
    try:
        return read_csv(path, WHAT)
    except UserError as error:  # nobody should mend by hand what a program wrote
        raise UserError(error.where, error.found, WHAT, "predict again, into another -o") from None


def _by_case(rows: Rows) -> dict[str, Row]:
    return {row["case"]: row for _, row in rows}


def _write_rows(path: Path, columns: Sequence[str], rows: dict[str, Row]) -> None:
    write_csv(path, columns, [rows[case] for case in sorted(rows)])
