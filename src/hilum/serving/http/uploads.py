"""Reads uploads as they stream in: counted, timed, and kept in memory, never on a disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.multipart import MultipartParser, parse_options_header

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks
from starlette.requests import ClientDisconnect, Request

from hilum.errors import HilumError

RAW = ("application/octet-stream", "application/dicom", "application/x-www-form-urlencoded", "")
MULTIPART = "multipart/form-data"
HEADERS = 8192  # bytes of one part's headers; names of files have some hundred


class HttpError(HilumError):
    """A request that is answered with an error.

    Args:
        status: Of HTTP.
        message: What was found, and the remedy.
        code: Kind of fault.
        retry_after: Seconds after which it is worth another try; None where it is not.
    """

    code = "request"

    def __init__(self, status: int, message: str, *, code: str, retry_after: int | None = None) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True)
class Limits:
    """What a service accepts.

    Attributes:
        file: Largest file, in bytes.
        request: Largest request, in bytes.
        files: Most files of a request.
        total: Most bytes of all requests together that are in memory.
        waiting: Most images that are uploaded, decoded or wait for the network; what comes on top gets 503.
        idle: Seconds that an upload may stand still.
        slowest: Seconds that an upload may take in all.
    """

    file: int = 64 * 2**20
    request: int = 256 * 2**20
    files: int = 256
    total: int = 512 * 2**20
    waiting: int = 512
    idle: float = 10.0
    slowest: float = 120.0


class Room:
    """How much is under way in this process; asked and changed by the event loop alone."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.images = 0
        self.bytes = 0

    def enter(self, images: int = 1) -> None:
        """Take room for images.

        Raises:
            HttpError: There is none.
        """
        if self.images + images > self.limits.waiting:
            raise busy()
        self.images += images

    def hold(self, count: int) -> None:
        """Take room for bytes.

        Raises:
            HttpError: There is none.
        """
        if self.bytes + count > self.limits.total:
            raise busy()
        self.bytes += count

    def leave(self, images: int, count: int) -> None:
        """Give room back."""
        self.images -= images
        self.bytes -= count


def busy() -> HttpError:
    """The answer of a service that has no room."""
    msg = "the service has no room for more images at the moment. Send it again in a second."
    return HttpError(503, msg, code="busy", retry_after=1)


