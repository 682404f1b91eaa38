import hashlib
import socket

import pytest

from workbench.datasets.download import fetch_archive

FILES = ("ratings.dat", "movies.dat")


@pytest.mark.parametrize("form", ["MD5 (ml-1m.zip) = {}\n", "{}  ml-1m.zip\n", "{}", "{} *ml-1m.zip\r\n"])
def test_an_archive_is_verified_by_the_sum_beside_it_and_unpacked(tmp_path, server, raw, form):
    content = raw.zip_of(raw.ml_1m)
    address = server("ml-1m.zip", content, form.format(hashlib.md5(content).hexdigest().upper()))
    fetch_archive(address, FILES, tmp_path / "ml-1m")
    assert sorted(path.name for path in (tmp_path / "ml-1m").iterdir()) == ["movies.dat", "ratings.dat"]
    assert (tmp_path / "ml-1m" / "movies.dat").read_bytes() == raw.ml_1m["movies.dat"].encode("latin-1")


def test_only_the_wanted_files_are_unpacked_wherever_the_archive_claims_they_belong(tmp_path, server, raw):
    content = raw.zip_of(raw.ml_1m | {"evil.sh": "rm"}, prefix="../../outside/")
    fetch_archive(server("ml-1m.zip", content), FILES, tmp_path / "ml-1m")
    assert len(list((tmp_path / "ml-1m").iterdir())) == 2
    assert not (tmp_path.parent / "outside").exists()
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    ("content", "md5", "message"),
    [
        (b"PK damaged", "0" * 32, "has the MD5 sum .* but 0{32} is published beside it"),
        (b"PK damaged", None, "the archive is no zip file"),
        (b"PK damaged", "<html>no such file</html>", "holds no MD5 sum"),
    ],
)
def test_what_is_not_the_published_archive_leaves_nothing_behind(tmp_path, server, content, md5, message):
    with pytest.raises(ValueError, match=message):
        fetch_archive(server("ml-1m.zip", content, md5), FILES, tmp_path / "ml-1m")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served"]


def test_an_archive_without_the_wanted_file_leaves_nothing_behind(tmp_path, server, raw):
    address = server("ml-1m.zip", raw.zip_of({"ratings.dat": "1"}))
    with pytest.raises(ValueError, match=r"holds no movies.dat, only ratings.dat"):
        fetch_archive(address, FILES, tmp_path / "ml-1m")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served"]


def test_a_server_that_does_not_answer_or_has_no_such_file_is_named(tmp_path, server):
    with pytest.raises(ConnectionError, match=r"none.zip.md5: File not found"):
        fetch_archive(server("ml-1m.zip", b"x").replace("ml-1m", "none"), FILES, tmp_path / "ml-1m")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/ml-1m.zip"
        with pytest.raises(ConnectionError, match="refused"):
            fetch_archive(address, FILES, tmp_path / "ml-1m")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served"]
