"""One page with the numbers and a thumbnail of every case, those that somebody has to look at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from nnunet_mgcl.convert.output.record import CaseRecord, ChannelRecord
from nnunet_mgcl.system.files import write_text

FOLDERS = {"Tr": "training", "Un": "pool", "Ts": "test"}
HEADINGS = (
    ("Case", "its thumbnail opens the picture"),
    ("Goes to", "training (imagesTr), pool (imagesUn) or test (imagesTs)"),
    ("Doubts", "why somebody has to look at the picture; where there are some, the case waits for --accept"),
    ("Channel", "one row each"),
    ("Voxels", "of the scan as it was read"),
    ("Voxel size (mm)", "of the scan as it was read"),
    ("Fit", "mutual information with the reference, before -> after the registration; higher is better"),
    ("Shift (mm)", "by which the registration moved the centre of the head"),
    ("Turn (degrees)", "by which the registration rotated the head"),
    ("Notes", "unit of an ADC map, volume taken, and so on"),
    ("Lesion (ml)", "of each label or of each modality's mask, on the common grid"),
    ("TSS (h)", "from onset to scan"),
)
STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 1rem; color: #111; background: #fff; }
.wide { overflow-x: auto; }
@media screen and (max-width: 60rem) { .wide::before { content: "Scroll the table sideways."; font-style: italic; } }
table { border-collapse: collapse; }
th, td { border: 1px solid #ccc; padding: .3rem .5rem; text-align: left; vertical-align: top; }
th { background: #eee; }
.number { text-align: right; white-space: nowrap; }
tbody { border-top: 2px solid #666; }
img { display: block; width: 8rem; height: 8rem; object-fit: cover; object-position: top; background: #000; }
.doubt td.state { background: #ffe3b3; }
.failed td.state { background: #ffd0d0; }
@media print {
  .wide { overflow: visible; }
  table { font-size: 9px; }
  tbody { break-inside: avoid; }
  img { width: 4rem; height: 4rem; }
}
"""


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
    bodies = [
        *(_failure(case, why) for case, why in sorted(failures.items())),
        *(_case(record, path.parent) for record in (*waiting, *looked_at, *fine)),
    ]
    headings = "".join(f"<th>{escape(name)}</th>" for name, _ in HEADINGS)
    legend = "".join(f"<li><b>{escape(name)}</b>: {escape(meaning)}</li>" for name, meaning in HEADINGS)
    summary = f"{len(fine) + len(looked_at)} converted, {len(waiting)} waiting for a look, {len(failures)} failed"
    write_text(
        path,
        f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mgcl convert: {summary}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>mgcl convert</h1>
<p>{summary}. In a picture the yellow edges of the reference must lie on the edges of every other channel.</p>
<div class="wide"><table>
<thead><tr>{headings}</tr></thead>
{"".join(bodies)}
</table></div>
<ul>{legend}</ul>
</body>
</html>
""",
    )


def _failure(case: str, why: str) -> str:
    cells = f'<td>{escape(case)}</td><td>nowhere</td><td class="state">{escape(why)}</td>'
    return f'<tbody class="failed"><tr>{cells}<td colspan="{len(HEADINGS) - 3}"></td></tr></tbody>\n'


def _case(record: CaseRecord, folder: Path) -> str:
    """One row a channel; what belongs to the case spans them."""
    channels = list(record.channels.items()) or [("", ChannelRecord((), ()))]
    span = f' rowspan="{len(channels)}"'
    place = FOLDERS[record.destination] if not record.held_back else "nowhere yet"
    first = f"<td{span}>{_picture(record.case, folder)}</td><td{span}>{place}</td>"
    first += f'<td class="state"{span}>{_doubts(record)}</td>'
    volumes = "<br>".join(f"{escape(name)} {ml:.1f}".strip() for name, ml in record.lesion_ml.items())
    last = f'<td class="number"{span}>{volumes}</td><td class="number"{span}>{_number(record.tss_hours, ".1f")}</td>'
    rows = [_channel(name, channel) for name, channel in channels]
    rows[0] = first + rows[0] + last
    lines = "".join(f"<tr>{row}</tr>\n" for row in rows)
    return f'<tbody class="{"doubt" if record.all_doubts else "fine"}">{lines}</tbody>\n'


def _picture(case: str, folder: Path) -> str:
    picture = Path("cases") / f"{case}.png"
    name = escape(case)
    if not (folder / picture).is_file():
        return name
    link = quote(picture.as_posix())
    return f'<a href="{link}">{name}<img src="{link}" alt="picture of {name}" loading="lazy"></a>'


def _doubts(record: CaseRecord) -> str:
    accepted = ["accepted in spite of:"] if record.all_doubts and record.accepted else []
    return "<br>".join(map(escape, [*accepted, *record.all_doubts]))


def _channel(name: str, channel: ChannelRecord) -> str:
    found = channel.registration
    fit = f"{found.before:.3f} &rarr; {found.after:.3f}" if found else ""
    motion = (f"{found.shift_mm:.1f}", f"{found.rotation_deg:.1f}") if found else ("", "")
    size, spacing = (" &times; ".join(f"{n:.4g}" for n in numbers) for numbers in (channel.size, channel.spacing))
    numbers = "".join(f'<td class="number">{text}</td>' for text in (size, spacing, fit, *motion))
    return f"<td>{escape(name)}</td>{numbers}<td>{'<br>'.join(map(escape, channel.notes))}</td>"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
