"""Where a page gets a user's decode from: a run below the runs folder, or the example that comes with the package.

Both answer the same questions, so that a page never asks which one it has. What is dear is cached here: an opened
run (data, split and weights), and a decode per checkpoint, user and config. A model is called through
``open_runs`` and ``decoding_study`` alone.
"""

from __future__ import annotations

import argparse
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
import torch
from numpy.typing import NDArray

from diffsasrec.checkpoint import WEIGHTS
from diffsasrec.config import from_dict, to_dict, unknown_name
from diffsasrec.decode_config import RULES, DecodeConfig
from diffsasrec.largest import largest_columns
from diffsasrec.models import MODELS
from diffsasrec.sampling import Decoding
from diffsasrec.splits import Part
from diffsasrec.trace import DecodeStep, DecodeTrace
from diffsasrec.training import BEST
from diffsasrec.vocabulary import Vocabulary
from workbench.cohort import Sample
from workbench.datasets.catalogue import Catalogue, spans_beginning_with
from workbench.decode_request import DecodeRequest
from workbench.decoding_study import Setting, growing, outcome_of, told_of
from workbench.history_edits import edited
from workbench.open_runs import (
    SHORTEST_HISTORY,
    OpenRun,
    default_decode_config,
    fills_slots,
    open_run,
    recommend_user,
)
from workbench.paths import runs_dir
from workbench.run_files import RunError
from workbench.runs import BrokenRun, Run, list_runs
from workbench.views import example

BASELINES = {"topk": "SASRec, top-K", "autoregressive": "SASRec, one after the other"}
NO_SLOTS = "diffuses an embedding and has no slots to show here: the Decode page steps through it"
NO_WEIGHTS = "has no weights: let its training end, or train it again with the same command"
NO_STEPS = "has no steps to go through, or no weights yet: see Runs"
EXAMPLE = "example"  # the id of the bundled example where a run's id is expected


@dataclass(frozen=True)
class Person:
    """One user's history and the item that was held out from it."""

    user_id: str
    tokens: NDArray[np.int64]  # (L,) the whole history, oldest first
    timestamps: NDArray[np.int64]  # (L,) seconds
    target: int
    target_time: int
    is_dated: bool = True  # False: timestamps are positions

    def when(self, moment: int) -> str:
        """Return one of the timestamps for people: a date, or the place where the data tell the order alone."""
        return day(moment) if self.is_dated else f"no. {moment + 1}"


