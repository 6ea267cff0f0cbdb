import pytest

from nnunet_mgcl.convert.manifest.onset import hours_between, hours_from
from nnunet_mgcl.system.errors import UserError

WHERE = "manifest.csv, line 3"


@pytest.mark.parametrize(
    ("onset", "scan", "hours"),
    [
        ("2024-03-01 07:30", "2024-03-01 10:00", 2.5),
        ("2024-03-01T07:30:00", "2024-03-01 10:00:36", 2.51),
        ("2024-02-28 23:00", "2024-02-29 01:00", 2),
        ("2024-03-01T07:30+01:00", "2024-03-01T07:30Z", 1),
        ("2024-03-01 07:30", "2024-03-01 07:30", 0),
        ("", "", None),
    ],
)
def test_hours_between_two_times(onset, scan, hours):
    assert hours_between(onset, scan, WHERE) == (hours if hours is None else pytest.approx(hours))


@pytest.mark.parametrize(
    ("onset", "scan", "message"),
    [
        ("2024-03-01 10:00", "2024-03-01 07:30", "after scan_time"),
        ("2024-03-01 10:00", "2024-03-09 07:30", "189.5|190 hours"),
        ("2024-03-01 10:00", "", "no scan_time"),
        ("", "2024-03-01 10:00", "no onset_time"),
        ("2024-03-01T07:30+01:00", "2024-03-01T09:30", "offset from UTC"),
        ("01.03.2024 07:30", "2024-03-01 10:00", "onset_time '01.03.2024 07:30'"),
        ("2024-03-01 07:30", "3/1/2024 10:00", "scan_time '3/1/2024 10:00'"),
        ("2024-03-01", "2024-03-01 10:00", "2024-03-01 07:30"),
        ("07:30", "10:00", "ISO 8601"),
        ("2024-13-01 07:30", "2024-03-01 10:00", "ISO 8601"),
        ("20240301T0730", "2024-03-01 10:00", "ISO 8601"),
        ("٢٠٢٤-03-01 07:30", "2024-03-01 10:00", "ISO 8601"),
        ("2024-03-01 25:00", "2024-03-01 10:00", "ISO 8601"),
    ],
)
def test_times_that_give_no_tss_are_refused(onset, scan, message):
    with pytest.raises(UserError, match=message) as error:
        hours_between(onset, scan, WHERE)
    assert error.value.where == WHERE


def test_hours_are_read_as_in_the_tss_table():
    assert hours_from("4.5", WHERE) == 4.5
    assert hours_from("", WHERE) is None
    for text in ("-1", "169", "nan", "inf", "4,5", "4_5", "٤", "4.5 h"):
        with pytest.raises(UserError, match="hours from 0 to 168"):
            hours_from(text, WHERE)
