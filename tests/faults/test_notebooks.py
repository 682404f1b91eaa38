"""Notebooks that raise, hang or flood: the others finish, the memory stays small, and no process is left behind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
FLOOD = 100_000_000  # characters
MOST_MEMORY = 1 << 30  # of any process of the batch
PID = "import os, pathlib; pathlib.Path(place).write_text(str(os.getpid()))"
PEAKS = """
for process in ("self", os.getppid()):
    print(*(line for line in open(f"/proc/{process}/status") if "VmHWM" in line))
"""
CELLS = {
    "raises": "raise KeyError('nowhere')",
    "hangs": "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(3600)",
    "floods": f"for _ in range({FLOOD} // 10_000): print('x' * 9_999)",
    "works": "print('worked')",
}
BATCH = """
import json, sys
from pathlib import Path
from workbench.batch import Limits, run_jobs
from workbench.jobs import plan
runs = Path(sys.argv[1])
jobs = [plan(path, {}, runs_dir=runs) for path in sys.argv[2:]]
outcomes = run_jobs(jobs, workers=2, limits=Limits(cell=40, run=90))
told = {each.job.notebook: [each.status, each.message, str(each.output)] for each in outcomes}
print(json.dumps([told, Path("/proc/self/status").read_text()]))
"""


def test_what_notebooks_do_wrong_stays_with_them(tmp_path, record_property):
    paths = []
    for name, cell in CELLS.items():
        made = nbformat.v4.new_notebook(
            metadata={"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}}
        )
        place = f"place: str = {str(tmp_path / name)!r}  # for the process"
        made.cells = [
            nbformat.v4.new_code_cell(place, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(PID),
            nbformat.v4.new_code_cell(cell),
            nbformat.v4.new_code_cell(PEAKS),
        ]
        nbformat.write(made, tmp_path / f"{name}.ipynb")
        paths.append(str(tmp_path / f"{name}.ipynb"))
    called = subprocess.run(
        [sys.executable, "-c", BATCH, str(tmp_path / "runs"), *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    told, status = json.loads(called.stdout.splitlines()[-1])
    assert told["raises"][:2] == ["failed", "cell 3: KeyError: 'nowhere'"]
    assert told["hangs"][0] == "failed"
    assert "ran longer than 40 s" in told["hangs"][1]
    assert [told[name][0] for name in ("floods", "works")] == ["done", "done"]
    flooded = Path(told["floods"][2])
    assert flooded.stat().st_size < 1_200_000
    assert "is not kept" in flooded.read_text()
    peaks = [int(kib) << 10 for kib in re.findall(r"VmHWM:\\?\D*(\d+) kB", status + flooded.read_text())]
    assert len(peaks) == 3, "of the batch, of the kernel, and of the process that reads from it"
    assert max(peaks) < MOST_MEMORY
    for name in CELLS:
        assert not Path(f"/proc/{(tmp_path / name).read_text()}").exists(), f"the kernel of {name} lives on"
    record_property("notebook faults", f"3 bad notebooks and a good one, peak {max(peaks) >> 20} MiB")
