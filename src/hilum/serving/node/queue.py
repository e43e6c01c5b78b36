"""The queue of a node: which image is where, kept so that a kill at any moment loses nothing.

Two tables: a job is one image under one rule, a delivery is one destination of a job's results. Nothing says "in
work": whoever works on a row changes it when the work is done, in one transaction, so that after a kill it is done
again. Rows hold hashes of UIDs, and reasons without identifiers.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from hilum.errors import HilumError

FILE = "queue.sqlite"
RECEIVED, ANSWERED, SENT, REFUSED, DEAD = "received", "answered", "sent", "refused", "dead"
STATES = (RECEIVED, ANSWERED, SENT, REFUSED, DEAD)
WAITING, FAILING = "waiting", "failing"
NOT_RULED = ""  # the rule of an image that none applies to
PATIENCE = 30.0  # seconds to wait for another process that writes, such as `hilum node retry`
TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    instance TEXT NOT NULL,
    rule TEXT NOT NULL,
    content TEXT NOT NULL,
    state TEXT NOT NULL,
    decision TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 0,
    received REAL NOT NULL,
    kept INTEGER NOT NULL DEFAULT 1,
    UNIQUE (instance, rule)
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, tries, id);
CREATE INDEX IF NOT EXISTS jobs_kept ON jobs (kept, state);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    destination TEXT NOT NULL,
    state TEXT NOT NULL,
    urgent INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    UNIQUE (job, destination)
);
CREATE INDEX IF NOT EXISTS deliveries_by_state ON deliveries (destination, state, urgent DESC, id);
CREATE TABLE IF NOT EXISTS outages (
    peer TEXT PRIMARY KEY,
    failures INTEGER NOT NULL,
    reason TEXT NOT NULL
);
"""
VERSION = 1


class QueueError(HilumError):
    """The queue cannot be opened or written."""

    code = "node-queue"


@dataclass(frozen=True)
class Job:
    """One image under one rule.

    Attributes:
        id: Number of the row; the files of its results begin with it.
        instance: Hash of its SOP Instance UID; its file has this name.
        rule: Name of the rule.
        tries: Times that it was begun.
    """

    id: int
    instance: str
    rule: str
    tries: int


@dataclass(frozen=True)
class Answered:
    """An image whose results are on the disk.

    Attributes:
        job: Which one.
        decision: The triage decision, or ``refused``.
        reason: Of the decision, without identifiers.
        destinations: Who gets the results.
        urgent: Whether they are sent before others.
    """

    job: Job
    decision: str
    reason: str
    destinations: Sequence[str]
    urgent: bool


@dataclass(frozen=True)
class Delivery:
    """Results of one job for one destination.

    Attributes:
        id: Number of the row.
        job: Number of the job.
        instance: Hash of the SOP Instance UID.
        urgent: Whether the image is flagged: sent before others.
        tries: Failed attempts so far.
    """

    id: int
    job: int
    instance: str
    urgent: bool
    tries: int


