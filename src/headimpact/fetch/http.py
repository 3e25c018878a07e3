"""Fetching one archive over HTTP: resumed where it broke off, named only once it is checked."""

import os
import re
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from tqdm import tqdm

from headimpact.guards import UnavailableError, UserError

PAUSE = 2  # seconds after an attempt that failed; as long again for each further one in a row
CHUNK = 8192  # bytes; what came of a chunk before the connection broke off is lost
ELSEWHERE = "set a mirror as downloads.coco of config.yaml, or name a folder as dataset.root"
KEPT = "what was downloaded is kept, and the same command goes on from there"


def fetch(url, path, size, md5, timeout=60, attempts=5):
    """Return once the file `path` has `size` bytes and this md5 (hexadecimal).

    Downloads nothing if that is so already, else into {path}.partial, on from where it ends.
    timeout: seconds to connect and between bytes. attempts: in a row without a new byte.
    Raises, one line each: ValueError for what another attempt would not mend (the address, a
    refusal, another size or md5), OSError for trouble of the network or the disk.
    """
    path, shown = Path(path), _shown(url)
    partial = path.with_name(f"{path.name}.partial")
    try:
        if path.is_file() and path.stat().st_size == size and _has_md5(path, md5):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "ab") as file:
            _complete(url, shown, _Partial(file, size, path.name), timeout, attempts)
        # not by pooch.retrieve, which downloads to a random name and removes that at any error
        if not _has_md5(partial, md5):
            partial.unlink()
            raise UserError(
                f"{shown}: what came has another md5 than {md5} and was removed; run again, or "
                f"{ELSEWHERE}"
            )
        os.replace(partial, path)
    except OSError as error:
        if error.errno is None:  # the network's, told below
            raise
        raise UnavailableError(
            f"{shown}: cannot be kept as {path} ({error.strerror}); make room there or name "
            f"another downloads.folder; {KEPT}"
        ) from None


class _Partial:
    """The partial file: what pooch writes to, at most `size` bytes, and the judge of answers."""

    def __init__(self, file, size, name):
        if file.tell() > size:
            file.truncate(0)
        self.file, self.size, self.end = file, size, file.seek(0, os.SEEK_END)
        self.bar = tqdm(total=size, initial=self.end, unit="B", unit_scale=True, desc=name)

    def empty(self):
        self.end = self.file.truncate(0)
        self.bar.reset()

    def judge(self, response, **_):
        """Refuse an answer before its body is read, as a hook of requests."""
        status, headers = response.status_code, response.headers
        if response.is_redirect:
            return
        part = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", "").strip())
        if status == 206 and part and int(part[1]) == self.end:
            total = part[2]
        elif status == 200:
            total = headers.get("Content-Length", str(self.size))
        else:
            raise requests.HTTPError(response=response)
        if total != str(self.size):
            raise requests.exceptions.InvalidHeader(
                f"the server announces {total} bytes, the file has {self.size}"
            )
        if status == 200 and self.end:
            self.empty()

    def write(self, chunk):
        wanted = chunk[: self.size - self.end]
        self.file.write(wanted)
        self.end += len(wanted)
        self.bar.update(len(wanted))
        if len(wanted) < len(chunk):
            raise requests.RequestException("more bytes than the file has")

    def flush(self):
        self.file.flush()


def _complete(url, shown, partial, timeout, attempts):
    """Make attempts until the partial file has its size."""
    furthest, failed = partial.end, 0
    with partial.bar:
        while partial.end < partial.size:
            asked = partial.end
            reason, status = _attempt(url, partial, timeout)
            if asked and status in (206, 416):  # the answer does not go on where we stand
                partial.empty()
                continue
            if status is not None and status < 500 and status != 429:
                raise UserError(f"{shown}: {reason}; {ELSEWHERE}")
            failed = 0 if partial.end > furthest else failed + 1
            furthest = max(furthest, partial.end)
            if failed == attempts:
                raise UnavailableError(
                    f"{shown}: {attempts} attempts in a row brought nothing new ({reason}); "
                    f"{KEPT}; or {ELSEWHERE}"
                )
            if partial.end < partial.size:
                time.sleep(PAUSE * max(failed, 1))


def _attempt(url, partial, timeout):
    """One request. Returns why it ended, and the status if that is why (400: it cannot pass)."""
    headers = {"Accept-Encoding": "identity"}
    if partial.end:
        headers["Range"] = f"bytes={partial.end}-"
    get = pooch.HTTPDownloader(
        chunk_size=CHUNK, timeout=timeout, headers=headers, hooks={"response": partial.judge}
    )
    handled = sys.exception()  # the caller's, no cause of what is raised here
    try:
        get(url, partial, None)
        return "the connection broke off", None
    except requests.HTTPError as error:
        status = error.response.status_code
        return plain_line(f"answers {status} {error.response.reason}"), status
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) is not None:  # the disk's
            raise
        passes = isinstance(error, requests.RequestException) and not isinstance(error, ValueError)
        while error.__context__ not in (None, handled):
            error = error.__context__
        reason = plain_line(getattr(error, "strerror", None) or str(error) or type(error).__name__)
        tunnel = re.search(r"Tunnel connection failed: (\d{3})", reason)
        return reason, int(tunnel[1]) if tunnel else None if passes else 400


def _has_md5(path, md5):
    return pooch.file_hash(str(path), alg="md5") == md5.lower()


def plain_line(text):
    """Foreign text as one line, without the user and password of an address in it."""
    return re.sub(r"//[^/\s]*@", "//", " ".join(text.split()))


def _shown(url):
    """The address without user, password and query, which may be secret."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        last = plain_line(url.rpartition("@")[2])
        raise UserError(f"downloads.coco: {last!r} is no http or https address; correct it")
    return plain_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")
