"""Invoices and their lines in PostgreSQL, and people who write, correct and cancel them."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, cast
from urllib.parse import urlsplit

import psycopg

from cdc_platform.demo.trade import Pool
from cdc_platform.demo.transactions import (
    Batch,
    Change,
    Connection,
    Statement,
    Transactions,
    deletes,
    inserts,
    moves,
    updates,
)

DATABASE = "billing"
LINES = 2
"""Of an invoice, on average."""

STATES = ("draft", "sent", "paid", "overdue", "void")
CURRENCIES = ("EUR", "DKK", "SEK", "NOK", "PLN")
LABELS = ("export", "gift", "größer 1 000 €", "priority", 'has "quotes"')

_INVOICE = "insert into invoices values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
_LINE = "insert into invoice_lines values (%s, %s, %s, %s, %s, %s)"


@dataclass(slots=True)
class Billing:
    """The tables. ``rng``: the only source of chance, so that a seed gives the same rows."""

    rng: random.Random
    invoices: Pool[int] = field(default_factory=Pool)
    lines: Pool[tuple[int, int]] = field(default_factory=Pool)
    numbers: dict[int, int] = field(default_factory=dict)
    """The highest line number of each invoice: none is given twice."""
    written: int = 0

    definitions: ClassVar[tuple[str, ...]] = (
        f"create type invoice_state as enum ({', '.join(map(repr, STATES))})",
        """create table invoices (
            id bigint primary key, reference uuid not null, customer integer not null,
            state invoice_state not null, amount numeric(10, 2) not null, currency char(3) not null,
            issued_at timestamptz not null, due date, labels text[], details jsonb)""",
        """create table invoice_lines (
            invoice bigint, line integer, sku text not null, quantity smallint not null,
            price numeric(10, 2) not null, discounts numeric(5, 3)[], primary key (invoice, line))""",
    )

    def initial(self, rows: int) -> Iterator[Batch]:
        invoices = [self._invoice() for _ in range(rows // (1 + LINES))]
        lines = [self._line(self.rng.choice(invoices)[0]) for _ in range(rows - len(invoices))]
        for invoice in invoices:
            self.invoices.add(invoice[0])
        for line in lines:
            self.lines.add(line[:2])
        yield Batch(_INVOICE, invoices)
        yield Batch(_LINE, lines)

    def change(self) -> Change:
        choice = self.rng.random()
        if choice < 0.2 or not self.lines:
            return self._bill()
        if choice < 0.5:
            return self._advance()
        if choice < 0.8:
            return self._correct()
        return self._renumber() if choice < 0.85 else self._cancel()

    def _bill(self) -> Change:
        """A new invoice with its lines: a transaction over both tables."""
        invoice = self._invoice()
        lines = [self._line(invoice[0]) for _ in range(self.rng.randint(1, 2 * LINES - 1))]

        def committed() -> None:
            self.invoices.add(invoice[0])
            for line in lines:
                self.lines.add(line[:2])

        return Change((inserts(_INVOICE, *invoice), *(inserts(_LINE, *line) for line in lines)), committed)

    def _advance(self) -> Change:
        invoice, state = self.invoices.any(self.rng), self.rng.choice(STATES)
        text = """update invoices set state = %s, details = details || %s::jsonb, labels = labels || %s::text
            where id = %s"""
        history = json.dumps({"last": {"state": state, "by": self.rng.randint(1, 40)}})
        return _one(updates(text, state, history, self.rng.choice(LABELS), invoice))

    def _correct(self) -> Change:
        invoice, line = self.lines.any(self.rng)
        text = "update invoice_lines set quantity = %s, price = %s where invoice = %s and line = %s"
        total = "update invoices set amount = %s where id = %s"
        return Change(
            (
                updates(text, self.rng.randint(1, 99), self._amount(), invoice, line),
                updates(total, self._amount(), invoice),
            ),
            _nothing,
        )

    def _renumber(self) -> Change:
        """A line gets another number, which is half of its primary key."""
        before = self.lines.any(self.rng)
        after = before[0], self._number(before[0])

        def committed() -> None:
            self.lines.drop(before)
            self.lines.add(after)

        text = "update invoice_lines set line = %s where invoice = %s and line = %s"
        return Change((moves(text, after[1], *before),), committed)

    def _cancel(self) -> Change:
        """An invoice goes with all its lines; which those are, the database knows."""
        invoice = self.lines.any(self.rng)[0]

        def committed() -> None:
            self.invoices.drop(invoice)
            for line in range(1, self.numbers.pop(invoice, 0) + 1):
                self.lines.drop((invoice, line))

        lines = deletes("delete from invoice_lines where invoice = %s", invoice)
        return Change((lines, deletes("delete from invoices where id = %s", invoice)), committed)

    def _invoice(self) -> tuple[Any, ...]:
        self.written += 1
        issued = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.rng.randrange(10**13))
        return (
            self.written,
            uuid.UUID(int=self.rng.getrandbits(128), version=4),
            self.rng.randint(1, 1_000_000),
            "draft",
            self._amount(),
            self.rng.choice(CURRENCIES),
            issued,
            self.rng.choice((None, issued.date() + timedelta(days=30))),
            self.rng.sample(LABELS, self.rng.randint(0, 2)),
            json.dumps({"terms": {"days": 30, "rate": self.rng.random()}, "notes": ["", None, "ä"]}),
        )

    def _line(self, invoice: int) -> tuple[Any, ...]:
        sku = f"SKU-{self.rng.randint(1, 5000):05}"
        discounts = [Decimal(self.rng.randrange(100_000)).scaleb(-3) for _ in range(self.rng.randint(0, 2))]
        return invoice, self._number(invoice), sku, self.rng.randint(1, 99), self._amount(), discounts

    def _number(self, invoice: int) -> int:
        self.numbers[invoice] = self.numbers.get(invoice, 0) + 1
        return self.numbers[invoice]

    def _amount(self) -> Decimal:
        return Decimal(self.rng.randrange(10**10)).scaleb(-2)


def _nothing() -> None: ...


def _one(statement: Statement) -> Change:
    return Change((statement,), _nothing)


@contextmanager
def open_billing(uri: str, seed: int) -> Iterator[Transactions]:
    """``uri``: of a server's database; another one beside it is made."""
    with psycopg.connect(uri, autocommit=True) as server:
        server.execute(f"create database {DATABASE}".encode())
    rng = random.Random(seed)
    with closing(psycopg.connect(urlsplit(uri)._replace(path=f"/{DATABASE}").geturl())) as opened:
        # A cursor of psycopg wants texts that a type checker has seen, as a guard against injected ones.
        yield Transactions(cast(Connection, opened), Billing(rng), rng)