class Source(ABC):
    """A model's decodes of some users, with what people need to read them."""

    name: str  # what a heading calls it
    counts: NDArray[np.int64]  # (N,) how often each item occurs in training, by logits column
    is_fixed: bool  # only what was recorded can be shown: no knob but the rule has an effect

    @property
    @abstractmethod
    def num_users(self) -> int:
        """How many users can be shown."""

    @abstractmethod
    def user_at(self, index: int) -> str:
        """Return the id of a user by place."""

    @abstractmethod
    def users_beginning_with(self, text: str, *, most: int) -> list[str]:
        """Return the ids of at most so many users, those that begin with a text."""

    @abstractmethod
    def index_of(self, user_id: str) -> int:
        """Return the place of a user; raise ``ValueError`` with a sentence for people."""

    @abstractmethod
    def person(self, user_id: str) -> Person:
        """Return a user's history and target."""

    @abstractmethod
    def rules(self) -> list[str]:
        """Return the rules that can be shown."""

    @property
    @abstractmethod
    def catalogue(self) -> Catalogue:
        """The items as people name them."""

    @abstractmethod
    def decode(self, request: DecodeRequest) -> DecodeTrace:
        """Return the reverse process that is asked for; raise ``ValueError`` for what cannot be."""

    def history(self, request: DecodeRequest) -> list[int]:
        """Return the history that a decode starts from, oldest first, after its edits."""
        return edited(self.person(request.user).tokens.tolist(), request.edits, self.catalogue)

    @abstractmethod
    def sample(self, config: DecodeConfig, *, num_users: int) -> Sample:
        """Return the decodes of many users, which goes on from where it stood when somebody looked last."""

    @abstractmethod
    def user_in_row(self, row: int) -> str:
        """Return the id of the user of a row of a sample."""

    @property
    def has_slots(self) -> bool:
        """Whether it decodes masked slots, to which items can be pinned."""
        return isinstance(self.default_config(), DecodeConfig)

    @abstractmethod
    def default_config(self) -> Decoding:
        """Return how this model is decoded when nobody says otherwise."""

    def slots_config(self) -> DecodeConfig:
        """Return how its slots are decoded when nobody says otherwise; raise ``ValueError`` where it has none."""
        config = self.default_config()
        if not isinstance(config, DecodeConfig):
            raise ValueError(f"{self.name} {NO_SLOTS}")
        return config

    @abstractmethod
    def title(self, token: int) -> str:
        """Return an item's title."""

    @abstractmethod
    def item_id(self, token: int) -> object:
        """Return what the data calls an item: a JSON value."""

    @abstractmethod
    def genres(self, token: int) -> str:
        """Return an item's genres for people."""

    def popularity(self, token: int) -> int:
        """Return how often an item occurs in training."""
        return int(self.counts[Vocabulary.to_column(token)])

    def baselines(self, request: DecodeRequest, run: Run | None) -> dict[str, list[int]]:
        """Return the lists that stand beside a decode, by name: SASRec's from its run, if any, and the most popular."""
        ways = (
            {} if run is None else {words: recommended(run, request, way) for way, words in BASELINES.items()}
        )
        return {**ways, "popularity": most_popular(self, request)}

    @abstractmethod
    def code(self, request: DecodeRequest) -> tuple[str | None, str]:
        """Return the papermill command, where there is one, and the Python code that give the same trace."""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Return where model and data come from: rows of a table."""


class RunSource(Source):
    """The users of a run's test part, decoded when they are asked for."""

    is_fixed = False

    def __init__(self, run: Run) -> None:
        self.run = run
        self._opened, self._part, self.counts = opened_run(run)
        self._dataset = self._opened.dataset
        self._titles = self._dataset.items["title"].array
        self._genres = self._dataset.items["categories"].array
        self.name = f"{self._opened.checkpoint.name} on {self._dataset.name}"

    @property
    def num_users(self) -> int:
        return len(self._part)

    def user_at(self, index: int) -> str:
        return str(self._dataset.interactions.user_ids[self._part.rows[index % len(self._part)]])

    def users_beginning_with(self, text: str, *, most: int) -> list[str]:
        ids, rows = self._dataset.interactions.user_ids, self._part.rows
        found: list[str] = []
        for span in spans_beginning_with(ids, text):
            first, end = np.searchsorted(rows, [span.start, span.stop])
            found += [str(ids[row]) for row in rows[first:end][: most - len(found)]]
        return found

    def index_of(self, user_id: str) -> int:
        row = self._dataset.interactions.user_row(user_id)
        index = int(np.searchsorted(self._part.rows, row))
        if index == len(self._part) or self._part.rows[index] != row:
            raise ValueError(f"nothing of user {user_id} is held out to decode: choose one of the others")
        return index

    def person(self, user_id: str) -> Person:
        index = self.index_of(user_id)
        interactions = self._dataset.interactions
        history = slice(int(self._part.start[index]), int(self._part.end[index]))
        target = int(self._part.target[index])
        return Person(
            user_id=user_id,
            tokens=np.asarray(interactions.tokens[history], dtype=np.int64),
            timestamps=np.asarray(interactions.timestamps[history], dtype=np.int64),
            target=int(interactions.tokens[target]),
            target_time=int(interactions.timestamps[target]),
            is_dated=interactions.is_dated,
        )

    def rules(self) -> list[str]:
        return list(RULES)

    @property
    def catalogue(self) -> Catalogue:
        return self._opened.catalogue

    def decode(self, request: DecodeRequest) -> DecodeTrace:
        return _decode(self._opened.checkpoint.hash, request, self._opened)

    def sample(self, config: DecodeConfig, *, num_users: int) -> Sample:
        return _sample(self.run.id, self._opened.checkpoint.hash, to_dict(config), num_users, self._opened)

    def user_in_row(self, row: int) -> str:
        return str(self._dataset.interactions.user_ids[row])

    def default_config(self) -> Decoding:
        return default_decode_config(self._opened.checkpoint.model)

    def title(self, token: int) -> str:
        return str(self._titles[Vocabulary.to_column(token)])

    def item_id(self, token: int) -> object:
        return self._dataset.interactions.vocabulary.decode([token]).tolist()[0]

    def genres(self, token: int) -> str:
        return str(self._genres[Vocabulary.to_column(token)] or "").replace("|", ", ")

    def code(self, request: DecodeRequest) -> tuple[str | None, str]:
        folder = self.run.folder.parents[1]
        return request.as_command(folder), request.as_python(folder)

    def provenance(self) -> dict[str, Any]:
        manifest = self.run.manifest
        git = manifest.get("git") or {}
        return {
            "run": self.run.id,
            "checkpoint": self._opened.checkpoint.hash,
            "status": self.run.status + (", made by another version of the code" if self.run.stale else ""),
            "commit": f"{git.get('commit') or 'unknown'}{' with changes' if git.get('dirty') else ''}",
            "data": f"{manifest['dataset']['name']}, fingerprint {manifest['dataset']['fingerprint']}",
            "made": manifest.get("created", "unknown"),
            "device": manifest.get("device", "unknown"),
            "seed": manifest.get("seed"),
            "packages": ", ".join(
                f"{name} {version}" for name, version in manifest.get("packages", {}).items()
            ),
            "parameters": manifest["config"],
        }


