"""A checkpoint is a folder of three plain files; what is wrong with one is said in a sentence; nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffsasrec.checkpoint import CheckpointError, load_checkpoint, load_state, save_checkpoint
from diffsasrec.files import write_state
from diffsasrec.models import MODELS, build_model
from diffsasrec.vocabulary import Vocabulary

FILES = ["config.json", "model.safetensors", "vocabulary.json"]
VOCABULARY = Vocabulary.from_items([10, 20, 30, 40, 50])
SMALL = {"max_length": 6, "width": 8, "num_blocks": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a good checkpoint of SASRec."""
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "best", build_model("sasrec", SMALL, 5), VOCABULARY)
    return tmp_path / "best"


class Trap:
    """An object whose unpickling makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def config_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def rewrite_config(folder: Path, **changes) -> None:
    content = {**config_of(folder), **changes}
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")


def message_of(folder: Path, **arguments) -> str:
    """Return the sentence of the error that loading must raise; it is one line and names the folder."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder, **arguments)
    message = str(caught.value)
    assert folder.name in message
    assert "Traceback" not in message
    return message


# --- what is good


def test_a_checkpoint_holds_three_files_and_nothing_beside_them(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_the_config_file_is_that_of_the_contract(folder: Path) -> None:
    content = config_of(folder)
    assert {key: content[key] for key in ("format", "model", "num_items")} == {
        "format": 1,
        "model": "sasrec",
        "num_items": 5,
    }
    assert content["config"]["width"] == 8


@pytest.mark.parametrize("name", MODELS)
def test_every_model_comes_back_with_the_same_bits(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = dict.fromkeys(("diffsasrec", "bert4rec"), SMALL | {"fine_tune_slots": 3})
    own |= {"block_diffusion": SMALL | {"block_size": 3}}
    own |= dict.fromkeys(("diffurec", "diffurecsys_v1", "diffurecsys_v2", "adrec"), SMALL | {"num_heads": 2})
    own |= {"sasrec": SMALL, "gru4rec": {"max_length": 6, "width": 8}}
    config = own.get(name, {})
    model = build_model(name, config, 5)
    save_checkpoint(tmp_path / "a" / "b", model, VOCABULARY)  # folders are made
    loaded = load_checkpoint(tmp_path / "a" / "b", vocabulary=VOCABULARY)
    assert loaded.name == name
    assert loaded.vocabulary == VOCABULARY
    assert type(loaded.model) is type(model)
    assert loaded.model.config == model.config
    assert not loaded.model.training
    assert loaded.model.state_dict().keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value), key
        assert loaded.model.state_dict()[key].dtype == value.dtype


def test_a_model_that_knows_item_features_comes_back_with_them(tmp_path: Path) -> None:
    features = torch.tensor([[True, False], [False, True], [True, True], [False, False], [False, True]])
    config = SMALL | {"fine_tune_slots": 3, "item_features": True}
    model = build_model("diffsasrec", config, 5, item_features=features)
    save_checkpoint(tmp_path, model, VOCABULARY)
    loaded = load_checkpoint(tmp_path).model
    assert torch.equal(loaded.transformer.item_features, features)
    history = torch.tensor([[1, 4, 2]])
    assert torch.equal(loaded.next_item_logits(history), model.eval().next_item_logits(history))


def test_the_hash_is_that_of_the_weights_file_and_moves_with_it(folder: Path) -> None:
    before = load_checkpoint(folder).hash
    assert before == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]
    weights = load_file(folder / "model.safetensors")
    weights[next(iter(weights))] += 1e-3
    save_file(weights, folder / "model.safetensors")
    assert load_checkpoint(folder).hash != before


def test_saving_again_replaces_the_old_weights(folder: Path) -> None:
    torch.manual_seed(1)
    other = build_model("sasrec", SMALL, 5)
    save_checkpoint(folder, other, VOCABULARY)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    for key, value in load_checkpoint(folder).model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])


def test_a_reader_during_the_next_save_sees_a_whole_file(folder: Path, monkeypatch) -> None:
    """A save that dies while it writes leaves the old checkpoint as it was."""
    before = {name: (folder / name).read_bytes() for name in FILES}

    def dies(tensors: dict, path: Path, *rest, **more) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr("diffsasrec.files.save_file", dies)
    torch.manual_seed(1)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(folder, build_model("sasrec", SMALL, 5), VOCABULARY)
    assert {name: (folder / name).read_bytes() for name in FILES} == before
    load_checkpoint(folder)


def test_the_random_state_of_the_caller_does_not_matter(folder: Path) -> None:
    torch.manual_seed(1)
    first = load_checkpoint(folder).model.state_dict()
    torch.manual_seed(2)
    for key, value in load_checkpoint(folder).model.state_dict().items():
        assert torch.equal(value, first[key])


