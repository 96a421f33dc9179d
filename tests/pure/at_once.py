#!/usr/bin/env python3
"""Mutants of the guards, all built at once: cargo-mutants names them, one build holds them all, and each is a run of the tests.

    tests/pure/at_once.py TREE [FILE]...     the tree that tests/pure/tree.sh made

A build for each mutant takes a minute, a run of the tests seconds. What fits into one build are the mutants that take a guard
away as a whole: a function that lets everything pass or nothing, a negation, the guard of a match arm. Those of operators are left
to `make mutants EACH=1`. A mutant that no test misses is printed, and is the exit code's business.
"""

import collections
import json
import os
import subprocess
import sys
import time

KINDS = {"FnValue", "UnaryOperator", "MatchArmGuard"}
# Minutes of pairs of faults find nothing that the rest does not; what hostile documents do is no question of a guard.
SKIPPED = ["two_faults", "hostile", "a_fault_at_any_call_leaves_all", "lease_with_a_workflow", "whatever_is_let_through"]
SWITCH = """
/// Whether this run is that of a mutant.
pub(crate) fn changed(mutant: usize) -> bool {
    static RUN: std::sync::LazyLock<Option<usize>> =
        std::sync::LazyLock::new(|| std::env::var("MUTANT").ok().and_then(|mutant| mutant.parse().ok()));
    *RUN == Some(mutant)
}
"""


def named(tree, files):
    """The mutants, as cargo-mutants has them."""
    command = ["cargo", "mutants", "--list", "--json"] + [word for file in files for word in ("--file", file)]
    mutants = json.loads(subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout)
    fits = lambda m: m["genre"] in KINDS and "impl " not in ((m["function"] or {}).get("return_type") or "")
    return [m for m in mutants if fits(m)]


def offset(lines, place):
    return sum(len(line) for line in lines[: place["line"] - 1]) + place["column"] - 1


def woven(text, mutants):
    """A file with all its mutants in it; each is asleep unless MUTANT names it."""
    lines = text.splitlines(keepends=True)
    inserts = collections.defaultdict(lambda: ["", ""])  # by offset: what ends there, what begins there
    removed = set()
    for number, mutant in mutants:
        start, end = (offset(lines, mutant["span"][side]) for side in ("start", "end"))
        if mutant["genre"] == "FnValue":
            inserts[start][1] += f"if crate::changed({number}) {{ return {mutant['replacement']}; }} "
        elif mutant["genre"] == "UnaryOperator":
            inserts[start][1] += f"(!crate::changed({number})) != "
            removed.add(start)
        elif mutant["replacement"] == "true":
            inserts[start][1] = f"(crate::changed({number}) || (" + inserts[start][1]
            inserts[end][0] += "))"
        else:
            inserts[start][1] = f"(!crate::changed({number}) && (" + inserts[start][1]
            inserts[end][0] += "))"
    out = []
    for at, letter in enumerate(text + " "):
        if at in inserts:
            out.extend(inserts[at])
        out.append("" if at in removed else letter)
    return "".join(out)[:-1]


def write(tree, originals, mutants):
    for file, text in originals.items():
        with open(os.path.join(tree, file), "w", encoding="utf-8") as out:
            out.write(woven(text, [(n, m) for n, m in mutants.items() if m["file"] == file]))


def built(tree):
    """The executable of the tests, or the mutants that do not compile."""
    command = ["cargo", "test", "--lib", "--no-run", "--message-format", "json"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    program, wrong = None, set()
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "guards":
            program = message["executable"]
        if message.get("reason") == "compiler-message" and message["message"]["level"] == "error":
            print(message["message"]["rendered"], file=sys.stderr)
            for span in message["message"]["spans"]:
                wrong |= {int(part.split(")")[0]) for line in span["text"] for part in line["text"].split("crate::changed(")[1:]}
    return program, wrong


def missed(program, number, file):
    """Whether a test fails: first those nearest to the file are run, then a short life of a lease, then all."""
    nearest = os.path.splitext(os.path.basename(file))[0]
    for tests in [nearest], ["flow_tests::the_straight", "flow_tests::every_cause"], []:
        command = [program, *tests, "--quiet", "-Zunstable-options", "--fail-fast"]
        command += [word for skipped in SKIPPED for word in ("--skip", skipped)]
        environment = os.environ | {"MUTANT": str(number), "RUSTC_BOOTSTRAP": "1", "RUST_BACKTRACE": "0"}
        try:
            run = subprocess.run(command, env=environment, capture_output=True, timeout=600, check=False)
        except subprocess.TimeoutExpired:
            return "timeout"
        if run.returncode:
            return "caught"
    return "survived"


def main():
    tree, files = sys.argv[1], sys.argv[2:]
    begun = time.monotonic()
    mutants = dict(enumerate(named(tree, files), start=1))
    originals = {}
    for file in sorted({m["file"] for m in mutants.values()}):
        with open(os.path.join(tree, file), encoding="utf-8") as text:
            originals[file] = text.read()
    root = os.path.join(tree, "src/lib.rs")
    with open(root, encoding="utf-8") as text:
        library = text.read()
    with open(root, "w", encoding="utf-8") as out:
        out.write(library + SWITCH)
    unviable = {}
    try:
        while True:
            write(tree, originals, mutants)
            program, wrong = built(tree)
            if program:
                break
            if not wrong & mutants.keys():
                sys.exit("it does not build, and no mutant is to blame")
            unviable |= {n: mutants.pop(n) for n in wrong & mutants.keys()}
    finally:
        write(tree, originals, {})
        with open(root, "w", encoding="utf-8") as out:
            out.write(library)
    print(f"{len(mutants)} mutants in one build, {len(unviable)} do not compile; {time.monotonic() - begun:.0f} s", flush=True)
    if missed(program, 0, "") != "survived":
        sys.exit("the tests fail without a mutant")
    score = collections.defaultdict(collections.Counter)
    for number, mutant in mutants.items():
        outcome = missed(program, number, mutant["file"])
        score[mutant["file"]][outcome] += 1
        print(f"{outcome:8} {time.monotonic() - begun:6.0f} s  {mutant['name']}", flush=True)
    for file, counts in sorted(score.items()):
        print(f"{file}: {counts.total()} mutants, {counts['survived']} survived, {counts['timeout']} ran out of time")
    sys.exit(2 if any(counts["survived"] for counts in score.values()) else 0)


if __name__ == "__main__":
    main()
