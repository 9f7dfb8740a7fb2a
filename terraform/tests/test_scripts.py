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


@BOTH
def test_without_a_region(script, bare):
    result = run(script, PATH=os.environ["PATH"], HOME=bare, AWS_ACCESS_KEY_ID="test")
    assert_sentence(result, "no AWS region is set")


def test_where_the_state_is_kept_is_for_init(tmp_path):
    """The script runs from a copy, with a terraform that writes down its arguments."""
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("node_modules"))
    (tmp_path / "terraform").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/terraform").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    (tmp_path / "bin/terraform").chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "test", "AWS_REGION": "us-east-1"}
    arguments = ["-backend-config=bucket=states", "-var", "stage=dev", "-reconfigure"]
    result = subprocess.run([str(tmp_path / "scripts/destroy.sh"), *arguments], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    init, destroy = (tmp_path / "calls").read_text().splitlines()
    folder = f"-chdir={tmp_path}/terraform"
    assert init == f"{folder} init -input=false -backend-config=bucket=states -reconfigure"
    assert destroy == f"{folder} destroy -var stage=dev"
    assert 'backend "s3" {}' in (tmp_path / "terraform/backend.tf").read_text()
