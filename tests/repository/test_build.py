"""Builds stay short: one compilation of each shared crate, one program for all functions."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = sorted(main.parent.name for main in ROOT.glob("lambdas/*/main.rs"))


def features(edges):
    """Crate → the features that a build of the workspace along these edges gives it."""
    tree = subprocess.run(
        ["cargo", "tree", "--locked", "--workspace", "--edges", edges, "--prefix", "none", "--format", "{p}|{f}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = {}
    for line in tree.stdout.splitlines():
        package, _, names = line.removesuffix(" (*)").partition("|")
        found.setdefault(package, set()).update(filter(None, names.split(",")))
    return found


def test_programs_and_tests_share_one_build():
    """scripts/local.sh builds without development dependencies, `cargo test` with them. A crate that gets another feature
    from one of them would be compiled twice, and with it all that use it."""
    programs, tests = features("normal,build"), features("normal,build,dev")
    assert len(programs) > 200
    differing = {package: sorted(tests[package] ^ names) for package, names in programs.items() if tests[package] != names}
    assert not differing, "only development dependencies need these: make one of them a dependency of tests/Cargo.toml"


def test_every_folder_is_a_function_of_the_program():
    """A folder that lambdas/main.rs does not name would be deployed and end at its start."""
    program = (ROOT / "lambdas/main.rs").read_text()
    assert "publish" in FUNCTIONS
    assert FUNCTIONS == sorted(re.findall(r'^        "(\w+)" => \1::main\(\)\.await,$', program, re.M))


def test_every_function_that_is_deployed_is_a_folder():
    """terraform/functions.tf passes the name of the function as its handler."""
    terraform = "".join(path.read_text() for path in ROOT.glob("terraform/*.tf"))
    maps = re.findall(r"^  (?:identity_)?routes = [^\n]*\{\n(.*?)^  \}", terraform, re.M | re.S)
    entries = re.findall(r"^    (\w+) +=(.*?)(?=^    \w|\Z)", "".join(maps), re.M | re.S)
    served = {name for name, body in entries if not re.search(r"\b(function|mock|package) *=", body)}
    assert {"publish", "moderate"} <= served, "the maps of routes have another form"
    assert served <= set(FUNCTIONS)
