"""Compare with other pools: ``python -m tests.benchmarks [--quick] [--only NAME] [--json PATH] ...``."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path
from typing import Any

from . import processes, report
from .bench import FULL, QUICK, Bench
from .measures import ALL


def main() -> int:
    """Run the selected measures, and write the results."""
    names = [measure.name for measure in ALL]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short batches")
    parser.add_argument(
        "--only",
        action="append",
        choices=names,
        metavar="NAME",
        help=f"one of {', '.join(names)}; may repeat",
    )
    parser.add_argument("--rounds", type=int, help="how many turns each contestant has, 3 or more")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all numbers")
    parser.add_argument(
        "--markdown", type=Path, metavar="PATH", help="write the tables, which are printed too"
    )
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw: .svg or .png")
    parser.add_argument("--from-json", type=Path, metavar="PATH", help="measure nothing: show an earlier run")
    arguments = parser.parse_args()
    if arguments.rounds is not None and arguments.rounds < 3:
        parser.error("--rounds takes 3 or more")

    if arguments.from_json:
        data = json.loads(arguments.from_json.read_text())
        results, about = report.from_json(data), data["about"]
    else:
        results, about = _measured(arguments)

    for path in (arguments.json, arguments.markdown, arguments.plot):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
    text = report.markdown(results, about)
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(report.as_json(results, about), indent=1) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(text)
    if arguments.plot:
        report.plot(results, arguments.plot)
    return 0


def _measured(arguments: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the hosts are stopped
    processes.adopt_orphans()
    # With it, each process that is started would compile what it imports, as no user's does.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    settings = QUICK if arguments.quick else FULL
    about = {
        "when": datetime.date.today().isoformat(),
        "machine": _machine(),
        "load": ", ".join(f"{each:.2f}" for each in os.getloadavg()),
        "rounds": arguments.rounds or settings.rounds,
        "quick": settings.quick,
        "versions": {},
    }
    began = time.monotonic()
    bench = Bench(settings, arguments.rounds)
    try:
        bench.run([measure for measure in ALL if not arguments.only or measure.name in arguments.only])
    finally:
        bench.close()
        processes.end(processes.descendants())
    about["versions"] = bench.versions
    about["minutes"] = (time.monotonic() - began) / 60
    return bench.results, about


def _machine() -> str:
    model = "an unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.release()}"
    return f"{cores} cores of {model}, {system}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
