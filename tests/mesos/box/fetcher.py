#!/usr/bin/env python3
"""What an agent calls to bring a task's files into its sandbox, in place of the program that the library lacks.

Knows http and file addresses and plain paths; no cache, no hdfs. What to bring stands in MESOS_FETCHER_INFO, as JSON.
"""
import json
import os
import shutil
import sys
import tarfile
import urllib.request
from pathlib import Path


def bring(uri: dict, sandbox: Path) -> None:
    address = uri["value"]
    target = sandbox / (uri.get("output_file") or address.rsplit("/", 1)[-1])
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"bringing {address} to {target}", file=sys.stderr)
    if "://" not in address:
        address = Path(address).resolve().as_uri()
    with urllib.request.urlopen(address, timeout=60) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file)
    if uri.get("executable"):
        target.chmod(0o755)
    elif uri.get("extract", True) and tarfile.is_tarfile(target):
        with tarfile.open(target) as archive:
            archive.extractall(sandbox)


def main() -> None:
    info = json.loads(os.environ["MESOS_FETCHER_INFO"])
    for item in info.get("items", []):
        bring(item["uri"], Path(info["sandbox_directory"]))


main()
