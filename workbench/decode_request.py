"""Everything that a decode of one user was asked with: what a page shows, and what gives the same again.

The texts are those of the command, of the notebook and of a page's address: knobs as ``key=value``, pins as
``slot=item``, edits as ``history_edits`` reads them, branches as ``2: pin 3=1193`` and ``4: forbid 260``, several of
each parted by commas.
"""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffsasrec.config import from_dict
from diffsasrec.decode_config import DecodeConfig
from diffsasrec.sampling import Decoding
from diffsasrec.trace import DecodeTrace
from workbench.constraints import Constraints, join_texts, read_branches, read_pins, split_texts
from workbench.open_runs import OpenRun, decode_user
from workbench.settings import read_settings, value_as_text

_IN_NOTEBOOK = "notebooks/04_decode.ipynb"
_ALWAYS_SAID = ("num_slots",)  # a short model has another default


@dataclass(frozen=True, kw_only=True)
class DecodeRequest:
    """What is decoded, and how."""

    run: str  # <recipe>/<key>
    user: str
    config: Decoding
    edits: tuple[str, ...] = ()  # of the history
    pins: tuple[str, ...] = ()  # slot=item, from the start
    forbidden: tuple[str, ...] = ()  # items, from the start
    branches: tuple[
        str, ...
    ] = ()  # step: what is laid down after it; each a branch of what the ones before it gave

    def __post_init__(self) -> None:
        read_pins(self.pins)
        read_branches(self.branches)

    @property
    def rule(self) -> str:
        """Return the rule that fills the slots; nothing of a model without slots."""
        return self.config.rule if isinstance(self.config, DecodeConfig) else ""

    @property
    def lineage(self) -> list[DecodeRequest]:
        """Return what this is a branch of, the one without any branch first, each the parent of the next, then this."""
        chain = tuple(str(change) for change in read_branches(self.branches))
        return [dataclasses.replace(self, branches=chain[:length]) for length in range(len(chain) + 1)]

    def decoded(self, run: OpenRun) -> DecodeTrace:
        """Return the trace; errors are those of ``decode_user``."""
        return decode_user(run, self.user, self.config, **self._options())

    def as_python(self, runs_dir: Path) -> str:
        """Return Python code that leaves the same trace in ``trace``."""
        config = [f"{name}={value!r}" for name, value in _settings(self.config).items()]
        options = [f"    {name}={value!r}," for name, value in self._options().items()]
        kind = type(self.config).__name__
        module = "decoding" if self.rule else "sampling"
        imports = ["from pathlib import Path", "", f"from diffsasrec.{module} import {kind}"]
        return "\n".join(
            [
                *imports,
                "from workbench.open_runs import decode_user, open_run",
                "from workbench.runs import Run",
                "",
                f"run = open_run(Run.open(Path({str(runs_dir)!r}), {self.run!r}))",
                f"config = {kind}({', '.join(config)})",
                *(
                    ["trace = decode_user(", "    run,", f"    {self.user!r},", "    config,", *options, ")"]
                    if options
                    else [f"trace = decode_user(run, {self.user!r}, config)"]
                ),
            ]
        )

    def as_command(self, runs_dir: Path, *, output: str = "decode.ipynb") -> str:
        """Return the command that decodes the same.

        Slots are decoded by papermill, whose notebook keeps the trace in the run; a model without slots has no such
        notebook, so ``workbench decode`` writes a page that plays it.
        """
        if not self.rule:
            return self._as_sampling_command(runs_dir)
        given = self.as_parameters() | {"runs_dir": str(runs_dir)}
        words = [
            f"-{'r' if isinstance(value, str) else 'p'} {name} {_quoted(value)}"
            for name, value in given.items()
        ]
        return " \\\n    ".join([f"papermill {_IN_NOTEBOOK} {shlex.quote(output)}", *words])

    def _as_sampling_command(self, runs_dir: Path) -> str:
        settings = (f"{name}={value_as_text(value)}" for name, value in vars(self.config).items())
        given = [
            ("user", [self.user]),
            ("set", settings),
            ("edit", self.edits),
            ("forbid", self.forbidden),
            ("html", ["decode.html"]),
            ("runs", [str(runs_dir)]),
        ]
        words = [f"--{name}={_quoted(value)}" for name, values in given for value in values]
        return " \\\n    ".join([f"workbench decode {_quoted(self.run)}", *words])

    def as_parameters(self) -> dict[str, Any]:
        """Return the parameters of 04_decode that are not its defaults; the page's and the notebook's names agree."""
        settings = _settings(self.config)
        texts = {
            "knobs": join_texts(
                f"{name}={value_as_text(value)}"
                for name, value in settings.items()
                if name not in ("rule", "seed")
            ),
            "edit": join_texts(self.edits),
            "pin": join_texts(self.pins),
            "forbid": join_texts(self.forbidden),
            "branch": join_texts(self.branches),
        }
        named = {"run": self.run, "user": self.user, "rule": self.rule}
        given = {"seed": self.config.seed, **texts}
        return {**named, **{name: value for name, value in given.items() if value}}

    def _options(self) -> dict[str, Any]:
        """Return what ``decode_user`` is given by name."""
        options = {
            "pinned": read_pins(self.pins),
            "forbidden_too": list(self.forbidden),
            "edits": list(self.edits),
            "branches": list(self.branches),
        }
        return {name: value for name, value in options.items() if value}


def asked(run: str, user: str, config: Decoding, constraints: Constraints) -> DecodeRequest:
    """Return what is asked where pins and forbidden items are checked already."""
    about = constraints.about()
    return DecodeRequest(
        run=run,
        user=user,
        config=config,
        pins=tuple(f"{slot}={item}" for slot, item in about["pinned"].items()),
        forbidden=tuple(str(item) for item in about["forbidden_too"]),
    )


def read_request(
    run: str,
    user: str,
    *,
    default: DecodeConfig,
    rule: str,
    seed: int = 0,
    knobs: str = "",
    edit: str = "",
    pin: str = "",
    forbid: str = "",
    branch: str = "",
) -> DecodeRequest:
    """Return what the texts of an address or a notebook ask for; raise ``ValueError`` for what cannot be read.

    ``default`` says how many slots there are, and candidates kept, where the knobs do not.
    """
    plain = {name: vars(default)[name] for name in ("num_slots", "num_candidates")}
    settings = read_settings(split_texts(knobs))
    for name in ("rule", "seed"):
        if name in settings:
            raise ValueError(f"{name} has a place of its own: take it out of the knobs")
    config = from_dict(DecodeConfig, {**plain, "rule": rule, "seed": seed, **settings})
    return DecodeRequest(
        run=run,
        user=user,
        config=config,
        edits=tuple(split_texts(edit)),
        pins=tuple(split_texts(pin)),
        forbidden=tuple(split_texts(forbid)),
        branches=tuple(split_texts(branch)),
    )


def _settings(config: Decoding) -> dict[str, Any]:
    """Return the fields that have to be said to get the config again."""
    return {
        field.name: value
        for field in dataclasses.fields(config)
        if (value := vars(config)[field.name]) != field.default or field.name in ("rule", *_ALWAYS_SAID)
    }


def _quoted(value: Any) -> str:
    return shlex.quote(str(value))
