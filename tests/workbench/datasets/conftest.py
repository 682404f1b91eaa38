import functools
import hashlib
import http.server
import io
import threading
import zipfile

import pytest

# Hand-made, in the original formats: latin-1, "::" or bars, titles with commas, colons and no year.
RATINGS_DAT = "".join(
    f"{user}::{item}::{1 + (user + item) % 5}::{978300000 + 60 * place + user}\n"
    for user in (1, 2, 3)
    for place, item in enumerate((10, 3, 7, 5, 21)[: 2 + user])
)
MOVIES_DAT = (
    "3::Café au Lait (1993)::Comedy\n"
    "5::Shape of Things, The: A Tale (1979)::Drama|Sci-Fi\n"
    "7::Title::with Colons (2000)::Action|Children's\n"
    "10::No Year at All::Film-Noir\n"
    "99::Never Rated (1950)::Horror\n"
)
GENRES = ("unknown", "Action", "Children's", "Comedy", "Drama")
U_GENRE = "".join(f"{genre}|{place}\n" for place, genre in enumerate(GENRES)) + "\n"
U_DATA = "".join(f"{user}\t{item}\t3\t{880000000 + 9 * item}\n" for user in (1, 2) for item in (1, 2, 3, 4))
U_ITEM = (
    "1|Café, Le (1993)|01-Jan-1993||http://example.org/1|0|0|0|1|1\n"
    "2|Twice (1990)|01-Jan-1990||http://example.org/2|0|1|0|0|0\n"
    "3|Twice (1990)|01-Jan-1990||http://example.org/3|0|0|1|0|0\n"
    "4|unknown||||1|0|0|0|0\n"
)
ML_1M = {"ratings.dat": RATINGS_DAT, "movies.dat": MOVIES_DAT}
ML_100K = {"u.data": U_DATA, "u.item": U_ITEM, "u.genre": U_GENRE}


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
        ml_1m, ml_100k = ML_1M, ML_100K
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
