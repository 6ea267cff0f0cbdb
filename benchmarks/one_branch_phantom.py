"""A one-branch dataset from a phantom: a modality's channels, its own lesion, its cases and its pool.

python benchmarks/one_branch_phantom.py Dataset511_Phantom Dataset521_PhantomDWI --modality DWI
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def main() -> None:
    """Copies images, and writes binary masks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="DatasetXXX_Name in nnUNet_raw, of mgcl phantom")
    parser.add_argument("target", help="DatasetXXX_Name of the new one")
    parser.add_argument("--modality", default="DWI")
    args = parser.parse_args()
    raw = Path(os.environ["nnUNet_raw"])
    source, target = raw / args.source, raw / args.target
    content = json.loads((source / "dataset.json").read_text())
    channels = content["mgcl"]["modalities"][args.modality]
    lesion = content["mgcl"]["lesion_labels"][args.modality]
    for folder in ("imagesTr", "imagesUn"):
        (target / folder).mkdir(parents=True)
        for new, old in enumerate(channels):
            for path in sorted((source / folder).glob(f"*_{old:04}.nii.gz")):
                shutil.copy(path, target / folder / path.name.replace(f"_{old:04}.", f"_{new:04}."))
    (target / "labelsTr").mkdir()
    for path in sorted((source / "labelsTr").glob("*.nii.gz")):
        labels = sitk.ReadImage(str(path))
        mask = sitk.GetImageFromArray(np.isin(sitk.GetArrayFromImage(labels), lesion).astype(np.uint8))
        mask.CopyInformation(labels)
        sitk.WriteImage(mask, str(target / "labelsTr" / path.name))
    shutil.copy(source / "tss.csv", target / "tss.csv")
    del content["mgcl"]["lesion_labels"]
    names = {str(new): content["channel_names"][str(old)] for new, old in enumerate(channels)}
    content |= {"channel_names": names, "labels": {"background": 0, "lesion": 1}}
    content["mgcl"]["modalities"] = {args.modality: [*range(len(channels))]}
    (target / "dataset.json").write_text(json.dumps(content, indent=4))


if __name__ == "__main__":
    main()
