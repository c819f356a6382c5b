"""Downloads of large files over HTTP, which resume where they stopped, and are checked."""

import base64
import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, BinaryIO

from sidd.errors import SiddError
from sidd.files import check_space, lock, replacing
from sidd.progress import progress_bar

ATTEMPTS = 6
"""Attempts without a single new byte before a download fails."""

FIRST_PAUSE = 1.0
"""Pause before the second attempt in seconds; doubles with each further one."""

_SCHEMES = ("http", "https")
_TIMEOUT = 60
_BLOCK = 1 << 20
_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}


def download(
    url: str, folder: str | os.PathLike, sha256: str | None = None, progress: bool = True
) -> Path:
    """Download `url` into `folder`, under its own name, and return the file.

    What has arrived is in `NAME.partial`, and the next call resumes there if the server has ranges
    and still the same file (its ETag or date). Broken connections are tried again after growing
    pauses. The file gets its name when its size is the server's and its SHA-256, if given, is
    right; with a wrong one it is removed. A file that is there already is only checked.

    A name and a password in the URL are sent to its server, and neither stored nor shown.

    Raises:
        ValueError: for another URL than http or https.
        SiddError: if the file cannot be downloaded.
    """
    name = name_of(url)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target, partial = folder / name, folder / f"{name}.partial"
    if not target.exists():
        with open(partial, "ab") as file:
            lock(file, f"{partial}: another download is writing it")
            _Transfer(url, partial, file, progress).run()
        if sha256:
            _verify(partial, sha256, progress)
        os.replace(partial, target)
        _state_of(partial).unlink(missing_ok=True)
    elif sha256:
        _verify(target, sha256, progress)
    return target


def name_of(url: str) -> str:
    """Return the name of a URL's file; raise ValueError if it has none."""
    url, _ = _without_password(url)
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise ValueError(f"{url}: expected a URL that begins with http:// or https://")
    name = Path(urllib.parse.unquote(parts.path)).name
    if not name or name.startswith(".") or "\0" in name:
        raise ValueError(f"{url}: expected the URL of a file; its path ends without a name")
    return name


