"""`tss.csv` of a prediction: one row a case, written while the cases are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnunet_mgcl.data.images.single_slice import volume_ml
from nnunet_mgcl.evaluation.calibration.maps import Calibration
from nnunet_mgcl.system.csv_table import Rows, read_csv, write_csv
from nnunet_mgcl.system.errors import UserError, reason
from nnunet_mgcl.system.files import is_there

Row = dict[str, str]

FOLD = "probability_fold_"
"""What the columns of the folds' raw probabilities begin with."""
WHAT = "what mgcl predict writes"
NO_VOLUME = "n/a"
"""Of a single slice without a thickness; a cell that is empty waits for its case's segmentation."""


class TSSReport:
    """The rows of one output file, by case. Volumes are filled in last: a table without a gap in them is finished.

    Args:
        path: `tss.csv`, or `tss_part<N>.csv` where the cases are shared by several processes.
        folds: Names of the folds, in the order of their probabilities.
        targets: Labels that make up each target whose volume is reported.
        keep: Whether rows of an earlier run stay (`--continue_prediction`).
        more: Names of columns that follow (`add_cells`), whose cells may stay empty.
        calibration: Of the probabilities, those of an earlier run's rows too; None: they stay raw.

    Raises:
        UserError: The earlier run had other folds or targets.
    """

    def __init__(
        self,
        path: Path,
        folds: Sequence[str],
        targets: dict[str, list[int]],
        keep: bool = False,
        more: Sequence[str] = (),
        calibration: Calibration | None = None,
    ) -> None:
        self.path, self.targets, self.calibration = path, targets, calibration
        self.fold_columns = [f"{FOLD}{fold}" for fold in folds]
        self.columns = [
            "case",
            "probability",
            "predicted_class",
            "probability_raw",
            "calibration",
            *self.fold_columns,
            *(f"volume_ml_{name}" for name in targets),
            *more,
        ]
        self.rows: dict[str, Row] = {}
        if keep and is_there(path):
            self._take_over()

    def _take_over(self) -> None:
        columns = read_columns(self.path)
        if columns != self.columns:
            raise UserError(
                self.path,
                f"columns {columns}",
                f"those of this model and these folds, {self.columns}",
                "continue with the -f that it was begun with, choose another -o, or leave --continue_prediction out",
            )
        volumes = {f"volume_ml_{name}": "" for name in self.targets}
        rows = _read_calibrated(self.path, self.calibration)
        self.rows = {case: row | volumes for case, row in rows.items()}
        self.write()

    def add(self, case: str, probabilities: Sequence[float]) -> None:
        """Adds a case: the raw probability of TSS < 4.5 h of every fold, and what follows from them."""
        raw = {column: f"{p:.6f}" for column, p in zip(self.fold_columns, probabilities, strict=True)}
        self.rows[case] = {"case": case} | _calibrated(raw, self.calibration)
        self.write()

    def add_cells(self, case: str, cells: Row) -> None:
        """Fills in the further columns of a case; `add_volumes` writes them."""
        self.rows[case] |= cells

    def add_volumes(self, folder: Path, file_ending: str, reader: BaseReaderWriter) -> None:
        """Fills in the lesion volumes (ml) from the exported segmentations; a row without a segmentation is dropped."""
        self.rows = {case: row for case, row in self.rows.items() if (folder / f"{case}{file_ending}").is_file()}
        for case, row in self.rows.items():
            segmentation, properties = reader.read_seg(str(folder / f"{case}{file_ending}"))
            for name, labels in self.targets.items():
                volume = volume_ml(np.isin(segmentation, labels), properties["spacing"])
                row[f"volume_ml_{name}"] = NO_VOLUME if volume is None else f"{volume:.3f}"
        self.write()

    def write(self) -> None:
        """Writes all rows, sorted by case."""
        _write_rows(self.path, self.columns, self.rows)


def _calibrated(row: Row, calibration: Calibration | None) -> Row:
    """A row whose probability and class follow from what it says about the folds.

    A map belongs to the probabilities of a single fold's model, so every fold's is calibrated before the mean. The
    decimals of the file are what counts: a row that was read gives what it gave when it was written.
    """
    raw = [float(value) for column, value in row.items() if column.startswith(FOLD)]
    probability = f"{np.mean([calibration.apply(p) for p in raw] if calibration else raw):.6f}"
    return row | {
        "probability": probability,
        "predicted_class": str(int(float(probability) >= 0.5)),
        "probability_raw": f"{np.mean(raw):.6f}",
        "calibration": calibration.method if calibration else "none",
    }


def _read_calibrated(path: Path, calibration: Calibration | None) -> dict[str, Row]:
    """The rows of an earlier run or another process, which may have known another calibration."""
    try:
        return {case: _calibrated(row, calibration) for case, row in read_rows(path).items()}
    except (TypeError, ValueError) as error:
        raise UserError(
            path, reason(error), f"a probability in each column {FOLD}...", "predict into another -o"
        ) from None


def read_rows(path: Path) -> dict[str, Row]:
    """The rows of an earlier run by case; none where there is no file."""
    if not is_there(path):
        return {}
    return {row["case"]: row for _, row in _read(path)[1]}


def read_columns(path: Path) -> list[str]:
    """The first line of a table."""
    return _read(path)[0]


def _read(path: Path) -> tuple[list[str], Rows]:
    try:
        return read_csv(path, WHAT)
    except UserError as error:  # nobody should mend by hand what a program wrote
        raise UserError(error.where, error.found, WHAT, "predict again, into another -o") from None


def earlier_tables(table: Path) -> list[Path]:
    """What earlier predictions left where this one writes; one that is not shared does the work of all parts."""
    joined = table.with_name("tss.csv")
    parts = [table] if table != joined else sorted(table.parent.glob("tss_part*.csv"))
    return [path for path in (joined, *parts) if path.exists()]


def merge_parts(folder: Path, num_parts: int, calibration: Calibration | None = None) -> Path | None:
    """Joins the parts' files to `tss.csv` once all of them are finished; returns it, or None before."""
    parts = [folder / f"tss_part{number}.csv" for number in range(num_parts)]
    if not all(part.is_file() for part in parts):
        return None
    columns = read_columns(parts[0])
    if any(read_columns(part) != columns for part in parts):  # of another prediction
        return None
    rows = {case: row for part in parts for case, row in _read_calibrated(part, calibration).items()}
    volumes = [column for column in columns if column.startswith("volume_ml_")]
    if any(row[column] == "" for row in rows.values() for column in volumes):
        return None
    _write_rows(folder / "tss.csv", columns, rows)
    return folder / "tss.csv"


def _write_rows(path: Path, columns: Sequence[str], rows: dict[str, Row]) -> None:
    write_csv(path, columns, [rows[case] for case in sorted(rows)])
