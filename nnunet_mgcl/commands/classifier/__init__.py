"""`mgcl classifier`: trains what the TSS head is compared with (the paper's Table 4)."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nnunet_mgcl.system.numbers import integer, number

if TYPE_CHECKING:
    from nnunet_mgcl.data.layout import DatasetLayout
    from nnunet_mgcl.tss.classifiers.masks import MaskSource
    from nnunet_mgcl.tss.classifiers.protocol import Classifier


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "classifier",
        help="train another TSS classifier on the same folds, to compare",
        description="Trains and validates a classifier of the time since stroke on the folds, images and TSS table of "
        "the trainers, in nnUNet_results/DATASET/METHOD__PLANS__CONFIGURATION. mgcl evaluate, compare and report take "
        "it with -tr METHOD. A fold that is done is left as it is.",
    )
    add = parser.add_argument
    add("-d", required=True, help="dataset name or number")
    add("-c", required=True, help="configuration, e.g. 2d")
    add("-p", default="nnUNetPlans", help="plans name (default: %(default)s)")
    add("--method", required=True, metavar="NAME", help="resnet, densenet, each also as -mask (predicted lesion masks) "
        "and -truemask; radiomics-svm; mismatch")  # fmt: skip
    add("-f", nargs="+", help="folds (default: all of the split)")
    add("--masks", metavar="MODEL", help="model whose validated folds give the lesion masks, "
        "<trainer>__<plans>__<configuration>")  # fmt: skip
    add("--epochs", type=integer, help="of a network (default: its own)")
    add("--lr", type=number, help="learning rate of a network (default: its own)")
    add("-device", default="cuda", choices=("cuda", "cpu", "mps"), help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Trains and validates the folds that are missing."""
    import torch

    from nnunet_mgcl.data.cases.incomplete import Incomplete
    from nnunet_mgcl.data.layout import DatasetLayout
    from nnunet_mgcl.data.prepare import load_plans, prepare_dataset
    from nnunet_mgcl.data.results import results_of
    from nnunet_mgcl.plan.dataset_json import read_dataset_json
    from nnunet_mgcl.pretraining.lookup import register_methods
    from nnunet_mgcl.system.devices import require_device, use_own_cores
    from nnunet_mgcl.system.errors import UserError, some
    from nnunet_mgcl.system.names import fold_number
    from nnunet_mgcl.system.workers import default_processes
    from nnunet_mgcl.tss.classifiers.cases import Cases
    from nnunet_mgcl.tss.classifiers.folds import ClassifierRun
    from nnunet_mgcl.tss.classifiers.masks import PredictedMasks
    from nnunet_mgcl.tss.classifiers.protocol import Settings

    register_methods()  # the plan may have blocks of any of them
    method, device = _method(args), torch.device(args.device)
    require_device(device)
    use_own_cores(device)
    layout = DatasetLayout.find(args.d)
    plans = load_plans(layout, args.p)
    prepared = prepare_dataset(layout, plans, args.c, default_processes(), print, uses_pool=False)
    if prepared.table is None:
        remedy = f"add it to {layout.raw or 'the raw dataset'} and run mgcl prepare -d {layout.number} -c {args.c}"
        raise UserError(layout.tss, "no such file", "the TSS table", remedy)
    dataset_json = read_dataset_json(layout.dataset_json)
    if incomplete := Incomplete.of(dataset_json, prepared.config.modalities or {}):
        found = f"{some([*incomplete.missing])} in mgcl.missing"
        expected = "cases with every modality: a classifier has no branches"
        raise UserError(layout.dataset_json, found, expected, "make a dataset without these cases")
    source = _source(args, method, layout, plans)
    cases = Cases(layout, plans, args.c, prepared.config, dataset_json, source)
    model = results_of(args.d) / f"{method.name}__{args.p}__{args.c}"
    masks = source.described() if isinstance(source, PredictedMasks) else None
    folds = sorted({fold_number(fold) for fold in args.f}) if args.f else [*range(len(prepared.splits))]
    settings = Settings(prepared.config.random_seed, folds[0], model, device, args.epochs, args.lr)
    ClassifierRun(method, cases, prepared.table, prepared.splits, model, masks).run(folds, settings, print)
    print(f"next: mgcl evaluate -d {layout.number} -c {args.c} -p {args.p} -tr {method.name}")
    return 0


def _method(args: argparse.Namespace) -> type[Classifier]:
    """The chosen method, with options that it can have."""
    from nnunet_mgcl.system.errors import UserError
    from nnunet_mgcl.tss.classifiers.methods import method_by_name

    method = method_by_name(args.method)
    if method.masks == "predicted" and not args.masks:
        expected = "a model whose predicted masks the method reads"
        raise UserError("--masks", "none", expected, "--masks MGCLTrainer__nnUNetPlans__2d, or another trained model")
    if method.masks != "predicted" and args.masks:
        raise UserError("--masks", args.masks, f"none: {method.name} reads no predicted masks", "leave it out")
    for name, value in (("--epochs", args.epochs), ("--lr", args.lr)):
        if value is not None and not 0 < value < float("inf"):
            raise UserError(name, f"{value:g}", "a number above 0", "change it")
    return method


def _source(
    args: argparse.Namespace, method: type[Classifier], layout: DatasetLayout, plans: dict[str, Any]
) -> MaskSource | None:
    """Where the masks come from."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_mgcl.data.results import results_of
    from nnunet_mgcl.evaluation.runs.run import ValidatedRun
    from nnunet_mgcl.plan.plans import planned
    from nnunet_mgcl.system.errors import UserError
    from nnunet_mgcl.system.names import check_names
    from nnunet_mgcl.tss.classifiers.masks import PredictedMasks, TrueMasks

    if method.masks == "none":
        return None
    if method.masks == "true":
        return TrueMasks()
    check_names({"--masks": args.masks})
    model = results_of(args.d) / args.masks
    if ValidatedRun.of_model(model).is_classifier:
        raise UserError("--masks", args.masks, "a segmentation model", "name one of a trainer")
    try:
        run = ValidatedRun.find(layout, model, None)
    except UserError as error:  # whose remedies are about -f of an evaluation
        remedy = "train and validate all folds of that model (nnUNetv2_train), or name another"
        raise UserError(f"--masks {error.where}", error.found, "every fold validated", remedy) from None
    manager = PlansManager(plans)
    return PredictedMasks(run, manager, planned(manager, args.c))
