"""Installed packages are pinned, by hash where there is one, and run nothing while they are installed."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
DENY = (ROOT / "deny.toml").read_text()
LOCKS = [file for file in FILES if file.endswith("package-lock.json")]
REQUIREMENTS = sorted((ROOT / "scripts/requirements").glob("*.in"))


def listed(section, key):
    """The texts of an array in deny.toml. Python 3.10 has no reader of TOML."""
    (body,) = re.findall(rf"^\[{section}\]\n(.*?)(?=^\[|\Z)", DENY, re.M | re.S)
    (array,) = re.findall(rf"^{key} = \[\n(.*?)^\]", body, re.M | re.S)
    return re.findall(r'^  "([^"]+)",$', array, re.M)


def cargo(*arguments):
    command = ["cargo", *arguments, "--locked"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def packages():
    """The crates that a build or a test for Linux uses."""
    tree = cargo("tree", "--workspace", "--target", "x86_64-unknown-linux-gnu", "--prefix", "none", "--format", "{p}")
    used = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    everything = json.loads(cargo("metadata", "--format-version", "1"))["packages"]
    found = [package for package in everything if (package["name"], f"v{package['version']}") in used]
    assert len(found) == len(used) > 200
    return found


def permits(expression, allowed):
    """Returns true if the allowed licences satisfy an SPDX expression. `/` is an old way to write OR."""
    text = re.sub(r"\s*/\s*", " OR ", expression)
    text = re.sub(r"([\w.+-]+) WITH ([\w.+-]+)", r"\1-WITH-\2", text)
    words = {"OR": "or", "AND": "and", "(": "(", ")": ")"}
    return eval(" ".join(words.get(word, str(word in allowed)) for word in re.findall(r"[()]|[\w.+-]+", text)))


def test_every_crate_has_a_permitted_licence(packages):
    allowed = listed("licenses", "allow")
    for package in packages:
        assert permits(package["license"], allowed), f"{package['name']} has the licence {package['license']}"
    assert not permits("GPL-3.0-only AND MIT", allowed) and permits("GPL-3.0-only OR MIT", allowed)


def test_every_crate_is_from_the_registry_or_from_here(packages):
    for package in packages:
        assert package["source"] in (None, "registry+https://github.com/rust-lang/crates.io-index"), package["id"]


def test_crates_in_several_versions_are_known(packages):
    versions = {}
    for package in packages:
        versions.setdefault(package["name"], set()).add(package["version"])
    several = sorted(name for name, found in versions.items() if len(found) > 1)
    assert several == listed("bans", "skip"), "deny.toml lists the crates that are there in several versions"


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda file: file.stem)
def test_python_packages_are_pinned_with_hashes(file):
    pinned = file.with_suffix(".txt").read_text()
    wanted = re.findall(r"^([\w.-]+)(?:\[\w+\])?==([\w.]+)$", file.read_text(), re.M)
    assert wanted
    for name, version in wanted:
        assert re.search(rf"^{name}(\[\w+\])?=={re.escape(version)} ", pinned, re.M | re.I), f"run scripts/lock.sh: {name}"
    entries = [entry for entry in re.split(r"\n(?=\S)", pinned) if not entry.startswith("#")]
    for entry in entries:
        assert re.match(r"[\w.-]+(\[\w+\])?==\S+ ", entry) and "--hash=sha256:" in entry, entry


def test_pip_and_npm_install_nothing_else():
    for file in FILES:
        if not file.endswith((".sh", ".yml")):
            continue
        for line in (ROOT / file).read_text().splitlines():
            if re.search(r"\bnpm (ci|install)\b", line):
                assert "npm ci" in line and "--ignore-scripts" in line, f"{file}: {line}"
            if re.search(r"\bpip\S* install\b", line):
                assert "--require-hashes" in line, f"{file}: {line}"


@pytest.mark.parametrize("file", LOCKS)
def test_npm_packages_have_hashes(file):
    packages = json.loads((ROOT / file).read_text())["packages"]
    for name, package in packages.items():
        if name.startswith("node_modules/") and not package.get("link"):
            assert package.get("integrity", "").startswith("sha"), f"{file}: {name}"


def test_the_ci_example_runs_the_scripts():
    workflow = yaml.safe_load((ROOT / "examples/ci/github.yml").read_text())
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    scripts = [command.split()[0] for command in commands if command.startswith("scripts/")]
    assert {"scripts/test.sh", "scripts/audit.sh", "scripts/deploy.sh"} == set(scripts)
    assert set(commands) - {command for command in commands if command.split()[0] in scripts} == {
        "cargo install --locked cargo-deny"
    }
    assert all((ROOT / script).stat().st_mode & 0o111 for script in scripts)
    # Only the deployment may ask for a token of AWS.
    assert [name for name, job in workflow["jobs"].items() if "id-token" in job.get("permissions", {})] == ["deploy"]
    assert workflow["permissions"] == {"contents": "read"}
