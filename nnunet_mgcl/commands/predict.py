"""`mgcl predict`: nnUNetv2_predict's flags, its segmentations, and tss.csv in the same pass."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from nnunet_mgcl.system.numbers import integer, number


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the command; names and defaults are those of nnUNetv2_predict 2.8."""
    parser = subparsers.add_parser(
        "predict", help="segmentations as nnUNetv2_predict writes them, and the time since stroke (tss.csv)"
    )
    parser.add_argument("-i", required=True, help="input folder, channels numbered as for nnU-Net (_0000, ...)")
    parser.add_argument("-o", required=True, help="output folder")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("-d", help="dataset name or number; -p, -tr and -c say which of its models")
    model.add_argument("-m", type=Path, help="or the model's folder, as for nnUNetv2_predict_from_modelfolder")
    parser.add_argument("-p", help="plans name (default: nnUNetPlans)")
    parser.add_argument("-tr", help="trainer (default: MGCLTrainer)")
    parser.add_argument("-c", help="configuration, e.g. 2d")
    parser.add_argument("-f", nargs="+", default=["0", "1", "2", "3", "4"], help="folds (default: 0 1 2 3 4)")
    parser.add_argument("-step_size", type=number, default=0.5, help="sliding window step (default: %(default)s)")
    parser.add_argument("--disable_tta", action="store_true", help="no mirroring: faster, less accurate")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--save_probabilities", action="store_true", help="also export probabilities (npz)")
    parser.add_argument("--continue_prediction", action="store_true", help="keep what is predicted already")
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
    folder = _model_folder(args)
    _check_arguments(args)
    _check_images(args, folder)  # before anything that takes its time

    import torch

    from nnunet_mgcl.commands.env import VARIABLE, extended
    from nnunet_mgcl.inference.mgcl_predictor import MGCLPredictor
    from nnunet_mgcl.system.devices import require_device
    from nnunet_mgcl.system.files import explaining_writes, make_folder
    from nnunet_mgcl.system.resources import trainers_dir
    from nnunet_mgcl.system.workers import ending_in_order

    os.environ[VARIABLE] = extended(os.environ.get(VARIABLE, ""), trainers_dir())  # predicting needs no `mgcl env`
    require_device(torch.device(args.device))
    torch.set_num_threads(torch.multiprocessing.cpu_count() if args.device == "cpu" else 1)
    predictor = MGCLPredictor(
        tile_step_size=args.step_size,
        use_mirroring=not args.disable_tta,
        perform_everything_on_device=args.device == "cuda" and not args.not_on_device,
        device=torch.device(args.device),
        verbose=args.verbose,
        verbose_preprocessing=args.verbose,
        allow_tqdm=not args.disable_progress_bar,
    )
    predictor.initialize_from_trained_model_folder(str(folder), args.f, args.chk)
    make_folder(Path(args.o))
    with explaining_writes(folder=Path(args.o)), ending_in_order():
        table = predictor.predict_cases(
            args.i,
            args.o,
            save_probabilities=args.save_probabilities,
            overwrite=not args.continue_prediction,
            npp=args.npp,
            nps=args.nps,
            prev_stage=args.prev_stage_predictions,
            num_parts=args.num_parts,
            part_id=args.part_id,
        )
    if table:
        print(f"Time since stroke: {table}")
    elif predictor.report:
        print(f"Time since stroke: {predictor.report.path.name}; the last of the {args.num_parts} parts writes tss.csv")
    return 0


def _model_folder(args: argparse.Namespace) -> Path:
    from nnunet_mgcl.system.errors import UserError

    if args.m is None:
        if args.c is None:
            raise UserError("-d without -c", "no configuration", "-c 2d, 3d_fullres, ...", "add -c")
        return model_folder(args.d, args.tr or "MGCLTrainer", args.p or "nnUNetPlans", args.c, args.f, args.chk)
    if given := [f"-{name}" for name in ("p", "tr", "c") if getattr(args, name)]:
        raise UserError("-m", f"together with {', '.join(given)}", "the folder alone", "leave these out, or use -d")
    require_folds(args.m, args.f, args.chk)
    return args.m


