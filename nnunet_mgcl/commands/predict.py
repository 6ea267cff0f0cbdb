"""`mgcl predict`: nnUNetv2_predict's flags, its segmentations, and tss.csv in the same pass."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_mgcl.system.numbers import integer, number

if TYPE_CHECKING:
    from nnunet_mgcl.inference.input_folder import Images
    from nnunet_mgcl.inference.missing import Missing


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command; names and defaults are those of nnUNetv2_predict 2.8."""
    parser = subparsers.add_parser(
        "predict", help="segmentations as nnUNetv2_predict writes them, and the time since stroke (tss.csv)"
    )
    parser.add_argument("-i", required=True, type=Path, help="input folder, channels numbered as for nnU-Net (_0000)")
    parser.add_argument("-o", required=True, type=Path, help="output folder")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("-d", help="dataset name or number; -p, -tr and -c say which of its models")
    model.add_argument("-m", type=Path, help="or the model's folder, as for nnUNetv2_predict_from_modelfolder")
    parser.add_argument("-p", help="plans name (default: nnUNetPlans)")
    parser.add_argument("-tr", help="trainer (default: MGCLTrainer)")
    parser.add_argument("-c", help="configuration, e.g. 2d")
    parser.add_argument("-f", nargs="+", default=["0", "1", "2", "3", "4"], help="folds (default: 0 1 2 3 4)")
    parser.add_argument("-step_size", type=number, default=0.5, help="sliding window step (default: %(default)s)")
    parser.add_argument("--disable_tta", action="store_true", help="no mirroring: faster, less accurate")
    parser.add_argument("--fast", action="store_true", help="batches of windows, also where last bits of logits change")
    parser.add_argument("--batch", type=integer, help="windows and mirrored copies a batch (default: what fits)")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--save_probabilities", action="store_true", help="also export probabilities (npz)")
    parser.add_argument("--continue_prediction", action="store_true", help="keep what is predicted already")
    parser.add_argument(
        "--missing", nargs="+", action="extend", metavar="MODALITY", default=[], help="predict without this modality"
    )
    parser.add_argument("--allow-missing", action="store_true", help="cases may lack modalities, as their files tell")
    parser.add_argument("-chk", default="checkpoint_final.pth", help="checkpoint (default: %(default)s)")
    parser.add_argument("-npp", type=integer, default=3, help="preprocessing processes (default: %(default)s)")
    parser.add_argument("-nps", type=integer, default=3, help="export processes (default: %(default)s)")
    parser.add_argument("-prev_stage_predictions", help="accepted for nnUNetv2_predict's sake: no cascade here")
    parser.add_argument("-num_parts", type=integer, default=1, help="processes that share the cases (default: 1)")
    parser.add_argument("-part_id", type=integer, default=0, help="which of them this one is, from 0")
    parser.add_argument("-device", default="cuda", choices=["cuda", "cpu", "mps"], help="default: %(default)s")
    parser.add_argument("--disable_progress_bar", action="store_true")
    parser.add_argument("--not_on_device", action="store_true", help="collect results in main memory")


def run(args: argparse.Namespace) -> int:
    """Predicts a folder."""
    model = _model(args)
    _check_arguments(args)
    images = _images(args, model)  # before anything that takes its time

    import torch

    from nnunet_mgcl.inference.folder_predictor import FolderPredictor
    from nnunet_mgcl.inference.loading import load_predictor
    from nnunet_mgcl.inference.parts import Part
    from nnunet_mgcl.system.files import explaining_writes, make_folder
    from nnunet_mgcl.system.workers import ending_in_order

    torch.set_num_threads(torch.multiprocessing.cpu_count() if args.device == "cpu" else 1)
    predictor = load_predictor(
        FolderPredictor,
        model,
        args.f,
        torch.device(args.device),
        checkpoint=args.chk,
        on_device=not args.not_on_device,
        tile_step_size=args.step_size,
        use_mirroring=not args.disable_tta,
        fast=args.fast,
        batch=args.batch,
        verbose=args.verbose,
        verbose_preprocessing=args.verbose,
        allow_tqdm=not args.disable_progress_bar,
    )
    make_folder(args.o)
    with explaining_writes(folder=args.o), ending_in_order():
        table = predictor.predict_cases(
            images,
            args.o,
            Part(args.part_id, args.num_parts),
            save_probabilities=args.save_probabilities,
            overwrite=not args.continue_prediction,
            npp=args.npp,
            nps=args.nps,
            prev_stage=args.prev_stage_predictions,
        )
    if table:
        print(f"Time since stroke: {table}")
    elif predictor.report:
        print(f"Time since stroke: {predictor.report.path.name}; the last of the {args.num_parts} parts writes tss.csv")
    return 0