# --- what is wrong


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_checkpoint(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncated", "empty", "zeros", "noise", "one byte short"])
def test_a_damaged_file_is_a_checkpoint_error(folder: Path, name: str, damage: str) -> None:
    whole = (folder / name).read_bytes()
    damaged = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "zeros": bytes(len(whole)),
        "noise": bytes((7 * place + 131) % 256 for place in range(len(whole))),
        "one byte short": whole[:-1] if name == "model.safetensors" else whole.rstrip()[:-1],
    }
    (folder / name).write_bytes(damaged[damage])
    message_of(folder)


def test_a_pickle_in_disguise_is_refused_and_never_run(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap(trap)))
    assert "pickle" in message_of(folder) or "safetensors" in message_of(folder)
    torch.save({"weight": torch.zeros(1), "trap": Trap(trap)}, folder / "model.safetensors")
    message_of(folder)
    assert not trap.exists()


def test_another_catalogue_is_refused_with_both_sizes(folder: Path) -> None:
    assert load_checkpoint(folder, vocabulary=VOCABULARY).vocabulary == VOCABULARY
    other = Vocabulary.from_items([10, 20, 30])
    message = message_of(folder, vocabulary=other)
    assert "catalogue" in message
    assert "5" in message
    assert "3" in message


def test_another_catalogue_of_the_same_size_is_refused_too(folder: Path) -> None:
    assert "catalogue" in message_of(folder, vocabulary=Vocabulary.from_items([10, 20, 30, 40, 51]))


def test_an_unknown_format_is_named(folder: Path) -> None:
    rewrite_config(folder, format=7)
    assert "7" in message_of(folder)
    assert "format" in message_of(folder)


@pytest.mark.parametrize("content", ["[]", "null", "3", "{}", '"text"', '{"format": 1}'])
def test_a_config_of_another_shape_is_a_checkpoint_error(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content, encoding="utf-8")
    message_of(folder)


@pytest.mark.parametrize(
    "content", ["[]", "null", "3", "{}", '{"item_ids": 3}', '{"item_ids": []}', '{"item_ids": [[1]]}']
)
def test_a_vocabulary_of_another_shape_is_a_checkpoint_error(folder: Path, content: str) -> None:
    (folder / "vocabulary.json").write_text(content, encoding="utf-8")
    message_of(folder)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model": "sasrek"}, "sasrec"),
        ({"model": ["sasrec"]}, "model"),
        ({"model": None}, "model"),
        ({"num_items": 6}, "6"),
        ({"num_items": "5"}, "items"),
        ({"config": []}, "config"),
        ({"config": None}, "config"),
        ({"config": {**SMALL, "widht": 8}}, "width"),
        ({"config": {**SMALL, "width": "8"}}, "width"),
        ({"config": {**SMALL, "width": 16}}, ""),  # the weights have another shape
        ({"config": {**SMALL, "num_blocks": 2}}, ""),  # weights are missing
        ({"model": "diffsasrec"}, ""),
    ],
)
def test_a_config_that_does_not_fit_is_a_checkpoint_error(folder: Path, changes: dict, word: str) -> None:
    rewrite_config(folder, **changes)
    assert word in message_of(folder)


def test_an_unknown_key_beside_the_known_ones_is_an_error(folder: Path) -> None:
    rewrite_config(folder, modle="sasrec")
    assert "modle" in message_of(folder)


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_weights_that_are_missing_or_unknown_are_an_error(folder: Path, change: str) -> None:
    weights = load_file(folder / "model.safetensors")
    if change == "missing":
        del weights[next(iter(weights))]
    else:
        weights["something"] = torch.zeros(1)
    save_file(weights, folder / "model.safetensors")
    message_of(folder)


def test_a_checkpoint_error_is_a_value_error() -> None:
    assert issubclass(CheckpointError, ValueError)


# --- the trainer's state


def test_a_state_of_tensors_and_numbers_comes_back(tmp_path: Path) -> None:
    state = {"step": 3, "best": None, "weights": {"a": torch.arange(3.0)}, "names": ["x"], "share": 0.5}
    write_state(tmp_path / "trainer.pt", state)
    loaded = load_state(tmp_path / "trainer.pt")
    assert torch.equal(loaded["weights"].pop("a"), state["weights"].pop("a"))
    assert loaded == state


def test_a_state_that_holds_code_is_refused_and_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    torch.save({"trap": Trap(trap)}, tmp_path / "trainer.pt")
    with pytest.raises(CheckpointError, match=r"trainer\.pt"):
        load_state(tmp_path / "trainer.pt")
    (tmp_path / "trainer.pt").write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(CheckpointError, match=r"trainer\.pt"):
        load_state(tmp_path / "trainer.pt")
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"text"])
def test_a_damaged_state_is_a_checkpoint_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "trainer.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"trainer\.pt"):
        load_state(tmp_path / "trainer.pt")


def test_a_truncated_state_is_a_checkpoint_error(tmp_path: Path) -> None:
    write_state(tmp_path / "trainer.pt", {"weights": torch.arange(1000.0)})
    whole = (tmp_path / "trainer.pt").read_bytes()
    for length in (len(whole) // 2, len(whole) - 1, 10):
        (tmp_path / "trainer.pt").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"trainer\.pt"):
            load_state(tmp_path / "trainer.pt")
