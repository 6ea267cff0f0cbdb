"""Both mismatches of one case, as a row of text: what cannot be measured is an empty cell and a reason in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label, median_filter

from nnunet_mgcl.data.images.adc_units import UNITS, fitting_units
from nnunet_mgcl.mismatch.case_files import CaseImages, NotThereError, read_case
from nnunet_mgcl.mismatch.flair_ratio import FLAIR_POSITIVE, MIN_LESION_ML, LesionRatio, flair_mismatch
from nnunet_mgcl.mismatch.perfusion_rules import CORE_ADC, TMAX_SECONDS, PerfusionMismatch, defuse3, extend
from nnunet_mgcl.mismatch.roles import Roles
from nnunet_mgcl.system.workers import run_jobs

FLAIR_COLUMNS = ("lesions", "flair_ratio", "flair_positive", "flair_lesion_ml")
PERFUSION_COLUMNS = ("core_ml", "hypoperfused_ml", "mismatch_ml", "mismatch_ratio", "extend", "defuse3")
REASON = "mismatch_reason"
LESION_COLUMNS = (
    "case", "lesion", "side", "volume_ml", "x_mm", "y_mm", "z_mm", "flair_ratio", "flair_positive", "reason"
)  # fmt: skip

MIN_TMAX_ML = 1.0
"""Smaller parts of the Tmax map beyond the threshold are left out: it is noise where nothing flows. Chosen."""

Row = dict[str, str]


@dataclass(frozen=True)
class MismatchOptions:
    """What a user may choose.

    Attributes:
        flair_positive: FLAIR ratio from which on a lesion is FLAIR-positive.
        min_lesion_ml: Smaller DWI lesions are left out of the FLAIR ratio.
        adc_core: The core is the part of the DWI mask whose ADC is below `CORE_ADC`, not all of it.
        tmax: Hypoperfusion comes from the Tmax map, though there is a PWI mask.
    """

    flair_positive: float = FLAIR_POSITIVE
    min_lesion_ml: float = MIN_LESION_ML
    adc_core: bool = False
    tmax: bool = False


@dataclass(frozen=True)
class CaseMismatch:
    """A case's row of `mismatch.csv`, and the rows of its lesions."""

    row: Row
    lesions: list[Row]


def mismatch_columns(roles: Roles) -> tuple[str, ...]:
    """The columns that a dataset with these channels and masks can fill."""
    columns = FLAIR_COLUMNS * roles.has_flair + PERFUSION_COLUMNS * roles.has_perfusion
    return (*columns, REASON) if columns else ()


def measure_cases(
    segmentations: Sequence[Path], images: Path, ending: str, roles: Roles, options: MismatchOptions, processes: int
) -> Iterator[CaseMismatch]:
    """Measures several cases, in any order; arguments as for `measure_case`, and the number of processes."""
    return run_jobs(partial(measure_case, images, ending, roles, options), segmentations, processes)


def measure_case(images: Path, ending: str, roles: Roles, options: MismatchOptions, segmentation: Path) -> CaseMismatch:
    """Measures a case.

    Args:
        images: The folder of its channels, named as nnU-Net names them.
        ending: What the files' names end with.
        roles: What the labels and channels are.
        options: The user's choices.
        segmentation: Its label map, with the case's name.
    """
    case = segmentation.name.removesuffix(ending)
    return measure(case, lambda: read_case(images, segmentation, ending, roles), options)


def measure(case: str, read: Callable[[], CaseImages], options: MismatchOptions) -> CaseMismatch:
    """Measures a case, wherever its images are.

    Args:
        case: Its name.
        read: Reads them; may raise `NotThereError`.
        options: The user's choices.
    """
    row = {"case": case} | dict.fromkeys((*FLAIR_COLUMNS, *PERFUSION_COLUMNS, REASON), "")
    reasons: list[str] = []
    lesions: list[Row] = []
    with _noting(reasons):
        images = read()
        with _noting(reasons, "FLAIR: "):
            _flair(images, options, row, lesions)
        with _noting(reasons, "perfusion: "):
            _perfusion(images, options, row)
    row[REASON] = "; ".join(reasons)
    return CaseMismatch(row, [{"case": case} | lesion for lesion in lesions])


@contextmanager
def _noting(reasons: list[str], of: str = "") -> Iterator[None]:
    try:
        yield
    except NotThereError as missing:
        reasons.append(f"{of}{missing}")


