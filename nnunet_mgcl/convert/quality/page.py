"""One page with the numbers and a thumbnail of every case, those that somebody has to look at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunet_mgcl.convert.output.record import CaseRecord, ChannelRecord
from nnunet_mgcl.system.files import write_text
from nnunet_mgcl.system.pages import filled_in


def write_page(path: Path, records: Sequence[CaseRecord], failures: Mapping[str, str]) -> None:
    """Writes an HTML page that needs nothing but the pictures in `cases/` beside it.

    Args:
        path: The page.
        records: The converted cases, also those held back.
        failures: Case -> why it was not converted.
    """
    waiting = sum(record.held_back for record in records)
    summary = f"{len(records) - waiting} converted, {waiting} waiting for a look, {len(failures)} failed"
    page = filled_in(
        "convert/quality/page.html",
        title=f"mgcl convert: {summary}",
        summary=summary,
        failures=sorted(failures.items()),
        records=sorted(records, key=lambda record: (not record.held_back, not record.all_doubts)),
        pictures={picture.stem for picture in (path.parent / "cases").glob("*.png")},
        no_channel=ChannelRecord((), ()),
    )
    write_text(path, page)
