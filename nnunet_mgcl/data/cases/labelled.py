"""nnU-Net's preprocessed training cases: which there are, and whether they are still those of the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_mgcl.data.cases.incomplete import Incomplete
from nnunet_mgcl.data.cases.modality_dataset import located_classes, open_case
from nnunet_mgcl.data.cases.same_scan import SameScans, Twins
from nnunet_mgcl.data.layout import DatasetLayout
from nnunet_mgcl.plan.dataset_json import channel_names
from nnunet_mgcl.plan.plans import merged_configuration
from nnunet_mgcl.system.errors import UserError, reason

CASE_SUFFIXES = (".b2nd", ".npz")
"""One of them ends the images in a folder that nnU-Net has preprocessed."""


def preprocessed_cases(layout: DatasetLayout, plans: dict[str, Any], configuration: str) -> list[str]:
    """The labelled cases that nnU-Net has preprocessed for a configuration, sorted.

    Raises:
        UserError: There are none, or something else lies among them, which nnU-Net does not tolerate.
    """
    folder = _folder(layout, plans, configuration)
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    kinds = Counter(path.suffix for path in files if path.suffix in CASE_SUFFIXES)
    if not kinds:
        expected = f"the training cases, preprocessed for {configuration}"
        raise UserError(folder, "no preprocessed case", expected, _command(layout, plans, configuration))
    kind = kinds.most_common(1)[0][0]
    if strays := [path for path in files if path.suffix not in (kind, ".pkl", ".npy")]:
        raise UserError(strays[0], "a file that is none of nnU-Net's", f"*{kind} and *.pkl only", "move it elsewhere")
    return sorted(infer_dataset_class(str(folder)).get_identifiers(str(folder)))


def check_cases(
    layout: DatasetLayout,
    plans: dict[str, Any],
    configuration: str,
    dataset_json: dict[str, Any],
    cases: Collection[str],
) -> Twins:
    """Opens every case, compares its channels and labels with `dataset.json`, and its scans with the others'.

    Returns:
        The pairs of cases that hold the same scan.

    Raises:
        UserError: A case is damaged, or was preprocessed before `dataset.json` changed.
    """
    folder, remedy = _folder(layout, plans, configuration), _command(layout, plans, configuration)
    channels = len(channel_names(dataset_json))
    classes = set(located_classes(PlansManager(plans).get_label_manager(dataset_json)))
    images = infer_dataset_class(str(folder))(str(folder), list(cases))
    scans = SameScans(lambda case: open_case(images, case)[0])
    for case in cases:
        where = folder / case
        try:
            data, properties = open_case(images, case)
            number, located = data.shape[0], set(properties["class_locations"])
            scans.add(case, data)
        except UserError:
            raise
        except Exception as error:  # a damaged case; where it is whole from outside, its properties or its voxels
            raise UserError(where, f"cannot be read ({reason(error)})", "a whole preprocessed case", remedy) from None
        if number != channels:
            raise UserError(where, f"{number} channels", f"{channels} channels, as in {layout.dataset_json}", remedy)
        if located != classes:
            found, wanted = (sorted(labels, key=str) for labels in (located, classes))
            expected = f"labels {wanted}, as in {layout.dataset_json}"
            raise UserError(where, f"preprocessed with labels {found}", expected, remedy)
    return scans.twins()


def check_missing_lesions(
    layout: DatasetLayout,
    plans: dict[str, Any],
    configuration: str,
    lesion_labels: Mapping[str, Sequence[int]],
    incomplete: Incomplete,
) -> None:
    """Makes sure that no case has a lesion of a modality that it lacks, where each has labels of its own.

    Raises:
        UserError: One has; its branch, which sees an empty image, would be taught to find it.
    """
    folder = _folder(layout, plans, configuration)
    images = infer_dataset_class(str(folder))(str(folder), list(incomplete.missing))
    for case, names in incomplete.missing.items():
        locations = open_case(images, case)[1]["class_locations"]
        for name in names:
            if any(len(locations.get(label, ())) > 0 for label in lesion_labels.get(name, ())):
                remedy = (
                    f"clear it in the label map and run {_command(layout, plans, configuration)}, or take the case out "
                    "of mgcl.missing (dataset.json, and its copy in nnUNet_preprocessed)"
                )
                raise UserError(folder / case, f"a lesion of {name}, which it lacks", "none of a missing one", remedy)


def case_spacing(
    planned: Sequence[float], properties: dict[str, Any], transpose_forward: Sequence[int]
) -> tuple[float, ...]:
    """Edges of a preprocessed case's voxels in mm, along nnU-Net's axes `(z, y, x)`.

    Args:
        planned: The configuration's spacing; in 2d it has two edges, and a case keeps the distance of its slices.
        properties: nnU-Net's of the case.
        transpose_forward: The plan's order of the axes.
    """
    spacing = [float(side) for side in planned]
    slices = float(properties["spacing"][transpose_forward[0]])
    return tuple(spacing if len(spacing) == 3 else [slices, *spacing])


def _folder(layout: DatasetLayout, plans: dict[str, Any], configuration: str) -> Path:
    return layout.preprocessed / merged_configuration(plans, configuration)["data_identifier"]


def _command(layout: DatasetLayout, plans: dict[str, Any], configuration: str) -> str:
    return f"nnUNetv2_preprocess -d {layout.number} -plans_name {plans['plans_name']} -c {configuration}"
