"""What is kept for connections is added up, for each and for all."""

from __future__ import annotations

import pytest

from registry.rpc.ledger import Account, Ledger
from registry.rpc.seam import Code, RpcError


def test_connection_beyond_its_bound_is_told_how_much_is_kept() -> None:
    account = Account(Ledger(1000, lambda: None), 100)
    account.add(60)
    with pytest.raises(RpcError, match="keeps 120 bytes for this connection; at most 100") as error:
        account.add(60)
    assert error.value.code is Code.RESOURCE_EXHAUSTED
    account.add(-60)
    assert account.held == 60


def test_what_a_client_does_not_take_counts_apart_and_is_no_error() -> None:
    account = Account(Ledger(1000, lambda: None), 100)
    account.wait(bytes(500))
    account.add(100)
    assert (account.waiting, account.kept, account.held) == (500, 100, 600)


def test_message_that_many_do_not_take_counts_once_for_all_and_fully_for_each() -> None:
    ledger = Ledger(1000, lambda: None)
    accounts = [Account(ledger, 100) for _ in range(3)]
    message = bytes(50)
    for each in accounts:
        each.wait(message)
    assert ledger.held == 50
    assert [each.held for each in accounts] == [50] * 3
    accounts[0].wait(bytes(70))
    assert ledger.held == 120
    for each in accounts:
        each.waited(message)
    assert ledger.held == 70


def test_ledger_tells_while_it_grows_beyond_its_bound() -> None:
    told: list[int] = []
    ledger = Ledger(100, lambda: told.append(ledger.held))
    first, second = Account(ledger, 100), Account(ledger, 100)
    first.add(80)
    assert told == []
    second.buffer(30)
    assert told == [110]
    second.buffer(-30)
    assert told == [110]
