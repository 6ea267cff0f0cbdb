"""Converts a whole manifest to a raw nnU-Net dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from nnunet_mgcl.convert import outputs, tables
from nnunet_mgcl.convert.assignment import (
    Assignment,
    assign,
    assign_test,
    check_masks,
    group_channels,
    select_channels,
)
from nnunet_mgcl.convert.case import Job
from nnunet_mgcl.convert.engine_elastix import require_elastix
from nnunet_mgcl.convert.manifest import Manifest
from nnunet_mgcl.convert.quality_page import write_page
from nnunet_mgcl.convert.record import CaseRecord, write_record
from nnunet_mgcl.convert.settings import Settings, fingerprint
from nnunet_mgcl.convert.workers import Result, convert_cases
from nnunet_mgcl.errors import UserError, some, suggestion
from nnunet_mgcl.files import read_json

Log = Callable[[str], None]
Track = Callable[[Iterator[Result], int], Iterable[Result]]


@dataclass(frozen=True)
class Options:
    """What the user asks for; `Settings` says more of what is the same for every case.

    Attributes:
        parent: Where the dataset's folder is, usually nnUNet_raw.
        id: Number of the dataset.
        name: Its name.
        settings: How cases are converted; its channels and modalities are those wanted, or empty, and its reference
            may be `none`.
        incomplete: What becomes of a row that lacks something.
        accept: Cases whose registration a person has found good.
        test: The rows are test cases of a dataset that is there.
        processes: How many convert at a time.
    """

    parent: Path
    id: int
    name: str
    settings: Settings
    incomplete: Literal["refuse", "pool"] = "refuse"
    accept: Sequence[str] = ()
    test: bool = False
    processes: int = 1

    @property
    def folder(self) -> Path:
        """The dataset's folder."""
        return self.parent / f"Dataset{self.id:03d}_{self.name}"


@dataclass
class Outcome:
    """What a run has done.

    Attributes:
        records: The cases of this run that are there now, converted or unchanged.
        converted: Names of those that were converted.
        removed: Cases that are no more.
        failures: Case -> why it could not be converted.
    """

    records: dict[str, CaseRecord] = field(default_factory=dict)
    converted: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failures: dict[str, UserError] = field(default_factory=dict)

    @property
    def held_back(self) -> list[CaseRecord]:
        """Cases that a person has to look at."""
        return [record for record in self.records.values() if record.held_back]

    @property
    def complete(self) -> bool:
        """Whether every case is in the dataset."""
        return not self.failures and not self.held_back


def convert_dataset(manifest: Manifest, options: Options, log: Log, track: Track) -> Outcome:
    """Converts what has changed since the last run, and removes what is not asked for any more.

    Args:
        manifest: The cases.
        options: What to do with them.
        log: Is told what was decided for the user.
        track: Shows the progress of an iterator of a given length.

    Raises:
        UserError: Something is wrong that can be seen before any work; nothing on disk has been touched then.
    """
    if options.test and options.incomplete == "pool":
        raise UserError("--incomplete pool", "with --test", "test cases that have every channel", "remove one of both")
    manifest, settings = _settle(manifest, options, log)
    if options.test:
        assignment = assign_test(manifest)
    else:
        assignment = assign(manifest, settings.modalities, options.incomplete, log)
    _check_accepted(options.accept, assignment)
    _check_target(options, settings)
    if settings.engine == "elastix" and settings.reference:
        require_elastix()
    _report_assignment(assignment, settings, log)
    with _locked(options.folder):
        return _Run(options, settings, assignment, log).execute(track)


