"""Grids: notebooks, data sets, models and parameters of which every combination becomes a job.

A grid is a mapping, from a YAML file or the command line:

    notebooks: [02_train, 03_evaluate]        # a later one that has a parameter ``run`` reads each run that was trained
    parameters:                               # one value, a list, or a range
      dataset: [toy, ml-100k]
      model: [sasrec, diffsasrec]
      seed: {from: 0, to: 4}                  # whole numbers, both ends included
      learning_rate: {from: 1.0e-4, to: 1.0e-2, num: 3, scale: log}
    timeouts: {cell: 600, run: 7200}          # seconds

``dataset``, ``model`` and ``seed`` may also stand at the top. Everything is checked before anything is executed.
"""

from __future__ import annotations

import ast
import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from diffsasrec.config import unknown_name
from diffsasrec.models import MODELS
from workbench.batch import Limits
from workbench.jobs import ABOUT_SLOTS, COMPARISON, TRAINING, Job, notebook_parameters, plan
from workbench.open_runs import fills_slots
from workbench.parameters import yaml_hint

logger = logging.getLogger(__name__)

_TOP = ("dataset", "model", "seed")  # parameters that may stand at the top
_KEYS = ("notebooks", "parameters", "timeouts", *_TOP)
_RANGE_KEYS = ("from", "to", "step", "num", "scale")
_MOST_VALUES = 10_000  # of a range
_READS_A_RUN = "run"


@dataclass(frozen=True)
class Grid:
    """What to execute, every value checked for its form; ``expand`` checks what it means."""

    notebooks: tuple[str, ...]
    parameters: dict[str, list[Any]]  # name -> the values to combine
    limits: Limits
    source: str  # what a message calls it


def read_grid(path: Path) -> Grid:
    """Return the grid in a YAML file; raise ``ValueError`` that names file, key and value of what is wrong."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give the path of a grid in YAML")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it is no text in UTF-8"
        raise ValueError(f"{path.name}{where}: it is no YAML: {problem}") from error
    return as_grid(content, source=path.name)


def as_grid(content: Any, *, source: str) -> Grid:
    """Return the grid that a mapping describes."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{source}: a grid is a mapping with the keys {', '.join(_KEYS)}")
    for key in content:
        if key not in _KEYS:
            raise _located(source, unknown_name("key", key, _KEYS))
    notebooks = content.get("notebooks")
    notebooks = [notebooks] if isinstance(notebooks, str) else notebooks
    if (
        not isinstance(notebooks, list)
        or not notebooks
        or not all(isinstance(each, str) for each in notebooks)
    ):
        raise ValueError(f"{source}: notebooks must be a list of names such as [02_train], got {notebooks!r}")
    if len(set(notebooks)) < len(notebooks):
        raise ValueError(f"{source}: notebooks names one twice: {', '.join(notebooks)}")
    given = content.get("parameters") or {}
    if not isinstance(given, Mapping):
        raise ValueError(f"{source}: parameters must be a mapping of names to values, got {given!r}")
    for name in _TOP:
        if name in content and name in given:
            raise ValueError(f"{source}: {name} is given twice, at the top and under parameters: drop one")
    every = {**{name: content[name] for name in _TOP if name in content}, **given}
    parameters = {str(name): _values(source, str(name), value) for name, value in every.items()}
    return Grid(tuple(notebooks), parameters, _limits(source, content.get("timeouts")), source)


def expand(grid: Grid, *, runs_dir: Path) -> list[Job]:
    """Return the jobs of a grid, training first, each one planned and so checked.

    A parameter goes to every notebook that has it. A notebook with a parameter ``run`` that is not given reads every
    run that the grid trains. A comparison of runs comes last, after all that trains or judges one.

    Raises:
        ValueError, FileNotFoundError: a parameter that no notebook has, a value that cannot be, data that is not there.
    """
    try:
        known = {notebook: set(notebook_parameters(notebook)) for notebook in grid.notebooks}
        for name in grid.parameters:
            if not any(name in names for names in known.values()):
                raise unknown_name("parameter", name, set().union(*known.values()))
        ordered = sorted(grid.notebooks, key=lambda name: (TRAINING not in name, COMPARISON in name))
        jobs: dict[str, Job] = {}
        trained: list[Job] = []
        for notebook in ordered:
            reads = _READS_A_RUN in known[notebook] and _READS_A_RUN not in grid.parameters and bool(trained)
            own = {
                name: values
                for name, values in grid.parameters.items()
                if name in known[notebook] and not (reads and name in _TOP)
            }
            before = [job for job in jobs.values() if _changes_runs(job)] if COMPARISON in notebook else []
            readable = _fitting(trained, notebook) if reads else [None]
            for values in _combinations(own):
                for needed in readable:
                    run = {} if needed is None else {_READS_A_RUN: needed.run}
                    job = plan(
                        notebook,
                        {**values, **run},
                        runs_dir=runs_dir,
                        needs=[needed] if needed is not None else before,
                    )
                    jobs.setdefault(job.key, job)
            if TRAINING in notebook:
                trained = [job for job in jobs.values() if job.notebook == TRAINING]
    except (ValueError, FileNotFoundError) as error:
        raise _located(grid.source, error) from error
    return list(jobs.values())


