#!/usr/bin/env python3
"""Mutation testing with all mutants in one build, for tests/mutants.sh.

cargo-mutants builds each mutant anew, which takes longer than testing it. Here cargo-mutants only says which mutants there
are. All of them are written into one copy of the code, each behind a switch: `a < b` becomes
`(if on(17) { a <= b } else { a < b })`, a function begins with `if on(18) { return 0; }`, an arm of a match that is to go has
the guard `if !on(19)`. That is built once; the tests read from the environment which mutant is on. First each test is run
with all of them off, to learn which it comes by; then each mutant is met only by those tests, the quickest first, until
one fails.

What can't be written so is left to cargo-mutants itself: a mutant in a constant, or one that may compile without the
original beside it. What compiles in no way, such as a default of a type that has none, is no mutant.
"""

from __future__ import annotations

import argparse
import enum
import json
import os
import pathlib
import re
import resource
import shlex
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import tree_sitter
import tree_sitter_rust

SWITCH = """\
//! Which mutant is on.
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

static ON: AtomicU32 = AtomicU32::new(START);
static MET: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
const START: u32 = u32::MAX;
const TRACE: u32 = u32::MAX - 1;

/// Whether this one is.
#[inline]
pub fn on(mutant: u32) -> bool {
    let on = ON.load(Relaxed);
    on == mutant || (on >= TRACE && seldom(mutant))
}

#[cold]
fn seldom(mutant: u32) -> bool {
    if ON.load(Relaxed) == START {
        let on = std::env::var("MUTANT").ok().and_then(|on| on.parse().ok());
        ON.store(on.unwrap_or(TRACE), Relaxed);
        if on.is_some() {
            return on == Some(mutant);
        }
    }
    let (word, bit) = (mutant as usize / 64, 1 << (mutant % 64));
    if MET[word].fetch_or(bit, Relaxed) & bit == 0
        && let Ok(file) = std::env::var("MUTANTS_MET")
    {
        use std::io::Write;
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        file.unwrap().write_all(format!("{mutant}\\n").as_bytes()).unwrap();
    }
    false
}

/// One of two iterators, where a function returns one without naming its type.
#[derive(Clone)]
pub enum Either<L, R> {
    Left(L),
    Right(R),
}

impl<L: Iterator, R: Iterator<Item = L::Item>> Iterator for Either<L, R> {
    type Item = L::Item;

    #[inline(never)]
    fn next(&mut self) -> Option<L::Item> {
        match self {
            Self::Left(left) => left.next(),
            Self::Right(right) => right.next(),
        }
    }
}

impl<L: DoubleEndedIterator, R: DoubleEndedIterator<Item = L::Item>> DoubleEndedIterator for Either<L, R> {
    fn next_back(&mut self) -> Option<L::Item> {
        match self {
            Self::Left(left) => left.next_back(),
            Self::Right(right) => right.next_back(),
        }
    }
}
"""
# How cargo is called, such as `nice cargo`.
CARGO = shlex.split(os.environ.get("CARGO", "cargo"))
ON = "::apportion_policies::mutant_switch::on"
EITHER = "::apportion_policies::mutant_switch::Either"
# A mutant that uses more memory than this, or takes so many times the processor's time that its tests take without it, is
# found. The clock on the wall says little on a machine that does other things; it only ends what does nothing at all.
MEMORY_MAX = 4 << 30
PATIENCE = 15
SECONDS_LEAST = 3
WALL_SECONDS_MAX = 600
# Errors in the text of a mutant that don't depend on what stands around it: a wrong type, a trait that isn't implemented.
SURELY_WRONG = {"E0277", "E0308", "E0368", "E0369", "E0599", "E0600"}
# No arm of a match is left for some value.
NOT_ALL_MATCHED = "E0004"


@dataclass
class Mutant:
    """One change, as cargo-mutants lists it, with the number of its switch."""

    number: int
    file: str
    name: str
    genre: str
    replacement: str
    returns: str
    span: tuple[int, int]
    tests: list["Test"] = field(default_factory=list)


class Kind(enum.Enum):
    """How mutants are switched on, in the order in which they are written where they begin at one place."""

    # At the beginning of a function.
    RETURN = 0
    # As a guard of an arm, which goes if the mutant is on.
    GUARD = 1
    # Of two iterators of different types.
    ITERATOR = 2
    # An expression in place of another.
    CHOICE = 3


