"""Comments name the thing: none begins with a question that nobody asks, such as "What is stored" or "Whether it failed"."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
# By ending: the beginning of a comment line, and that of a comment which stands in one piece.
SLASHES = r"\s*(?://[/!]?|/\*\*?|\*(?!/))[ \t]*"
HASHES = r"\s*(?:#|\"\"\")[ \t]*"
LANGUAGES = {
    **dict.fromkeys(["rs", "js", "mjs", "ts", "tsx"], SLASHES),
    **dict.fromkeys(["py", "sh", "tf", "hcl", "toml", "yml"], HASHES),
}
RIDDLE = re.compile(r"(What|Whether|How|Who|Whose|Which|Why|That which)\b")


def riddles(file, text):
    """The first lines of comments that begin with a question word and are not a question."""
    beginning = re.compile(LANGUAGES[file.rpartition(".")[2]])
    found, inside = [], False
    for number, line in enumerate(text.split("\n"), 1):
        comment = beginning.match(line)
        words = line[comment.end() :] if comment else ""
        if words and not inside and RIDDLE.match(words) and "?" not in words:
            found.append(f"{file}:{number}: {words}")
        inside = bool(words)
    return found


@pytest.mark.parametrize("ending", LANGUAGES)
def test_no_comment_is_a_riddle(ending):
    found = []
    for file in FILES:
        if file.endswith(f".{ending}"):
            found += riddles(file, (ROOT / file).read_text())
    told = "\n".join(found)
    assert not found, f'name the thing ("The time of the handshake") or the value ("True if …"):\n{told}'


def test_a_riddle_is_found():
    text = "/// Whether it ends.\nfn a() {}\n\n// The rows.\n// Which of them? Ours.\n//\n// How many there are.\n"
    assert riddles("a.rs", text) == ["a.rs:1: Whether it ends.", "a.rs:7: How many there are."]
    assert riddles("a.rs", "// What is a row?\n// It is\n// what is stored.\n") == []
    assert riddles("a.py", '"""What a row is."""\n# Why not?\n') == ['a.py:1: What a row is."""']
