"""Scripts of scenarios that failed once, cut down: each shows a fault that was there."""

from __future__ import annotations

from howdah.engine.scheduler.simulation.scenarios import new_model


def test_copies_made_by_request_are_dropped_with_the_result() -> None:
    """A copy that a client asked for was entered where dropping did not look: it stayed with the worker for ever."""
    model = new_model()
    model.join_worker("w0", "h1")
    model.join_worker("w1", "h2")
    model.layer("a", 1)
    model.join_client("c0")
    model.submit("c0", "a", [("a", 0, 1)])
    model.step("w0")
    model.step("w0")
    model.report("w0")
    model.copy("w1", "a", 0, 1)
    model.step("w1")
    model.report("w1")
    assert len(model.workers["w1"].store) == 1
    model.release("c0", "a", 0, 1)
    model.end()


def test_copies_that_a_client_has_asked_for_stay_when_a_task_has_used_the_result() -> None:
    """They were dropped with those that tasks had fetched: the next death lost what had been replicated."""
    model = new_model()
    model.join_worker("w0", "h1")
    model.join_worker("w1", "h2")
    model.layer("a", 1)
    model.layer("b", 1, ("a", "one"))
    model.join_client("c0")
    model.submit("c0", "a", [("a", 0, 1)])
    model.settle()
    (holder,) = [name for name, worker in model.workers.items() if worker.store]
    (other,) = model.workers.keys() - {holder}
    model.copy(other, "a", 0, 1)
    model.submit("c0", "ab", [("b", 0, 1)])
    model.settle()
    assert len(model.workers[other].store) >= 1
    model.kill(holder)
    model.settle()
    assert model.executed[model.task_range("a", 0, 1)[0], 0] == 1
    model.end()


def test_an_input_that_the_worker_has_made_itself_since_is_not_dropped_as_a_stray() -> None:
    """w1's run was to fetch a[17]; its holder died, w1 itself made it again, then the run reported that it had not
    found it: w1 was told to drop its own, new result."""
    model = new_model()
    model.join_worker("w0", "h1", "/r0", 2)
    model.join_worker("w1", "H2", "/r1", 2)
    hosts = (2, 3, 2, 3, 0, 0, 0, 2, 0, 3, 1, 2, 2, 2, 3, 1, 0, 3, 1, 3, 0, 0, 0, 0)
    sets = (("H1",), ("h2", "h3"), (), ("elsewhere",))
    model.layer("a", 24, host_sets=sets, host_index=hosts, nbytes=(100,) * 24)
    adjacency = [
        [3, 15], [5, 18, 11, 14], [3, 16, 14], [], [17, 1, 15], [20, 17, 3, 16], [17, 14], [], [13, 16], [],
        [18, 13, 17, 8], [23],
    ]  # fmt: skip
    model.layer("b", 12, ("a", "free", adjacency))
    model.layer("c", 1, ("b", "free", [[4, 8, 9]]), ("a", "free", [[17]]))
    model.layer("d", 1, ("b", "free", [[1]]))
    model.join_client("c0", 4.0)
    model.submit("c0", "abcd", [("d", 0, 1), ("c", 0, 1)], 1)
    steps = "w1:1 w1:1 w1:1 w1:1 w0:0 w0:1 w1:1 w0:1 w0:1 w1:0 w0:0 w0:1 w0:1 w1:0 w1! w0:0 w0!1 w1! w0!"
    play(model, steps)
    model.join_client("c1", 1.0)
    model.submit("c1", "abcd", [("a", 0, 24)], 0)
    play(model, "w0!1 w0! w1:0 w1:1 w1:1 w0:1 w0:1 w0:0 w1:1 w1:0 w1! w0:0 w1! w0:0 w1:0 w0! w1! w1! w1:0")
    model.leave_client("c1")
    play(model, "w1:0 w1:1 w1:1 w1! w1:1")
    model.join_worker("w0", "h3", "/r0", 2)
    play(model, "w1:1 w1:1 w1:0 w1:1 w1!2 w1:0 w1! w1!1")
    model.settle()
    model.end()


def test_a_copy_that_another_run_has_brought_is_not_dropped_as_a_stray() -> None:
    model = new_model()
    model.join_worker("w0", "h3", "/r0", 2)
    model.join_worker("w1", "H2", "/r1", 1)
    model.join_worker("w2", "h1", "/r0", 2)
    sets = (("H1",), ("h2", "h3"), (), ("elsewhere",))
    model.layer("a", 5, host_sets=sets, host_index=(0, 0, 1, 0, 3), nbytes=(100,) * 5)
    model.layer("b", 3, ("a", "all"), retries=1)
    model.join_client("c0", 4.0)
    model.submit("c0", "ab", [("a", 0, 5)], 1)
    play(model, "w1:1 w0:1 w2:1 w1:1")
    model.join_client("c2", 1.0)
    model.submit("c2", "ab", [("b", 0, 3)], 1)
    play(model, "w0:1 w0! w1! w2:0 w2:0 w2:0 w2! w2:1 w2! w2:1 w2! w2:0 w2:1 w2:0 w2:1")
    model.join_worker("w1", "h3", "/r0", 2)
    play(model, "w2:0 w2! w2:1 w2! w2:0 w2!1")
    model.settle()
    model.end()


