"""What is said on stderr: in one line, behind what was printed before it, and progress where no bar shows it."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import warnings

import pytest

from workbench.commands.messages import complain, log_progress, say, show_warning


def test_a_complaint_is_one_line_and_gives_its_status_back(capsys):
    assert complain("no such\n  run:\ttrain one", 2) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "workbench: no such run: train one\n")


def test_what_was_printed_first_stands_first_where_both_streams_end_in_one_file():
    program = "from workbench.commands.messages import say; print('first'); say('second'); print('third')"
    called = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert called.stdout.splitlines() == ["first", "second", "third"]


def test_a_line_is_said_although_the_reader_of_stdout_has_left(monkeypatch, capsys):
    class Left(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Left())
        say("stopped")
    assert capsys.readouterr().err == "stopped\n"


@pytest.mark.filterwarnings("always")
def test_a_warning_is_a_note_without_the_place_it_came_from(monkeypatch, capsys):
    monkeypatch.setattr(warnings, "showwarning", show_warning)
    warnings.warn("threshold has no effect", stacklevel=1)
    assert capsys.readouterr().err == "note: threshold has no effect\n"


@pytest.mark.parametrize(("is_terminal", "level"), [(True, logging.WARNING), (False, logging.INFO)])
def test_progress_is_logged_where_no_terminal_shows_a_bar(monkeypatch, is_terminal, level):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    for package in ("diffsasrec", "workbench"):
        monkeypatch.setattr(logging.getLogger(package), "level", logging.CRITICAL)
    log_progress()
    assert {logging.getLogger(package).level for package in ("diffsasrec", "workbench")} == {level}