class ExampleSource(Source):
    """The decodes of a few users of the toy world that were recorded once and come with the package."""

    is_fixed = True
    name = "bundled example: diffsasrec on the toy world"

    def __init__(self) -> None:
        self._content = example.load()
        self.counts = np.asarray(self._content.counts, dtype=np.int64)

    @property
    def num_users(self) -> int:
        return len(self._content.people)

    def user_at(self, index: int) -> str:
        return str(self._content.people[index % self.num_users]["user_id"])

    def users_beginning_with(self, text: str, *, most: int) -> list[str]:
        known = map(self.user_at, range(self.num_users))
        return [user for user in known if user.startswith(text)][:most]

    def index_of(self, user_id: str) -> int:
        known = [self.user_at(index) for index in range(self.num_users)]
        if user_id not in known:
            raise unknown_name("user", user_id, known)
        return known.index(user_id)

    def person(self, user_id: str) -> Person:
        person = self._content.people[self.index_of(user_id)]
        return Person(
            user_id=user_id,
            tokens=np.asarray(person["tokens"], dtype=np.int64),
            timestamps=np.asarray(person["timestamps"], dtype=np.int64),
            target=person["target"],
            target_time=person["target_time"],
        )

    def rules(self) -> list[str]:
        return list(self._content.traces)

    def sample(self, config: DecodeConfig, *, num_users: int) -> Sample:
        people = self._content.people
        trace = self._content.traces[config.rule]
        told = told_of(
            trace,
            np.array([[person["target"]] for person in people]),
            num_allowed=np.array([len(self.counts) - len(set(person["tokens"])) for person in people]),
        )
        told["row"] = np.arange(len(people))
        setting = Setting(system="diffsasrec", way="diffusion", decode=from_dict(DecodeConfig, trace.config))
        outcome = outcome_of(setting, "test", [told], seconds=0.0, counts=self.counts)
        return Sample(iter([outcome]), num_users=len(people))

    def user_in_row(self, row: int) -> str:
        return self.user_at(row)

    def default_config(self) -> DecodeConfig:
        return from_dict(DecodeConfig, next(iter(self._content.traces.values())).config)

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(Vocabulary.from_items(self._content.item_ids), self._content.titles)

    def decode(self, request: DecodeRequest) -> DecodeTrace:
        if request.edits or request.pins or request.forbidden or request.branches:
            raise ValueError("the example is recorded: to change a history, to pin or to forbid needs a run")
        return self._content.traces[request.rule].user(self.index_of(request.user))

    def title(self, token: int) -> str:
        return self._content.titles[Vocabulary.to_column(token)]

    def item_id(self, token: int) -> object:
        return self._content.item_ids[Vocabulary.to_column(token)]

    def genres(self, token: int) -> str:
        return self._content.categories[Vocabulary.to_column(token)].replace("|", ", ")

    def baselines(self, request: DecodeRequest, run: Run | None) -> dict[str, list[int]]:
        place = self.index_of(request.user)
        recorded = {words: self._content.baselines[way][place] for way, words in BASELINES.items()}
        return recorded | super().baselines(request, None)

    def code(self, request: DecodeRequest) -> tuple[str | None, str]:
        place = self.index_of(request.user)
        load = "from workbench.views.example import load"
        return None, f"{load}\n\ntrace = load().traces[{request.rule!r}].user({place})"

    def provenance(self) -> dict[str, Any]:
        return self._content.provenance


