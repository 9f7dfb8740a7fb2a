"""The package that scripts/build.sh makes, as Lambda gets it. The variable PACKAGES names its folder."""

import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ["PACKAGES"])
PACKAGE = FOLDER / "roomchat-functions.zip"
PROGRAM = FOLDER / "roomchat-functions/bootstrap"
ARCHITECTURE = (FOLDER / "architecture").read_text().strip()
# The version of the runtime provided.al2023.
GLIBC = (2, 34)


@pytest.fixture
def binary():
    with open(PROGRAM, "rb") as file:
        yield ELFFile(file)


def test_the_package_is_the_program_and_nothing_else():
    with zipfile.ZipFile(PACKAGE) as package:
        (entry,) = package.infolist()
        assert entry.filename == "bootstrap"
        assert entry.external_attr >> 16 == 0o100755, "Lambda could not execute it"
        assert entry.date_time == (1980, 1, 1, 0, 0, 0), "every build would give another hash"
        assert package.read(entry) == PROGRAM.read_bytes()


def test_it_is_for_the_processor_asked_for(binary):
    assert binary.get_machine_arch() == {"x86_64": "x64", "arm64": "AArch64"}[ARCHITECTURE]


def test_it_runs_on_the_runtimes_glibc(binary):
    needed = [
        version.name
        for section in binary.iter_sections()
        if isinstance(section, GNUVerNeedSection)
        for _, versions in section.iter_versions()
        for version in versions
    ]
    glibc = [tuple(map(int, re.findall(r"\d+", version))) for version in needed if version.startswith("GLIBC_")]
    assert glibc, "not linked against glibc: is this a function at all?"
    assert max(glibc) <= GLIBC, f"needs glibc {max(glibc)}"


def test_it_needs_no_library_but_glibcs(binary):
    libraries = {tag.needed for tag in binary.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")}
    assert libraries <= {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def test_it_is_stripped_and_names_nobodys_folders(binary):
    assert binary.get_section_by_name(".symtab") is None
    content = PROGRAM.read_bytes()
    for folder in {str(ROOT), os.environ["HOME"]}:
        assert f"{folder}/".encode() not in content, f"{folder} would give everybody another hash"


def test_packing_again_gives_the_same_bytes(tmp_path):
    again = tmp_path / "lambda"
    command = [str(ROOT / "scripts/build.sh"), "--arch", ARCHITECTURE, "--out", str(again)]
    if os.environ.get("QUICK"):
        command.append("--quick")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    assert (again / PACKAGE.name).read_bytes() == PACKAGE.read_bytes()


def test_tls_gathers_no_jitter_entropy():
    """.cargo/config.toml switches it off: with it, a cold start takes up to 0.8 s longer. A setting in the environment
    is easily lost on the way to a C compiler, so this looks at the compiled library."""
    archives = list(ROOT.glob("target/zig/*/*/build/aws-lc-sys-*/out/libaws_lc*_crypto.a"))
    assert archives, "aws-lc is not among the compiled libraries"
    for archive in archives:
        content = archive.read_bytes()
        assert b"RAND_bytes" in content
        assert b"jent_entropy_init" not in content, archive


def test_errors_are_sentences(tmp_path):
    build = str(ROOT / "scripts/build.sh")
    for arguments, sentence in {
        ("--arch", "arm"): "--arch must be x86_64 or arm64",
        ("--arch",): "--arch needs a value",
        ("--fast",): "unknown argument --fast",
        ("publish",): "unknown argument publish",
    }.items():
        result = subprocess.run([build, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert result.returncode == 2 and result.stdout == ""
        assert sentence in result.stderr and result.stderr.count("\n") == 1


def test_a_missing_standard_library_is_told(tmp_path):
    """A machine without the library for the other processor: rustc names the folder where it would be."""
    rustc = tmp_path / "rustc"
    rustc.write_text(f"#!/bin/sh\necho {tmp_path}\n")
    rustc.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = subprocess.run(
        [str(ROOT / "scripts/build.sh"), "--arch", "arm64"], capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 2
    assert "Run: rustup target add aarch64-unknown-linux-gnu" in result.stderr
