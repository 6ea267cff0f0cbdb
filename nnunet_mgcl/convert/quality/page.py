"""One page with the numbers and a thumbnail of every case, those that somebody has to look at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunet_mgcl.convert.record import CaseRecord, ChannelRecord
from nnunet_mgcl.system.files import write_text
from nnunet_mgcl.system.pages import filled_in


def write_page(path: Path, records: Sequence[CaseRecord], failures: Mapping[str, str]) -> None:
    """Writes an HTML page that needs nothing but the pictures in `cases/` beside it.

    Args:
        path: The page.
        records: The converted cases, also those held back.
        failures: Case -> why it was not converted.
    """
    waiting = [record for record in records if record.held_back]
    looked_at = [record for record in records if record.all_doubts and not record.held_back]
    fine = [record for record in records if not record.all_doubts]
    summary = f"{len(fine) + len(looked_at)} converted, {len(waiting)} waiting for a look, {len(failures)} failed"
    write_text(
        path,
        filled_in(
            "convert/quality/page.html",
            title=f"mgcl convert: {summary}",
            summary=summary,
            failures=sorted(failures.items()),
            records=[*waiting, *looked_at, *fine],
            pictures={picture.stem for picture in (path.parent / "cases").glob("*.png")},
            no_channel=ChannelRecord((), ()),
        ),
    )