class Queue:
    """The database; safe to use from several threads.

    Args:
        folder: Where it lies.
        create: Whether it may be new.

    Raises:
        QueueError: It is missing, damaged, of another version, or cannot be written.
    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self.file = folder / FILE
        self._lock = RLock()
        if not create and not self.file.is_file():
            msg = f"{self.file}: no queue here. Start the node once: hilum node --config FILE"
            raise QueueError(msg, code="no-queue", path=self.file)
        try:
            self._connection = sqlite3.connect(
                self.file, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            found = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, VERSION):
                msg = f"{self.file}: is of another version ({found}). Empty it with that one, then move it away."
                raise QueueError(msg, path=self.file)
            if not found:  # whoever only reads must not wait for a node that writes
                self._connection.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version={VERSION}; COMMIT;")
        except sqlite3.Error as error:
            msg = f"{self.file}: cannot be used ({error}). Check the disk, or move the file away to begin again."
            raise QueueError(msg, path=self.file) from error

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def content_of(self, instance: str, rule: str) -> str | None:
        """The hash of an image's file as it came first; None where it is not known."""
        rows = self._rows("SELECT content FROM jobs WHERE instance=? AND rule=?", (instance, rule))
        return str(rows[0][0]) if rows else None

    def is_known(self, instance: str) -> bool:
        """Whether an image has come before, under whatever rule."""
        return bool(self._rows("SELECT 1 FROM jobs WHERE instance=? LIMIT 1", (instance,)))

    def add(self, instance: str, rule: str, content: str, *, refused: str = "") -> bool:
        """Take an image whose file is on the disk.

        Args:
            instance: Hash of its SOP Instance UID.
            rule: Name of the rule.
            content: Hash of its file.
            refused: Why it is not classified; empty where it is.

        Returns:
            Whether it was not known.
        """
        with self._change() as database:
            added = database.execute(
                "INSERT OR IGNORE INTO jobs (instance, rule, content, state, reason, received) VALUES (?,?,?,?,?,?)",
                (instance, rule, content, REFUSED if refused else RECEIVED, refused, time.time()),
            )
            return added.rowcount == 1

    def take(self, most: int) -> list[Job]:
        """Jobs to classify next, in the order in which they came.

        That they are begun is written down first. What was begun before, and not finished, comes last and alone: it
        may be the reason why the process ended.
        """
        with self._change() as database:
            columns = "SELECT id, instance, rule, tries FROM jobs WHERE state=?"
            rows = database.execute(f"{columns} AND tries=0 ORDER BY id LIMIT ?", (RECEIVED, most)).fetchall()
            if not rows:
                rows = database.execute(f"{columns} ORDER BY tries, id LIMIT 1", (RECEIVED,)).fetchall()
            database.executemany("UPDATE jobs SET tries=tries+1 WHERE id=?", [(row[0],) for row in rows])
        return [Job(*row) for row in rows]

    def give_back(self, jobs: Iterable[Job]) -> None:
        """Let jobs wait as if they had not been begun: they were interrupted on purpose."""
        with self._change() as database:
            database.executemany("UPDATE jobs SET tries=? WHERE id=?", [(job.tries, job.id) for job in jobs])

    def answered(self, answers: Iterable[Answered]) -> None:
        """Write down that the results of jobs are on the disk, and who gets them."""
        with self._change() as database:
            for one in answers:
                database.execute(
                    "UPDATE jobs SET state=?, decision=?, reason=? WHERE id=?",
                    (ANSWERED, one.decision, one.reason, one.job.id),
                )
                database.executemany(
                    "INSERT OR IGNORE INTO deliveries (job, destination, state, urgent) VALUES (?,?,?,?)",
                    [(one.job.id, destination, WAITING, int(one.urgent)) for destination in one.destinations],
                )

    def ended(self, job: Job, state: str, reason: str) -> None:
        """Write down that a job ends without results: ``refused``, or ``dead``."""
        with self._change() as database:
            database.execute("UPDATE jobs SET state=?, reason=? WHERE id=?", (state, reason, job.id))

    def waiting_for(self, destination: str, most: int) -> list[Delivery]:
        """Deliveries that a destination has not got, flagged images first."""
        rows = self._rows(
            "SELECT d.id, d.job, j.instance, d.urgent, d.tries FROM deliveries d JOIN jobs j ON j.id=d.job "
            "WHERE d.destination=? AND d.state=? ORDER BY d.urgent DESC, d.tries, d.id LIMIT ?",
            (destination, WAITING, most),
        )
        return [Delivery(row[0], row[1], row[2], bool(row[3]), row[4]) for row in rows]

    def delivered(self, delivery: Delivery) -> bool:
        """Write down that a destination has the results; returns whether all destinations have."""
        with self._change() as database:
            database.execute("UPDATE deliveries SET state=?, reason='' WHERE id=?", (SENT, delivery.id))
            return self._finish(database, delivery.job)

    def not_delivered(self, delivery: Delivery, reason: str, *, dead: bool) -> None:
        """Write down that a destination has refused the results.

        Args:
            delivery: Which one.
            reason: Why, without identifiers.
            dead: Whether it is not sent again.
        """
        with self._change() as database:
            database.execute(
                "UPDATE deliveries SET state=?, tries=tries+1, reason=? WHERE id=?",
                (DEAD if dead else WAITING, reason, delivery.id),
            )
            self._finish(database, delivery.job)

    def _finish(self, database: sqlite3.Connection, job: int) -> bool:
        states = {row[0] for row in database.execute("SELECT state FROM deliveries WHERE job=?", (job,))}
        if WAITING in states:
            return False
        database.execute("UPDATE jobs SET state=? WHERE id=?", (DEAD if DEAD in states else SENT, job))
        return DEAD not in states

    def set_outage(self, peer: str, failures: int, reason: str) -> None:
        """Write down that a peer cannot be reached; no failures: that it can."""
        with self._change() as database:
            if failures:
                database.execute("INSERT OR REPLACE INTO outages VALUES (?,?,?)", (peer, failures, reason))
            else:
                database.execute("DELETE FROM outages WHERE peer=?", (peer,))

    def outages(self) -> dict[str, tuple[int, str]]:
        """By peer that cannot be reached, how often it was tried in vain, and why."""
        return {str(row[0]): (int(row[1]), str(row[2])) for row in self._rows("SELECT * FROM outages")}

    def retry(self) -> int:
        """Send dead deliveries again, and classify dead jobs again; returns how many."""
        with self._change() as database:
            dead = database.execute("UPDATE deliveries SET state=?, tries=0 WHERE state=?", (WAITING, DEAD)).rowcount
            with_results = "id IN (SELECT job FROM deliveries)"
            database.execute(f"UPDATE jobs SET state=? WHERE state=? AND {with_results}", (ANSWERED, DEAD))
            again = database.execute(
                f"UPDATE jobs SET state=?, tries=0 WHERE state=? AND kept=1 AND NOT {with_results}", (RECEIVED, DEAD)
            ).rowcount
            database.execute("DELETE FROM outages")
            return dead + again

    def counts(self) -> dict[str, int]:
        """Number of jobs by state."""
        found: dict[str, int] = dict(self._rows("SELECT state, count(*) FROM jobs GROUP BY state"))
        return {state: int(found.get(state, 0)) for state in STATES}

    def delivery_counts(self) -> dict[str, dict[str, int]]:
        """Number of deliveries by destination and state; ``failing`` are those that wait for another attempt."""
        found: dict[str, dict[str, int]] = {}
        query = (
            "SELECT destination, CASE WHEN state='waiting' AND tries>0 THEN 'failing' ELSE state END AS shown, "
            "count(*) FROM deliveries GROUP BY destination, shown"
        )
        for destination, state, count in self._rows(query):
            found.setdefault(str(destination), {})[str(state)] = int(count)
        return found

    def waiting(self) -> int:
        """Number of images that wait for the network."""
        return int(str(self._rows("SELECT count(*) FROM jobs WHERE state=?", (RECEIVED,))[0][0]))

    def oldest(self) -> float | None:
        """Seconds since the oldest unfinished image came; never below 0, also where the clock jumped back."""
        (row,) = self._rows("SELECT min(received) FROM jobs WHERE state IN (?,?)", (RECEIVED, ANSWERED))
        return None if row[0] is None else max(0.0, time.time() - float(row[0]))

    def reasons(self) -> list[tuple[str, str, int]]:
        """Why images and deliveries did not succeed: what, why, how often; the most frequent first."""
        query = (
            "SELECT state, reason, count(*) AS n FROM jobs WHERE state='refused' OR (state='dead' AND reason<>'' "
            "AND id NOT IN (SELECT job FROM deliveries)) GROUP BY state, reason UNION ALL "
            "SELECT CASE state WHEN 'dead' THEN 'not delivered to ' ELSE 'failing at ' END || destination, reason, "
            "count(*) AS n FROM deliveries WHERE state<>'sent' AND tries>0 GROUP BY 1, 2 ORDER BY n DESC"
        )
        return [(str(what), str(why), int(count)) for what, why, count in self._rows(query)]

    def to_delete(self, before: float, most: int = 100) -> list[Job]:
        """Finished jobs whose files are still there, and that came before a time."""
        rows = self._rows(
            "SELECT id, instance, rule, tries FROM jobs WHERE kept=1 AND state IN (?,?) AND received<=? LIMIT ?",
            (SENT, REFUSED, before, most),
        )
        return [Job(*row) for row in rows]

    def deleted(self, jobs: Iterable[Job]) -> None:
        """Write down that jobs have no files any more."""
        with self._change() as database:
            database.executemany("UPDATE jobs SET kept=0 WHERE id=?", [(job.id,) for job in jobs])

    def forget(self, before: float) -> int:
        """Delete the rows of finished jobs that came before a time and have no files; returns how many."""
        with self._change() as database:
            rows = "DELETE FROM jobs WHERE kept=0 AND state IN (?,?) AND received<=?"
            return database.execute(rows, (SENT, REFUSED, before)).rowcount
