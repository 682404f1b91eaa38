"""`workbench train` and `workbench evaluate`: the id of a run, its figures, and a checkpoint that is broken."""

from __future__ import annotations

import pytest

from tests.workbench.sentences import is_one_sentence
from workbench.runs import Run


def test_training_prints_the_id_of_its_run_alone(train, world):
    assert Run.open(world.runs, train()).status == "done"
    assert train() == train()


def test_evaluating_prints_a_table_and_writes_the_figures(workbench, train, world):
    run = train()
    called = workbench("evaluate", run)
    assert called.status == 0
    assert "diffusion" in called.out
    assert "NDCG@10" in called.out
    assert {result["part"] for result in Run.open(world.runs, run).metrics()["results"]} == {
        "validation",
        "test",
    }


@pytest.mark.parametrize("content", [b"\x80\x04\x95pickle", b"", b"\0" * 99])
def test_a_broken_checkpoint_is_one_sentence(workbench, train, world, content):
    run = Run.open(world.runs, train("random"))
    weights = run.folder / "best" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(content)
    called = workbench("evaluate", run.id)
    weights.write_bytes(whole)
    assert called.status == 2
    assert is_one_sentence(called), called.err