def model_folder(
    dataset: str,
    trainer: str = "",
    plans: str = "",
    configuration: str = "",
    folds: Sequence[str] = (),
    checkpoint: str = "checkpoint_final.pth",
) -> Path:
    """The results folder of a trained model, of which these folds must be there.

    Raises:
        UserError: A name is none, or the model or one of the folds is not there.
    """
    from nnunetv2.paths import nnUNet_results
    from nnunetv2.utilities.file_path_utilities import get_output_folder

    from nnunet_mgcl.data.layout import dataset_name
    from nnunet_mgcl.system.errors import UserError
    from nnunet_mgcl.system.names import check_names

    if not nnUNet_results.is_set():
        raise UserError("nnUNet_results", "not set", "a folder", "export nnUNet_results=<folder>")
    check_names({"-tr": trainer, "-p": plans, "-c": configuration})
    folder = Path(get_output_folder(dataset_name(dataset), trainer, plans, configuration))
    require_folds(folder, folds, checkpoint)
    return folder


def require_folds(folder: Path, folds: Sequence[str], checkpoint: str) -> None:
    """Checks that a model's folds are trained.

    Raises:
        UserError: One of them is not.
    """
    from nnunet_mgcl.system.errors import UserError
    from nnunet_mgcl.system.names import check_names, fold_number

    check_names({"-chk": checkpoint})
    for fold in folds:
        if fold != "all":
            fold_number(fold, "numbers such as 0 1 2 3 4, or all")
        if not (folder / f"fold_{fold}" / checkpoint).is_file():
            there = sorted(path.parent.name for path in folder.glob(f"fold_*/{checkpoint}"))
            raise UserError(
                folder / f"fold_{fold}" / checkpoint,
                "no such file",
                "a trained fold",
                f"train it, or choose with -f among {there}" if there else _other_models(folder),
            )


def _other_models(folder: Path) -> str:
    from nnunet_mgcl.data.layout import models_with

    there = models_with(folder.parent, "fold_*/checkpoint_*.pth")
    return (
        f"train the model, or name with -tr, -p and -c one of {there}" if there else "train the model, or name another"
    )


def _check_arguments(args: argparse.Namespace) -> None:
    from nnunet_mgcl.system.errors import UserError

    if args.num_parts < 1:
        raise UserError("-num_parts", str(args.num_parts), "1 or more", "change it")
    if not 0 <= args.part_id < args.num_parts:
        raise UserError("-part_id", str(args.part_id), f"0 to {args.num_parts - 1}", "count the parts from 0")
    if not 0 < args.step_size <= 1:
        raise UserError("-step_size", str(args.step_size), "above 0, up to 1", "change it, as in -step_size 0.5")
    for option in ("npp", "nps"):
        if getattr(args, option) < 0:
            raise UserError(f"-{option}", str(getattr(args, option)), "0 or more processes", "change it")
    if not Path(args.i).is_dir():
        raise UserError(args.i, "no such folder", "a folder of images", "check -i")
    if Path(args.i).resolve() == Path(args.o).resolve():
        raise UserError(
            "-o", "the folder of -i", "another: the next run would take segmentations for images", "change -o"
        )


def _check_images(args: argparse.Namespace, model: Path) -> None:
    from nnunet_mgcl.inference.input_folder import find_images, require_images
    from nnunet_mgcl.plan.dataset_json import read_dataset_json
    from nnunet_mgcl.plan.plans_file import read_plans
    from nnunet_mgcl.system.files import read_json

    description = read_json(model / "dataset.json")
    if isinstance(description, dict) and isinstance(ending := description.get("file_ending"), str):
        find_images(Path(args.i), ending)  # what names tell needs no torch; the typed readers do
    reader = read_plans(model / "plans.json")["image_reader_writer"]
    require_images(Path(args.i), read_dataset_json(model / "dataset.json"), reader)
