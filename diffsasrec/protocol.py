"""The protocol: all that decided a figure besides the model's weights, stored with every figure.

Two figures may be compared when their protocols agree, or when what differs is said: ``comparable`` says it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffsasrec.config import from_dict, to_dict
from diffsasrec.decode_config import DecodeConfig
from diffsasrec.sampling import SAMPLER, SampleConfig
from diffsasrec.split_records import SplitConfig

_WITHOUT_EFFECT = ("num_candidates",)  # fields of a DecodeConfig that change no list


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How figures were measured. Fields without a default are facts of the data and the model."""

    split: SplitConfig
    filters: tuple[str, ...] = ()  # what was left out of the data, in words: "5-core"
    part: str  # validation or test
    recommend: str  # the way of recommending
    list_length: int  # K
    decode: dict[str, Any] | None = None  # the whole DecodeConfig, or SampleConfig, of a decoded list
    filter_seen: bool = True  # items of the user's whole history were forbidden
    max_length: int  # longest history that the model reads
    ranking: str = "full catalogue"  # never a sample of it
    catalogue_size: int  # items that are ranked
    max_users: int | None = None  # judge that many users only
    num_users: int  # that were judged
    future_length: int = 1  # most held-out items of a user
    num_cold_targets: int = 0  # never in training: kept, and counted as misses
    num_repeated_targets: int = 0  # in the user's history already
    target_hash: str  # of all (user, target) pairs of the part
    bootstrap_seed: int = 0
    bootstrap_samples: int = 1000

    @property
    def name(self) -> str:
        """Return one line for people: the split, the list, the counts, and every option that is not the default."""
        plain = to_dict(SplitConfig())
        split = [
            _option(field, value)
            for field, value in to_dict(self.split).items()
            if field != "name" and value != plain[field]
        ]
        words = [
            self.split.name,
            *split,
            *self.filters,
            self.part,
            f"{self.recommend}, list of {self.list_length}",
        ]
        words += [_option(field, value) for field, value in _unusual_knobs(self.decode).items()]
        words += [] if self.filter_seen else ["seen items allowed"]
        words += [f"length {self.max_length}", f"{self.num_users:,} users, {self.catalogue_size:,} items"]
        words += [f"{self.future_length} targets each at most"] if self.future_length > 1 else []
        words += [f"{self.num_cold_targets:,} cold targets"] if self.num_cold_targets else []
        words += [f"{self.num_repeated_targets:,} repeated targets"] if self.num_repeated_targets else []
        for field in ("ranking", "max_users", "bootstrap_seed", "bootstrap_samples"):
            value = getattr(self, field)
            words += [] if value == _DEFAULTS[field] else [_option(field, value)]
        return ", ".join([*words, f"targets {self.target_hash}"])


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Protocol)}


def read_protocol(document: Mapping[str, Any]) -> Protocol:
    """Return the protocol of a stored result, of any age; raise ``ValueError`` that names what is wrong with it."""
    missing = [
        name for name, default in _DEFAULTS.items() if default is dataclasses.MISSING and name not in document
    ]
    if missing:
        raise ValueError(f"the protocol of a result lacks {', '.join(missing)}: evaluate the run again")
    return from_dict(Protocol, upgraded(document))