def _changes_runs(job: Job) -> bool:
    """Return whether a job trains a run or judges one: what a comparison has to wait for."""
    return "runs_dir" in job.parameters and job.notebook not in ABOUT_SLOTS


def _fitting(trained: Sequence[Job], notebook: str) -> list[Job]:
    """Return the trainings whose model can do what the notebook asks for, and say which ones are left out."""
    if Path(notebook).stem not in ABOUT_SLOTS:
        return list(trained)
    default = ast.literal_eval(notebook_parameters(TRAINING)["model"]["default"])
    models = {job.key: job.parameters.get("model", default) for job in trained}
    others = [name for name in dict.fromkeys(models.values()) if not fills_slots(MODELS[name][1])]
    if others:
        logger.warning("%s is left out for %s: no masked slots are filled there", notebook, ", ".join(others))
    return [job for job in trained if models[job.key] not in others]


def _combinations(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of one value each, the last name changing fastest."""
    return [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]


def _values(source: str, name: str, value: Any) -> list[Any]:
    """Return the values that a parameter takes: one, those of a list, or those of a range."""
    if isinstance(value, Mapping):
        return _range(f"{source}: {name}", value)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError(f"{source}: {name} has no value: give one, a list or a range, or drop the line")
    for each in values:
        if isinstance(each, list | Mapping):
            raise ValueError(f"{source}: {name} holds {each!r}: a list holds plain values")
        if values.count(each) > 1 and not isinstance(each, bool):
            raise ValueError(f"{source}: {name} holds {each!r} twice: drop one")
    return values


def _range(where: str, content: Mapping[str, Any]) -> list[Any]:
    """Return the values of ``{from, to, step}`` or ``{from, to, num, scale}``, both ends included."""
    for key in content:
        if key not in _RANGE_KEYS:
            raise _located(where, unknown_name("key", key, _RANGE_KEYS))
    for key in ("from", "to", "step"):
        value = content.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{where}: {key} must be a number, got {value!r}{yaml_hint(value)}")
    if not {"from", "to"} <= set(content) or {"step", "num"} <= set(content):
        raise ValueError(f"{where}: a range needs from and to, and either step or num (or none: step 1)")
    low, high = content["from"], content["to"]
    if low > high:
        raise ValueError(f"{where}: the range ends before it begins: from {low} to {high}")
    if "num" in content:
        return _spaced(where, low, high, num=content["num"], scale=content.get("scale", "linear"))
    step = content.get("step", 1)
    if "scale" in content:
        raise ValueError(f"{where}: scale goes with num, the number of values")
    if not step > 0:
        raise ValueError(f"{where}: step must be above 0, got {step}")
    num = math.floor((high - low) / step + 1e-9) + 1
    _check_number(where, num)
    values = [low + index * step for index in range(num)]
    return (
        values if all(isinstance(each, int) for each in (low, step)) else [_rounded(each) for each in values]
    )


def _spaced(where: str, low: float, high: float, *, num: Any, scale: Any) -> list[float]:
    """Return ``num`` values at equal distances, or at equal ratios."""
    if isinstance(num, bool) or not isinstance(num, int) or num < 2:
        raise ValueError(f"{where}: num must be a whole number, 2 or more, got {num!r}")
    _check_number(where, num)
    if scale not in ("linear", "log"):
        raise _located(where, unknown_name("scale", scale, ("linear", "log")))
    if scale == "linear":
        return [_rounded(low + (high - low) * index / (num - 1)) for index in range(num)]
    if low <= 0:
        raise ValueError(f"{where}: a log range begins above 0, got {low}")
    return [_rounded(low * (high / low) ** (index / (num - 1))) for index in range(num)]


def _check_number(where: str, num: int) -> None:
    if num > _MOST_VALUES:
        raise ValueError(f"{where}: the range has {num} values, at most {_MOST_VALUES} are taken")


def _rounded(value: float) -> float:
    """Return a number as people would write it: .3 and not .30000000000000004."""
    return float(f"{value:.12g}")


def _limits(source: str, content: Any) -> Limits:
    """Return the time-outs, none where nothing is said."""
    content = {} if content is None else content
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{source}: timeouts must be a mapping such as {{cell: 600, run: 7200}}, got {content!r}"
        )
    for key, value in content.items():
        if key not in ("cell", "run"):
            raise _located(source, unknown_name("time-out", key, ("cell", "run")))
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ValueError(f"{source}: timeouts: {key} must be seconds above 0, got {value!r}")
    return Limits(**content)


def _located(where: str, error: Exception) -> Exception:
    """Return the error with the place before its words."""
    return type(error)(f"{where}: {error}")