@dataclass(frozen=True)
class Shelf:
    """What lies below the runs folder, sorted by what a page can do with it."""

    folder: Path
    steppable: dict[str, Run]  # by id: a model with a reverse process, trained
    other: dict[str, Run]
    broken: list[BrokenRun]
    without_slots: dict[str, Run] = field(default_factory=dict)  # that a page about slots leaves out

    def with_slots(self) -> Shelf:
        """Return the shelf of a page about slots, which offers no run that diffuses an embedding."""
        kept = {id_: run for id_, run in self.steppable.items() if _has_slots(run)}
        left = {id_: run for id_, run in self.steppable.items() if id_ not in kept}
        return replace(self, steppable=kept, without_slots=left)

    def source(self, run_id: str) -> Source:
        """Return the source of an id that is listed; raise ``ValueError`` for any other."""
        if run_id == EXAMPLE:
            return ExampleSource()
        if run_id not in self.steppable:
            raise ValueError(f"the run {run_id} {self.why_not(run_id)}: choose another")
        return RunSource(self.steppable[run_id])

    def why_not(self, run_id: str, *, lacks: str = NO_STEPS) -> str:
        """Return why a page does not show a run, to be read behind its name; ``lacks`` is said of those in order."""
        if run_id in self.without_slots:
            return NO_SLOTS
        run = {**self.steppable, **self.other}.get(run_id)
        if run is not None:
            return NO_WEIGHTS if _lacks_weights(run) else lacks
        broken = (run.reason for run in self.broken if run.id == run_id)
        return next((f"cannot be read ({reason})" for reason in broken), "is not there")

    def on_the_same_data(self, run_id: str) -> list[str]:
        """Return the ids of the runs that can be stepped through and hold out the same items of the same data."""
        if run_id not in self.steppable:
            return [run_id]
        asked = self.steppable[run_id]
        return [id_ for id_, run in self.steppable.items() if holds_out_the_same(run, asked)]

    def baseline(self, run_id: str) -> Run | None:
        """Return the newest run of SASRec that holds out the same items of the same data as a run with slots."""
        if run_id not in self.steppable:
            return None
        asked = self.steppable[run_id]
        for run in self.other.values():
            is_sasrec = run.manifest.get("config", {}).get("model") == "sasrec"
            if is_sasrec and holds_out_the_same(run, asked) and (run.folder / BEST / WEIGHTS).is_file():
                return run
        return None


def holds_out_the_same(run: Run, other: Run) -> bool:
    """Return whether two runs are of the same data and the same split: only then are histories and targets one."""
    splits = [each.manifest.get("config", {}).get("split") for each in (run, other)]
    return run.manifest["dataset"] == other.manifest["dataset"] and splits[0] == splits[1]


def recommended(run: Run, request: DecodeRequest, way: str) -> list[int]:
    """Return the tokens that a run without slots recommends for the history of a request, best first."""
    opened, _, _ = _opened(run.id, stamp(run), run)
    return _recommended(
        opened.checkpoint.hash, request.user, request.edits, way, request.config.length, opened
    )


@st.cache_data(max_entries=256, show_spinner="Asking the baseline …")
def _recommended(
    checkpoint: str, user: str, edits: tuple[str, ...], way: str, length: int, _run: OpenRun
) -> list[int]:
    found = recommend_user(_run, user, way=way, num_recommendations=length, edits=edits)
    return found.items[0].tolist()