class _Run:
    """One run on a dataset's folder."""

    def __init__(self, options: Options, settings: Settings, assignment: Assignment, log: Log) -> None:
        self.options, self.settings, self.log = options, settings, log
        self.folder = options.folder
        self.wanted = {row.case: (row, destination) for row, destination in assignment}
        self.everything = outputs.read_records(self.folder)
        self.before = {name: r for name, r in self.everything.items() if (r.destination == "Ts") == options.test}
        _check_names(self.wanted, [name for name in self.everything if name not in self.before], self.folder)
        _check_strangers(self.folder, self.everything.values())
        self.described = _described(self.folder / "dataset.json")
        self.page = self.folder / outputs.BESIDE / "index.html"
        self.updated = False
        self.outcome = Outcome()

    def execute(self, track: Track) -> Outcome:
        jobs = self._stale_jobs()
        gone = [case for case in self.before if case not in self.wanted]
        if jobs or gone or self.updated:
            self.page.unlink(missing_ok=True)
            if not self.options.test:
                # nnU-Net must not take the dataset for whole before it is so again.
                (self.folder / "dataset.json").unlink(missing_ok=True)
        outputs.clear_staging(self.folder)
        self._remove(gone)
        self._convert(jobs, track)
        outputs.clear_staging(self.folder)
        self._write_tables()
        if not self.page.exists():
            self._write_page()
        return self.outcome

    def _stale_jobs(self) -> list[Job]:
        """What there is to do; cases that are up to date go to the outcome, with the manifest's TSS and patient."""
        jobs = []
        for case, (row, destination) in self.wanted.items():
            accepted, print_ = case in self.options.accept, fingerprint(row, destination, self.settings)
            record = self.before.get(case)
            if record is None or record.fingerprint != print_ or not self._is_whole(record, accepted):
                jobs.append(Job(self.folder, row, destination, self.settings, print_, accepted))
                continue
            current = replace(record, tss_hours=row.tss_hours, patient=row.patient, accepted=accepted)
            if current != record:
                write_record(outputs.record_path(self.folder, case), current)
                self.updated = True
            self.outcome.records[case] = current
        return jobs

    def _is_whole(self, record: CaseRecord, accepted: bool) -> bool:
        if record.doubts and record.accepted != accepted:
            return False
        if outputs.is_whole(self.folder, record):
            return outputs.picture_path(self.folder, record.case).exists()
        if record.fingerprint:
            self.log(f"{record.case}: its files in the dataset were changed or removed since; converted again")
        return False

    def _remove(self, gone: list[str]) -> None:
        for case in gone:
            outputs.remove(self.folder, case)
            self.outcome.removed.append(case)
            self.log(f"{case}: removed, the manifest has it no more")

    def _convert(self, jobs: list[Job], track: Track) -> None:
        if not jobs:
            return
        for case, result in track(convert_cases(jobs, min(self.options.processes, len(jobs))), len(jobs)):
            if isinstance(result, UserError):
                self.outcome.failures[case] = result
                continue
            self.outcome.records[case] = result
            self.outcome.converted.append(case)
            for channel, record in result.channels.items():
                if record.notes:
                    self.log(f"{case}: {channel}: {'; '.join(record.notes)}")

    def _write_tables(self) -> None:
        there = [self.outcome.records[case] for case in sorted(self.outcome.records)]
        labelled = [record for record in there if record.destination != "Un" and not record.held_back]
        if self.options.test:
            tables.write_tss_table(self.folder / "tssTs.csv", labelled)
            return
        tables.write_tss_table(self.folder / "tss.csv", labelled)
        content = tables.dataset_json(self.options.name, self.settings, len(labelled))
        tables.write_dataset_json(self.folder / "dataset.json", content, self.described, self.log)
        if not labelled:
            self.log("No labelled case: nnU-Net cannot plan this dataset")

    def _write_page(self) -> None:
        others = {case: record for case, record in self.everything.items() if case not in self.before}
        records = others | self.outcome.records
        # Messages name files, and a file's path may hold a patient's name.
        failures = dict.fromkeys(sorted(self.outcome.failures), "not converted; the command says why")
        write_page(self.page, [records[case] for case in sorted(records)], failures)


