"""A report on disk: a page and the figures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnunet_mgcl.evaluation.runs.run import ValidatedRun
from nnunet_mgcl.evaluation.runs.stored_evaluation import folds_suffix
from nnunet_mgcl.report.page.figure_files import remove_pictures, write_pictures
from nnunet_mgcl.report.page.html import picture_names, report_page
from nnunet_mgcl.report.page.section import Section
from nnunet_mgcl.system.files import remove_leftovers_of, write_text


def report_folder(run: ValidatedRun) -> Path:
    """`report` in the results folder, named after the folds where they are not all."""
    return run.model / f"report{folds_suffix(run.some_folds)}"


def write_report(path: Path, title: str, run: ValidatedRun, sections: Sequence[Section]) -> Path:
    """Writes the figures and then the page; returns the page.

    Figures of an earlier page in its place that this one does not have are removed.

    Args:
        path: The page; the figures are written to `figures/` beside it.
        title: Its heading.
        run: What it is about.
        sections: Its content.
    """
    notices = ["Research only; no clinical use"]
    if "phantom" in run.dataset_json:  # mgcl phantom wrote the dataset
        notices.append("Synthetic data: no patients")
    images = write_pictures(path.parent, sections)
    if path.is_file():
        remove_pictures(path.parent, picture_names(path.read_text(encoding="utf-8", errors="replace")) - images.keys())
    remove_leftovers_of(path)
    write_text(path, report_page(title, notices, sections, images))
    return path