def test_a_client_that_comes_back_under_its_name_has_no_runs_of_the_one_before() -> None:
    model = new_model()
    model.join_worker("w0", "h")
    model.layer("a", 5)
    model.join_client("c2")
    model.submit("c2", "a", [("a", 0, 5)])
    model.leave_client("c2")
    model.join_client("c2")
    model.settle()
    assert model.scheduler.state.clients["c2"].running == 0


def test_inputs_fetched_for_a_run_that_was_given_to_others_do_not_stay() -> None:
    """w0 is taken for dead with runs queued, comes back, and fetches for one that is no longer its own."""
    model = new_model()
    for name, host, rack in (("w0", "h2", "/r1"), ("w1", "H3", "/r0"), ("w2", "H1", "/r0"), ("w3", "H2", "/r1")):
        model.join_worker(name, host, rack)
    sets = (("H1",), ("h2", "h3"), (), ("elsewhere",))
    model.layer("a", 5, host_sets=sets, host_index=(1, 0, 3, 3, 0), nbytes=(100,) * 5)
    model.layer("b", 5, ("a", "window", 2, 1, False))
    model.join_client("c0", 4.0)
    model.submit("c0", "ab", [("b", 0, 5), ("a", 4, 5)])
    play(model, "w0:0 w1:1 w2:1 w3:0 w1:1 w1! w0:1 w0! w2:1 w2:1 w2! w0:1 w0:1 w0:0")
    model.unlink("w0")
    model.settle()
    model.end()


def test_a_restored_layer_that_nobody_needs_is_forgotten() -> None:
    """It was kept only for runs that nobody needed; these are not in a journal that was compacted."""
    model = new_model()
    model.join_worker("w0", "h")
    model.layer("a", 5)
    model.layer("b", 5, ("a", "one"))
    model.join_client("c0")
    model.submit("c0", "ab", [("b", 0, 5)])
    model.release("c0", "b", 0, 5)
    model.restart(compacted=True)
    model.relink("w0")
    model.end()


def play(model, moves: str) -> None:
    """`w0:1` is a step of w0 in slot 1, `w0!2` its third report."""
    for move in moves.split():
        if "!" in move:
            name, at = move.split("!")
            model.report(name, int(at or 0))
        else:
            name, slot = move.split(":")
            model.step(name, int(slot))


def test_what_was_for_one_worker_finds_another_when_that_one_dies() -> None:
    """It was put on offer once more to the worker that had just gone."""
    model = new_model()
    model.join_worker("w0", "h1", "/r0", 1)
    model.layer("a", 1)
    model.layer("b", 1, ("a", "k", 2))
    model.layer("c", 1, ("b", "one"), retries=1)
    model.join_client("c0", 1.0)
    model.submit("c0", "abc", [("a", 0, 1), ("c", 0, 1)], 1)
    model.step("w0", 0)
    model.step("w0", 0)
    model.step("w0", 1)
    model.report("w0", 0)
    model.step("w0", 0)
    model.step("w0", 0)
    model.report("w0", 0)
    model.step("w0", 0)
    model.report("w0", 0)
    model.step("w0", 0)
    model.join_client("c1", 1.0)
    model.submit("c1", "abc", [("b", 0, 1), ("b", 0, 1)], 1)
    model.step("w0", 0)
    model.step("w0", 1)
    model.report("w0", 0)
    model.faults("a", 0, 2)
    model.poison("b", 0)
    model.join_worker("w11", "h2", "/r1", 2)
    model.join_worker("w12", "H2", "/r1", 2, resources=(("gpu", 1.0),))
    model.kill("w0", clean=False)
    model.settle()


def test_a_copy_on_its_way_when_the_scheduler_died_is_dropped_if_nobody_wants_it() -> None:
    """w1 was still fetching b[4] for a run of c when the scheduler was started again and its client had left: nothing
    told the new one of that copy, and it stayed."""
    model = new_model(False)
    model.join_worker("w1", "h1")
    model.join_worker("w2", "h2", "/r", 2)
    model.layer("b", 24)
    model.layer("c", 12, ("b", "k", 2))
    model.join_client("c0", 4.0)
    model.submit("c0", "bc", [("c", 1, 12)])
    model.step("w1")
    model.step("w2")
    model.step("w1", 1)
    for index in (0, 0, 1, 1):
        model.step("w2", index)
    model.report("w2")
    model.step("w1")
    model.report("w1")
    model.step("w1")
    model.step("w1", 1)
    model.report("w1")
    model.step("w1", 1)
    (run,) = [run for run in model.workers["w1"].batches if run.start.sources]
    assert not run.begun  # it fetches
    model.leave_client("c0")
    model.restart()
    model.end()