def _model(args: argparse.Namespace) -> Path:
    from nnunet_mgcl.data.results import model_folder, require_folds
    from nnunet_mgcl.system.errors import UserError

    if args.m is None:
        if args.c is None:
            raise UserError("-d without -c", "no configuration", "-c 2d, 3d_fullres, ...", "add -c")
        return model_folder(args.d, args.tr or "MGCLTrainer", args.p or "nnUNetPlans", args.c, args.f, args.chk)
    if given := [f"-{name}" for name in ("p", "tr", "c") if getattr(args, name)]:
        raise UserError("-m", f"together with {', '.join(given)}", "the folder alone", "leave these out, or use -d")
    require_folds(args.m, args.f, args.chk)
    return args.m


def _check_arguments(args: argparse.Namespace) -> None:
    from nnunet_mgcl.system.errors import UserError
    from nnunet_mgcl.system.workers import require_part

    require_part(args.part_id, args.num_parts)
    for option, fits, expected in (
        ("step_size", 0 < args.step_size <= 1, "above 0, up to 1, as in -step_size 0.5"),
        ("-batch", args.batch is None or args.batch >= 1, "1 or more samples"),
        ("npp", args.npp >= 0, "0 or more processes"),
        ("nps", args.nps >= 0, "0 or more processes"),
    ):
        if not fits:
            raise UserError(f"-{option}", str(getattr(args, option.strip("-"))), expected, "change it")
    if not args.i.is_dir():
        raise UserError(args.i, "no such folder", "a folder of images", "check -i")
    if args.i.resolve() == args.o.resolve():
        expected = "another: the next run would take segmentations for images"
        raise UserError("-o", "the folder of -i", expected, "change -o")


def _images(args: argparse.Namespace, model: Path) -> Images:
    from nnunet_mgcl.inference.input_folder import find_images, read_images
    from nnunet_mgcl.plan.dataset_json import check_dataset_json
    from nnunet_mgcl.plan.plans_file import read_plans
    from nnunet_mgcl.system.files import read_json

    path = model / "dataset.json"
    dataset_json = read_json(path)
    if isinstance(dataset_json, dict) and isinstance(ending := dataset_json.get("file_ending"), str):
        find_images(args.i, ending)  # what names tell needs no torch; the typed readers do
    plans = read_plans(model / "plans.json")
    reader = plans["image_reader_writer"]
    check_dataset_json(dataset_json, path)
    missing = _missing(args, plans, model.resolve().name.split("__")[-1], reader)
    return read_images(args.i, dataset_json, reader, missing)


def _missing(args: argparse.Namespace, plans: dict[str, Any], configuration: str, reader: str) -> Missing | None:
    """What cases may lack; None where the user did not ask."""
    if not args.missing and not args.allow_missing:
        return None
    from nnunet_mgcl.inference.missing import Missing
    from nnunet_mgcl.plan.plans import merged_configuration
    from nnunet_mgcl.system.errors import UserError

    modalities = (merged_configuration(plans, configuration).get("mgcl") or {}).get("modalities")
    if not modalities:
        found = "a model without modalities in its plan"
        raise UserError("--missing", found, "a model of a trainer of this plugin", "leave it out")
    missing = Missing(modalities, args.missing, args.allow_missing)
    missing.check(reader)
    return missing
