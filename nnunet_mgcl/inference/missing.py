"""Patients who lack a modality: which one, and what stands in for its files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from nnunet_mgcl.mismatch.roles import Roles
from nnunet_mgcl.system.errors import UserError, suggestion

READERS = ("SimpleITKIO", "NibabelIO", "NibabelIOWithReorient")
"""nnU-Net's readers for whose files an empty one can stand in."""


@dataclass(frozen=True)
class Missing:
    """What the cases of a prediction may lack.

    Attributes:
        modalities: Channels of each modality of the model.
        left_out: Modalities that are not used, whether there are files or not.
        allowed: Whether a case may lack others.
    """

    modalities: Mapping[str, Sequence[int]]
    left_out: Collection[str] = ()
    allowed: bool = False

    def check(self, reader: str) -> None:
        """Looks at what the user asked for.

        Raises:
            UserError: A modality is unknown, none is left, or the model's reader reads other files.
        """
        for name in self.left_out:
            if name not in self.modalities:
                expected = f"some of {', '.join(self.modalities)}"
                raise UserError("--missing", name, expected, suggestion(name, self.modalities, "correct the name"))
        if {*self.left_out} == {*self.modalities}:
            raise UserError("--missing", "every modality", "one at least that is there", "leave one out")
        if (self.left_out or self.allowed) and reader not in READERS:
            raise UserError("--missing", f"images for {reader}", f"a reader of {', '.join(READERS)}", "leave it out")

    def present(self, where: str, channels: Collection[int]) -> list[str]:
        """The modalities that a case is predicted from.

        Args:
            where: The case, as a message names it.
            channels: Of its files.

        Raises:
            UserError: A modality lacks some of its channels, or none is left, or may not be missing.
        """
        found = []
        for name, own in self.modalities.items():
            there = {*own} & {*channels}
            if name in self.left_out:
                continue
            if len(there) == len(own):
                found.append(name)
            elif there:
                expected = f"all channels of {name}, {sorted(own)}, or none"
                raise UserError(where, f"only channels {sorted(there)} of them", expected, "add or remove files")
            elif not self.allowed:
                expected = f"a file for each of {sorted(own)}"
                raise UserError(where, f"no image of {name}", expected, f"--allow-missing, or --missing {name}")
        if not found:
            raise UserError(where, "no image of a modality that is used", "one at least", "move the case elsewhere")
        return found

    def channels(self, present: Iterable[str]) -> list[int]:
        """The channels of some modalities, sorted."""
        return sorted(channel for name in present for channel in self.modalities[name])


def stand_ins(files: Mapping[int, Path], channels: Iterable[int], folder: Path, ending: str) -> list[Path]:
    """A file for each channel: the case's own, or an empty image on their grid.

    Zeros survive nnU-Net's cropping and normalisation; what nnU-Net makes of them, no branch reads.

    Args:
        files: The case's, by channel.
        channels: All of the model.
        folder: Where the empty ones are written.
        ending: Of the files.
    """
    channel, known = next(iter(files.items()))
    case = known.name.removesuffix(f"_{channel:04}{ending}")
    header = sitk.ImageFileReader()
    header.SetFileName(str(known))
    header.ReadImageInformation()
    empty = sitk.Image(header.GetSize(), sitk.sitkUInt8)
    empty.SetSpacing(header.GetSpacing())
    empty.SetOrigin(header.GetOrigin())
    empty.SetDirection(header.GetDirection())
    result = []
    for number in channels:
        path = files.get(number, folder / f"{case}_{number:04}{ending}")
        if number not in files:
            sitk.WriteImage(empty, str(path))
        result.append(path)
    return result


def roles_of(roles: Roles, targets: Mapping[str, list[int]], missing: Missing, present: Sequence[str]) -> Roles:
    """What of the mismatch can be measured: channels and masks of modalities that are there.

    Args:
        roles: Of the whole model.
        targets: The labels of each target; a modality's lesion has its name.
        missing: Knows the modalities.
        present: Those that are there.
    """
    channels = missing.channels(present)
    lost = [targets[name] for name in missing.modalities if name not in present and name in targets]
    return Roles(
        {role: channel for role, channel in roles.channels.items() if channel in channels},
        {role: labels for role, labels in roles.masks.items() if labels not in lost},
    )