@dataclass
class Edit:
    """A place in the source, and the mutants there."""

    start: int
    end: int
    mutants: list[tuple[Mutant, str]]
    kind: Kind = Kind.CHOICE
    # What is written before a choice.
    before: str = ""


@dataclass
class Place:
    """Where in a changed text mutants stand: all of one place, or one alone."""

    start: int
    end: int
    numbers: set[int]
    is_one: bool = False
    kind: Kind = Kind.CHOICE


@dataclass
class Known:
    """By name, the mutants that can't be switched: those that compile in no way, and the others."""

    wrong: set[str]
    others: set[str]

    def has(self, mutant: Mutant) -> bool:
        return mutant.name in self.wrong or mutant.name in self.others

    @classmethod
    def read(cls, folder: pathlib.Path) -> "Known":
        files = [folder / "wrong.txt", folder / "others.txt"]
        return cls(*(set(file.read_text().splitlines()) if file.exists() else set() for file in files))

    def write(self, folder: pathlib.Path, mutants: list[Mutant]) -> None:
        """Of those that there are now."""
        for file, names in (("wrong.txt", self.wrong), ("others.txt", self.others)):
            (folder / file).write_text("".join(f"{mutant.name}\n" for mutant in mutants if mutant.name in names))


class Source:
    """A file, with its mutants behind switches."""

    def __init__(self, path: pathlib.Path):
        self.text = path.read_bytes()
        self.lines = self.text.split(b"\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_rust.language()))
        self.root = parser.parse(self.text).root_node

    def offset(self, place: dict) -> int:
        line = self.lines[place["line"] - 1].decode()
        return self.starts[place["line"] - 1] + len(line[: place["column"] - 1].encode())

    def operation(self, mutant: Mutant) -> tree_sitter.Node | None:
        """What the operator of a mutant stands in."""
        token = self.root.descendant_for_byte_range(*mutant.span)
        return token.parent if token and (token.start_byte, token.end_byte) == mutant.span else None

    def joins_let(self, mutant: Mutant) -> bool:
        """Whether `let` stands among what the operator joins: then it can only be `&&`."""
        whole = self.operation(mutant) if mutant.genre == "BinaryOperator" else None
        return whole is not None and has_let(whole)

    def edit_for(self, mutant: Mutant) -> Edit | None:
        """How this mutant is switched on, if it can be."""
        start, end = mutant.span
        if mutant.genre == "FnValue":
            if mutant.returns.removeprefix("-> ").startswith("impl Iterator"):
                return Edit(start, end, [(mutant, mutant.replacement)], Kind.ITERATOR)
            # Both would have to be of one type.
            if "impl " in mutant.returns:
                return None
            return Edit(start, start, [(mutant, f"if {ON}({mutant.number}) {{ return {mutant.replacement}; }} ")], Kind.RETURN)
        if mutant.genre == "MatchArmGuard":
            return Edit(start, end, [(mutant, mutant.replacement)])
        if mutant.genre == "MatchArm":
            return self.edit_for_arm(mutant)
        if mutant.genre == "StructField":
            return self.edit_for_field(mutant)
        whole = self.operation(mutant)
        if whole is None:
            return None
        if mutant.genre == "BinaryOperator" and whole.type in ("binary_expression", "compound_assignment_expr"):
            left, right = whole.child_by_field_name("left"), whole.child_by_field_name("right")
            before, after = self.text[left.start_byte : start], self.text[end : right.end_byte]
            changed = f"{before.decode()} {mutant.replacement} {after.decode()}"
            return Edit(left.start_byte, right.end_byte, [(mutant, changed)])
        if mutant.genre == "UnaryOperator" and whole.type == "unary_expression":
            return Edit(whole.start_byte, whole.end_byte, [(mutant, self.text[end : whole.end_byte].decode())])
        return None

    def edit_for_arm(self, mutant: Mutant) -> Edit | None:
        """An arm of a match that goes."""
        arm = self.holding("match_arm", mutant.span)
        pattern = arm and arm.child_by_field_name("pattern")
        if pattern is None:
            return None
        off = f"!{ON}({mutant.number})"
        guard = pattern.child_by_field_name("condition")
        if guard is None:
            return Edit(pattern.end_byte, pattern.end_byte, [(mutant, f" if {off}")], Kind.GUARD)
        if guard.type == "binary_expression" and guard.child_by_field_name("operator").type == "||":
            return None
        return Edit(guard.start_byte, guard.start_byte, [(mutant, f"{off} && ")], Kind.GUARD)

    def edit_for_field(self, mutant: Mutant) -> Edit | None:
        """A field that is left to the struct from which all others are taken."""
        whole = self.holding("struct_expression", mutant.span)
        fields = whole.child_by_field_name("body").named_children if whole else []
        base = next((field for field in fields if field.type == "base_field_initializer"), None)
        field = next((field for field in fields if field.start_byte == mutant.span[0]), None)
        if base is None or field is None:
            return None
        value, name = field.child_by_field_name("value"), field.child_by_field_name("field")
        name = name or field
        text = self.text[name.start_byte : name.end_byte].decode()
        rest = self.text[base.named_children[0].start_byte : base.end_byte].decode()
        before = f"{text}: " if value is None else ""
        value = value or field
        return Edit(value.start_byte, value.end_byte, [(mutant, f"({rest}).{text}")], before=before)

    def holding(self, kind: str, span: tuple[int, int]) -> tree_sitter.Node | None:
        """The smallest node of a kind around the beginning of a place."""
        node = self.root.descendant_for_byte_range(span[0], span[0] + 1)
        while node is not None and node.type != kind:
            node = node.parent
        return node

    def with_switches(self, edits: list[Edit]) -> tuple[bytes, list[Place]]:
        """The changed text, and where in it which mutants stand."""
        merged: dict[tuple, Edit] = {}
        for edit in edits:
            key = (edit.start, edit.end, edit.kind)
            of_place = merged.setdefault(key, Edit(edit.start, edit.end, [], edit.kind))
            of_place.mutants.extend(edit.mutants)
            of_place.before = of_place.before or edit.before
        # What contains comes before what it contains.
        insertions = (Kind.RETURN, Kind.GUARD)
        todo = sorted(merged.values(), key=lambda edit: (edit.start, edit.kind not in insertions, -edit.end, edit.kind.value))
        out, places = bytearray(), []

        def put(edit: Edit, mutant: Mutant, text: str) -> None:
            begin = len(out)
            out.extend(text.encode())
            places.append(Place(begin, len(out), {mutant.number}, is_one=True, kind=edit.kind))

        def copy(at: int, end: int) -> None:
            while todo and todo[0].start < end:
                edit = todo.pop(0)
                out.extend(self.text[at : edit.start])
                start = len(out)
                at = edit.start
                if edit.kind in insertions:
                    for mutant, text in edit.mutants:
                        put(edit, mutant, text)
                    continue
                left, right = (f"{EITHER}::Left(", f"{EITHER}::Right(") if edit.kind == Kind.ITERATOR else ("", "")
                close = ")" if right else ""
                out.extend(f"{edit.before}(".encode())
                for mutant, text in edit.mutants:
                    put(edit, mutant, f"if {ON}({mutant.number}) {{ {left}{text}{close} }} else ")
                    out.extend(f"{{ {right}".encode() if right else b"")
                out.extend(b"{ ")
                copy(edit.start, edit.end)
                out.extend(b" }" + f"{close} }}".encode() * (len(edit.mutants) if right else 0) + b")")
                at = edit.end
                places.append(Place(start, len(out), {mutant.number for mutant, _ in edit.mutants}, kind=edit.kind))
            out.extend(self.text[at:end])

        copy(0, len(self.text))
        return bytes(out), places


def has_let(node: tree_sitter.Node) -> bool:
    return node.type in ("let_condition", "let_chain") or any(
        has_let(child) for child in node.children if child.type in ("binary_expression", "let_condition", "let_chain")
    )


def list_mutants(package: pathlib.Path, sources: dict[str, Source], files: list[str]) -> list[Mutant]:
    wanted = [argument for file in files for argument in ("--file", file)]
    command = ["cargo", "mutants", "--list", "--json", "--workspace", *wanted]
    listed = json.loads(subprocess.run(command, cwd=package, check=True, stdout=subprocess.PIPE).stdout)
    mutants = []
    for number, entry in enumerate(listed):
        file = entry["file"]
        if file not in sources:
            sources[file] = Source(package / file)
        span = tuple(sources[file].offset(entry["span"][side]) for side in ("start", "end"))
        returns = (entry["function"] or {}).get("return_type", "")
        mutants.append(Mutant(number, file, entry["name"], entry["genre"], entry["replacement"], returns, span))
    return mutants


@dataclass
class Workspace:
    """A copy of the code, and what is built of it."""

    root: pathlib.Path
    # Which tests are run: those whose name this matches.
    tests: re.Pattern

    def cargo(self, *arguments: str) -> list[dict]:
        """What cargo says, message by message."""
        environment = {**os.environ, "RUSTFLAGS": "-Awarnings"}
        command = [*CARGO, *arguments, "--workspace", "--lib", "--profile", "mutants", "--message-format=json"]
        done = subprocess.run(command, cwd=self.root, env=environment, stdout=subprocess.PIPE)
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]


