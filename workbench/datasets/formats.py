"""Which form raw files have that come under no known name: found out by the files, or said."""

from __future__ import annotations

from pathlib import Path

from diffsasrec.config import unknown_name
from workbench.datasets import amazon, amazon_2023, given_splits, movielens, netflix, recbole, text_lists
from workbench.datasets.dataset import Format

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        *movielens.FORMATS,
        *amazon.FORMATS,
        *amazon_2023.FORMATS,
        netflix.FORM,
        *recbole.FORMATS,
        *text_lists.FORMATS,
        *given_splits.FORMATS,
    )
}


def recognise(place: Path, *, name: str | None = None) -> tuple[Format, Path]:
    """Return the form of a folder's files, or of one file, and the main file.

    Args:
        place: the folder; or the main file, where the folder holds more than one data set.
        name: the form, where it is known.

    Raises:
        ValueError: no form fits, or more than one data set does; says what is there and what could be.
        FileNotFoundError: there is no such place.
    """
    if name is not None and name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    if not place.exists():
        raise FileNotFoundError(f"no folder or file {place}: name the raw files with --from")
    folder = place if place.is_dir() else place.parent
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    fitting = [
        (form, folder / main)
        for form in FORMATS.values()
        if name in (None, form.name)
        for main in form.find(folder, names)
        if place in (folder, folder / main)
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        found = ", ".join(f"{main.name} ({form.name})" for form, main in fitting)
        raise ValueError(f"{place} holds more than one data set: {found}; name the file with --from FILE")
    raise ValueError(
        f"{place} holds nothing of {'a known form' if name is None else f'the form {name}'}, "
        f"but {_some(names)}; known: {describe_formats()}; "
        "or give --from one CSV, TSV or Parquet file with named columns"
    )


def is_recognised(file: Path) -> bool:
    """Return whether a file is the main file of a known form."""
    folder = file.parent
    names = sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    return any(file.name in form.find(folder, names) for form in FORMATS.values())


def describe_formats() -> str:
    """Return the known forms in one line: name and files of each."""
    return "; ".join(f"{form.name}: {form.files}" for form in FORMATS.values())


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "no file"
