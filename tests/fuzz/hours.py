#!/usr/bin/env python3
"""Runs fuzz targets for a given CPU time each and says what they did.

    make fuzz && tests/fuzz/hours.py [--minutes 60] [--dir DIR] TARGET...

Found inputs are kept in DIR/TARGET (default build-fuzz/found), so that a second run goes on where the first stopped; CPU time,
executions and edges are added up in DIR/TARGET.json. A crash, a hang above 120 s or memory above 2 GB stops the target, and
its input stays in DIR. Exits 1 if there was one.
"""
import argparse, json, os, re, signal, subprocess, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
OPTIONS = {"template": ["-dict=tests/fuzz/template.dict", "-max_len=3000"], "tokenizer": ["-max_len=10000"],
           "recipe": ["-detect_leaks=0"]}  # libfyaml itself loses 4 KB on some broken files
ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--minutes", type=float, default=60, help="CPU minutes a target, those of runs before included")
ap.add_argument("--dir", type=Path, default=ROOT / "build-fuzz/found")
ap.add_argument("target", nargs="+")
a = ap.parse_args()
bad = 0


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


for name in a.target:
    found, record, log = a.dir / name, a.dir / f"{name}.json", a.dir / f"{name}.log"
    found.mkdir(parents=True, exist_ok=True)
    total = json.loads(record.read_text()) if record.exists() else {"cpu_seconds": 0, "executions": 0}
    want = a.minutes * 60 - total["cpu_seconds"]
    if want > 0:
        total.pop("stopped_by", None)
        with open(log, "w") as out:
            p = subprocess.Popen([ROOT / f"build-fuzz/fuzz_{name}", found, ROOT / f"tests/fuzz/corpus/{name}", "-timeout=120",
                                  "-rss_limit_mb=2048", "-print_final_stats=1", "-reload=0", f"-artifact_prefix={a.dir}/{name}-",
                                  *OPTIONS.get(name, [])], cwd=ROOT, stdout=out, stderr=out)
            used, stop = 0, False
            while p.poll() is None:
                used = cpu_seconds(p.pid)
                if used >= want and not stop:
                    p.send_signal(signal.SIGINT)  # it prints its figures and ends
                    stop = True
                time.sleep(0.2)
        text = log.read_text(errors="replace")
        runs = re.findall(r"number_of_executed_units: (\d+)", text) or re.findall(r"^#(\d+)", text, re.M) or ["0"]
        total["cpu_seconds"] += round(used)
        total["executions"] += int(runs[-1])
        total["edges"] = int((re.findall(r"cov: (\d+)", text) or ["0"])[-1])
        total["inputs"] = len(list(found.iterdir()))
        if not stop:
            bad, total["stopped_by"] = 1, (re.findall(r"SUMMARY: (.*)", text) or [f"exit {p.returncode}, see {log}"])[-1]
        record.write_text(json.dumps(total) + "\n")
    print(f"{name:12} {total['cpu_seconds'] / 60:6.1f} CPU minutes {total['executions']:12,} executions {total.get('edges', 0):6} edges"
          + (f"  STOPPED: {total['stopped_by']}" if "stopped_by" in total else ""), flush=True)
sys.exit(bad)
