"""Everything that a decode of one user was asked with: what a page shows, and what gives the same again.

The texts are those of the command, of the notebook and of a page's address: knobs as ``key=value``, pins as
``slot=item``, edits as ``history_edits`` reads them, several of each parted by commas.
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
from workbench.constraints import Change, Constraints, join_texts, read_pins, split_texts
from workbench.experiments import OpenRun, decode_user
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
    after_step: int = 0  # of a branch: how many steps are over when the rest is laid down; 0 is no branch
    then_pins: tuple[str, ...] = ()
    then_forbidden: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        read_pins(self.pins)
        read_pins(self.then_pins)
        if not self.after_step and (self.then_pins or self.then_forbidden):
            raise ValueError(
                "what is pinned or forbidden on the way needs the step after which it is: give a step, or pin from "
                "the start"
            )

    @property
    def rule(self) -> str:
        """Return the rule that fills the slots; nothing of a model without slots."""
        return self.config.rule if isinstance(self.config, DecodeConfig) else ""

    @property
    def change(self) -> Change | None:
        """Return what is laid down on the way."""
        if not self.after_step:
            return None
        return Change(self.after_step, read_pins(self.then_pins), self.then_forbidden)

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
        imports += ["from workbench.constraints import Change"] if self.change else []
        return "\n".join(
            [
                *imports,
                "from workbench.experiments import decode_user, open_run",
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
            "then_pin": join_texts(self.then_pins),
            "then_forbid": join_texts(self.then_forbidden),
        }
        numbers = {"seed": self.config.seed, "after_step": self.after_step}
        named = {"run": self.run, "user": self.user, "rule": self.rule}
        return {**named, **{name: value for name, value in {**numbers, **texts}.items() if value}}

    def _options(self) -> dict[str, Any]:
        """Return what ``decode_user`` is given by name."""
        options = {
            "pinned": read_pins(self.pins),
            "forbidden_too": list(self.forbidden),
            "edits": list(self.edits),
            "change": self.change,
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
    after_step: int = 0,
    then_pin: str = "",
    then_forbid: str = "",
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
        after_step=after_step,
        **{
            name: tuple(split_texts(text))
            for name, text in {
                "edits": edit,
                "pins": pin,
                "forbidden": forbid,
                "then_pins": then_pin,
                "then_forbidden": then_forbid,
            }.items()
        },
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
