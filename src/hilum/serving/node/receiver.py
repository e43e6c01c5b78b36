"""The store SCP: takes images from an archive or a modality, and answers once they are on the disk."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from pynetdicom import evt
from pynetdicom.sop_class import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
    Verification,
)
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler, ThreadedAssociationServer

from hilum.errors import UsageError
from hilum.serving.json_log import JsonLog
from hilum.serving.node.application import IMPLEMENTATION, application, server_context
from hilum.serving.node.audit_trail import AuditTrail
from hilum.serving.node.configuration import Limits, Listen
from hilum.serving.node.intake import SHOWN, Intake, MismatchError, NoRoomError

STORED = (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage)
# Those that `hilum.data.dicom_pixels` decodes, the cheapest first. Never Deflated: 195 KB can become 390 MB.
SYNTAXES = (
    *("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"),  # explicit, implicit, big-endian
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),  # JPEG 2000: lossless, lossy
    *("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"),  # JPEG-LS: lossless, near-lossless
    *("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.57"),  # JPEG Lossless: SV1, process 14
    *("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"),  # JPEG Baseline (8 bits), RLE
)
SUCCESS, OUT_OF_RESOURCES, MISMATCH = 0x0000, 0xA700, 0xA900
PDU = 2**18  # bytes; peers fragment by it
HEAD = 2**16  # bytes of what else may come in one PDU
HANDSHAKE = 10.0  # seconds that a peer has for the handshake of TLS


class _Socket(AssociationSocket):  # type: ignore[misc]
    """A socket that bounds what a peer can make this process hold: one PDU, and one object."""

    most = 0  # bytes of one object
    held = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """Receive; OSError, which ends the connection, where it is too much."""
        self.held += nr_bytes
        if nr_bytes > PDU + HEAD or self.held > self.most + HEAD:
            self.close()  # the peer would go on sending
            msg = "a PDU or an object larger than allowed"
            raise OSError(msg)
        found, at = bytearray(nr_bytes), 0
        view = memoryview(found)
        while at < nr_bytes:
            count = self.socket.recv_into(view[at:])
            if not count:  # the peer has closed
                break
            at += count
        view.release()
        del found[at:]
        return found


class _Handler(RequestHandler):  # type: ignore[misc]
    """Makes associations with bounded sockets."""

    def _create_association(self) -> Any:
        found = super()._create_association()
        found.dul.socket.__class__ = _Socket
        found.dul.socket.most = self.server.most
        return found


class _Server(ThreadedAssociationServer):  # type: ignore[misc]
    """A server whose TLS handshakes hold up nobody else."""

    most = 0
    refused: Callable[[str], object]

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; the handshake follows in its own thread."""
        client, address = self.socket.accept()
        if self.ssl_context:
            client.settimeout(HANDSHAKE)
            client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return client, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread where there is a handshake to wait for."""
        if self.ssl_context:
            ThreadedAssociationServer.process_request(self, request, client_address)
        else:
            self.process_request_thread(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands, then begin the association."""
        try:
            if self.ssl_context:
                request.do_handshake()
                request.settimeout(self.ae.network_timeout)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            self.refused(f"TLS: {getattr(error, 'reason', None) or type(error).__name__}")
            self.shutdown_request(request)
            return
        super().process_request_thread(request, client_address)

    def shutdown(self) -> None:
        """Accept no more; pynetdicom's own expects that its `start_server` made the server."""
        super(AssociationServer, self).shutdown()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: what the standard library prints holds addresses."""
        self.refused("connection")


class Receiver:
    """The store SCP of a node.

    Args:
        listen: Where and for whom.
        limits: Of objects.
        intake: Who writes them down.
        log: Where events go.
        audit: The audit trail.
        counted: Receives each association and image: what, and its outcome.

    Raises:
        UsageError: The port is taken, or a certificate cannot be used.
    """

    def __init__(
        self,
        listen: Listen,
        limits: Limits,
        intake: Intake,
        log: JsonLog,
        audit: AuditTrail,
        counted: Callable[[str, str], object],
    ) -> None:
        self.intake = intake
        self.log = log
        self.audit = audit
        self.counted = counted
        self.ae = application(listen.ae_title, limits.patience)
        self.ae.maximum_pdu_size = PDU
        self.ae.maximum_associations = listen.associations
        self.ae.require_called_aet = True
        self.ae.require_calling_aet = list(listen.calling)
        self.ae.add_supported_context(Verification)
        for stored in STORED:
            self.ae.add_supported_context(stored, list(SYNTAXES))
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_REJECTED, self._rejected),
        ]
        context = server_context(listen.tls) if listen.tls else None
        try:
            self._server: Any = self.ae.make_server(
                (listen.host, listen.port),
                ae_title=listen.ae_title,
                ssl_context=context,
                evt_handlers=handlers,
                server_class=_Server,
                request_handler=_Handler,
            )
        except OSError as error:
            where, what = f"{listen.host}:{listen.port}", error.strerror or str(error)
            msg = f"[listen] {where}: cannot listen there ({what}). Give another port, or end what uses this one."
            raise UsageError(msg, code="port") from error
        self._server.most = limits.object_mib * 2**20
        self._server.refused = self._refused
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.socket.getsockname()[1])

    def serve(self) -> None:
        """Answer until `close`."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """End: no new associations, then those under way."""
        self._server.shutdown()
        for association in self._server.active_associations:
            association.abort()
        self._server.server_close()

    def _store(self, event: Any) -> int:
        event.assoc.dul.socket.held = 0
        request = event.request
        head = file_head(
            str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID), str(event.context.transfer_syntax)
        )
        body = request.DataSet.getbuffer()
        peer = event.assoc.requestor.ae_title
        try:
            admitted = self.intake.admit([head, body], str(request.AffectedSOPInstanceUID))
        except NoRoomError:
            self.counted("image", "no-room")
            return OUT_OF_RESOURCES
        except MismatchError:
            self.counted("image", "mismatch")
            return MISMATCH
        except Exception as error:  # a fault of ours must not be taken for a success
            self.log.fault(error)
            self.counted("image", "fault")
            return OUT_OF_RESOURCES
        self.counted("image", admitted.outcome)
        self.log.write("received", instance=admitted.instance[:SHOWN], outcome=admitted.outcome, peer=peer)
        self.audit.received(admitted.study, peer)
        return SUCCESS

    def _echo(self, event: Any) -> int:
        event.assoc.dul.socket.held = 0
        self.counted("echo", "answered")
        return SUCCESS

    def _accepted(self, event: Any) -> None:
        del event
        self.counted("association", "accepted")

    def _rejected(self, event: Any) -> None:
        del event
        self._refused("AE title, or too many associations")

    def _refused(self, reason: str) -> None:
        self.counted("association", "refused")
        self.log.write("association-refused", reason=reason)
        self.audit.refused(reason)


def file_head(kind: str, instance: str, syntax: str) -> bytes:
    """What stands before an object in DICOM's file format (PS3.10, 7.1).

    Args:
        kind: SOP Class UID.
        instance: SOP Instance UID.
        syntax: UID of the transfer syntax.
    """
    meta = b"\x02\0\x01\0OB\0\0\x02\0\0\0\0\x01"
    for element, text in ((0x02, kind), (0x03, instance), (0x10, syntax), (0x12, IMPLEMENTATION)):
        value = text.encode("ascii") + b"\0" * (len(text) % 2)
        meta += struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value
    return b"\0" * 128 + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta)) + meta
