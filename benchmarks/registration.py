"""How well `mgcl convert` registers the phantom's scans, whose true motion is known.

    python benchmarks/registration.py --cases 12

Each synthetic patient moves between FLAIR and the other scans (2 mm and 2 degrees, standard deviation, along and about
each axis); every scan has the voxels of section 4.1.1 of the paper, twice as long in plane. The error is the largest
distance, anywhere on an ellipsoid as large as the brain, between where a point is and where the registration puts it.
"""

from __future__ import annotations

import argparse

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from nnunet_mgcl.convert.registration.rigid import register
from nnunet_mgcl.phantom.brain.scan import Grid, Pose
from nnunet_mgcl.phantom.cases import training_cases
from nnunet_mgcl.phantom.options import PhantomOptions
from nnunet_mgcl.phantom.patient import Patient, draw_patient
from nnunet_mgcl.phantom.scanner.acquisition import CHANNELS, draw_images
from nnunet_mgcl.phantom.unregistered import native_grid

BRAIN_MM = (65.0, 80.0, 50.0)
REFERENCE = "FLAIR"


def main() -> None:
    """Prints the errors of every engine and modality."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--matrix", type=int, default=256)
    parser.add_argument("--engines", nargs="+", default=["sitk", "elastix"])
    args = parser.parse_args()
    options = PhantomOptions(cases=args.cases, matrix=args.matrix)
    errors: dict[tuple[str, str], list[float]] = {}
    for case in training_cases(options):
        patient = draw_patient(case, options)
        fixed, lying = scan(patient, REFERENCE, options, case.rng(options, REFERENCE))
        for modality in (name for name in CHANNELS if name != REFERENCE):
            moving, moved = scan(patient, modality, options, case.rng(options, modality))
            truth = true_motion(lying, moved)
            errors.setdefault((modality, "headers"), []).append(largest_error(sitk.Euler3DTransform(), truth))
            for engine in args.engines:
                found = register(fixed, moving, engine=engine).transform
                errors.setdefault((modality, engine), []).append(largest_error(found, truth))
    print(f"{'scan':<8} {'by':<8} {'median':>8} {'largest':>8}  mm, {args.cases} patients")
    for (modality, engine), values in errors.items():
        print(f"{CHANNELS[modality][0]:<8} {engine:<8} {np.median(values):8.1f} {max(values):8.1f}")


def scan(patient: Patient, modality: str, options: PhantomOptions, rng: np.random.Generator) -> tuple[sitk.Image, Pose]:
    """The first channel of a modality after the patient has moved, and the pose."""
    grid: Grid = native_grid(modality, options, rng)
    pose = patient.moved(rng)
    values = draw_images(modality, patient.scene(grid, pose), rng)[CHANNELS[modality][0]]
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing(grid.spacing[::-1])
    image.SetOrigin([-(n - 1) * step / 2 for n, step in zip(grid.shape[::-1], grid.spacing[::-1], strict=True)])
    return image, pose


def true_motion(fixed: Pose, moving: Pose) -> sitk.Euler3DTransform:
    """From the space of the one scan to that of the other."""
    turns = [Rotation.from_euler("xyz", pose.rotation, degrees=True) for pose in (fixed, moving)]
    motion = sitk.Euler3DTransform()
    motion.SetMatrix((turns[1] * turns[0].inv()).as_matrix().ravel().tolist(), 1e-6)
    motion.SetCenter(fixed.shift)
    motion.SetTranslation(np.subtract(moving.shift, fixed.shift).tolist())
    return motion


def largest_error(found: sitk.Euler3DTransform, truth: sitk.Euler3DTransform) -> float:
    """In mm, over 200 points."""
    points = np.random.default_rng(0).normal(size=(200, 3))
    points *= np.asarray(BRAIN_MM) / np.linalg.norm(points, axis=1, keepdims=True)
    places = [[transform.TransformPoint(point) for point in points.tolist()] for transform in (found, truth)]
    return float(np.linalg.norm(np.subtract(*places), axis=1).max())


if __name__ == "__main__":
    main()
