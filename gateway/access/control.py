"""A key that a caller shows → the account of that key; both ways in ask here."""

from __future__ import annotations

from gateway.access.account import Account, Refused
from gateway.errors import EXPIRED_API_KEY, INVALID_API_KEY, ApiError
from gateway.keys import FindKey, KeyExpired


class KeyMissing(ApiError):
    """No key was shown at all.

    Args:
        where: how one is sent.
    """

    def __init__(self, where: str) -> None:
        super().__init__(401, INVALID_API_KEY, f"this call needs a key, sent as {where}")


class AccessControl:
    """The accounts of all keys that have called.

    Args:
        find: a key → its caller, None for a key that is none.
        refused: told of each refusal for a limit.
    """

    def __init__(self, find: FindKey, refused: Refused) -> None:
        self._find = find
        self._refused = refused
        self._accounts: dict[str, Account] = {}

    def account(self, authorization: str, where: str) -> Account:
        """The account of the key in `Bearer KEY`.

        Args:
            where: how a key is sent, for the caller who sent none.

        Raises:
            ApiError: there is no key in it, or a wrong one, or one that has expired.
        """
        scheme, _, presented = authorization.partition(" ")
        presented = presented.strip()
        if scheme.lower() != "bearer" or not presented:
            raise KeyMissing(where)
        try:
            caller = self._find(presented)
        except KeyExpired as error:
            raise ApiError(401, EXPIRED_API_KEY, str(error)) from None
        if caller is None:
            raise ApiError(401, INVALID_API_KEY, "the key is wrong or was revoked")
        account = self._accounts.get(caller.name)
        if account is None or account.caller != caller:  # It is new, or its limits were changed.
            account = self._accounts[caller.name] = Account(caller, self._refused)
        return account