def _described(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _settle(manifest: Manifest, options: Options, log: Log) -> tuple[Manifest, Settings]:
    """The manifest and the settings with everything that was left open decided."""
    wanted = options.settings
    if wanted.channels:
        manifest = select_channels(manifest, wanted.channels, log)
    modalities = group_channels(manifest.channels, wanted.modalities, log)
    manifest = check_masks(manifest, modalities, narrowed=bool(wanted.channels), log=log)
    _check_labels(wanted, manifest)
    reference = _reference(wanted.reference, manifest.channels)
    settled = replace(wanted, channels=manifest.channels, modalities=modalities, masks=manifest.masks)
    return manifest, replace(settled, reference=reference)


def _reference(wanted: str | None, channels: Sequence[str]) -> str | None:
    if wanted == "none" or (wanted is None and len(channels) == 1):
        return None
    choices = f"--reference {' | '.join([*channels, 'none'])}"
    if wanted is None:
        remedy = "choose the channel that the others are registered to; none where they are registered already"
        raise UserError("--reference", "not given", choices, remedy)
    if wanted not in channels:
        raise UserError("--reference", repr(wanted), choices, suggestion(wanted, [*channels, "none"]))
    return wanted


def _check_labels(settings: Settings, manifest: Manifest) -> None:
    values = list(settings.labels.values())
    if len(set(values)) < len(values) or not all(0 < value < 2**16 for value in values):
        remedy = "give each label its own value in the mask files"
        raise UserError("--labels", str(settings.labels), "different values from 1 to 65535", remedy)
    if manifest.masks not in ((), ("",)) and len(values) > 1:
        found = f"{len(values)} labels, and a mask a modality"
        raise UserError("--labels", found, "one label then", "name its value in the mask files, as in lesion=1")


def _check_accepted(accepted: Sequence[str], assignment: Assignment) -> None:
    cases = [row.case for row, _ in assignment]
    for case in accepted:
        if case not in cases:
            raise UserError("--accept", f"{case!r}", "a case of the manifest", suggestion(case, cases))


def _check_target(options: Options, settings: Settings) -> None:
    """Refuses what is no dataset of this program."""
    target, number = options.folder, f"Dataset{options.id:03d}"
    if not 1 <= options.id <= 999:
        raise UserError("--id", str(options.id), "1 to 999", "choose another number")
    if not options.name.replace("_", "").replace("-", "").isalnum() or not options.name.isascii():
        raise UserError("--name", repr(options.name), "letters, digits, _ and -", "choose another name")
    others = [path.name for path in options.parent.glob(f"{number}_*") if path != target]
    if others:
        remedy = "choose another --id: nnU-Net finds datasets by their number"
        raise UserError(options.parent, f"{others[0]} has the same number", f"no other {number}_*", remedy)
    if options.test:
        tables.check_same_preparation(target / "dataset.json", settings)
    elif target.exists() and any(target.iterdir()) and not (target / outputs.BESIDE).is_dir():
        remedy = "choose another --id, or remove the folder yourself if nobody needs it"
        raise UserError(target, "a dataset that mgcl convert has not written", "a new folder, or its own", remedy)


def _check_names(wanted: Iterable[str], others: Sequence[str], folder: Path) -> None:
    both = [case for case in wanted if case in others]
    if both:
        remedy = "rename it, or take it out of one of the manifests"
        found = f"{some(both)} among training and test cases"
        raise UserError(folder, found, "names of their own: a test case may not be trained on", remedy)


def _check_strangers(folder: Path, records: Iterable[CaseRecord]) -> None:
    paths = outputs.strangers(folder, records)
    if paths:
        names = some([str(path.relative_to(folder)) for path in paths])
        remedy = "move them out of the folder; what belongs to the dataset belongs into the manifest"
        raise UserError(folder, f"files that mgcl convert has not written: {names}", "only its own", remedy)


def _report_assignment(assignment: Assignment, settings: Settings, log: Log) -> None:
    log("Channels: " + ", ".join(f"{channel} ({number})" for number, channel in enumerate(settings.channels)))
    if settings.reference is None and len(settings.channels) > 1:
        log("--reference none: the channels are taken for registered, and resampled where their grids differ")
    untimed = [row.case for row, destination in assignment if destination == "Un" and row.tss_hours is not None]
    if untimed:
        log(f"The time since onset of {len(untimed)} cases of the pool is not used ({some(untimed)})")
    if any(destination == "Un" for _, destination in assignment) and settings.reference:
        log("Cases of the pool are not registered: each modality keeps its own grid")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps two runs from writing to one dataset; the system frees the lock when the process dies."""
    beside = folder / outputs.BESIDE
    beside.mkdir(parents=True, exist_ok=True)
    lock = FileLock(beside / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(folder, "another mgcl convert is at work on it", "one at a time", "wait for it") from None
    try:
        yield
    finally:
        lock.release()