def _flair(files: CaseImages, options: MismatchOptions, row: Row, lesions: list[Row]) -> None:
    """Adds the lesions and fills in FLAIR's cells."""
    dwi_lesion = files.mask("DWI")
    other = files.mask("FLAIR") if "FLAIR" in files.roles.masks else None
    if other is not None:
        row["flair_lesion_ml"] = f"{files.ml(other):.3f}"
    try:
        image, missing = files.image("FLAIR"), ""
    except NotThereError as error:
        image, missing = files.segmentation, str(error)
    measured = flair_mismatch(image, dwi_lesion, other, options.min_lesion_ml, missing)
    row["lesions"] = str(len(measured.lesions))
    if measured.patient is None:
        raise NotThereError(f"no DWI lesion of at least {options.min_lesion_ml:g} ml")
    for number, lesion in enumerate(measured.lesions, start=1):
        x, y, z = (f"{mm:.1f}" for mm in lesion.centre)
        place = {"lesion": str(number), "side": lesion.side, "volume_ml": f"{lesion.volume_ml:.3f}"}
        place |= {"x_mm": x, "y_mm": y, "z_mm": z, "reason": lesion.reason}
        lesions.append(place | _ratio_cells(lesion, options))
    row |= _ratio_cells(measured.patient, options)
    if measured.patient.ratio is None:
        raise NotThereError(measured.patient.reason)


def _ratio_cells(lesion: LesionRatio, options: MismatchOptions) -> Row:
    if lesion.ratio is None:
        return {"flair_ratio": "", "flair_positive": ""}
    positive = lesion.ratio >= options.flair_positive
    return {"flair_ratio": f"{lesion.ratio:.4f}", "flair_positive": str(int(positive))}


def _perfusion(files: CaseImages, options: MismatchOptions, row: Row) -> None:
    """Fills in the perfusion's cells."""
    core = files.mask("DWI")
    if options.adc_core:
        adc = adc_in_micro(files.array("ADC"))
        core = core & (adc > 0) & (adc < CORE_ADC)  # 0 is where a map was not computed
    row["core_ml"] = f"{files.ml(core):.3f}"
    if not files.roles.has_perfusion:
        raise NotThereError("no PWI mask and no Tmax channel")
    from_mask = "PWI" in files.roles.masks and not options.tmax
    hypoperfused = files.mask("PWI") if from_mask else beyond_tmax(files.array("Tmax"), files.voxel_ml)
    volumes = PerfusionMismatch(files.ml(core), files.ml(hypoperfused))
    row |= {"hypoperfused_ml": f"{volumes.hypoperfused_ml:.3f}", "mismatch_ml": f"{volumes.difference_ml:.3f}"}
    row |= {"extend": str(int(extend(volumes))), "defuse3": str(int(defuse3(volumes)))}
    if volumes.ratio is None:
        raise NotThereError("no core, so no mismatch ratio")
    row["mismatch_ratio"] = f"{volumes.ratio:.4f}"


def adc_in_micro(adc: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """An ADC map in 10^-6 mm^2/s, whichever of three usual units it has.

    Raises:
        NotThereError: Its values do not tell.
    """
    if not (adc > 0).any():
        return adc
    units = fitting_units(np.atleast_3d(adc))
    if len(units) != 1:
        raise NotThereError("the ADC map's values do not tell their unit")
    return adc * UNITS[units[0]][1]


def beyond_tmax(seconds: npt.NDArray[np.float64], voxel_ml: float) -> npt.NDArray[np.bool_]:
    """Where Tmax `(Z, Y, X)` is beyond 6 s: noise is taken out by a 3 x 3 median in plane, small parts are dropped."""
    beyond = median_filter(seconds, (1, 3, 3)) > TMAX_SECONDS
    parts, count = label(beyond)
    large = np.bincount(parts.ravel(), minlength=count + 1) * voxel_ml >= MIN_TMAX_ML
    large[0] = False
    return large[parts]


def as_values(row: Row, columns: Sequence[str]) -> dict[str, float | str | None]:
    """Some columns of a row as numbers: `lesions` int, `flair_positive` and the rules bool, None for an empty cell."""
    kinds: dict[str, Callable[[str], float | str]] = {"lesions": int, REASON: str}
    kinds |= dict.fromkeys(("flair_positive", "extend", "defuse3"), lambda cell: cell == "1")
    return {
        column: None if row[column] == "" and column != REASON else kinds.get(column, float)(row[column])
        for column in columns
    }
