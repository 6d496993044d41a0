"""What a job may still spend, counted before a request leaves."""

import asyncio

from sdvp_core.llm.settings import Budget
from sdvp_core.llm.store import Answer, Store


class BudgetSpent(Exception):
    """No further request fits into the budget. The text says which limit was reached."""


class Purse:
    """Guards one job's budget. A request first takes what it may cost at worst; what it did cost
    is settled when its answer comes, so the limits are never passed, however many are under way.
    """

    def __init__(self, budget: Budget, store: Store, job: str) -> None:
        self._budget = budget
        self._store = store
        self._job = job
        before = store.spent(job)
        self.requests, self.tokens_in, self.tokens_out = (
            before.requests,
            before.tokens_in,
            before.tokens_out,
        )
        self._held_in = self._held_out = self._under_way = 0
        self._settled = asyncio.Event()
        self._spent: str | None = None

    @property
    def cost(self) -> float:
        """Of all answers so far, in the currency of the prices."""
        return self._budget.price(self.tokens_in, self.tokens_out)

    @property
    def empty(self) -> bool:
        """Whether not even a request without cost would fit."""
        return self._spent is not None or self._limit(0, 0) is not None

    async def take(self, tokens_in: int, tokens_out: int) -> None:
        """Hold the worst cost of one request. Raises :class:`BudgetSpent` where it does not fit.

        Where it would fit if those under way cost less than their worst, it waits for them.
        """
        while self._spent is None:
            limit = self._limit(tokens_in, tokens_out)
            if limit is None:
                break
            if not self._under_way or limit == "requests":
                self._spent = f"the budget of {limit} is spent"
                break
            self._settled.clear()
            await self._settled.wait()
        if self._spent is not None:
            raise BudgetSpent(self._spent)
        self.requests += 1
        self._store.book_request(self._job)
        self._under_way += 1
        self._held_in += tokens_in
        self._held_out += tokens_out

    def settle(
        self,
        tokens_in: int,
        tokens_out: int,
        key: bytes | None = None,
        answer: Answer | None = None,
    ) -> None:
        """Give back what :meth:`take` held; with an answer, keep it and book what it cost."""
        self._under_way -= 1
        self._held_in -= tokens_in
        self._held_out -= tokens_out
        if key is not None and answer is not None:
            self._store.put(key, answer, self._job)
            self.tokens_in += answer.tokens_in
            self.tokens_out += answer.tokens_out
        self._settled.set()

    def _limit(self, tokens_in: int, tokens_out: int) -> str | None:
        """The name of the limit that one more request might pass."""
        budget = self._budget
        tokens_in += self.tokens_in + self._held_in
        tokens_out += self.tokens_out + self._held_out
        if budget.requests is not None and self.requests >= budget.requests:
            return "requests"
        if budget.tokens is not None and tokens_in + tokens_out > budget.tokens:
            return "tokens"
        if budget.cost is not None and budget.price(tokens_in, tokens_out) > budget.cost:
            return "cost"
        return None
