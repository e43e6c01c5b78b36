"""Results to an archive by STOW-RS, and images from one by QIDO-RS and WADO-RS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import requests
from dicomweb_client.api import DICOMwebClient

from hilum.errors import UsageError
from hilum.files import read_text
from hilum.serving.node.configuration import Web
from hilum.serving.node.sender import UnreachableError
from hilum.serving.node.statuses import Outcome, Verdict, outcome_of, worst

FAILED, REASON = "00081198", "00081197"  # FailedSOPSequence, FailureReason
# What the service as a whole answers, whatever it was asked to store.
OF_THE_SERVICE = frozenset({401, 403, 404, 408, 429, 502, 503, 504})
CHUNK = 2**18


class TooLargeError(Exception):
    """An instance has more bytes than allowed."""


class WebChannel:
    """A DICOMweb service.

    Args:
        web: Who it is.
        patience: Seconds that it may be silent.

    Raises:
        UsageError: A file with a token or user cannot be read, or the certificates are none.
    """

    def __init__(self, web: Web, patience: float) -> None:
        self.web = web
        self.patience = patience
        self.session = _session(web)
        self._client = DICOMwebClient(web.url, session=self.session, timeout=patience)
        self._client.set_http_retry_params(retry=False)

    def send(self, objects: Sequence[Path], *, urgent: bool) -> Outcome:
        """Store objects in one request; DICOMweb knows no priority.

        Raises:
            UnreachableError: The service cannot be reached, or refuses whatever it is asked.
        """
        import pydicom

        del urgent
        try:
            said = self._client.store_instances([pydicom.dcmread(file) for file in objects]).to_json_dict()
        except requests.HTTPError as error:
            return _refused(error)
        except (requests.RequestException, ValueError) as error:  # ValueError: an answer of another media type
            raise UnreachableError(_said(error)) from None
        return _stored(said)

    def check(self) -> str:
        """Ask for one study; empty where it answers, or what came instead."""
        try:
            answer = self.session.get(
                f"{self.web.url}/studies", params={"limit": "1"}, headers=JSON, timeout=self.patience
            )
            answer.raise_for_status()
        except requests.RequestException as error:
            return _said(error)
        return ""

    def find(self, filters: dict[str, str], most: int) -> Iterator[tuple[str, str, str]]:
        """Study, series and instance UID of what an archive has, page by page.

        Args:
            filters: Attributes that instances have to match.
            most: Instances of a page.

        Raises:
            UnreachableError: The service cannot be reached, or answers with an error.
        """
        offset = 0
        while True:
            try:
                page = self._client.search_for_instances(search_filters=filters, limit=most, offset=offset)
            except (requests.RequestException, ValueError) as error:
                raise UnreachableError(_said(error)) from None
            yield from filter(all, (tuple(_value(found, tag) for tag in UIDS) for found in page))
            if len(page) < most:
                return
            offset += len(page)

    def fetch(self, study: str, series: str, instance: str, most: int) -> bytes:
        """One instance as it was stored, in DICOM's file format, undecoded.

        Raises:
            UnreachableError: It cannot be fetched.
            TooLargeError: It has more than `most` bytes.
        """
        url = f"{self.web.url}/studies/{study}/series/{series}/instances/{instance}"
        try:
            with self.session.get(url, headers=DICOM, stream=True, timeout=self.patience) as answer:
                answer.raise_for_status()
                content = bytearray()
                for chunk in answer.iter_content(CHUNK):
                    content += chunk
                    if len(content) > most:
                        raise TooLargeError
                return _single_part(bytes(content), answer.headers.get("Content-Type", ""))
        except requests.RequestException as error:
            raise UnreachableError(_said(error)) from None

    def close(self) -> None:
        """Close idle connections."""
        self.session.close()


JSON = {"Accept": "application/dicom+json"}
DICOM = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
UIDS = ("0020000D", "0020000E", "00080018")


def _session(web: Web) -> requests.Session:
    session = requests.Session()
    file = web.token_file or web.user_file
    try:
        secret = read_text(file).strip() if file else ""
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file}: cannot be read ({error}). Write the token, or user:password, into it."
        raise UsageError(msg, code="token", path=file) from error
    if web.token_file:
        session.headers["Authorization"] = f"Bearer {secret}"
    elif web.user_file:
        user, _, password = secret.partition(":")
        session.auth = (user, password)
    if web.authorities:
        if not web.authorities.is_file():
            msg = f"{web.authorities}: no such file. Give certificates of authorities as PEM."
            raise UsageError(msg, code="certificate", path=web.authorities)
        session.verify = str(web.authorities)
    return session


def _stored(said: dict[str, Any]) -> Outcome:
    reasons = [item.get(REASON, {}).get("Value", [0x0110])[0] for item in said.get(FAILED, {}).get("Value", [])]
    return worst([outcome_of(0), *(outcome_of(int(reason)) for reason in reasons)])


def _refused(error: requests.HTTPError) -> Outcome:
    status = error.response.status_code if error.response is not None else 0
    if status in OF_THE_SERVICE:
        raise UnreachableError(_said(error)) from None
    if status == 409 and error.response is not None:
        try:
            body = error.response.json()
            if body[FAILED]["Value"]:
                return _stored(body)
        except (ValueError, AttributeError, TypeError, KeyError):  # no list of failures: all have failed
            pass
    return Outcome(Verdict.DEAD if 400 <= status < 500 else Verdict.AGAIN, f"HTTP status {status}")


def _said(error: Exception) -> str:
    """An error in words that hold no URL: it could hold an identifier."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    if isinstance(error, requests.exceptions.SSLError):
        return "TLS failed"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return (
        "no connection" if isinstance(error, requests.ConnectionError) else f"no usable answer ({type(error).__name__})"
    )


def _value(found: dict[str, Any], tag: str) -> str:
    values = found.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _single_part(content: bytes, kind: str) -> bytes:
    """The object in a multipart message of one part; some services send it bare."""
    if not kind.lower().startswith("multipart"):
        return content
    head, found, rest = content.partition(b"\r\n\r\n")
    marker = head.lstrip(b"\r\n").split(b"\r\n", 1)[0]
    body, ended, _ = rest.rpartition(b"\r\n" + marker)
    if not found or not ended:
        msg = "a multipart answer without an end"
        raise UnreachableError(msg)
    return body