def most_popular(source: Source, request: DecodeRequest) -> list[int]:
    """Return the tokens of the items that occur most often in training and not in the history."""
    counts = torch.from_numpy(source.counts.copy())
    counts[Vocabulary.to_column(torch.tensor(source.history(request), dtype=torch.long))] = -1
    best, columns = largest_columns(counts[None], min(request.config.length, len(counts)))
    return Vocabulary.to_token(columns[best >= 0]).tolist()


def shelf() -> Shelf:
    """Return what is below the runs folder now."""
    folder = runs_folder()
    found = list_runs(folder)
    runs = {run.id: run for run in found if isinstance(run, Run)}
    steppable = {id_: run for id_, run in runs.items() if _can_be_stepped(run)}
    other = {id_: run for id_, run in runs.items() if id_ not in steppable}
    return Shelf(folder, steppable, other, [run for run in found if isinstance(run, BrokenRun)])


def runs_folder() -> Path:
    """Return the runs folder: what follows ``--runs`` after the script's name, else the usual place."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--runs", default=None)
    return runs_dir(parser.parse_known_args(sys.argv[1:])[0].runs)


def day(moment: int) -> str:
    """Return a moment in seconds as a date for people."""
    return f"{datetime.fromtimestamp(moment, UTC):%d %b %Y}".lstrip("0")


def _can_be_stepped(run: Run) -> bool:
    model = run.manifest.get("config", {}).get("model")
    has_weights = (run.folder / BEST / WEIGHTS).is_file()
    return model in MODELS and "diffusion" in MODELS[model][1].ways and has_weights


def _lacks_weights(run: Run) -> bool:
    model = run.manifest.get("config", {}).get("model")
    return model in MODELS and MODELS[model][1].trainable and not (run.folder / BEST / WEIGHTS).is_file()


def _has_slots(run: Run) -> bool:
    return fills_slots(MODELS[run.manifest["config"]["model"]][1])


def opened_run(run: Run) -> tuple[OpenRun, Part, NDArray[np.int64]]:
    """Return a run in memory, whom it can decode, and the training counts: shared by all sessions, never changed."""
    return _opened(run.id, stamp(run), run)


@st.cache_resource(max_entries=4, show_spinner="Opening the run …")
def _opened(run_id: str, stamp: str, _run: Run) -> tuple[OpenRun, Part, NDArray[np.int64]]:
    """Return a run in memory, whom it can decode, and the training counts: shared by all sessions, never changed."""
    opened = open_run(_run)
    part = opened.split.part("test")
    return opened, part.take(part.end - part.start >= SHORTEST_HISTORY), opened.split.training_counts()


@st.cache_resource(max_entries=32, show_spinner=False)
def _sample(run_id: str, checkpoint: str, config: dict[str, Any], num_users: int, _run: OpenRun) -> Sample:
    """Return a sample that all sessions share, so that many readers of one page decode it once."""
    setting = Setting(system=_run.checkpoint.name, way="diffusion", decode=from_dict(DecodeConfig, config))
    part = _run.split.part("test")
    most = int((part.end - part.start >= SHORTEST_HISTORY).sum())
    turns = growing(_run, setting, part="test", max_users=num_users)
    return Sample(turns, num_users=min(num_users, most))


@st.cache_data(max_entries=256, show_spinner="Decoding …")
def _decode(checkpoint: str, request: DecodeRequest, _run: OpenRun) -> DecodeTrace:
    """Return one user's decode, in main memory."""
    trace = request.decoded(_run).user(0)
    steps = tuple(
        DecodeStep(**{name: tensor.cpu() for name, tensor in vars(step).items()}) for step in trace.steps
    )
    forced_at = None if trace.forced_at is None else trace.forced_at.cpu()
    return replace(
        trace, steps=steps, history=trace.history.cpu(), filled_at=trace.filled_at.cpu(), forced_at=forced_at
    )


def stamp(run: Run) -> str:
    """Return what changes when the run's weights or data do, without reading them."""
    try:
        found = (run.folder / BEST / WEIGHTS).stat()
    except OSError as error:
        raise RunError(
            f"the run {run.id} has lost its checkpoint ({error.strerror}): train it again"
        ) from error
    return f"{found.st_mtime_ns}-{found.st_size}-{run.manifest['dataset']['fingerprint']}"
