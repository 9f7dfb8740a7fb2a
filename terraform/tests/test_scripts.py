"""scripts/deploy.sh and scripts/destroy.sh, before they reach AWS: an error of one sentence names what is missing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
BOTH = pytest.mark.parametrize("script", ["deploy.sh", "destroy.sh"])


def run(script, *arguments, **environment):
    return subprocess.run(
        [str(SCRIPTS / script), *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment, timeout=600
    )


def assert_sentence(result, sentence):
    assert (result.returncode, result.stdout) == (2, "")
    assert sentence in result.stderr and result.stderr.count("\n") == 1


@pytest.fixture
def bare(tmp_path):
    """A PATH with the tools of every system, and none that must be installed."""
    for tool in ("bash", "cat", "dirname", "env", "grep", "mkdir"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    return str(tmp_path)


@BOTH
def test_without_terraform(script, bare):
    assert_sentence(run(script, PATH=bare, HOME=bare), "Install Terraform 1.9 or newer")


@BOTH
def test_with_a_mirror_that_is_not_there(script, bare):
    result = run(script, PATH=os.environ["PATH"], HOME=bare, ROOMCHAT_TF_MIRROR=bare + "/no")
    assert_sentence(result, "ROOMCHAT_TF_MIRROR names")


@BOTH
def test_without_credentials(script, bare):
    tag = Path("/sys/class/dmi/id/board_asset_tag")
    if tag.exists() and os.access(tag, os.R_OK) and tag.read_text().startswith("i-"):
        pytest.skip("an EC2 instance always has credentials")
    assert_sentence(run(script, PATH=os.environ["PATH"], HOME=bare), "there are no AWS credentials")


def test_for_a_processor_that_lambda_has_not(bare):
    assert_sentence(run("deploy.sh", "--arch", "riscv64", PATH=os.environ["PATH"], HOME=bare), "--arch must be x86_64 or arm64")


@pytest.mark.parametrize("script", ["build.sh", "deploy.sh", "destroy.sh", "terraform-test.sh"])
def test_help(script, bare):
    result = run(script, "--help", PATH=bare, HOME=bare)
    assert result.returncode == 0 and result.stdout.startswith(f"Usage: scripts/{script}")
