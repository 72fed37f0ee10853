#!/usr/bin/env python3
"""Makes a real Apache Mesos 1.11.0 out of the Python package that carries its library: `install.py FOLDER`.

The package mesos.scheduler brings libmesos whole, master and agent included, but no programs. This script
takes it by name and version from the index that pip uses, insists on its checksum, and builds `box.cpp`
against the library. The library was linked with OpenSSL 1.0, libcurl 3 and Python 2.7, which no system has any
more; small libraries that only have the symbols take their place. Nothing here uses TLS or fetches through
libcurl, so none of them is ever called in earnest.

Needs Linux on x86-64, g++, binutils, patchelf, pip, and the libraries of the Debian packages libsvn1, libapr1 and
libsasl2-2. Does nothing where the folder is complete already.
"""
import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.parse
import urllib.request
from collections import defaultdict
from pathlib import Path

FILE = "mesos.scheduler-1.11.0.linux-x86_64.tar.gz"
FILE_SHA256 = "1d376f20bca6d05ee8b90c1c123a452b28753497ccc2f1c80ea3ac94c12e8f6e"
SOURCES = Path(__file__).resolve().parent
# What is replaced whole. The symbols that Python has are found by their names: the library doesn't say whose they are.
REPLACED = {"libssl.so.1.0.0", "libcrypto.so.1.0.0", "libcurl.so.4"}
PYTHON_SYMBOL = re.compile(r"_?Py")
PYTHON_DATA = re.compile(r"PyExc_|_Py")


def fingerprint() -> str:
    """Of all that the installed folder is made of; written when it is complete."""
    digest = hashlib.sha256(FILE_SHA256.encode())
    for name in ("install.py", "box.cpp", "fetcher.py"):
        digest.update((SOURCES / name).read_bytes())
    return digest.hexdigest()


def index_url() -> str:
    """Where pip looks for packages."""
    from pip._internal.models.index import PyPI

    asked = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True)
    return (os.environ.get("PIP_INDEX_URL") or asked.stdout.strip() or PyPI.simple_url).rstrip("/") + "/"


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=120) as answer:
        return answer.read()


def download() -> bytes:
    page_url = index_url() + "mesos-scheduler/"
    links = re.findall(r'href="([^"#]+)', fetch(page_url).decode())
    link = next((link for link in links if link.endswith("/" + FILE)), None)
    if link is None:
        sys.exit(f"install.py: the package index has no {FILE}")
    archive = fetch(urllib.parse.urljoin(page_url, link))
    if hashlib.sha256(archive).hexdigest() != FILE_SHA256:
        sys.exit(f"install.py: {FILE} is not the file that was expected: its checksum differs")
    return archive


def unpack(archive: bytes, library: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        member = next(file for file in files if file.name.endswith("/_scheduler.so"))
        library.write_bytes(files.extractfile(member).read())
    library.chmod(0o755)


def readelf(option: str, library: Path) -> list:
    return subprocess.check_output(["readelf", "-W", option, str(library)], text=True).splitlines()


def missing_symbols(library: Path):
    """The symbols wanted of each replaced library, by version, and those wanted of Python."""
    of_version = {}  # the number by which a symbol names its version: (library, version)
    wanted_file = None
    for line in readelf("-V", library):
        if found := re.search(r"Version: \d+\s+File: (\S+)", line):
            wanted_file = found[1]
        elif found := re.search(r"Name: (\S+)\s+Flags: \S+\s+Version: (\d+)", line):
            of_version[found[2]] = (wanted_file, found[1])
    replaced, python = defaultdict(lambda: defaultdict(set)), set()
    for line in readelf("--dyn-syms", library):
        columns = line.split()
        if len(columns) < 8 or columns[6] != "UND":
            continue
        symbol = columns[7].partition("@")[0]
        owner, version = of_version.get(columns[8].strip("()"), (None, None)) if len(columns) > 8 else (None, None)
        if owner in REPLACED:
            replaced[owner][version].add(symbol)
        elif owner is None and PYTHON_SYMBOL.match(symbol):
            python.add(symbol)
    return replaced, python


def build_stand_in(folder: Path, name: str, source: str, versions: str = "") -> None:
    """Compiles a shared library; `versions` is a linker script that gives its symbols their versions."""
    (folder / "stand-in.c").write_text(source)
    command = ["gcc", "-shared", "-fPIC", "-w", "-o", name, f"-Wl,-soname,{name}", "stand-in.c"]
    if versions:
        (folder / "stand-in.map").write_text(versions)
        command.append("-Wl,--version-script=stand-in.map")
    subprocess.check_call(command, cwd=folder)


def build_stand_ins(folder: Path, library: Path) -> None:
    replaced, python = missing_symbols(library)
    for name, by_version in replaced.items():
        every = sorted(set().union(*by_version.values()))
        source = "".join(f"long {symbol}(void) {{ return 0; }}\n" for symbol in every)
        versions = "".join(
            f"{version} {{ global: {' '.join(f'{symbol};' for symbol in sorted(symbols))} }};\n"
            for version, symbols in sorted(by_version.items())
        )
        build_stand_in(folder, name, source, versions)
    source = "".join(
        f"char {symbol}[512];\n" if PYTHON_DATA.match(symbol) else f"long {symbol}(void) {{ return 0; }}\n"
        for symbol in sorted(python)
    )
    build_stand_in(folder, "libpython-stand-in.so", source)
    # One change a call: patchelf 0.14 damages the search path where one call makes both.
    subprocess.check_call(["patchelf", "--set-rpath", "$ORIGIN", library.name], cwd=folder)
    subprocess.check_call(["patchelf", "--add-needed", "libpython-stand-in.so", library.name], cwd=folder)


def build_programs(folder: Path) -> None:
    command = ["g++", "-O1", "-w", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-o", "box", str(SOURCES / "box.cpp"), "libmesos.so"]
    command += ["-Wl,-rpath,$ORIGIN", "-Wl,--allow-shlib-undefined", "-Wl,-rpath-link,."]
    subprocess.check_call(command, cwd=folder)
    # An agent finds these two by name in the folder that MESOS_LAUNCHER_DIR names.
    libexec = folder / "libexec"
    libexec.mkdir()
    (libexec / "mesos-containerizer").symlink_to("../box")
    shutil.copy(SOURCES / "fetcher.py", libexec / "mesos-fetcher")
    (libexec / "mesos-fetcher").chmod(0o755)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        sys.exit("install.py: the library is for Linux on x86-64 only")
    folder = Path(sys.argv[1]).resolve()
    done = folder / "complete"
    if done.exists() and done.read_text() == fingerprint():
        return
    lacking = [program for program in ("g++", "gcc", "readelf", "patchelf") if shutil.which(program) is None]
    if lacking:
        sys.exit(f"install.py: {', '.join(lacking)} missing; install the packages g++, binutils, patchelf")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    library = folder / "libmesos.so"
    unpack(download(), library)
    build_stand_ins(folder, library)
    build_programs(folder)
    for leftover in ("stand-in.c", "stand-in.map"):
        (folder / leftover).unlink()
    done.write_text(fingerprint())


main()
