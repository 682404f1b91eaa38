"""Every damage of ``mutations.py`` leads to what is written there: an error in one sentence, a remark, or nothing."""

import logging
import sys

import numpy as np
import pytest

from tests.workbench.datasets.mutations import Error, Reported, Same, cases
from workbench import cli
from workbench.datasets import prepare

CASES = cases()


def prepared(file, folder, cache):
    """Return the data set of files in a folder."""
    place = folder / file.name if file.data == "mine" else folder
    return prepare(file.data, from_dir=place, cache=cache)


def write(file, folder):
    folder.mkdir(parents=True)
    for name, content in file.files.items():
        (folder / name).write_bytes(content)
    return folder


def remarks(dataset):
    """Return everything that ``workbench prepare`` says about a data set beside its size."""
    return [*dataset.facts.get("notes", []), *dataset.facts["differences"]]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Return the data set of the undamaged files, prepared once for all damages."""
    found = {}

    def of(file):
        key = file.data, *file.files
        if key not in found:
            place = tmp_path_factory.mktemp("clean")
            found[key] = prepared(file, write(file, place / "raw"), place / "cache")
        return found[key]

    return of


def check_error(error, case, folder):
    """Check that an error is one sentence with file, line and the words that are expected."""
    expected = case.outcome
    assert type(error) is (FileNotFoundError if expected.is_missing else ValueError)
    sentence = str(error)
    number = None if expected.line is None else case.file.number(expected.line)
    assert (case.file.name if expected.names is None else expected.names) in sentence
    assert expected.words in sentence
    assert number is None or f"{case.file.name}, line {number}: " in sentence
    assert "\n" not in sentence
    assert len(sentence.replace(str(folder), "")) < 1000


def check_data(found, clean, outcome):
    """Check that a data set is the clean one, or another one with a remark."""
    new = [remark for remark in remarks(found) if remark not in remarks(clean)]
    rows = found.interactions.num_interactions - clean.interactions.num_interactions
    if isinstance(outcome, Same):
        assert new == []
        assert found.fingerprint == clean.fingerprint
        if clean.interactions.ratings is not None:
            np.testing.assert_array_equal(found.interactions.ratings, clean.interactions.ratings)
    else:
        assert [remark for remark in new if outcome.words in remark] != []
        assert all(len(remark) < 200 for remark in new)
        assert rows == outcome.rows


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_damaged_file_leads_to_what_is_written(case, clean, tmp_path):
    before = clean(case.file)
    folder = write(case.file, tmp_path / "raw")
    case.harm(folder / case.file.name)
    if isinstance(case.outcome, Error):
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            prepared(case.file, folder, tmp_path / "cache")
        check_error(caught.value, case, folder)
        assert not list((tmp_path / "cache").glob("*/*"))
    else:
        check_data(prepared(case.file, folder, tmp_path / "cache"), before, case.outcome)


ON_THE_COMMAND_LINE = [
    case
    for case in CASES
    if case.damage in ("gzip cut short", "zip", "utf-16", "a NUL", "missing")
    and isinstance(case.outcome, Error)
]


@pytest.mark.parametrize("case", ON_THE_COMMAND_LINE, ids=lambda case: case.id)
def test_the_command_line_tells_it_in_one_line(case, tmp_path, monkeypatch, capsys):
    folder = write(case.file, tmp_path / "raw")
    case.harm(folder / case.file.name)
    status, said, told = call(case.file, folder, tmp_path / "cache", monkeypatch, capsys)
    assert (status, said) == (2, "")
    assert told.startswith("workbench: ")
    assert told.count("\n") == 1
    assert (case.file.name if case.outcome.names is None else case.outcome.names) in told
    assert case.outcome.words in told


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.damage == "a line twice"], ids=lambda case: case.id
)
def test_the_command_line_prints_remarks(case, tmp_path, monkeypatch, capsys):
    folder = write(case.file, tmp_path / "raw")
    case.harm(folder / case.file.name)
    status, said, told = call(case.file, folder, tmp_path / "cache", monkeypatch, capsys)
    if isinstance(case.outcome, Reported):
        assert status == 0
        assert said.startswith(f"{case.file.data}: ")
        assert f"note: {case.outcome.words}" in told
    else:
        assert (status, said) == (2, "")


def call(file, folder, cache, monkeypatch, capsys):
    """Return status, stdout and stderr of ``workbench prepare``."""
    for package in ("workbench", "diffsasrec"):
        monkeypatch.setattr(logging.getLogger(package), "level", logging.WARNING)
    monkeypatch.setenv("DIFFSASREC_CACHE", str(cache))
    place = folder / file.name if file.data == "mine" else folder
    monkeypatch.setattr(sys, "argv", ["workbench", "prepare", file.data, "--from", str(place)])
    status = cli._status()
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_there_are_as_many_damages_as_promised():
    assert len({case.id for case in CASES}) == len(CASES) >= 300
    kinds = [type(case.outcome) for case in CASES]
    assert min(kinds.count(kind) for kind in (Error, Same, Reported)) >= 30
