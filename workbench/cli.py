"""The ``workbench`` command: prepare, train, evaluate, decode, rules, runs, keep, audit, report, demo, batch.

Exit status 0: done. 1: the work failed, or a row of an audited table is impossible. 2: bad input, told in one
sentence on stderr. What packages say goes to stderr; what a script may want to read (ids, tables, JSON) goes to
stdout. What each command does stands in ``commands``.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings

import typer

from workbench.commands import BAD_INPUT, DONE, FAILED
from workbench.commands.batches import batch, demo
from workbench.commands.data import prepare
from workbench.commands.decoding import decode, rules
from workbench.commands.messages import complain, show_warning
from workbench.commands.results import audit, keep, report, runs
from workbench.commands.training import evaluate, train

_TYPER_INTERRUPTED = 130  # what typer makes of Ctrl-C
_INTERRUPTED = "interrupted; the same command goes on from here"
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    help="Train, judge and step through sequential recommenders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# the order is that of the help
for command in (prepare, train, evaluate, decode, rules, runs, keep, audit, report, demo, batch):
    app.command()(command)


def main() -> None:
    """Run the command line and leave with its exit status."""
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # threads that spin starve each other on a busy machine
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    warnings.showwarning = show_warning
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to stop: the same as Ctrl-C
    sys.exit(_status())


def _status() -> int:
    """Return the exit status of the command line; errors become one sentence."""
    try:
        status = app(standalone_mode=False) or DONE
        return complain(_INTERRUPTED, FAILED) if status == _TYPER_INTERRUPTED else status
    except _UsageError as error:
        return complain(error.format_message(), BAD_INPUT)  # type: ignore[attr-defined]
    except typer.Abort:
        return complain("stopped", FAILED)
    except KeyboardInterrupt:
        return complain(_INTERRUPTED, FAILED)
    except BrokenPipeError:  # the reader of stdout has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
        return complain(str(error), BAD_INPUT)
    except (OSError, RuntimeError) as error:
        return complain(str(error), FAILED)


if __name__ == "__main__":
    main()
