"""One run of the conversion on a dataset's folder: what is stale, what goes, what comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from nnunet_mgcl.convert.case import Job, Result, check_headers, convert_cases
from nnunet_mgcl.convert.manifest.assignment import Assignment
from nnunet_mgcl.convert.output import case_files, tables
from nnunet_mgcl.convert.output.record import CaseRecord
from nnunet_mgcl.convert.quality.page import write_page
from nnunet_mgcl.convert.registration.poor_fit import poor_fits
from nnunet_mgcl.convert.settings import Options, Settings, fingerprint
from nnunet_mgcl.plan.dataset_json import read_dataset_json
from nnunet_mgcl.system.errors import UserError, some
from nnunet_mgcl.system.files import is_there

Log = Callable[[str], None]
Track = Callable[[Iterator[Result], int], Iterable[Result]]


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


class Run:
    """One run on a dataset's folder, which nobody else may work on meanwhile.

    Raises:
        UserError: What is in the folder and what is asked for do not go together.
    """

    def __init__(self, options: Options, settings: Settings, assignment: Assignment, log: Log) -> None:
        self.options, self.settings, self.log = options, settings, log
        self.folder = options.folder
        self.wanted = {row.case: (row, destination) for row, destination in assignment}
        records = case_files.read_records(self.folder)
        self.before = {name: r for name, r in records.items() if (r.destination == "Ts") == options.test}
        self.kept = {name: record for name, record in self.before.items() if self._stays(record)}
        self.of_other_kind = {name: record for name, record in records.items() if name not in self.before}
        self._check_folder()
        path = self.folder / "dataset.json"
        self.described = read_dataset_json(path) if is_there(path) else {}
        self.page = self.folder / case_files.CONVERT_FOLDER / "index.html"
        self.outcome = Outcome()

    def execute(self, track: Track) -> Outcome:
        """Removes what is not asked for any more, converts what is stale, and writes the tables and the page."""
        jobs = self._stale_jobs()
        updates = [record for case, record in self.outcome.records.items() if record != self.before[case]]
        gone = [case for case in self.before if case not in self.wanted and case not in self.kept]
        if self.kept:
            self.log(f"{some(list(self.kept))}: of an earlier manifest, kept among the test cases")
        if jobs or gone or updates:
            self._begin()
        case_files.clear_staging(self.folder)
        for record in updates:
            case_files.write_record(self.folder, record)
        for case in gone:
            case_files.remove(self.folder, case)
            self.outcome.removed.append(case)
            self.log(f"{case}: removed, the manifest has it no more")
        self._convert([job for job in jobs if self._headers_are_good(job)], track)
        self._refuse_same_scans()
        self._compare(track)
        case_files.clear_staging(self.folder)
        self._write_tables()
        if not self.page.exists():
            records = self.of_other_kind | self.kept | self.outcome.records
            # Messages name files, and a file's path may hold a patient's name.
            failures = dict.fromkeys(sorted(self.outcome.failures), "not converted; the command says why")
            write_page(self.page, [records[case] for case in sorted(records)], failures)
        return self.outcome

    def _stays(self, record: CaseRecord) -> bool:
        """Whether a test case stays that the manifest does not name: patients to predict come one by one."""
        complete = all((self.folder / name).exists() for name in record.files)
        return self.options.test and record.case not in self.wanted and complete

    def _check_folder(self) -> None:
        if both := [case for case in self.wanted if case in self.of_other_kind]:
            remedy = "rename it, or take it out of one of the manifests"
            found = f"{some(both)} among training and test cases"
            raise UserError(self.folder, found, "names of their own: a test case may not be trained on", remedy)
        # It would empty the dataset. Test cases may change as a whole: new patients to predict.
        if not self.options.test and self.before and not self.wanted.keys() & self.before.keys():
            remedy = "--test for test cases, another --id for another dataset, or remove the folder yourself"
            found = f"none of the {len(self.before)} cases that are there in the manifest"
            expected = f"a manifest of this dataset ({some(sorted(self.before))})"
            raise UserError(self.folder, found, expected, remedy)
        if paths := case_files.unlisted_files(self.folder, (*self.before.values(), *self.of_other_kind.values())):
            names = some([str(path.relative_to(self.folder)) for path in paths])
            remedy = "move them out of the folder; what belongs to the dataset belongs into the manifest"
            raise UserError(self.folder, f"files that mgcl convert has not written: {names}", "only its own", remedy)

    def _begin(self) -> None:
        self.page.unlink(missing_ok=True)
        if not self.options.test:
            # nnU-Net must not take the dataset for whole before it is so again.
            (self.folder / "dataset.json").unlink(missing_ok=True)

    def _stale_jobs(self) -> list[Job]:
        """What there is to do; cases that are up to date go to the outcome, with what the manifest says now."""
        jobs = []
        for case, (row, destination) in self.wanted.items():
            record, print_ = self.before.get(case), fingerprint(row, destination, self.settings)
            # What was accepted is the picture of the same scans with the same options: nobody has seen another.
            accepted = case in self.options.accept and record is not None and record.fingerprint == print_
            if record is None or record.fingerprint != print_ or not self._is_whole(record, accepted):
                jobs.append(Job(self.folder, row, destination, self.settings, print_, accepted))
            else:
                missing = self.settings.missing(row, destination)
                current = replace(record, tss_hours=row.tss_hours, patient=row.patient, missing=missing)
                self.outcome.records[case] = replace(current, accepted=accepted)
        return jobs

    def _is_whole(self, record: CaseRecord, accepted: bool) -> bool:
        if record.all_doubts and record.accepted != accepted:
            return False
        if case_files.is_whole(self.folder, record):
            return case_files.picture_path(self.folder, record.case).exists()
        if record.fingerprint:
            self.log(f"{record.case}: its files in the dataset were changed or removed since; converted again")
        return False

    def _headers_are_good(self, job: Job) -> bool:
        """Whether a case may be converted. If not, the user hears of it now, and in full at the end."""
        try:
            check_headers(job.row, self.settings)
        except UserError as error:
            self._fail(job.row.case, error)
            self.log(f"{job.row.case}: not to be converted: {error.where}: {error.found}")
            return False
        except Exception:  # one of ITK's many kinds: the conversion names it, in a process of its own
            return True
        return True

    def _fail(self, case: str, error: UserError) -> None:
        case_files.remove(self.folder, case)
        self.outcome.failures[case] = error

    def _convert(self, jobs: list[Job], track: Track) -> None:
        if not jobs:
            return
        for case, future in track(convert_cases(jobs, min(self.options.processes, len(jobs))), len(jobs)):
            try:
                result = future.result()
            except UserError as error:
                self._fail(case, error)  # here, since a worker that was killed cannot
                continue
            self.outcome.records[case] = result
            self.outcome.converted.append(case)
            if result.held_back and case in self.options.accept:
                self.log(f"{case}: --accept does not count yet, nobody has seen it from these scans with these options")
            for channel, record in result.channels.items():
                if record.notes:
                    self.log(f"{case}: {channel}: {'; '.join(record.notes)}")

    def _refuse_same_scans(self) -> None:
        """A scan in two cases would be trained on and validated with; the case that came last goes."""
        seen: dict[str, str] = {}
        unchanged = [r for case, r in self.outcome.records.items() if case not in self.outcome.converted]
        fresh = [self.outcome.records[case] for case in self.wanted if case in self.outcome.converted]
        for record in (*self.of_other_kind.values(), *self.kept.values(), *unchanged, *fresh):
            case, scans = record.case, {c.voxels: name for name, c in record.channels.items() if c.voxels}
            twin = next((voxels for voxels in scans if voxels in seen), None)
            if not twin or record not in fresh:
                seen |= {voxels: f"case {case}, {name}" for voxels, name in scans.items()}
                continue
            del self.outcome.records[case]
            self.outcome.converted.remove(case)
            where = f"{self.wanted[case][0].where}, column {scans[twin]}"
            remedy = "mend the path, or remove one of the two cases from the manifest"
            self._fail(case, UserError(where, f"the same scan as {seen[twin]}", "a scan of its own", remedy))

    def _compare(self, track: Track) -> None:
        """Holds cases back that fit much worse than the others; those that do so no longer are converted again."""
        doubts, released = poor_fits(self.outcome.records.values()), []
        for case, record in self.outcome.records.items():
            current = replace(record, poor_fits=doubts.get(case, ()))
            if current == record:
                continue
            self._begin()
            self.outcome.records[case] = current
            if record.held_back and not current.held_back:
                released.append(Job(self.folder, *self.wanted[case], self.settings, record.fingerprint, accepted=False))
            elif current.held_back and not record.held_back:
                case_files.place(self.folder, current, {})
            else:
                case_files.write_record(self.folder, current)
        self._convert(released, track)

    def _write_tables(self) -> None:
        records = [*(r for _, r in sorted(self.outcome.records.items())), *(r for _, r in sorted(self.kept.items()))]
        labelled = [record for record in records if record.destination != "Un" and not record.held_back]
        if self.options.test:
            tables.write_tss_table(self.folder / "tssTs.csv", labelled)
            return
        tables.write_tss_table(self.folder / "tss.csv", labelled)
        content = tables.dataset_json(self.options.name, self.settings, labelled)
        tables.write_dataset_json(self.folder / "dataset.json", content, self.described, self.log)
        tests = len(self.of_other_kind)
        if tests and tables.differently_made(content, self.described):
            self.log(f"{tests} test cases were prepared with other options: convert them again (--test)")
        if not labelled:
            self.log("No labelled case: nnU-Net cannot plan this dataset")
