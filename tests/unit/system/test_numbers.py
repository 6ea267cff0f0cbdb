from __future__ import annotations

import pytest

from nnunet_mgcl.cli import main
from nnunet_mgcl.system.numbers import integer, number


def test_numbers_are_read_as_they_are_written() -> None:
    assert [number(text) for text in ("4.5", "-1e3", ".5")] == [4.5, -1000.0, 0.5]
    assert [integer(text) for text in ("12", "-3", "007")] == [12, -3, 7]


@pytest.mark.parametrize("text", ["1_0", "٣", "\uff14", "1,5", "", "five", "²"])
def test_what_is_no_number_in_ascii_digits_is_refused(text) -> None:
    for read in (number, integer):
        with pytest.raises(ValueError):
            read(text)


@pytest.mark.parametrize("number", ["1_0", "٣"])
@pytest.mark.parametrize(
    "command",
    ["convert -i x.csv --name X --id", "convert -i x.csv --name X --spacing 1 1", "convert -i x.csv --dwi-volume",
     "convert -i x.csv --name X --max-shift", "convert -i x.csv --name X --id 5 -o x --labels lesion=",
     "phantom -o x --cases", "predict -i x -o y -d 1 -c 2d -step_size", "prepare 1 -c 2d -np", "compare a b -f",
     "evaluate -d 1 -c 2d --tolerance", "mismatch -d 1 -o x --min-lesion-ml"],
)  # fmt: skip
def test_every_flag_reads_its_number_so(command, number, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        main(f"{command}{'' if command.endswith('=') else ' '}{number}".split())
    assert number in capsys.readouterr().err + str(error.value)