class Upload:
    """The files of one request, and the room that they take; a context manager that gives it back.

    Args:
        room: Of the service. One image is let in at once, each further file as it comes.

    Raises:
        HttpError: There is no room.
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        self.files: list[bytes] = []
        self._images, self._bytes = 1, 0
        room.enter()

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self.room.leave(self._images, self._bytes)
        self.files.clear()

    async def read(self, request: Request) -> list[bytes]:
        """Read the files of a request: a raw body, or all parts of a form that are files.

        Raises:
            HttpError: 400 for a form that is damaged or holds no file, 408 for one that stands still, 413 for what is
                too large, 415 for another content type, 503 where there is no room.
        """
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > self.room.limits.request:
            raise self._request_too_large()
        media = kind.decode("latin-1")
        try:
            if media == MULTIPART:
                await self._read_form(request, options.get(b"boundary", b""))
            elif media in RAW or media.startswith("image/"):
                await self._read_raw(request)
            else:
                msg = f"content type {media!r}: send files as {MULTIPART}, or one as image/*, application/dicom or "
                raise HttpError(415, f"{msg}application/octet-stream.", code="content-type")
        except ClientDisconnect as error:
            msg = "the upload broke off. Send it again."
            raise HttpError(400, msg, code="broken-off") from error
        return self.files

    async def _read_raw(self, request: Request) -> None:
        content = bytearray()
        async for chunk in self._chunks(request):
            content += chunk
            if len(content) > self.room.limits.file:
                raise self._file_too_large()
        if not content:
            msg = "an empty upload. Send a radiograph."
            raise HttpError(422, msg, code="empty")
        self.files.append(bytes(content))

    async def _read_form(self, request: Request, boundary: bytes) -> None:
        if not boundary:
            msg = f"{MULTIPART} without a boundary. Let the HTTP client set the content type."
            raise HttpError(400, msg, code="damaged-form")
        form = _Form(self)
        try:
            parser = MultipartParser(boundary, form.callbacks())
            async for chunk in self._chunks(request):
                parser.write(chunk)
            parser.finalize()
        except ValueError as error:  # of the parser, which has several
            msg = "a damaged form. Send it again."
            raise HttpError(400, msg, code="damaged-form") from error
        if not form.ended:
            msg = "a form that ends within a part. Send it again."
            raise HttpError(400, msg, code="damaged-form")
        if not self.files:
            msg = "a form without a file. Send files under the name 'files'."
            raise HttpError(422, msg, code="empty")

    def add_file(self, content: bytes) -> None:
        """Keep a file of a form.

        Raises:
            HttpError: There is no room, or it is one too many.
        """
        limits = self.room.limits
        if len(self.files) >= limits.files:
            raise HttpError(413, f"more than {limits.files} files. Send fewer at a time.", code="too-many-files")
        if self.files:
            self.room.enter()
            self._images += 1
        self.files.append(content)

    def check_file(self, size: int) -> None:
        """Refuse a file that is too large.

        Raises:
            HttpError: It is.
        """
        if size > self.room.limits.file:
            raise self._file_too_large()

    async def _chunks(self, request: Request) -> AsyncIterator[bytes]:
        limits, total = self.room.limits, 0
        stream, until = request.stream(), asyncio.get_running_loop().time() + limits.slowest
        while True:
            try:
                left = until - asyncio.get_running_loop().time()
                async with asyncio.timeout(max(0.001, min(limits.idle, left))):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                msg = "the upload stands still, or takes too long. Send it again over a better connection."
                raise HttpError(408, msg, code="too-slow") from error
            total += len(chunk)
            if total > limits.request:
                raise self._request_too_large()
            self.room.hold(len(chunk))
            self._bytes += len(chunk)
            yield chunk

    def _file_too_large(self) -> HttpError:
        limit = self.room.limits.file / 2**20
        msg = f"a file of more than {limit:,.0f} MiB. A radiograph has 5 to 60 MiB: check what it is."
        return HttpError(413, msg, code="too-large")

    def _request_too_large(self) -> HttpError:
        limit = self.room.limits.request / 2**20
        msg = f"a request of more than {limit:,.0f} MiB. Send fewer files at a time."
        return HttpError(413, msg, code="too-large")


class _Form:
    """What the parser tells of a form: its parts, one after another."""

    def __init__(self, upload: Upload) -> None:
        self.upload = upload
        self.ended = False
        self._begin()

    def callbacks(self) -> MultipartCallbacks:
        """By the parser's names of events."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._name,
            "on_header_value": self._value,
            "on_header_end": self._header,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self.field, self.value, self.content = bytearray(), bytearray(), bytearray()
        self.is_file = False
        self.headers = 0

    def _name(self, data: bytes, start: int, end: int) -> None:
        self.field += self._counted(data[start:end])

    def _value(self, data: bytes, start: int, end: int) -> None:
        self.value += self._counted(data[start:end])

    def _counted(self, data: bytes) -> bytes:
        self.headers += len(data)
        if self.headers > HEADERS:
            msg = "a form with too long headers. Send it again."
            raise HttpError(400, msg, code="damaged-form")
        return data

    def _header(self) -> None:
        if bytes(self.field).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self.value))
            self.is_file = b"filename" in options  # the name itself is not kept: it may be a person's
        self.field, self.value = bytearray(), bytearray()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self.is_file:
            self.content += data[start:end]
            self.upload.check_file(len(self.content))

    def _end(self) -> None:
        if self.is_file:
            self.upload.add_file(bytes(self.content))

    def _finish(self) -> None:
        self.ended = True
