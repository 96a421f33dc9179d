#!/usr/bin/env python3
"""Mutants of the guards, all built at once: cargo-mutants names them, one build holds them all, and each is a run of the tests.

    tests/pure/at_once.py TREE     the tree that tests/pure/tree.sh made

A build for each mutant takes a minute, a run of the tests seconds. What fits into one build are the mutants that take a guard
away as a whole: a function that lets everything pass or nothing, a negation, the guard of a match arm. So do parts of a condition,
which tests/pure/conditions finds: an operand of `&&` or `||` left out, a comparison turned round. What else cargo-mutants does is
left to `make mutants EACH=1`. A mutant that no test misses is printed, and is the exit code's business.
"""

import collections
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import time
import tomllib

KINDS = {"FnValue", "UnaryOperator", "MatchArmGuard"}
# Minutes of pairs of faults find nothing that the rest does not; what hostile documents do is no question of a guard.
SKIPPED = ["two_faults", "hostile", "a_fault_at_any_call_leaves_all", "lease_with_a_workflow", "whatever_is_let_through"]
# What is written before an expression that becomes this, or its contrary.
AROUND = {"true": "(crate::changed({}) || (\n", "false": "(!crate::changed({}) && (\n", "!": "(crate::changed({}) != (\n"}
SWITCH = """
/// Whether this run is that of a mutant.
pub(crate) fn changed(mutant: usize) -> bool {
    static RUN: std::sync::LazyLock<Option<usize>> =
        std::sync::LazyLock::new(|| std::env::var("MUTANT").ok().and_then(|mutant| mutant.parse().ok()));
    *RUN == Some(mutant)
}
"""


def named(tree):
    """The mutants, as cargo-mutants has them."""
    command = ["cargo", "mutants", "--list", "--json"]
    mutants = json.loads(subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout)
    fits = lambda m: m["genre"] in KINDS and "impl " not in ((m["function"] or {}).get("return_type") or "")
    changed = sorted({m["file"] for m in mutants})
    command = ["cargo", "run", "--quiet", "--package", "leasehold-conditions", "--", os.path.abspath(tree), *changed]
    conditions = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    with open(os.path.join(tree, ".cargo/mutants.toml"), "rb") as text:
        excluded = re.compile("|".join(tomllib.load(text)["exclude_re"]))
    return [m for m in mutants if fits(m)] + [c for c in conditions if not excluded.search(c["name"])]


def offset(lines, place):
    return sum(len(line) for line in lines[: place["line"] - 1]) + place["column"] - 1


def woven(text, mutants):
    """A file with all its mutants in it; each is asleep unless MUTANT names it."""
    lines = text.splitlines(keepends=True)
    # By offset: what ends there; what begins there, from the outermost to the innermost: of a body, of an expression, of a negation.
    inserts = collections.defaultdict(lambda: ["", "", "", ""])
    removed = set()
    spans = [(*(offset(lines, m["span"][side]) for side in ("start", "end")), n, m) for n, m in mutants]
    # The inner one first, so that the outer one is written around it.
    for start, end, number, mutant in sorted(spans, key=lambda span: span[1] - span[0]):
        if mutant["genre"] == "FnValue":
            inserts[start][1] += f"if crate::changed({number}) {{ return {mutant['replacement']}; }}\n"
        elif mutant["genre"] == "UnaryOperator":
            inserts[start][3] += f"(!crate::changed({number})) !=\n"
            removed.add(start)
        else:
            inserts[start][2] = AROUND[mutant["replacement"]].format(number) + inserts[start][2]
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
    tree = sys.argv[1]
    begun = time.monotonic()
    mutants = dict(enumerate(named(tree), start=1))
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
    for mutant in unviable.values():
        print(f"does not compile: {mutant['name']}")
    if missed(program, 0, "") != "survived":
        sys.exit("the tests fail without a mutant")
    score = collections.defaultdict(collections.Counter)
    # Most of a run of all tests is one long test: a core each.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = pool.map(lambda n: missed(program, n, mutants[n]["file"]), mutants)
        for mutant, outcome in zip(mutants.values(), outcomes):
            score[mutant["file"]][outcome] += 1
            print(f"{outcome:8} {time.monotonic() - begun:6.0f} s  {mutant['name']}", flush=True)
    for file, counts in sorted(score.items()):
        print(f"{file}: {counts.total()} mutants, {counts['survived']} survived, {counts['timeout']} ran out of time")
    sys.exit(2 if any(counts["survived"] for counts in score.values()) else 0)


if __name__ == "__main__":
    main()
