"""What the headers of a case's files tell before any voxel is read, so that nobody waits for it."""

from __future__ import annotations

from nnunet_mgcl.convert.manifest.table import MASK_PREFIX, ManifestRow
from nnunet_mgcl.convert.masks import owners
from nnunet_mgcl.convert.registration.grid import Grid
from nnunet_mgcl.convert.scans.reader import read_grid
from nnunet_mgcl.convert.settings import Settings


def check_headers(row: ManifestRow, settings: Settings) -> None:
    """Refuses scans that are no single 3D image, and masks on the grid of none of their scans.

    Raises:
        UserError: Of the first such cell.
    """
    grids: dict[str, Grid | None] = {}
    for column, source in row.sources.items():
        with row.reading(column):
            grids[column] = read_grid(source, channel=column, dwi_volume=settings.dwi_volume)
            if column in row.channels or (mask := grids[column]) is None:
                continue
            own = settings.modalities.get(column.removeprefix(MASK_PREFIX), tuple(row.channels))
            scans = {channel: grid for channel in own if (grid := grids[channel]) is not None}
            if len(scans) == len(own):
                owners(mask, source, scans)
