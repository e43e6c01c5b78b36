"""Results to an archive by C-STORE."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

from hilum.serving.node.application import application, client_context
from hilum.serving.node.configuration import Dimse
from hilum.serving.node.sender import UnreachableError
from hilum.serving.node.statuses import Outcome, Verdict, outcome_of, worst

SENT = (Comprehensive3DSRStorage, EnhancedSRStorage, SecondaryCaptureImageStorage)
PLAIN = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
HIGH, MEDIUM = 1, 0  # Priority of C-STORE (PS3.7 9.1.1.1.6)


class DimseChannel:
    """One association to a store SCP, opened when it is needed and kept while there is something to send.

    Args:
        peer: Who it is.
        title: AE title of this node.
        patience: Seconds that the peer may be silent.

    Raises:
        UsageError: A certificate cannot be used.
    """

    def __init__(self, peer: Dimse, title: str, patience: float) -> None:
        self.peer = peer
        self._application = application(title, patience)
        self._tls = (client_context(peer.tls), peer.host) if peer.tls else None
        for kind in SENT:
            self._application.add_requested_context(kind, PLAIN)
        self._application.add_requested_context(Verification, PLAIN)
        self._association: Any = None

    def send(self, objects: Sequence[Path], *, urgent: bool) -> Outcome:
        """Store objects; flagged ones with high priority.

        Raises:
            UnreachableError: No association could be made.
        """
        association = self._open()
        return worst([self._store(association, file, HIGH if urgent else MEDIUM) for file in objects])

    def check(self) -> str:
        """Send a C-ECHO; empty where it was answered, or what came instead."""
        try:
            answer = self._open().send_c_echo()
        except UnreachableError as error:
            return str(error)
        finally:
            self.close()
        status = answer.get("Status")
        return "" if status == 0 else "no answer to C-ECHO" if status is None else f"C-ECHO: status 0x{status:04X}"

    def close(self) -> None:
        """Release the association."""
        if self._association is not None and self._association.is_established:
            self._association.release()
        self._association = None

    def _open(self) -> Any:
        if self._association is not None and self._association.is_established:
            return self._association
        from pynetdicom import evt

        peer = self.peer
        found = self._application.associate(
            peer.host,
            peer.port,
            ae_title=peer.ae_title,
            tls_args=self._tls,
            evt_handlers=[(evt.EVT_CONN_OPEN, _prepare)],
        )
        if not found.is_established:
            raise UnreachableError(_why(found))
        self._association = found
        return found

    def _store(self, association: Any, file: Path, priority: int) -> Outcome:
        try:
            status = _sent(association, file, priority)
        except ValueError:  # of pynetdicom, before anything is sent
            name = _read(file).SOPClassUID.name
            return Outcome(Verdict.DEAD, f"it takes no {name} (for Comprehensive 3D SR see the rule's key enhanced)")
        except RuntimeError:  # the association ended with an earlier object
            status = None
        if status is None:
            return Outcome(Verdict.AGAIN, "the association broke")
        return outcome_of(status)


class _Answers(Queue[Any]):
    """What a peer says to this side, for whoever waits for it.

    A thread of pynetdicom looks for requests of the peer, of which there are none here. It is stopped while an answer
    is awaited, but where answers come fast it may not have noticed yet. It would take the answer out of a plain queue,
    and the object would count as not stored once `patience` is over. A request that a peer sends all the same is
    taken for an answer, and ends the association.
    """

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The next message; none for a look in passing."""
        if not block:
            raise Empty
        return super().get(block, timeout)


def _sent(association: Any, file: Path, priority: int) -> int | None:
    """Send a file as it is, or, where the peer does not take its transfer syntax, in another one; the status."""
    from pynetdicom import _config

    _config.STORE_SEND_CHUNKED_DATASET = True  # else it decodes each file, and encodes it again
    try:
        answer = association.send_c_store(file, priority=priority)
    except ValueError:
        answer = association.send_c_store(_read(file), priority=priority)
    status = answer.get("Status")
    return None if status is None else int(status)


def _read(file: Path) -> Any:
    import pydicom

    return pydicom.dcmread(file)


def _prepare(event: Any) -> None:
    """Keep answers for who waits, and send small packets at once: each pair of two would wait for a late ACK."""
    event.assoc.dimse.msg_queue = _Answers()
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _why(association: Any) -> str:
    """Why there is no association, in words of the standard (PS3.8 9.3.4)."""
    if association.is_rejected:
        answer = association.acceptor.primitive
        return f"association rejected: {str(answer.reason_str).lower()}" if answer else "association rejected"
    return "no connection, or it was aborted"  # pynetdicom says the same of both