def _without_password(url: str) -> tuple[str, str]:
    """Return a URL without its user's name and password, and the header that sends them, or ""."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None  # without what may be a password
    user, at, host = parts.netloc.rpartition("@")
    header = base64.b64encode(urllib.parse.unquote_to_bytes(user)).decode()
    return parts._replace(netloc=host).geturl(), f"Basic {header}" if at else ""


class _HttpOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only: urllib's own also follows those to ftp."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme not in _SCHEMES:
            raise SiddError(
                f"{req.full_url}: the server redirects to {newurl}, which is neither http nor "
                "https; name another mirror"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Transfer:
    """The download of one partial file, in as many connections as it takes."""

    def __init__(self, url: str, path: Path, file: BinaryIO, progress: bool) -> None:
        self._url, self._authorization = _without_password(url)
        self._path, self._file = path, file
        self._open = urllib.request.build_opener(_HttpOnly).open
        self._total: int | None = None
        self._bar = progress_bar(
            what=path.stem, shown=progress, unit="B", unit_scale=True, unit_divisor=1024
        )

    def run(self) -> None:
        failures, reason = 0, ""
        with self._bar:
            while failures < ATTEMPTS:
                if failures:
                    time.sleep(FIRST_PAUSE * 2 ** (failures - 1))
                before = self._size()
                try:
                    if self._connect():
                        return
                    reason = "the connection was cut"
                except urllib.error.HTTPError as error:
                    reason = f"the server answered {error.code} {error.reason}"
                    if error.code not in _WORTH_ANOTHER_TRY:
                        raise SiddError(f"{self._url}: {reason}") from None
                except (http.client.HTTPException, urllib.error.URLError, OSError) as error:
                    if isinstance(error, OSError) and error.filename is not None:
                        raise
                    reason = str(getattr(error, "reason", "") or error or type(error).__name__)
                failures = 1 if self._size() > before else failures + 1
        raise SiddError(
            f"{self._url}: given up after {ATTEMPTS} attempts without progress: {reason}; "
            f"{self._size()} bytes are kept in {self._path}, and the next run resumes there"
        )

    def _connect(self) -> bool:
        """Request what is missing and write it; return whether the file is complete."""
        have, state = self._size(), _read_state(self._path)
        if state.get("url") != _hash(self._url) or not (
            state.get("validator") or state.get("total")
        ):
            have = 0
        headers = {"Accept-Encoding": "identity", "User-Agent": "sidd"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if state.get("validator"):
                headers["If-Range"] = state["validator"]
        request = urllib.request.Request(self._url, headers=headers)
        if self._authorization:  # not sent to where the server redirects
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            response = self._open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not have:
                raise
            if error.headers.get("Content-Range") == f"bytes */{have}" and have == state.get(
                "total"
            ):
                return True
            self._restart()
            return False
        with response:
            return self._receive(response, have, state)

    def _receive(self, response: http.client.HTTPResponse, have: int, state: dict) -> bool:
        if response.headers.get_content_type() == "text/html":
            raise SiddError(f"{self._url}: is a web page, not a file; open it and find the link")
        start, total = _range(response)
        if response.status == 206 and (start != have or total != state.get("total")):
            self._restart()
            return False
        if response.status != 206:
            self._restart()
            start = 0
            _write_state(self._path, self._url, _validator(response), total)
        self._total = self._bar.total = total
        check_space(self._path, self._path.parent, (total or 0) - start)
        self._bar.n = start
        self._bar.refresh()
        while block := response.read(_BLOCK):
            self._write(block)
        return self._size() == total if total is not None else True

    def _write(self, block: bytes) -> None:
        try:
            self._file.write(block)
            self._file.flush()
        except OSError as error:
            raise SiddError(f"{self._path}: cannot be written: {error.strerror}") from error
        self._bar.update(len(block))

    def _restart(self) -> None:
        self._file.truncate(0)
        _state_of(self._path).unlink(missing_ok=True)

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size


def _range(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return where the content starts in the file, and the file's size, None if unknown."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        return (int(match[1]), int(match[2])) if match else (-1, None)
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdecimal() else None


def _validator(response: http.client.HTTPResponse) -> str | None:
    """Return a value for If-Range: a strong ETag, or the date of the last change."""
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _hash(url: str) -> str:
    """Return what identifies a URL, whose query may hold a key."""
    return hashlib.sha256(url.encode()).hexdigest()


def _state_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _read_state(partial: Path) -> dict:
    try:
        state = json.loads(_state_of(partial).read_bytes())
        kinds = {"url": str, "validator": str | None, "total": int | None}
        if all(isinstance(state[name], kind) for name, kind in kinds.items()):
            return state
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # damaged: begin again
        pass
    return {}


def _write_state(partial: Path, url: str, validator: str | None, total: int | None) -> None:
    with replacing(_state_of(partial)) as path:
        path.write_text(json.dumps({"url": _hash(url), "validator": validator, "total": total}))


def _verify(path: Path, sha256: str, progress: bool) -> None:
    """Raise SiddError, and remove the file, if its SHA-256 is another."""
    digest = hashlib.sha256()
    with (
        open(path, "rb") as file,
        progress_bar(
            what="SHA-256", shown=progress, total=path.stat().st_size, unit="B", unit_scale=True,
            delay=1,
        ) as bar,
    ):  # fmt: skip
        while block := file.read(_BLOCK):
            digest.update(block)
            bar.update(len(block))
    if digest.hexdigest() != sha256.lower():
        path.unlink()
        _state_of(path).unlink(missing_ok=True)
        raise SiddError(
            f"{path}: its SHA-256 is {digest.hexdigest()}, expected {sha256}; it was removed, "
            "download it again"
        )
