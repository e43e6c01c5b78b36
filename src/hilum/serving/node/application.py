"""What all DICOM connections of a node share: time limits and TLS."""

from __future__ import annotations

import ssl

from pynetdicom import AE

from hilum import __version__
from hilum.errors import UsageError
from hilum.serving.node.configuration import Tls

IMPLEMENTATION = "2.25.329800735698586629295641978511506172918"  # of hilum's node; made of a random UUID (PS3.5 B.2)


def application(title: str, patience: float) -> AE:
    """An application entity with time limits.

    Args:
        title: Its AE title.
        patience: Seconds that a peer may be silent.
    """
    found = AE(ae_title=title)
    found.implementation_class_uid = IMPLEMENTATION
    found.implementation_version_name = f"HILUM_{__version__}".replace(".", "_")[:16]
    found.acse_timeout = found.dimse_timeout = found.network_timeout = found.connection_timeout = patience
    return found


def server_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or later, and the peer has to show a certificate (PS3.15, B.9).

    Raises:
        UsageError: A file is missing, or is no certificate or key.
    """
    return _context(ssl.PROTOCOL_TLS_SERVER, tls)


def client_context(tls: Tls) -> ssl.SSLContext:
    """The same for whoever calls; the peer's certificate has to be made out to its address.

    Raises:
        UsageError: As `server_context`.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, tls)


def _context(protocol: int, tls: Tls) -> ssl.SSLContext:
    found = ssl.SSLContext(protocol)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.verify_mode = ssl.CERT_REQUIRED
    try:
        found.load_cert_chain(tls.certificate, tls.key)
        found.load_verify_locations(tls.authorities)
    except (OSError, ValueError) as error:
        files = ", ".join(map(str, (tls.certificate, tls.key, tls.authorities)))
        msg = f"{files}: cannot be used for TLS ({error}). Give a certificate, its key and the authorities as PEM."
        raise UsageError(msg, code="certificate") from error
    return found
