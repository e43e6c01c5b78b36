"""Images in object stores, read by their addresses, such as ``s3://bucket/key``.

Apache Arrow's file systems do it. What it takes to reach a store stands in its usual environment variables
(``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``), or behind a question mark in the address, as Arrow has it
(``s3://bucket/key?endpoint_override=localhost:9000&scheme=http``). Attempts and seconds are bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from hilum.data.images import DICOM_SUFFIXES, SUFFIXES
from hilum.data.readers.listing import SYSTEM, ending
from hilum.errors import DataError, ImageError
from hilum.extras import require

MARK = "://"
CONNECT, ANSWER, ATTEMPTS = 3.0, 5.0, 3  # seconds for one attempt to connect and to be answered; attempts
LARGEST = 2**30  # bytes of one image
OPTIONS = ("endpoint_override", "scheme", "region", "anonymous")


def is_address(place: str) -> bool:
    """Whether a text names an object or a part of a store, and no file."""
    return MARK in place


def list_objects(address: str) -> Iterator[str]:
    """Addresses of the images below one, in order of their names; the address itself where it is an object.

    Objects without an ending, or with a number for one, may be DICOM objects and are listed; hidden ones are not.

    Args:
        address: Such as ``s3://bucket/folder``.

    Raises:
        DataError: The store cannot be reached, refuses, or holds nothing there.
        ExtraError: pyarrow is not installed.
    """
    found, path, query = _opened(address)
    from pyarrow import fs

    scheme = address.partition(MARK)[0]
    try:
        (here,) = found.get_file_info([path])
        if here.type == fs.FileType.NotFound:
            msg = f"{address}: there is no such object or folder in the store. Check the address."
            raise DataError(msg, code="no-object")
        if here.type == fs.FileType.File:
            yield address
            return
        waiting = [path]
        while waiting:  # folder by folder: a store of millions is not listed at once
            listed = sorted(found.get_file_info(fs.FileSelector(waiting.pop())), key=lambda item: str(item.path))
            waiting += [item.path for item in reversed(listed) if item.type == fs.FileType.Directory and _shown(item)]
            images = (item.path for item in listed if item.type == fs.FileType.File and _may_be_image(item))
            yield from (f"{scheme}{MARK}{name}{query}" for name in images)
    except OSError as error:
        raise _unreachable(address, error) from error


def read_object(address: str) -> bytes:
    """The bytes of one object.

    Raises:
        ImageError: It is not there, or too large.
        DataError: The store cannot be reached, or refuses: asked again, it may give the object.
    """
    found, path, _ = _opened(address)
    try:
        with found.open_input_file(path) as file:
            if file.size() > LARGEST:
                msg = f"{address}: {file.size():,} bytes; at most {LARGEST:,} are read"
                raise ImageError(msg)
            content: bytes = file.read()
            return content
    except FileNotFoundError as error:
        msg = f"{address}: cannot be read (there is no such object). Check the address."
        raise ImageError(msg) from error
    except OSError as error:
        raise _unreachable(address, error) from error


def _opened(address: str) -> tuple[Any, str, str]:
    """File system, path in it, and the question mark with all behind it."""
    plain, mark, query = address.partition("?")
    scheme, _, path = plain.partition(MARK)
    return _file_system(scheme, path.partition("/")[0], query), path.rstrip("/"), mark + query


@cache
def _file_system(scheme: str, host: str, query: str) -> Any:
    """Connect to a store, once for each process.

    Raises:
        DataError: There is no such kind of store, or the options make no sense.
        ExtraError: pyarrow is not installed.
    """
    require("ray", f"{scheme}{MARK}{host}: reading from an object store", "pyarrow")
    from pyarrow import ArrowException, fs

    address = f"{scheme}{MARK}{host}" + (f"?{query}" if query else "")
    try:
        if scheme != "s3":
            return fs.FileSystem.from_uri(address)[0]
        options: dict[str, object] = dict(parse_qsl(query))
        if unknown := set(options) - set(OPTIONS):
            msg = f"{address}: unknown option {', '.join(sorted(unknown))}. There are: {', '.join(OPTIONS)}."
            raise DataError(msg, code="object-store")
        options["anonymous"] = options.get("anonymous") in ("true", "1")
        retries = fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS)
        return fs.S3FileSystem(connect_timeout=CONNECT, request_timeout=ANSWER, retry_strategy=retries, **options)
    except (OSError, ValueError, ArrowException) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> DataError:
    """The error where a store cannot be used; the first line of what was found is enough."""
    why = (str(error).strip().splitlines() or [type(error).__name__])[0]
    msg = (
        f"{address}: the object store cannot be used ({why}). Check the address, the credentials and the network; then "
        "give the same command again."
    )
    return DataError(msg, code="object-store")


def _shown(item: Any) -> bool:
    name = str(item.base_name)
    return not name.startswith(".") and name.lower() not in SYSTEM


def _may_be_image(item: Any) -> bool:
    kind = ending(str(item.base_name))
    return _shown(item) and (not kind or kind[1:].isdigit() or kind in SUFFIXES | DICOM_SUFFIXES)
