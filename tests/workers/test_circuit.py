from __future__ import annotations

from pondflight.workers.circuit import Circuit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def failing(circuit: Circuit, times: int) -> None:
    for _ in range(times):
        assert circuit.admits()
        circuit.failed()


def test_three_failures_in_a_row_open_it_and_fewer_do_not() -> None:
    circuit = Circuit()
    failing(circuit, 2)
    circuit.succeeded()
    failing(circuit, 2)
    assert circuit.admits()
    circuit.failed()
    assert not circuit.admits()


def test_after_a_while_one_probe_gets_through_at_a_time() -> None:
    clock = Clock()
    circuit = Circuit(first=1.0, clock=clock)
    failing(circuit, 3)
    clock.now = 1.0
    assert circuit.admits()
    assert not circuit.admits()
    circuit.succeeded()
    assert circuit.closed


def test_each_probe_that_fails_doubles_the_wait_up_to_a_limit() -> None:
    clock = Clock()
    circuit = Circuit(first=1.0, longest=4.0, clock=clock)
    failing(circuit, 3)
    for wait in (1.0, 2.0, 4.0, 4.0):
        clock.now += wait - 0.1
        assert not circuit.admits()
        clock.now += 0.1
        assert circuit.admits()
        circuit.failed()


def test_calls_that_were_under_way_when_it_opened_do_not_lengthen_the_wait() -> None:
    clock = Clock()
    circuit = Circuit(first=1.0, clock=clock)
    for _ in range(8):
        assert circuit.admits()
    for _ in range(8):
        circuit.failed()
    clock.now = 1.0
    assert circuit.admits()
