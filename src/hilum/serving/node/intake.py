"""Takes an image, however it came: when this returns, it is on the disk and in the queue."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilum.data.dicom_pixels import DEFLATED, transfer_syntax
from hilum.errors import HilumError
from hilum.files import saving
from hilum.serving.json_log import JsonLog
from hilum.serving.node.configuration import Limits, Rule
from hilum.serving.node.queue import NOT_RULED, Queue
from hilum.serving.node.rules import TAGS, first_match, image_facts

INCOMING = "incoming"
SHOWN = 12  # digits of a hash in logs
NO_RULE = "no rule applies to it"


class NoRoomError(HilumError):
    """The node has no room for another image: the disk, or too many that wait."""

    code = "no-room"


class MismatchError(HilumError):
    """An object is not what the request says."""

    code = "mismatch"


@dataclass(frozen=True)
class Admission:
    """What became of an image that came.

    Attributes:
        instance: Hash of its SOP Instance UID.
        outcome: ``new``, ``duplicate``, ``changed`` (of a known UID, with other content: the first one stays), or
            ``refused``.
        study: Its StudyInstanceUID, for the audit trail alone.
    """

    instance: str
    outcome: str
    study: str


def hashed(uid: str) -> str:
    """The name under which an instance is kept: never a peer's UID, which could be a path."""
    return hashlib.sha256(uid.strip(" \0").encode("utf-8", "replace")).hexdigest()


class Intake:
    """Writes images down.

    Args:
        folder: Of the node.
        queue: Its queue.
        rules: In order; the first that an image meets is applied.
        limits: Of disk and queue.
        log: Where events go.
    """

    def __init__(self, folder: Path, queue: Queue, rules: Sequence[Rule], limits: Limits, log: JsonLog) -> None:
        self.folder = folder / INCOMING
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.queue = queue
        self.rules = rules
        self.limits = limits
        self.log = log

    def admit(self, parts: Sequence[bytes | memoryview], uid: str = "") -> Admission:
        """Take one object in DICOM's file format.

        Args:
            parts: Its bytes, in pieces.
            uid: SOP Instance UID that the request names; empty for that of the object.

        Raises:
            NoRoomError: The disk is full or fails, or too many images wait. The caller may send it again.
            MismatchError: It has no SOP Instance UID, or another one than the request names.
        """
        header = _header(parts)
        stated = str(header.get("SOPInstanceUID", "") or "").strip(" \0") if header is not None else uid
        if not stated or (uid and stated != uid.strip(" \0")):
            msg = "an object whose SOP Instance UID is missing, or differs from that of the request. Check the sender."
            raise MismatchError(msg)
        instance = hashed(stated)
        study = str(header.get("StudyInstanceUID", "") or "") if header is not None else ""
        refused = "a damaged header" if header is None else ""
        rule = None if header is None else first_match(self.rules, image_facts(header))
        if header is not None and rule is None:
            refused = NO_RULE
        return Admission(instance, self._write(instance, rule.name if rule else NOT_RULED, parts, refused), study)

    def path(self, instance: str, rule: str) -> Path:
        """The file of an image under a rule."""
        return self.folder / f"{instance}.{rule}.dcm"

    def adopt(self) -> int:
        """Take files that a kill left without a row; returns how many.

        They were written whole, but the sender has no answer yet: it may send them again, and then they are known.
        """
        found = 0
        for file in self.folder.glob("*.dcm"):
            if not self.queue.is_known(file.name.partition(".")[0]):
                found += self.admit([file.read_bytes()]).outcome == "new"
        return found

    def _write(self, instance: str, rule: str, parts: Sequence[bytes | memoryview], refused: str) -> str:
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        content = digest.hexdigest()
        try:
            known = self.queue.content_of(instance, rule)
            if known is not None:
                return "duplicate" if known == content else "changed"
            if why := self.why_full(sum(map(len, parts))):
                raise OSError(0, why)
            if not refused:
                with saving(self.path(instance, rule)) as file:
                    for part in parts:
                        file.write(part)
            added = self.queue.add(instance, rule, content, refused=refused)
        except (OSError, sqlite3.Error) as error:
            what = (error.strerror if isinstance(error, OSError) else "") or str(error)
            self.log.write("no-room", instance=instance[:SHOWN], reason=what)
            msg = f"an image cannot be written down ({what}). Free some disk space."
            raise NoRoomError(msg) from error
        return "refused" if refused else "new" if added else "duplicate"

    def why_full(self, size: int = 0) -> str:
        """Why no further image is taken; empty where one is.

        Args:
            size: Of the image, in bytes.
        """
        if shutil.disk_usage(self.folder).free - size < self.limits.free_mib * 2**20:
            return os.strerror(errno.ENOSPC)
        return f"{self.limits.waiting:,} images wait" if self.queue.waiting() >= self.limits.waiting else ""


def _header(parts: Sequence[bytes | memoryview]) -> Any:
    """What rules ask of an object; None where its header cannot be read, or is deflated."""
    import pydicom

    try:
        whole = io.BytesIO(b"".join(parts)) if len(parts) > 1 else io.BytesIO(parts[0])
        if transfer_syntax(whole) == DEFLATED:  # 195 KB of it can become 390 MB
            return None
        whole.seek(0)
        return pydicom.dcmread(whole, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
    except MemoryError:
        raise
    except Exception:  # pydicom raises nearly anything
        return None
