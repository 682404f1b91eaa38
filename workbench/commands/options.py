"""The options and arguments that several commands share, and what is found under them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.settings import read_settings

if TYPE_CHECKING:
    from workbench.runs import Run

RunsOption = Annotated[
    Path | None, typer.Option("--runs", metavar="DIR", help="the folder of runs; runs/ by default")
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="<recipe>/<key>, or the first letters of a key")
]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="may be repeated")]


def run_named(run: str, folder: Path | None) -> Run:
    """Return the run that an argument names, in the folder of the option ``--runs``."""
    from workbench.paths import runs_dir
    from workbench.runs import Run

    return Run.open(runs_dir(folder), run)


def decode_config(opened: Any, set_: list[str] | None, changes: Iterable[str] = ()) -> Any:
    """Return how an open run decodes, with the settings of the option ``--set``, and changes of these."""
    from workbench.open_runs import default_decode_config

    settings = read_settings(set_ or []) | read_settings(changes)
    return default_decode_config(opened.checkpoint.model, **settings)


def check_place(file: Path) -> None:
    """Raise when a file could not be written for want of a folder, or because it is one."""
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a folder: name a file in it")
    if not file.resolve().parent.is_dir():
        raise FileNotFoundError(f"{file} cannot be written: there is no folder {file.resolve().parent}")
