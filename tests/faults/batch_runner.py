"""Execute every notebook of a folder as a batch: a process that a test can kill."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from workbench.batch import run_jobs
from workbench.jobs import plan

if __name__ == "__main__":
    folder, runs = Path(sys.argv[1]), Path(sys.argv[2])
    jobs = [plan(str(path), {}, runs_dir=runs) for path in sorted(folder.glob("*.ipynb"))]
    outcomes = run_jobs(
        jobs, workers=2, on_event=lambda event: print(event.kind, event.job.notebook, flush=True)
    )
    print(json.dumps({outcome.job.notebook: outcome.status for outcome in outcomes}), flush=True)
