"""Downloads a file over HTTP, continues interrupted downloads and checks the MD5."""

import os
import re
import sys
import time
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import pooch
import requests
from tqdm import tqdm

from headimpact.guards import UnavailableError, UserError

PAUSE = 2  # seconds; the pause after the n-th failed attempt in a row is n times as long
CHUNK = 8192  # bytes; a chunk that is interrupted is downloaded again
ALTERNATIVES = "set a mirror as downloads.coco of config.yaml, or name a folder as dataset.root"
RESUMABLE = "the same command continues with the partial file"


def fetch(
    url: str, path: str | Path, size: int, md5: str, timeout: float = 60, attempts: int = 5
) -> None:
    """Download the file `path` of `size` bytes, unless it already exists with this MD5.

    The download goes to {path}.partial, and continues at its end if it exists. md5: hexadecimal.
    timeout: seconds to connect, and to wait for further bytes. attempts: how many attempts in a
    row may bring no new bytes. Raises UserError for errors that another attempt cannot fix (the
    address, a refusal by the server, another size or MD5), and UnavailableError for failures of
    the network and of the disk.
    """
    path, public_url = Path(path), _public_url(url)
    partial = path.with_name(f"{path.name}.partial")
    try:
        if path.is_file() and path.stat().st_size == size and _has_md5(path, md5):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "ab") as file:
            _download(url, public_url, _PartialFile(file, size, path.name), timeout, attempts)
        # pooch.retrieve could not continue: it downloads to a random name, and deletes the file
        # after an error.
        if not _has_md5(partial, md5):
            partial.unlink()
            raise UserError(
                f"{public_url}: the downloaded file did not have the MD5 {md5} and was deleted; "
                f"run again, or {ALTERNATIVES}"
            )
        os.replace(partial, path)
    except OSError as error:
        if error.errno is None:  # a network error, which has its message already
            raise
        raise UnavailableError(
            f"{public_url}: cannot be written to {path} ({error.strerror}); free some space or "
            f"name another downloads.folder; {RESUMABLE}"
        ) from None


class _PartialFile:
    """A file that pooch appends to, up to `size` bytes, if the response continues at its end."""

    def __init__(self, file: BinaryIO, size: int, name: str):
        if file.tell() > size:
            file.truncate(0)
        self.file, self.size, self.end = file, size, file.seek(0, os.SEEK_END)
        self.bar = tqdm(total=size, initial=self.end, unit="B", unit_scale=True, desc=name)

    def clear(self) -> None:
        self.end = self.file.truncate(0)
        self.bar.reset()

    def check_response(self, response: requests.Response, **_) -> None:
        """Raise an error, before the body is read, if the response does not fit the file.

        It is a hook of requests.
        """
        status, headers = response.status_code, response.headers
        if response.is_redirect:
            return
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", "").strip())
        if status == 206 and span and int(span[1]) == self.end:
            total = span[2]
        elif status == 200:
            total = headers.get("Content-Length", str(self.size))
        else:
            raise requests.HTTPError(response=response)
        if total != str(self.size):
            raise requests.exceptions.InvalidHeader(
                f"the server announces {total} bytes, the file has {self.size}"
            )
        if status == 200 and self.end:
            self.clear()

    def write(self, chunk: bytes) -> None:
        fitting = chunk[: self.size - self.end]
        self.file.write(fitting)
        self.end += len(fitting)
        self.bar.update(len(fitting))
        if len(fitting) < len(chunk):
            raise requests.RequestException("more bytes than the file has")

    def flush(self) -> None:
        self.file.flush()


def _download(
    url: str, public_url: str, partial: _PartialFile, timeout: float, attempts: int
) -> None:
    """Repeat attempts until the partial file has its full size."""
    furthest, failures = partial.end, 0
    with partial.bar:
        while partial.end < partial.size:
            start = partial.end
            reason, status = _attempt(url, partial, timeout)
            if start and status in (206, 416):  # The response does not continue at `start`.
                partial.clear()
                continue
            if status is not None and status < 500 and status != 429:
                raise UserError(f"{public_url}: {reason}; {ALTERNATIVES}")
            failures = 0 if partial.end > furthest else failures + 1
            furthest = max(furthest, partial.end)
            if failures == attempts:
                raise UnavailableError(
                    f"{public_url}: no new bytes in {attempts} attempts in a row ({reason}); "
                    f"{RESUMABLE}; or {ALTERNATIVES}"
                )
            if partial.end < partial.size:
                time.sleep(PAUSE * max(failures, 1))


def _attempt(url: str, partial: _PartialFile, timeout: float) -> tuple[str, int | None]:
    """Make one request. Returns why it ended, and the HTTP status if that is the reason.

    For an error that would occur at every attempt, such as a malformed redirect, it is 400.
    """
    headers = {"Accept-Encoding": "identity"}
    if partial.end:
        headers["Range"] = f"bytes={partial.end}-"
    download = pooch.HTTPDownloader(
        chunk_size=CHUNK,
        timeout=timeout,
        headers=headers,
        hooks={"response": partial.check_response},
    )
    # An exception that the caller is handling ends the chain of contexts below, but is no cause.
    handled = sys.exception()
    try:
        download(url, partial, None)
        return "the connection broke off", None
    except requests.HTTPError as error:
        status = error.response.status_code
        return plain_line(f"answers {status} {error.response.reason}"), status
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) is not None:  # an error of the disk
            raise
        temporary = isinstance(error, requests.RequestException)
        temporary = temporary and not isinstance(error, ValueError)
        while error.__context__ not in (None, handled):
            error = error.__context__
        reason = plain_line(getattr(error, "strerror", None) or str(error) or type(error).__name__)
        tunnel = re.search(r"Tunnel connection failed: (\d{3})", reason)
        return reason, int(tunnel[1]) if tunnel else None if temporary else 400


def _has_md5(path: Path, md5: str) -> bool:
    return pooch.file_hash(str(path), alg="md5") == md5.lower()


def plain_line(text: str) -> str:
    """The text as one line, without the user names and passwords of addresses in it."""
    return re.sub(r"//[^/\s]*@", "//", " ".join(text.split()))


def _public_url(url: str) -> str:
    """The address without its user, password and query, which may be secret."""
    try:
        address = urlsplit(url)
        valid = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:
        valid = False
    if not valid:
        without_user = plain_line(url.rpartition("@")[2])
        raise UserError(
            f"downloads.coco: {without_user!r} is not an http or https address; correct it"
        )
    return plain_line(f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}")
