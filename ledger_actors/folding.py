"""How entries of the log bring accounts up to date."""

from collections.abc import Callable, Iterable

from ledger_actors.entry import Entry, out_of_order
from ledger_actors.identity import UserId
from ledger_actors.money import Micros
from ledger_actors.ports import NO_ACCOUNT, AccountSummary


def fold(
    account: Callable[[UserId], AccountSummary | None], entries: Iterable[Entry]
) -> dict[UserId, AccountSummary]:
    """The accounts that the entries change, as they are after them.

    Args:
        account: an account as the snapshot has it.
        entries: what follows the snapshot, in the order of the log.

    Raises:
        CorruptStore: an entry is not the one that comes next in its user's history.
    """
    accounts: dict[UserId, AccountSummary] = {}
    for entry in entries:
        summary = accounts.get(entry.user) or account(entry.user) or NO_ACCOUNT
        if entry.number != summary.entries + 1:
            raise out_of_order(entry, summary.entries)
        accounts[entry.user] = AccountSummary(Micros(summary.balance + entry.amount), entry.number)
    return accounts
