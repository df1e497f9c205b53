"""Which account an estimate is compared under: a bill may speak of one, of several, or of none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from realtime_spend.core.line_items import Provider
    from realtime_spend.core.reconciliation.bills import BilledItem
    from realtime_spend.core.reconciliation.estimated import Gap


class Accounts:
    """The accounts that a bill speaks of, and which of them an estimate is about."""

    def __init__(self, items: Iterable[BilledItem]) -> None:
        self._known: dict[Provider, set[str | None]] = {}
        for item in items:
            self._known.setdefault(item.provider, set()).add(item.account)

    def of_estimate(self, provider: Provider, account: str | None) -> str | None:
        """Return the account to compare under: none where the bill is not split by account, else the only one."""
        billed = self._known.get(provider)
        if billed is None:
            return account
        named = billed - {None}
        if not named:
            return None
        if account is None:
            return next(iter(named)) if len(named) == 1 else None
        # Azure's names are told in any case, and are the same name.
        same = [name for name in named if name is not None and name.casefold() == account.casefold()]
        return same[0] if len(same) == 1 else account

    def unknown(self, provider: Provider, account: str | None) -> bool:
        """Whether the bill speaks of accounts, and of this one nothing."""
        return account is not None and self.is_split(provider) and account not in self._known[provider]

    def is_without(self, provider: Provider, account: str | None) -> bool:
        """Whether the bill names accounts, and usage under this one is of none of them, or of nobody knows which."""
        return self.is_split(provider) and account not in self._known[provider] - {None}

    def names(self, provider: Provider) -> list[str]:
        """Return the accounts that the bill speaks of."""
        return sorted(name for name in self._known.get(provider, ()) if name is not None)

    def is_split(self, provider: Provider) -> bool:
        """Whether the bill says of what account any of this provider's usage is."""
        return bool(self._known.get(provider, set()) - {None})


def gaps_by_account(gaps: Iterable[Gap], accounts: Accounts) -> dict[tuple[date, Provider, str | None], list[Gap]]:
    """Return the gaps of each day under the account that they are compared under."""
    found: dict[tuple[date, Provider, str | None], list[Gap]] = {}
    for gap in gaps:
        account = accounts.of_estimate(gap.provider, gap.account)
        found.setdefault((gap.day, gap.provider, account), []).append(gap)
    return found
