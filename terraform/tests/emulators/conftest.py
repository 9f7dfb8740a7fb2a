"""Fixtures of the emulator tests: Terraform in a copy of the configuration, and the emulators as processes.

Run by scripts/terraform-test.sh, which builds the PACKAGES and makes the emulators' venvs, MOTO_VENV and MINISTACK_VENV.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
import zipfile
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session

ROOT = Path(__file__).resolve().parents[3]
REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


# Ends a test that hangs. Nothing here may depend on the machine's speed: a machine under load takes ten times as long.
HANGS_SECONDS = 600

# Ended from outside, pytest would leave its emulators behind; as if by Ctrl-C it ends them first.
signal.signal(signal.SIGTERM, signal.default_int_handler)


class Emulator:
    """An emulator of AWS on a free loopback port. It ends with the tests, and with it all that it started."""

    def __init__(self, command, environment, health, log):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        environment = {key: value.format(port=self.port, url=self.url) for key, value in environment.items()}
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [part.format(port=self.port) for part in command],
                # Not the caller's environment: its AWS settings are none of the emulator's business. With a fault handler
                # an emulator that hangs says where.
                env={"PYTHONFAULTHANDLER": "1", "PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **CREDENTIALS, "AWS_DEFAULT_REGION": REGION, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                start_new_session=True,
            )
        deadline = time.monotonic() + HANGS_SECONDS
        while True:
            try:
                urllib.request.urlopen(self.url + health, timeout=20).read()
                return
            except OSError:
                assert self.process.poll() is None, f"the emulator ended: {log.read_text()}"
                assert time.monotonic() < deadline, f"the emulator does not answer: {log.read_text()}"
                time.sleep(0.1)

    def client(self, service, region=REGION, endpoint_url=None):
        return boto3.client(
            service,
            endpoint_url=endpoint_url or self.url,
            region_name=region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def last_words(self):
        """The end of its log, for the report of a failure."""
        return f"the emulator's log ends with:\n{self.log.read_text(errors='replace')[-4000:]}"

    def end(self):
        # Its own process group: the functions it runs go with it.
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Stack:
    """One deployment: its own copy of terraform/, its own state. `root` is the folder in it that is applied."""

    def __init__(self, folder, emulator, override="", packages=None, root=".", credentials=CREDENTIALS, **variables):
        self.emulator = emulator
        self.credentials = credentials
        self.folder = folder / "terraform" / root
        self.variables = variables
        shutil.copytree(ROOT / "terraform", folder / "terraform", ignore=shutil.ignore_patterns("tests", ".terraform", "*.tfstate*", "*.tfvars"))
        (folder / "target").mkdir()
        shutil.copytree(packages or os.environ["PACKAGES"], folder / "target" / "lambda")
        (self.folder / "test_override.tf").write_text(override)
        if root != ".":
            shutil.copy(ROOT / "terraform" / ".terraform.lock.hcl", self.folder)
        self.run("init", "-backend=false", "-lockfile=readonly", "-input=false")

    def run(self, *arguments, codes=(0,)):
        process = subprocess.Popen(
            ["terraform", *arguments, *(["-no-color"] if arguments[0] != "output" else [])],
            cwd=self.folder,
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
                **self.credentials,
                **{f"TF_VAR_{key}": value for key, value in self.variables.items()},
                "AWS_REGION": REGION,
                "AWS_ENDPOINT_URL": self.emulator.url,
                "AWS_EC2_METADATA_DISABLED": "true",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Its own process group: the provider goes with it.
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=HANGS_SECONDS)
        except BaseException as ended:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            if not isinstance(ended, subprocess.TimeoutExpired):
                raise
            os.kill(self.emulator.process.pid, signal.SIGABRT)
            self.emulator.process.wait()
            pytest.fail(
                f"terraform {arguments[0]} hangs. Its output ends with:\n{output[-4000:]}\n{self.emulator.last_words()}", pytrace=False
            )
        result = subprocess.CompletedProcess(process.args, process.returncode, output)
        if result.returncode not in codes:
            # The plan before the first error is of no interest.
            error = output[max(output.find("Error:"), 0) :]
            pytest.fail(
                f"terraform {arguments[0]}: exit code {result.returncode}\n{error}\n{self.emulator.last_words()}", pytrace=False
            )
        return result

    def apply(self):
        return self.run("apply", "-auto-approve", "-input=false").stdout

    def destroy(self):
        return self.run("destroy", "-auto-approve", "-input=false").stdout

    def assert_no_drift(self):
        plan = self.run("plan", "-detailed-exitcode", "-input=false", codes=(0, 2))
        if plan.returncode:
            pytest.fail(f"the plan after an apply is not empty:\n{plan.stdout}", pytrace=False)

    def outputs(self):
        return {key: output["value"] for key, output in json.loads(self.run("output", "-json").stdout).items()}

    def edit(self, file, old, new):
        """Replaces `old`, which must be there, as somebody who edits the file would."""
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new))


@pytest.fixture(scope="session")
def small_packages(tmp_path_factory):
    """A package that does nothing, for an emulator that runs no function: Terraform uploads it once for each function."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "architecture").write_text("x86_64\n")
    with zipfile.ZipFile(folder / "roomchat-functions.zip", "w") as package:
        package.writestr("bootstrap", "#!/bin/sh\n")
    return folder


@pytest.fixture(scope="session")
def moto(tmp_path_factory):
    emulator = Emulator(
        [os.environ["MOTO_VENV"] + "/bin/python", str(Path(__file__).with_name("moto_server.py")), "{port}"],
        {"MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
        "/moto-api/data.json",
        tmp_path_factory.mktemp("moto") / "log",
    )
    yield emulator
    emulator.end()


@pytest.fixture(scope="session")
def ministack(tmp_path_factory):
    emulator = Emulator(
        [os.environ["MINISTACK_VENV"] + "/bin/python3", str(Path(__file__).with_name("ministack_server.py"))],
        {
            # It would listen on every address otherwise.
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": "{port}",
            "LAMBDA_EXECUTOR": "local",
            "AWS_ENDPOINT_URL": "{url}",
            # Checks signatures and policies.
            "AUTH": "true",
        },
        "/_ministack/health",
        tmp_path_factory.mktemp("ministack") / "log",
    )
    yield emulator
    emulator.end()


def create_a_role_and_lose_the_answer(emulator):
    """The SDKs repeat such a call, and the emulators by themselves would answer that the role exists."""
    iam = emulator.client("iam")
    lost = []

    def lose_the_first_answer(request, **_):
        if not lost:
            lost.append(URLLib3Session().send(request))
            raise ConnectionClosedError(endpoint_url=request.url)

    iam.meta.events.register("before-send.iam.CreateRole", lose_the_first_answer)
    role = iam.create_role(RoleName="once", AssumeRolePolicyDocument="{}")["Role"]
    assert [answer.status_code for answer in lost] == [200]
    assert role["RoleId"] in lost[0].text
    assert iam.get_role(RoleName="once")["Role"]["RoleId"] == role["RoleId"]
    iam.delete_role(RoleName="once")
