"""Seconds a patient: nnU-Net's own sliding window against ours, on the same preprocessed patients and weights.

All predict in turn (interleaved), warm, by the same model with all folds, mirrored; medians over the rounds. nnU-Net's
loop is also timed with one thread of PyTorch, with which it may be faster than with all (maps are small). What is
timed is from the preprocessed arrays to the logits of all folds (`network`) and to the label map on the image's own
grid (`patient`); the TSS head is left out of both. The label maps are compared voxel by voxel.

    mgcl phantom -o $nnUNet_raw --cases 20 --unlabelled 0 --test 4 --matrix 128 --slices 25 --seed 3 --id 617
    nnUNetv2_plan_and_preprocess -d 617 -c 2d
    mgcl plan -d 617 -c 2d --preset demo --set segment.epochs=2 tss.enabled=false
    for f in 0 1 2 3 4; do nnUNetv2_train 617 2d $f -tr MGCLTrainerRandomInit -p MGCLPlans_demo -device cpu; done
    M=$nnUNet_results/Dataset617_Phantom/MGCLTrainerRandomInit__MGCLPlans_demo__2d
    python benchmarks/prediction_speed.py -m $M -i $nnUNet_raw/Dataset617_Phantom/imagesTs --out prediction_speed.json
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from label_efficiency import commit
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_mgcl.data.results import trained_folds
from nnunet_mgcl.inference.loading import load_predictor
from nnunet_mgcl.inference.mgcl_predictor import MGCLPredictor
from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.system.files import write_json
from nnunet_mgcl.system.resources import offer_trainers
from nnunet_mgcl.system.safe_loading import loading_safely

ONE_THREAD = "nnU-Net, 1 thread"


class WithoutTSS(MGCLPredictor):
    """The segmentation alone, as nnU-Net's predictor makes it."""

    def _no_tss_reason(self, checkpoint: str) -> str | None:
        return "left out of the measurement"


def main() -> None:
    """Measures and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", type=Path, required=True, help="the model's folder")
    parser.add_argument("-i", type=Path, required=True, help="images")
    parser.add_argument("-device", default="cpu")
    parser.add_argument("--threads", type=int, help="of PyTorch (default: its own choice)")
    parser.add_argument("--batches", type=int, nargs="+", default=[], help="also --fast with these batches")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--patients", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    predictors = loaded(args.m, torch.device(args.device), args.batches)
    patients = preprocessed(predictors["nnU-Net"], args.i, args.patients)
    seconds, maps = measured(predictors, patients, args.rounds)
    reference = maps["nnU-Net"]
    voxels = sum(own.size for own in reference)
    content = {
        "machine": {"device": device_name(args.device), "cores": torch.get_num_threads()},
        "versions": {name: version(name) for name in ("nnunet_mgcl", "nnunetv2", "torch")} | {"commit": commit()},
        "model": args.m.name,
        "folds": len(predictors["nnU-Net"].list_of_parameters),
        "patients": {name: list(image.shape) for name, (image, _) in patients.items()},
        "voxels": voxels,
        "seconds": {
            name: {what: float(np.median(own)) for what, own in each.items()} for name, each in seconds.items()
        },
        "all_seconds": seconds,
        "other_voxels": {
            name: int(sum((a != b).sum() for a, b in zip(own, reference, strict=True))) for name, own in maps.items()
        },
        "batching": {name: str(getattr(own, "_batching", None)) for name, own in predictors.items()},
    }
    write_json(args.out, content)
    for name, own in content["seconds"].items():
        factor = content["seconds"]["nnU-Net"]["network"] / own["network"]
        print(f"{name:18} network {own['network']:.3f} s ({factor:.2f}x), patient {own['patient']:.3f} s, "
              f"{content['other_voxels'][name]} of {voxels} voxels differ")  # fmt: skip


def loaded(model: Path, device: torch.device, batches: list[int]) -> dict[str, Any]:
    """nnU-Net's predictor, ours by default, and ours with `--fast`."""
    offer_trainers()
    folds, on_device = trained_folds(model), device.type == "cuda"
    theirs = nnUNetPredictor(device=device, perform_everything_on_device=on_device, allow_tqdm=False)
    with loading_safely([model / f"fold_{fold}" / "checkpoint_final.pth" for fold in folds]):
        theirs.initialize_from_trained_model_folder(str(model), folds, "checkpoint_final.pth")
    ours = {"default": {}, "--fast": {"fast": True}}
    ours |= {f"--fast --batch {size}": {"fast": True, "batch": size} for size in batches}
    return {"nnU-Net": theirs, ONE_THREAD: theirs} | {
        name: load_predictor(WithoutTSS, model, folds, device, allow_tqdm=False, **options)
        for name, options in ours.items()
    }


def preprocessed(predictor: Any, folder: Path, number: int) -> dict[str, tuple[torch.Tensor, dict[str, Any]]]:
    """Images `(C, Z, Y, X)` and nnU-Net's properties of some patients."""
    ending = predictor.dataset_json["file_ending"]
    names = sorted({path.name.removesuffix(ending)[:-5] for path in folder.glob(f"*{ending}")})[:number]
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    patients = {}
    for name in names:
        files = [str(folder / f"{name}_{channel:04}{ending}") for channel in channel_names(predictor.dataset_json)]
        plan = predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
        data, _, properties = preprocessor.run_case(files, None, *plan)
        patients[name] = torch.from_numpy(data), properties
    return patients


def measured(
    predictors: dict[str, Any], patients: dict[str, Any], rounds: int
) -> tuple[dict[str, dict[str, list[float]]], dict[str, list[np.ndarray]]]:
    """Seconds of every prediction, and each predictor's label maps."""
    seconds = {name: {"network": [], "patient": []} for name in predictors}
    maps: dict[str, list[np.ndarray]] = {}
    threads = torch.get_num_threads()
    for round_ in range(rounds + 1):
        for image, properties in patients.values():
            for name, predictor in predictors.items():
                torch.set_num_threads(1 if name == ONE_THREAD else threads)
                logits, network = timed(predictor.predict_logits_from_preprocessed_data, image)
                label_map, export = timed(exported, predictor, logits, properties)
                if round_ == 0:  # warming up
                    maps.setdefault(name, []).append(np.asarray(label_map))
                    continue
                seconds[name]["network"].append(network)
                seconds[name]["patient"].append(network + export)
    return seconds, maps


def exported(predictor: Any, logits: torch.Tensor, properties: dict[str, Any]) -> Any:
    """The label map on the image's grid."""
    plan = predictor.plans_manager, predictor.configuration_manager, predictor.label_manager
    return convert_predicted_logits_to_segmentation_with_correct_shape(logits, *plan, properties)


def timed(call: Callable[..., Any], *given: Any) -> tuple[Any, float]:
    """A call's result, and its seconds."""
    started = time.perf_counter()
    result = call(*given)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - started


def device_name(device: str) -> str:
    """What computes."""
    return torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
