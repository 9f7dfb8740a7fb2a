"""The documentation names files that exist."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
PAGES = [file for file in FILES if file.endswith(".md")]
FOLDERS = {file.split("/")[0] for file in FILES if "/" in file}
# Names in backticks that are made by a build or by the reader.
MADE = re.compile(r"^(terraform/(terraform\.tfstate|backend\.tf$|.*\.tfvars$)|target/|\.tools/)")


def headings(page):
    """The anchors that a page has on GitHub."""
    titles = re.findall(r"^#+ +(.+?) *$", (ROOT / page).read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in headings(target), f"{page} links to {link}"


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page):
    """In backticks: paths from the root or from the page, and names of files, which may be shortened to their end."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.M | re.S)
    for name in re.findall(r"`([\w./-]+)`", text):
        if MADE.match(name):
            continue
        if name.split("/")[0] in FOLDERS and "/" in name:
            found = (ROOT / name).exists() or ((ROOT / page).parent / name).exists()
        elif re.search(r"\w\.(rs|tf|py|sh|hcl)$", name):
            found = any(f"/{file}".endswith(f"/{name}") for file in FILES)
        else:
            continue
        assert found, f"{page} names {name}"


def test_the_files_of_a_folder_are_in_it():
    """Rows of ARCHITECTURE.md that begin with folders: a short name in them is a file or folder below one of these."""
    rows = re.findall(r"^\| (`[^|]+`) \| (.+) \|$", (ROOT / "ARCHITECTURE.md").read_text(), re.M)
    checked = 0
    for head, text in rows:
        folders = [name.rstrip("/") for name in re.findall(r"`([^`]+)`", head) if (ROOT / name).is_dir()]
        inside = ["/" + file for file in FILES if any(file.startswith(folder + "/") for folder in folders)]
        for name in re.findall(r"`(\w+/|\w+\.rs)`", text) if folders else []:
            checked += 1
            assert any(f"/{name}" in file and (name[-1] == "/" or file.endswith(f"/{name}")) for file in inside), (head, name)
    assert checked > 20


def test_the_test_sees_what_it_should():
    named = re.findall(r"`([\w./-]+)`", (ROOT / "ARCHITECTURE.md").read_text())
    assert "lambdas/chat/src/actions/publish.rs" in named
    assert len(PAGES) >= 8
