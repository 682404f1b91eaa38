"""Archives from their publisher: fetched, verified by the checksum beside them, and unpacked file by file."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath

logger = logging.getLogger(__name__)

_SECONDS = 30.0  # without an answer
_BLOCK = 1 << 18


def fetch_archive(address: str, files: tuple[str, ...], folder: Path) -> None:
    """Download a zip, compare it with the ``.md5`` published beside it, and put ``files`` into ``folder``.

    Nothing is left behind when anything fails. Raise ``ConnectionError`` when the address cannot be reached, and
    ``ValueError`` when the archive is not the published one or lacks a file.
    """
    expected = _published_md5(f"{address}.md5")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder.parent) as beside:
        archive = Path(beside) / "archive.zip"
        logger.info("downloading %s", address)
        found = _fetch(address, archive)
        if found != expected:
            raise ValueError(
                f"{address} has the MD5 sum {found}, but {expected} is published beside it: "
                "the download is damaged or not the original; try again"
            )
        _unpack(archive, files, Path(beside))
        folder.mkdir(exist_ok=True)
        for name in files:
            (Path(beside) / name).replace(folder / name)
    logger.info("verified and unpacked %s", ", ".join(files))


def _published_md5(address: str) -> str:
    """Return the 32 hex digits in a checksum file, whatever form it has."""
    with _open(address) as response:
        text = response.read(4096).decode("ascii", errors="replace")
    match = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    if match is None:
        raise ValueError(f"{address} holds no MD5 sum but {text[:60]!r}: the archive cannot be verified")
    return match.group().lower()


def _fetch(address: str, path: Path) -> str:
    """Write what the address gives to a file and return its MD5 sum."""
    digest = hashlib.md5(usedforsecurity=False)
    with _open(address) as response, path.open("wb") as file:
        try:
            while block := response.read(_BLOCK):
                digest.update(block)
                file.write(block)
        except (TimeoutError, ConnectionError) as error:
            raise ConnectionError(f"{address}: {error}") from error
    return digest.hexdigest()


def _open(address: str):  # noqa: ANN202 - the response type of urllib is not public
    try:
        return urllib.request.urlopen(address, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        raise ConnectionError(f"{address}: {error.reason}") from error
    except (urllib.error.URLError, TimeoutError) as error:
        raise ConnectionError(f"{address}: {getattr(error, 'reason', error)}") from error


def _unpack(archive: Path, files: tuple[str, ...], folder: Path) -> None:
    """Copy the wanted members, found by their file name, whatever folder of the archive they are in."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = {
                PurePosixPath(info.filename).name: info for info in opened.infolist() if not info.is_dir()
            }
            for name in files:
                if name not in members:
                    raise ValueError(f"the archive holds no {name}, only {', '.join(sorted(members))[:200]}")
                with opened.open(members[name]) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except zipfile.BadZipFile as error:
        raise ValueError(f"the archive is no zip file: {error}") from error
