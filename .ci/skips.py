"""Fail when a test was skipped that could have run: `python .ci/skips.py junit.xml`.

A skip is excused by its reason alone: "needs CUDA"; "needs root" of whoever is not; one that names DIFFSASREC_DATA
where that is not set; and "needs DIFFSASREC_DATA/<path>" where that path is not there.
"""

from __future__ import annotations

import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path


def inexcusable_skips(report: Path, environment: Mapping[str, str]) -> list[str]:
    """Return `test: reason` for each skipped test of a JUnit file whose reason does not hold here."""
    skips = []
    for case in ElementTree.parse(report).iter("testcase"):
        skipped = case.find("skipped")
        if skipped is not None and skipped.get("type") != "pytest.xfail":
            reason = skipped.get("message") or ""
            if not _is_excused(reason, environment):
                skips.append(f"{case.get('classname')}::{case.get('name')}: {reason}")
    return skips


def _is_excused(reason: str, environment: Mapping[str, str]) -> bool:
    """Return whether a skip's reason is one that this machine cannot help."""
    if "needs CUDA" in reason or ("needs root" in reason and os.geteuid() != 0):
        return True
    folder = environment.get("DIFFSASREC_DATA")
    if not folder:
        return "DIFFSASREC_DATA" in reason
    wanted = re.search(r"needs DIFFSASREC_DATA/([\w./-]*\w)", reason)
    return wanted is not None and not (Path(folder) / wanted[1]).exists()


def main() -> int:
    """Print what was skipped without need; return 1 if there is any, or no report to read."""
    report = Path(sys.argv[1])
    if not report.is_file():
        print(f"{report} is missing: the tests did not run to their end", file=sys.stderr)
        return 1
    skips = inexcusable_skips(report, os.environ)
    for line in skips:
        print(f"skipped without need: {line}", file=sys.stderr)
    return 1 if skips else 0


if __name__ == "__main__":
    sys.exit(main())