def compile_errors(messages: list[dict]) -> list[dict]:
    of_compiler = (message["message"] for message in messages if message["reason"] == "compiler-message")
    return [error for error in of_compiler if error["level"] == "error" and error["spans"]]


def build(package: Workspace, sources: dict[str, Source], mutants: list[Mutant], known: Known) -> tuple[list[Mutant], list[Program]]:
    """Builds all that can be switched; what the compiler refuses, or did when it was asked last, is left out. Returns those that
    are in, and the programs."""
    known.wrong |= {mutant.name for mutant in mutants if sources[mutant.file].joins_let(mutant)}
    edits = {mutant.number: sources[mutant.file].edit_for(mutant) for mutant in mutants if not known.has(mutant)}
    inside = {number for number, edit in edits.items() if edit is not None}
    while True:
        places = {}
        for file, source in sources.items():
            of_file = [edits[mutant.number] for mutant in mutants if mutant.file == file and mutant.number in inside]
            text, places[file] = source.with_switches(of_file)
            (package.root / file).write_bytes(text)
        messages = package.cargo("check", "--tests")
        # Some errors are found only when code is made.
        errors = compile_errors(messages) or compile_errors(messages := package.cargo("test", "--no-run"))
        if not errors:
            break
        refused = set()
        for error in errors:
            of_error, are_wrong = culprits(error, places)
            refused |= of_error
            (known.wrong if are_wrong else known.others).update(mutant.name for mutant in mutants if mutant.number in of_error)
        print(f"  {len(errors)} errors, {len(refused)} mutants can't be switched", flush=True)
        if not refused:
            sys.exit("\n".join(error["rendered"] for error in errors))
        inside -= refused
    known.others |= {mutant.name for mutant in mutants if mutant.number not in inside and mutant.name not in known.wrong}
    try_alone(package, sources, [mutant for mutant in mutants if mutant.name in known.others], known)
    tested = [message for message in messages if message.get("executable") and message["profile"]["test"]]
    programs = [Program(message["executable"], str(pathlib.Path(message["manifest_path"]).parent)) for message in tested]
    return [mutant for mutant in mutants if mutant.number in inside], programs


