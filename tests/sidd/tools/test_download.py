import fcntl
import hashlib
import http.server
import json
import re
import stat
import threading
import zipfile

import numpy as np
import pytest

import sidd
from sidd.__main__ import main
from sidd.tools import transfer
from sidd.tools.extraction import extract
from sidd.tools.transfer import download

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves one file over HTTP, as badly as it is told to."""

    def __init__(self):
        self.content = CONTENT
        self.etag = '"one"'
        self.ranges = True
        self.drop_after = []  # bytes after which the next connections are cut
        self.statuses = []  # of the next answers, instead of the file
        self.kind = "application/zip"
        self.told_length = True
        self.requests = []  # (Range, If-Range) of each
        self.redirect = None  # where to, instead of the file
        self.authorizations = []  # of each request

    def answer(self, handler):
        requested, condition = handler.headers["Range"], handler.headers["If-Range"]
        self.requests.append((requested, condition))
        self.authorizations.append(handler.headers["Authorization"])
        if self.redirect:
            handler.send_response(302)
            handler.send_header("Location", self.redirect)
            handler.end_headers()
            self.redirect = None
            return
        if self.statuses:
            handler.send_error(self.statuses.pop(0))
            return
        start = 0
        if requested and self.ranges and condition in (None, self.etag):
            start = int(re.fullmatch(r"bytes=(\d+)-", requested)[1])
            if start >= len(self.content):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(self.content)}")
                handler.end_headers()
                return
            handler.send_response(206)
            span = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
            handler.send_header("Content-Range", span)
        else:
            handler.send_response(200)
        body = self.content[start:]
        handler.send_header("Content-Type", self.kind)
        if self.told_length:
            handler.send_header("Content-Length", str(len(body)))
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.end_headers()
        handler.wfile.write(body[: self.drop_after.pop(0)] if self.drop_after else body)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(transfer, "FIRST_PAUSE", 0)
    server = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server.url = f"http://127.0.0.1:{listening.server_port}/some/SIDD%20part.zip?key=1"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield server
        listening.shutdown()
        thread.join()


def fetch(server, folder, **arguments):
    return download(server.url, folder, progress=False, **arguments)


def test_a_file_comes_whole_and_once(server, tmp_path):
    path = fetch(server, tmp_path / "new", sha256=SHA256.upper())
    assert path == tmp_path / "new" / "SIDD part.zip" and path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert fetch(server, tmp_path / "new", sha256=SHA256) == path
    assert server.requests == [(None, None)]


@pytest.mark.parametrize("scheme", ["ftp", "file"])
def test_redirects_to_other_than_http_are_refused(server, tmp_path, scheme):
    server.redirect = f"{scheme}://localhost/etc/passwd.zip"
    with pytest.raises(sidd.SiddError, match="neither http nor https|is not allowed"):
        fetch(server, tmp_path)
    assert not (tmp_path / "SIDD part.zip").exists()


def test_a_redirect_to_http_is_followed_without_the_password(server, tmp_path):
    server.redirect = server.url
    url = server.url.replace("//", "//me:secret@")
    assert download(url, tmp_path, progress=False).read_bytes() == CONTENT
    assert server.authorizations == ["Basic bWU6c2VjcmV0", None]


def test_a_password_is_neither_stored_nor_shown(server, tmp_path):
    server.drop_after = [100_000, *transfer.ATTEMPTS * [0]]
    url = server.url.replace("//", "//me:secret@")
    with pytest.raises(sidd.SiddError) as raised:
        download(url, tmp_path, progress=False)
    stored = (tmp_path / "SIDD part.zip.partial.json").read_text()
    assert "secret" not in stored and "key=1" not in stored and "secret" not in str(raised.value)
    with pytest.raises(ValueError, match="expected a URL") as raised:
        download(url.replace("http", "ftp"), tmp_path, progress=False)
    assert "secret" not in str(raised.value)


def test_dropped_connections_are_taken_up_where_they_broke(server, tmp_path):
    server.drop_after = [100_000, 50_000, 0, 0, 70_000]
    path = fetch(server, tmp_path)
    assert path.read_bytes() == CONTENT
    starts = [requested for requested, _ in server.requests]
    assert starts == [None, "bytes=100000-", *3 * ["bytes=150000-"], "bytes=220000-"]
    assert {condition for _, condition in server.requests[1:]} == {'"one"'}


def test_it_is_given_up_without_progress_and_goes_on_in_the_next_run(server, tmp_path):
    server.drop_after = [100_000, *transfer.ATTEMPTS * [0]]
    with pytest.raises(sidd.SiddError, match=r"given up after 6 .*cut; 100000 bytes are kept in"):
        fetch(server, tmp_path)
    assert not (tmp_path / "SIDD part.zip").exists()
    assert (tmp_path / "SIDD part.zip.partial").stat().st_size == 100_000
    server.drop_after = []
    assert fetch(server, tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert server.requests[-1] == ("bytes=100000-", '"one"')
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("change", ["other file", "no ranges"])
def test_what_cannot_be_continued_begins_anew(server, tmp_path, change):
    server.drop_after = [100_000, *transfer.ATTEMPTS * [0]]
    with pytest.raises(sidd.SiddError):
        fetch(server, tmp_path)
    if change == "other file":
        server.content, server.etag = CONTENT[::-1], '"two"'
    server.ranges = change != "no ranges"
    assert fetch(server, tmp_path).read_bytes() == server.content


def test_a_partial_file_of_unknown_origin_is_not_continued(server, tmp_path):
    server.etag, server.told_length = None, False
    (tmp_path / "SIDD part.zip.partial").write_bytes(b"of another day")
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.requests == [(None, None)]


def test_a_partial_file_that_is_whole_already(server, tmp_path):
    (tmp_path / "SIDD part.zip.partial").write_bytes(CONTENT)
    state = {"url": transfer._hash(server.url), "validator": '"one"', "total": len(CONTENT)}
    (tmp_path / "SIDD part.zip.partial.json").write_text(json.dumps(state))
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.requests == [(f"bytes={len(CONTENT)}-", '"one"')]


def test_a_partial_file_that_is_too_long_begins_anew(server, tmp_path):
    (tmp_path / "SIDD part.zip.partial").write_bytes(CONTENT + b"more")
    state = {"url": transfer._hash(server.url), "validator": '"one"', "total": len(CONTENT)}
    (tmp_path / "SIDD part.zip.partial.json").write_text(json.dumps(state))
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_wrong_byte_is_noticed_and_not_kept(server, tmp_path):
    wrong = bytearray(CONTENT)
    wrong[200_000] ^= 1
    server.content = bytes(wrong)
    with pytest.raises(sidd.SiddError, match=rf"its SHA-256 is \w+, expected {SHA256}; it was rem"):
        fetch(server, tmp_path, sha256=SHA256)
    assert not list(tmp_path.iterdir())
    server.content = CONTENT
    path = fetch(server, tmp_path, sha256=SHA256)
    path.write_bytes(wrong)
    with pytest.raises(sidd.SiddError, match="expected"):
        fetch(server, tmp_path, sha256=SHA256)
    assert not path.exists()


def test_errors_of_the_server(server, tmp_path):
    server.statuses = [503, 429]
    assert fetch(server, tmp_path / "ok").read_bytes() == CONTENT
    server.statuses = [404]
    with pytest.raises(sidd.SiddError, match="the server answered 404 Not Found"):
        fetch(server, tmp_path / "gone")
    server.statuses = transfer.ATTEMPTS * [500]
    with pytest.raises(sidd.SiddError, match="given up .* the server answered 500"):
        fetch(server, tmp_path / "broken")
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(sidd.SiddError, match="is a web page, not a file"):
        fetch(server, tmp_path / "page")


def test_no_server(tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    with pytest.raises(sidd.SiddError, match="given up after 6 attempts .*refused"):
        download("http://127.0.0.1:1/x.zip", tmp_path, progress=False)
    assert pauses == [1, 2, 4, 8, 16]


def test_too_little_room(server, tmp_path, monkeypatch):
    room = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: room)
    with pytest.raises(sidd.SiddError, match=r"partial: needs 0\.0 GB in .*, and 0\.0 GB are free"):
        fetch(server, tmp_path)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("Data/a/1.MAT", "Data/b/2.MAT", "ReadMe.txt"):
            file.writestr(name, CONTENT[:50_000] + name.encode())
    return path


def test_extraction_is_taken_up_again(archive, tmp_path):
    out = tmp_path / "new" / "out"
    assert extract(archive, out, progress=False) == 3
    assert (out / "Data/b/2.MAT").read_bytes() == CONTENT[:50_000] + b"Data/b/2.MAT"
    (out / "Data/b/2.MAT").unlink()
    (out / "ReadMe.txt").unlink()
    assert extract(archive, out, progress=False) == 2
    assert (out / "Data/b/2.MAT").read_bytes() == CONTENT[:50_000] + b"Data/b/2.MAT"
    assert extract(archive, out, progress=False) == 0


@pytest.mark.parametrize("content", [b"mine", bytes(50_012), None])
def test_nothing_that_is_there_is_replaced(archive, tmp_path, content):
    mine = tmp_path / "out/Data/b/2.MAT"
    mine.parent.mkdir(parents=True)
    if content is None:
        mine.mkdir()
    else:
        mine.write_bytes(content)
    with pytest.raises(sidd.SiddError, match=r"2\.MAT: is there already, and is not the file"):
        extract(archive, tmp_path / "out", progress=False)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [mine][
        : content is not None
    ]
    assert content is None or mine.read_bytes() == content


def test_leftovers_of_a_killed_extraction_are_removed(archive, tmp_path):
    out = tmp_path / "out"
    extract(archive, out, progress=False)
    (out / "Data/b/.2.MAT.4711.tmp").write_bytes(b"half")
    (out / "Data/b/.other.4711.tmp").write_bytes(b"not of this archive")
    (out / "Data/b/2.MAT").unlink()
    assert extract(archive, out, progress=False) == 1
    assert {path.name for path in (out / "Data/b").iterdir()} == {"2.MAT", ".other.4711.tmp"}


def test_two_extractions_of_one_archive(archive, tmp_path):
    with open(archive, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(sidd.SiddError, match=r"archive\.zip: another run is unpacking it"):
            extract(archive, tmp_path / "out", progress=False)
    assert extract(archive, tmp_path / "out", progress=False) == 3


@pytest.mark.parametrize(
    ("name", "mode", "reason"),
    [
        ("../outside.txt", stat.S_IFREG, "leaves the folder"),
        ("Data/../../outside.txt", stat.S_IFREG, "leaves the folder"),
        ("/outside.txt", stat.S_IFREG, "leaves the folder"),
        ("..\\outside.txt", stat.S_IFREG, "leaves the folder"),
        ("C:/outside.txt", stat.S_IFREG, "leaves the folder"),
        (".", stat.S_IFREG, "has no name"),
        ("link", stat.S_IFLNK, "is a link or a device"),
        ("pipe", stat.S_IFIFO, "is a link or a device"),
        ("outside/file.txt", stat.S_IFREG, "goes through a link"),
        ("good.txt", stat.S_IFREG, "two members of the same name"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_dangerous_archives_extract_nothing(tmp_path, name, mode, reason):
    out, path = tmp_path / "out", tmp_path / "evil.zip"
    out.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (out / "outside").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("good.txt", "good")
        member = zipfile.ZipInfo(name)
        member.external_attr = (mode | 0o644) << 16
        file.writestr(member, "/etc/passwd")
    with pytest.raises(sidd.SiddError, match=rf"evil\.zip: .*{reason}"):
        extract(path, out, progress=False)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, path])


def test_damaged_archives(archive, tmp_path, monkeypatch):
    content = bytearray(archive.read_bytes())
    content[20_000] ^= 1
    archive.write_bytes(content)
    message = r"member Data/a/1\.MAT is damaged; remove the archive and download it again: Bad CRC"
    with pytest.raises(sidd.SiddError, match=message):
        extract(archive, tmp_path / "out", progress=False)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    archive.write_bytes(b"<html>")
    with pytest.raises(sidd.SiddError, match=r"archive\.zip: not a zip file"):
        extract(archive, tmp_path / "out", progress=False)


def test_an_archive_larger_than_the_disk(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(sidd.SiddError, match=r"archive\.zip: needs 0\.0 GB in .*out"):
        extract(archive, tmp_path / "out", progress=False)


def test_the_command_ends_with_the_dataset(server, offline, tmp_path, capsys):
    path = tmp_path / "whole.zip"
    with zipfile.ZipFile(path, "w") as file:
        for source in offline.rglob("*"):
            file.write(source, f"SIDD_Medium_Raw/{source.relative_to(offline)}")
    server.content = path.read_bytes()
    server.drop_after = [len(server.content) // 3, 1000]
    out = tmp_path / "out"
    command = ["download", "--dataset", "medium-raw", "--url", server.url, "--out", str(out)]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert f"{out}: 11 of 160 scene instances of medium-raw" in output
    actual = sidd.index(out / "SIDD_Medium_Raw")
    assert [i.instance for i in actual] == [i.instance for i in sidd.index(offline)]
    server.requests.clear()
    assert main(command) == 0
    assert "0 files extracted" in capsys.readouterr().out and not server.requests


def test_a_download_without_any_scene_fails(server, archive, tmp_path, capsys):
    server.content = archive.read_bytes()
    assert main(["download", "--url", server.url, "--out", str(tmp_path / "out")]) == 1
    output = capsys.readouterr()
    assert "0 of 160 scene instances" in output.out
    assert "no scene instance was found" in output.err.splitlines()[-1]
