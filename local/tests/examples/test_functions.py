"""Holds the table of Terraform's functions, which the gateway's own tests are held to, to the real `terraform console`."""

import json
import os
import pathlib
import subprocess

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "functions"
CASES = [line.split("\t") for line in (FOLDER / "cases.txt").read_text().splitlines()]

# `templatestring` takes a reference alone, `issensitive` tells what the gateway does not follow, `rsadecrypt` needs a key
# pair of EC2, and `plantimestamp` exists in a plan only.
NOT_IN_THE_TABLE = {"issensitive", "plantimestamp", "rsadecrypt", "templatestring"}


def terraform(*arguments, **options):
    environment = {**os.environ, "TF_CLI_CONFIG_FILE": os.devnull}
    return subprocess.run(
        ["terraform", *arguments], check=True, text=True, stdout=subprocess.PIPE, cwd=FOLDER, env=environment, **options
    ).stdout


@pytest.mark.terraform
def test_the_table_holds_what_terraform_answers():
    together = ",".join(f"jsonencode({expression})" for expression, _ in CASES)
    printed = terraform("console", input=f"jsonencode([{together}])\n").strip()
    # The console escapes what begins an interpolation.
    answers = json.loads(json.loads(printed.replace("$${", "${").replace("%%{", "%{")))
    assert [[case[0], answer] for case, answer in zip(CASES, answers, strict=True)] == CASES


@pytest.mark.terraform
def test_the_table_holds_every_function():
    known = json.loads(terraform("metadata", "functions", "-json"))["function_signatures"]
    known = {name for name in known if "::" not in name}
    text = "\n".join(expression for expression, _ in CASES)
    assert {name for name in known if f"{name}(" not in text} == NOT_IN_THE_TABLE