def try_alone(package: Workspace, sources: dict[str, Source], mutants: list[Mutant], known: Known) -> None:
    """Finds those of some mutants that compile in no way, also without a switch."""
    for mutant in mutants:
        file, source = package.root / mutant.file, sources[mutant.file]
        switched, (start, end) = file.read_bytes(), mutant.span
        file.write_bytes(source.text[:start] + mutant.replacement.encode() + source.text[end:])
        if compile_errors(package.cargo("check", "--tests")):
            known.others.discard(mutant.name)
            known.wrong.add(mutant.name)
        file.write_bytes(switched)


def culprits(error: dict, places: dict[str, list[Place]]) -> tuple[set[int], bool]:
    """Whose code an error is about, and whether they are wrong wherever they stand."""
    primary = [span for span in error["spans"] if span["is_primary"]]
    code = (error["code"] or {}).get("code")
    if code == NOT_ALL_MATCHED:
        # An arm that goes, of the match of which this is what is looked at.
        for span in primary:
            of_file = places.get(span["file_name"], [])
            arms = [place for place in of_file if place.kind == Kind.GUARD and place.start >= span["byte_end"]]
            if arms:
                return min(arms, key=lambda place: place.start).numbers, True
    # The smallest place that holds one of its spans.
    for span in primary + error["spans"]:
        around = [place for place in places.get(span["file_name"], []) if place.start <= span["byte_start"] and span["byte_end"] <= place.end]
        if around:
            smallest = min(around, key=lambda place: place.end - place.start)
            is_wrong = span["is_primary"] and smallest.is_one and code in SURELY_WRONG
            # Of iterators that aren't of one type, the last ones hold the less likely values.
            is_any = smallest.kind == Kind.ITERATOR and not smallest.is_one
            return {max(smallest.numbers)} if is_any else smallest.numbers, is_wrong
    # Of a function as a whole: all that stand in what is marked, or what returns early before it.
    for span in primary:
        of_file = places.get(span["file_name"], [])
        held = [place.numbers for place in of_file if span["byte_start"] <= place.start and place.end <= span["byte_end"]]
        if held:
            return set().union(*held), False
        before = [place for place in of_file if place.end <= span["byte_start"] and place.kind == Kind.RETURN]
        if before:
            return max(before, key=lambda place: place.end).numbers, False
    return set(), False


