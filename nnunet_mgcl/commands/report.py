"""`mgcl report`: what a trained model achieved, as one HTML page and single figures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_mgcl.commands.evaluate import add_validated_model

if TYPE_CHECKING:
    from nnunet_mgcl.evaluation.runs.run import ValidatedRun


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("report", help="one HTML page, and single figures, of an evaluated model or a case")
    add_validated_model(parser)
    parser.add_argument("--case", metavar="ID", help="the page of one patient instead: a validated case")
    parser.add_argument("-i", type=Path, metavar="IMAGES", help="with --case: the images of a new patient ...")
    parser.add_argument("-s", type=Path, metavar="PREDICTIONS", help="... and what mgcl predict wrote for them")
    parser.add_argument("-o", type=Path, metavar="FOLDER", help="where to (default: report in the results folder)")
    parser.add_argument(
        "-device", default="cpu", choices=["cuda", "cpu", "mps"], help="for the analysis figures (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluates where that is not done yet, and writes the page and its figures."""
    _check_arguments(args)  # before anything that takes its time

    import torch

    from nnunet_mgcl.data.layout import DatasetLayout
    from nnunet_mgcl.data.results import model_folder
    from nnunet_mgcl.evaluation.runs.current_evaluation import current_evaluation
    from nnunet_mgcl.evaluation.runs.run import ValidatedRun
    from nnunet_mgcl.report.contents import report_sections
    from nnunet_mgcl.report.page.html import report_folder, write_report
    from nnunet_mgcl.report.patient.files import require_validated
    from nnunet_mgcl.report.patient.page import patient_sections
    from nnunet_mgcl.system.devices import require_device
    from nnunet_mgcl.system.files import require_writable
    from nnunet_mgcl.system.resources import offer_trainers

    offer_trainers()  # looking inside needs no `mgcl env`
    device = torch.device(args.device)
    require_device(device)
    model = model_folder(args.d, args.tr, args.p, args.c)
    if args.i:
        validated, content = ValidatedRun.of_model(model), {}
    else:
        validated = ValidatedRun.find(DatasetLayout.find(args.d), model, args.f)
        if args.case:
            _require_segmentation(validated)
            require_validated(validated, args.case)
        content = current_evaluation(validated)
    folder = args.o or report_folder(validated)
    require_writable(folder)  # before the work, not after it
    name = ", ".join([model.parent.name, *model.name.split("__")])
    if args.case:
        sections = patient_sections(validated, content, args.case, args.i, args.s)
        page = write_report(folder / f"case_{args.case}.html", f"{args.case}: {name}", validated, sections)
    else:
        sections = report_sections(validated, content, device)
        page = write_report(folder / "index.html", name, validated, sections)
    print(f"report:  {page}\nfigures: {folder / 'figures'}")
    return 0


def _require_segmentation(validated: ValidatedRun) -> None:
    """A page of a patient is about a segmentation."""
    if validated.is_classifier:
        from nnunet_mgcl.system.errors import UserError

        found = f"{validated.model.name}, a TSS classifier, which segments nothing"
        raise UserError("--case", found, "a segmentation model", "leave --case out, or name a trainer with -tr")


def _check_arguments(args: argparse.Namespace) -> None:
    from nnunet_mgcl.system.errors import UserError
    from nnunet_mgcl.system.names import is_name

    if (args.i is None) != (args.s is None) or (args.i and not args.case):
        raise UserError("-i, -s", "one of --case, -i and -s is missing", "all three for a new patient", "add it")
    if args.case is not None and not is_name(args.case):
        raise UserError(
            f"--case {args.case}", "no name of a case", "its files' name, without folder or ending", "change it"
        )
    if args.i and args.f:
        raise UserError("-f", "folds", "none for a new patient: -s says which were used", "leave -f out")
