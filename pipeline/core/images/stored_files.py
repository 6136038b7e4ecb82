"""Read pictures from object stores: only inside the folders `s3://bucket/prefix` that shop.toml names.

Endpoint and credentials are the environment's (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and so on). One request gives an
object's bytes and its ETag, and is bounded in size; the file systems of fsspec would take two.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from pipeline.core.images.image_validator import QUICK_BYTES
from pipeline.core.images.local_files import Found
from pipeline.core.images.transfer import Attempt
from pipeline.core.stored_address import is_inside, is_stored, stored_path

_REQUESTS = 16  # at once
_FEW = 3  # addresses in a folder that are asked for one by one; of more, the folder is listed
_CONNECT_SECONDS, _READ_SECONDS, _TRIES = 10, 15, 4


class StoredFiles:
    """The pictures in some folders; several threads may read. `close` ends the connections."""

    def __init__(self, folders: Iterable[str], max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._folders = tuple(filter(is_stored, folders))
        self._pool = ThreadPoolExecutor(_REQUESTS, thread_name_prefix="objects")

    def look(self, addresses: Sequence[str]) -> dict[str, Found | None]:
        """Look at addresses without reading them; None where the store does not answer."""
        found: dict[str, Found | None] = {}
        by_folder = defaultdict[str, list[str]](list)
        for address in addresses:
            if reason := self._refusal(address):
                found[address] = Found(None, reason)
            else:
                by_folder[address.rpartition("/")[0]].append(address)
        for answers in self._pool.map(self._look_in, by_folder, by_folder.values()):
            found |= answers
        return found

    def read_small(self, addresses: Sequence[str]) -> list[Attempt | None]:
        """Read pictures; an entry is None if the object has more than QUICK_BYTES."""
        return list(self._pool.map(lambda address: self._read(address, QUICK_BYTES), addresses))

    def read_one(self, address: str) -> Attempt:
        """Read one picture of any allowed size. The attempt's `etag` is the object's."""
        attempt = self._read(address, None)
        assert attempt is not None
        return attempt

    def close(self) -> None:
        """End the threads and the connections."""
        self._pool.shutdown(cancel_futures=True)
        if "_client" in vars(self):
            self._client.close()

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        retries = {"total_max_attempts": _TRIES, "mode": "standard"}
        limits = Config(
            connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, retries=retries,
            max_pool_connections=_REQUESTS,
        )  # fmt: skip
        return boto3.session.Session().client("s3", config=limits)

    def _refusal(self, address: str) -> str | None:
        if stored_path(address) is None:
            return "bad_url"
        return None if is_inside(address, self._folders) else "outside_folders"

    def _read(self, address: str, at_most: int | None) -> Attempt | None:
        if reason := self._refusal(address):
            return Attempt(reason)
        bucket, key = _split(address)
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key)
            mark, size, body = _mark(answer), answer["ContentLength"], answer["Body"]
            if size > self.max_bytes or (at_most is not None and size > at_most):
                body.close()
                return Attempt("too_large", etag=mark) if size > self.max_bytes else None
            data = body.read(size + 1)
            return Attempt("ok" if len(data) == size else "truncated", data=data or b"", etag=mark)
        except Exception as error:
            return Attempt(_reason(error))

    def _look_in(self, folder: str, addresses: Sequence[str]) -> dict[str, Found | None]:
        """Look at addresses of one folder."""
        if len(addresses) <= _FEW:
            return {address: self._head(address) for address in addresses}
        bucket, prefix = _split(f"{folder}/")
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        try:
            marks = {entry["Key"]: _mark(entry) for page in pages for entry in page.get("Contents", ())}
        except Exception as error:
            return dict.fromkeys(addresses, _absent(error))
        found = {address: marks.get(_split(address)[1]) for address in addresses}
        return {address: Found(mark, None if mark else "file_missing") for address, mark in found.items()}

    def _head(self, address: str) -> Found | None:
        bucket, key = _split(address)
        try:
            return Found(_mark(self._client.head_object(Bucket=bucket, Key=key)))
        except Exception as error:
            return _absent(error)


def _absent(error: Exception) -> Found | None:
    """Return what a failed look says: that there is no object, or nothing."""
    return Found(None, "file_missing") if _reason(error) == "file_missing" else None


def _split(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


def _mark(answer: Any) -> str:
    return answer["ETag"].strip('"')


def _reason(error: Exception) -> str:
    """Return the reason of a failed request. Raises an error that no store or network has caused."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return {404: "file_missing", 401: "file_unreadable", 403: "file_unreadable"}.get(status, "http_5xx")
    if isinstance(error, NoCredentialsError):
        return "file_unreadable"
    if isinstance(error, (BotoCoreError, OSError)):
        return "connection"
    raise error