@dataclass(frozen=True)
class Program:
    """A program of tests, and where it is run."""

    path: str
    folder: str


@dataclass
class Test:
    program: Program
    name: str
    seconds: float = 0.0


def start(program: Program, arguments: list[str], seconds: int = WALL_SECONDS_MAX, **environment: str) -> subprocess.Popen:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return subprocess.Popen(
        [program.path, *arguments],
        cwd=program.folder,
        env={**os.environ, "CARGO_MANIFEST_DIR": program.folder, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=limit,
    )


def learn(programs: list[Program], which: re.Pattern, mutants: dict[int, Mutant], out: pathlib.Path) -> list[Test]:
    """Runs each test once alone, to see what it comes by and how long it takes. What was learned of these very programs before
    is taken from a file."""
    file = out / "tests.json"
    built = {program.path: os.path.getmtime(program.path) for program in programs}
    built["cases"] = os.environ.get("PROPTEST_CASES")
    learned = json.loads(file.read_text()) if file.exists() else {}
    if learned.get("built") != built:
        learned = {"built": built, "tests": {program.path: learn_program(program, which, out / "met") for program in programs}}
        file.write_text(json.dumps(learned))
    tests = []
    for program in programs:
        for name, seconds, met in learned["tests"][program.path]:
            tests.append(Test(program, name, seconds))
            for number in met:
                if number in mutants:
                    mutants[number].tests.append(tests[-1])
    return tests


def learn_program(program: Program, which: re.Pattern, met: pathlib.Path) -> list[tuple[str, float, list[int]]]:
    tests = []
    listed = start(program, ["--list", "--format", "terse"]).communicate()[0].decode()
    for name in re.findall(r"^(.*): test$", listed, re.M):
        if not which.match(name):
            continue
        met.unlink(missing_ok=True)
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = start(program, ["--exact", name], MUTANTS_MET=str(met))
        output = process.communicate()[0]
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        if process.returncode:
            print(f"  {name} fails without a mutant:\n{output.decode()}", flush=True)
            continue
        seconds = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
        tests.append((name, seconds, sorted({int(line) for line in met.read_text().split()}) if met.exists() else []))
    met.unlink(missing_ok=True)
    return tests


def is_found(mutant: Mutant) -> str | None:
    """By which test, or how else, a mutant is found."""
    for group in groups(mutant.tests):
        seconds = max(SECONDS_LEAST, round(PATIENCE * sum(test.seconds for test in group)))
        found = run_group(mutant.number, group, seconds)
        if found:
            return found
    return None


def groups(tests: list[Test]) -> list[list[Test]]:
    """Tests of one program each that are run together, the quickest first. So few that a mutant with which nothing ends is
    known by the least of the processor's time, where its tests are quick."""
    found = []
    for program in dict.fromkeys(test.program for test in tests):
        group: list[Test] = []
        for test in sorted((test for test in tests if test.program == program), key=lambda test: test.seconds):
            if group and PATIENCE * (sum(test.seconds for test in group) + test.seconds) > SECONDS_LEAST:
                found.append(group)
                group = []
            group.append(test)
        found.append(group)
    return sorted(found, key=lambda group: group[-1].seconds)


def run_group(number: int, group: list[Test], seconds: int) -> str | None:
    """The first of these tests that fails with this mutant, or how the program ended."""
    names = [test.name for test in group]
    process = start(group[0].program, ["--exact", "--test-threads=1", *names], seconds, MUTANT=str(number))
    watch = threading.Timer(WALL_SECONDS_MAX, process.kill)
    watch.start()
    failed = None
    for line in process.stdout:
        match = re.match(r"test (\S+)(?: - should panic)? \.\.\. .*FAILED", line.decode(errors="replace"))
        if match and not failed:
            failed = match[1]
            process.kill()
    process.wait()
    watch.cancel()
    return failed or (f"ended by {process.returncode}" if process.returncode else None)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tells which mutants no test finds.")
    parser.add_argument("root", type=pathlib.Path, help="the copy of the code, which is changed")
    parser.add_argument("out", type=pathlib.Path, help="where found.txt, missed.txt, wrong.txt and others.txt go")
    parser.add_argument("files", nargs="*", help="whose mutants; by default those of all")
    parser.add_argument("--tests", type=re.compile, default=re.compile(""), help="which tests are run: what their names begin with")
    parser.add_argument("--again", action="store_true", help="only those that were missed last time, with what was built then")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    package = Workspace(asked.root.resolve(), asked.tests)
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if asked.again:
        meet_again(package, out)
        return
    sources: dict[str, Source] = {}
    mutants = list_mutants(package.root, sources, asked.files)
    print(f"{len(mutants)} mutants", flush=True)
    (package.root / "policies/src/mutant_switch.rs").write_text(SWITCH)
    with open(package.root / "policies/src/lib.rs", "a") as library:
        library.write("#[doc(hidden)]\npub mod mutant_switch;\n")
    known = Known.read(out)
    inside, programs = build(package, sources, mutants, known)
    known.write(out, mutants)
    write_built(inside, programs, out)
    n_wrong = sum(mutant.name in known.wrong for mutant in mutants)
    n_others = len(mutants) - len(inside) - n_wrong
    print(f"{len(inside)} are switched, {n_wrong} compile in no way, {n_others} are left to cargo-mutants", flush=True)
    learn_all(programs, package.tests, inside, out)
    meet_all(inside, out, "w")


def write_built(mutants: list[Mutant], programs: list[Program], out: pathlib.Path) -> None:
    """What was built, for another time."""
    built = {"programs": [vars(program) for program in programs], "mutants": {mutant.name: mutant.number for mutant in mutants}}
    (out / "built.json").write_text(json.dumps(built))


def meet_again(package: Workspace, out: pathlib.Path) -> None:
    """Meets those that were missed once more; with more cases of each property some are found."""
    built = json.loads((out / "built.json").read_text())
    missed = {line.rsplit(" (", 1)[0] for line in (out / "missed.txt").read_text().splitlines()}
    mutants = [
        Mutant(number, name.split(":")[0], name, "", "", "", (0, 0)) for name, number in built["mutants"].items() if name in missed
    ]
    learn_all([Program(**program) for program in built["programs"]], package.tests, mutants, out)
    meet_all(mutants, out, "a")


def learn_all(programs: list[Program], which: re.Pattern, mutants: list[Mutant], out: pathlib.Path) -> None:
    tests = learn(programs, which, {mutant.number: mutant for mutant in mutants}, out)
    if not tests:
        sys.exit("no test passes")
    print(f"{len(tests)} tests take {sum(test.seconds for test in tests):.0f} s", flush=True)


def meet_all(mutants: list[Mutant], out: pathlib.Path, mode: str) -> None:
    """Writes which are found, anew or (`a`) beside those of before, and which are missed."""
    with open(out / "found.txt", mode) as found_file, open(out / "missed.txt", "w") as missed_file:
        began, n_missed = time.monotonic(), 0
        for n_done, mutant in enumerate(mutants, 1):
            found = is_found(mutant)
            n_missed += found is None
            line = f"{mutant.name} ({len(mutant.tests)} tests)"
            print(f"{line}: {found}" if found else line, file=found_file if found else missed_file, flush=True)
            if n_done % 50 == 0 or n_done == len(mutants):
                print(f"  {n_done} of {len(mutants)} after {time.monotonic() - began:.0f} s, {n_missed} missed", flush=True)


if __name__ == "__main__":
    main()