def upgraded(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored protocol with the knobs of decoding that came later, at their defaults: what it was before.

    Fields of ``Protocol`` and ``SplitConfig`` that came later are left to their defaults.
    """
    decode = document.get("decode")
    return {**document, "decode": decode and {**_usual(decode), **decode}}


def decoding_name(decode: Mapping[str, Any] | None) -> str:
    """Return a decoding as one readable word per knob that is not the default, ``factor num_slots=10 factor=2.0``.

    Two decodings have one name when their knobs agree: it tells results apart. Nothing for a list that was
    not decoded. Knobs that came later do not change the names of older decodings, for defaults are left out.
    """
    if not decode:
        return ""
    stored = upgraded({"decode": decode})["decode"]
    unusual = {field: value for field, value in _unusual_knobs(stored).items() if field != "rule"}
    words = [f"{field}={json.dumps(unusual[field])}" for field in sorted(unusual)]
    length_name = _length_name(stored)
    return " ".join([stored.get("rule", SAMPLER), f"{length_name}={stored[length_name]}", *words])


def is_usual_decoding(name: str) -> bool:
    """Return whether a decoding of that name is the default one, whatever its number of slots."""
    usual = f"{DecodeConfig().rule} {DecodeConfig.length_name}=", f"{SAMPLER} {SampleConfig.length_name}="
    return name.startswith(usual) and name.count("=") == 1


def comparable(first: Protocol, second: Protocol) -> list[str]:
    """Return what differs between two protocols, in words, the first's value before the second's; empty is good."""
    ours, theirs = _facts(first), _facts(second)
    if first.decode and second.decode and _length_name(first.decode) == _length_name(second.decode):
        ours, theirs = ours | _decoding_facts(first.decode), theirs | _decoding_facts(second.decode)
    elif first.decode or second.decode:
        ours |= {"decoding": _decoding(first.decode)}
        theirs |= {"decoding": _decoding(second.decode)}
    return [f"{label}: {value} / {theirs[label]}" for label, value in ours.items() if value != theirs[label]]


def _facts(protocol: Protocol) -> dict[str, str]:
    """Return everything about a protocol that can differ, as words by what it is."""
    split = {
        f"split's {_plain(field)}": _value(value)
        for field, value in to_dict(protocol.split).items()
        if field != "name"
    }
    return {
        "split": protocol.split.name,
        **split,
        "filters": ", ".join(protocol.filters) or "none",
        "part": protocol.part,
        "recommends by": protocol.recommend,
        "length of the list": str(protocol.list_length),
        "seen items": "forbidden" if protocol.filter_seen else "allowed",
        "longest history": str(protocol.max_length),
        "ranked": protocol.ranking,
        "catalogue": f"{protocol.catalogue_size:,} items",
        "users asked for": "all" if protocol.max_users is None else f"{protocol.max_users:,}",
        "users judged": f"{protocol.num_users:,}",
        "targets of a user": f"{protocol.future_length} at most",
        "cold targets": f"{protocol.num_cold_targets:,}",
        "repeated targets": f"{protocol.num_repeated_targets:,}",
        "hash of the targets": protocol.target_hash,
        "bootstrap": f"{protocol.bootstrap_samples:,} samples, seed {protocol.bootstrap_seed}",
    }


def _decoding_facts(decode: Mapping[str, Any]) -> dict[str, str]:
    return {f"decoding's {_plain(field)}": _value(value) for field, value in _knobs(decode).items()}


def _decoding(decode: Mapping[str, Any] | None) -> str:
    """Return how a list was decoded: the rule, and every knob that is not the default."""
    unusual = {field: value for field, value in _unusual_knobs(decode).items() if field != "rule"}
    return (
        ", ".join([decode.get("rule", SAMPLER), *(_option(*each) for each in unusual.items())])
        if decode
        else "none"
    )


def _knobs(decode: Mapping[str, Any] | None) -> dict[str, Any]:
    return {field: value for field, value in (decode or {}).items() if field not in _WITHOUT_EFFECT}


def _unusual_knobs(decode: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return how a decode differs from the default one; its number of slots is the list's length."""
    plain, length_name = _usual(decode or {}), _length_name(decode or {})
    return {
        field: value
        for field, value in _knobs(decode).items()
        if field != length_name and value != plain.get(field)
    }


def _usual(decode: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default of what decodes so: of masked slots by a rule, or of embeddings without one."""
    return to_dict(DecodeConfig() if _length_name(decode) == DecodeConfig.length_name else SampleConfig())


def _length_name(decode: Mapping[str, Any]) -> str:
    return SampleConfig.length_name if SampleConfig.length_name in decode else DecodeConfig.length_name


def _option(field: str, value: Any) -> str:
    """Return a setting as people say it: ``refit``, ``quantile 0.9``."""
    return _plain(field) if value is True else f"{_plain(field)} {_value(value)}"


def _plain(field: str) -> str:
    return field.replace("_", " ")


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "on", False: "off"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
