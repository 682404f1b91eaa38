import functools
import hashlib
import http.server
import io
import threading
import zipfile
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent / "samples"  # hand-made, in the original forms; the folders bear their names


def read_sample(form):
    return {path.name: path.read_bytes().decode("latin-1") for path in (SAMPLES / form).iterdir()}


def write_raw(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode("latin-1"))
    return folder


def zip_of(files, prefix="ml-1m/"):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(prefix + name, text.encode("latin-1"))
    return content.getvalue()


@pytest.fixture
def raw():
    """The hand-made samples and how to write them."""

    class Samples:
        folder = SAMPLES
        ml_1m, ml_100k = read_sample("movielens-dat"), read_sample("movielens-100k")
        write = staticmethod(write_raw)
        zip_of = staticmethod(zip_of)

    return Samples


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A local HTTP server: ``publish(name, content)`` puts a file and its MD5 sum there and returns the address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    running = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()

    def publish(name, content, md5=None):
        (folder / name).write_bytes(content)
        text = f"MD5 ({name}) = {hashlib.md5(content).hexdigest()}\n" if md5 is None else md5
        (folder / f"{name}.md5").write_text(text)
        return f"http://127.0.0.1:{running.server_port}/{name}"

    yield publish
    running.shutdown()
    running.server_close()
    thread.join()
