"""The audit trail: DICOM audit messages (PS3.15, A.5), one XML document a line of a file.

A file, not a syslog connection of its own: what is lost when a network is down is no audit trail, and every system has
a program that forwards a file (rsyslog's imfile).
"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from xml.etree.ElementTree import Element, SubElement, tostring

from hilum.errors import UsageError
from hilum.serving.node.configuration import Audit
from hilum.serving.node.intake import hashed

# Codes of PS3.16, CID 400 and 401, and role codes of CID 402.
APPLICATION_ACTIVITY = ("110100", "Application Activity")
BEGIN_TRANSFER = ("110102", "Begin Transferring DICOM Instances")
TRANSFERRED = ("110104", "DICOM Instances Transferred")
QUERY = ("110112", "Query")
SECURITY_ALERT = ("110113", "Security Alert")
START = ("110120", "Application Start")
STOP = ("110121", "Application Stop")
AUTHENTICATION = ("110126", "Node Authentication")
APPLICATION, SOURCE, DESTINATION = ("110150", "Application"), ("110153", "Source"), ("110152", "Destination")
STUDY = ("110180", "Study Instance UID")
SUCCESS, MINOR, SERIOUS = "0", "4", "8"  # EventOutcomeIndicator
CREATE, READ, EXECUTE = "C", "R", "E"  # EventActionCode


class AuditTrail:
    """Appends messages to a file; each is on the disk when the call returns.

    Args:
        audit: Where, and whether with identifiers; None for nowhere.
        ae_title: Of this node.

    Raises:
        UsageError: The file cannot be written.
    """

    def __init__(self, audit: Audit | None, ae_title: str) -> None:
        self.audit = audit
        self.ae_title = ae_title
        self._lock = Lock()
        if audit:
            try:
                self._append(audit.file, b"")
            except OSError as error:
                msg = f"{audit.file}: no audit trail can be written ({error.strerror}). Check folder and permissions."
                raise UsageError(msg, code="audit-trail", path=audit.file) from error

    def started(self) -> None:
        """The node has begun."""
        self._write(APPLICATION_ACTIVITY, EXECUTE, SUCCESS, kind=START)

    def stopped(self) -> None:
        """The node ends."""
        self._write(APPLICATION_ACTIVITY, EXECUTE, SUCCESS, kind=STOP)

    def received(self, study: str, peer: str) -> None:
        """An image has come from a peer."""
        self._write(TRANSFERRED, CREATE, SUCCESS, study=study, source=peer, destination=self.ae_title)

    def sent(self, study: str, peer: str, *, failed: bool = False) -> None:
        """Results went to a peer, or could not."""
        outcome = MINOR if failed else SUCCESS
        self._write(TRANSFERRED, READ, outcome, study=study, source=self.ae_title, destination=peer)

    def queried(self, peer: str) -> None:
        """An archive was asked for new images."""
        self._write(QUERY, EXECUTE, SUCCESS, source=self.ae_title, destination=peer)

    def refused(self, reason: str) -> None:
        """A connection was refused."""
        self._write(SECURITY_ALERT, EXECUTE, SERIOUS, kind=AUTHENTICATION, reason=reason)

    def _write(
        self,
        event: tuple[str, str],
        action: str,
        outcome: str,
        *,
        kind: tuple[str, str] | None = None,
        study: str = "",
        source: str = "",
        destination: str = "",
        reason: str = "",
    ) -> None:
        if self.audit is None:
            return
        message = Element("AuditMessage")
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        identified = SubElement(
            message,
            "EventIdentification",
            {"EventActionCode": action, "EventDateTime": when, "EventOutcomeIndicator": outcome},
        )
        _code(identified, "EventID", event)
        if kind:
            _code(identified, "EventTypeCode", kind)
        if reason:
            SubElement(identified, "EventOutcomeDescription").text = reason
        for title, role in ((source, SOURCE), (destination, DESTINATION)):
            if title:
                self._participant(message, title, role)
        if not source and not destination:
            self._participant(message, self.ae_title, APPLICATION)
        SubElement(message, "AuditSourceIdentification", {"AuditSourceID": platform.node(), "code": "4"})
        if study:
            shown = study if self.audit.identifiers == "plain" else hashed(study)
            found = SubElement(
                message,
                "ParticipantObjectIdentification",
                {"ParticipantObjectID": shown, "ParticipantObjectTypeCode": "2", "ParticipantObjectTypeCodeRole": "3"},
            )
            _code(found, "ParticipantObjectIDTypeCode", STUDY)
        with self._lock:
            self._append(self.audit.file, tostring(message, encoding="utf-8").replace(b"\n", b" ") + b"\n")

    def _participant(self, message: Element, title: str, role: tuple[str, str]) -> None:
        own = title == self.ae_title
        user = str(os.getpid()) if own else title
        found = SubElement(
            message,
            "ActiveParticipant",
            {"UserID": user, "AlternativeUserID": f"AETITLES={title}", "UserIsRequestor": "false"},
        )
        _code(found, "RoleIDCode", role)

    @staticmethod
    def _append(file: Path, line: bytes) -> None:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, line)
            if line:
                os.fdatasync(handle)
        finally:
            os.close(handle)


def _code(parent: Element, name: str, code: tuple[str, str]) -> None:
    SubElement(
        parent, name, {"csd-code": code[0], "codeSystemName": "DCM", "originalText": code[1], "displayName": code[1]}
    )
