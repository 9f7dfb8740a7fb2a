"""Lambda's Invoke API of the gateway, as boto3, the AWS CLI and a function use it."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from botocore.exceptions import ClientError

from gateway import ROOT
from test_examples import eventually, gateway, gateway_binary  # noqa: F401

FOLDER = ROOT / "local/tests/invoked"


@pytest.fixture
def service(gateway):  # noqa: F811
    started = gateway(FOLDER)
    started.endpoint = re.sub("^ws://([^/]+).*", r"http://\1", started.url)
    return started


def test_boto3(service):
    functions = service.session.client("lambda", endpoint_url=service.endpoint)
    answer = functions.invoke(FunctionName="usual", Payload=json.dumps({"name": "b"}))
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert "FunctionError" not in answer
    assert json.load(answer["Payload"]) == {"name": "b"}
    # The error document is the runtime's own.
    answer = functions.invoke(FunctionName="usual", Payload=json.dumps({"do": "fail"}))
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    error = json.load(answer["Payload"])
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "as told")
    assert "app.py" in error["stackTrace"][0]
    # Lambda itself reports that a process has ended.
    answer = functions.invoke(FunctionName="usual", Payload=json.dumps({"do": "exit"}))
    request_id = answer["ResponseMetadata"]["RequestId"]
    error = json.load(answer["Payload"])
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].startswith(f"RequestId: {request_id} Error: Runtime exited")
    # The function gets the request id that the caller has.
    answer = functions.invoke(FunctionName="usual", InvocationType="Event", Payload=json.dumps({"name": "e"}))
    assert answer["StatusCode"] == 202
    line = f"ATTEMPT e {answer['ResponseMetadata']['RequestId']}"
    eventually(line, lambda: any(line in printed for printed in service.printed))
    assert functions.invoke(FunctionName="usual", InvocationType="DryRun")["StatusCode"] == 204
    for name, error in [("nobody", "ResourceNotFoundException"), ("throttled", "TooManyRequestsException")]:
        with pytest.raises(ClientError) as refused:
            functions.invoke(FunctionName=name)
        assert refused.value.response["Error"]["Code"] == error
    arn = "arn:aws:lambda:us-east-1:000000000000:function:usual"
    assert functions.invoke(FunctionName=arn, Qualifier="live")["StatusCode"] == 200


def test_a_wrong_secret_is_refused(service):
    functions = service.session.client("lambda", endpoint_url=service.endpoint, aws_access_key_id="local", aws_secret_access_key="x")
    with pytest.raises(ClientError) as refused:
        functions.invoke(FunctionName="usual")
    assert refused.value.response["Error"]["Code"] == "InvalidSignatureException"


def test_the_aws_cli(service, tmp_path):
    output = tmp_path / "answer.json"
    printed = subprocess.run(
        [
            # Version 1 of the CLI takes the payload as it is; version 2 wants --cli-binary-format raw-in-base64-out.
            *(pathlib.Path(sys.executable).parent / "aws", "lambda", "invoke", "--endpoint-url", service.endpoint, "--function-name", "usual"),
            *("--payload", '{"name":"c"}', output),
        ],
        check=True,
        stdout=subprocess.PIPE,
        env={
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
        },
    ).stdout
    assert json.loads(printed) == {"StatusCode": 200, "ExecutedVersion": "$LATEST"}
    assert json.loads(output.read_text()) == {"name": "c"}


def test_a_function_invokes_another(service):
    functions = service.session.client("lambda", endpoint_url=service.endpoint)

    def called(**call):
        answer = functions.invoke(FunctionName="caller", Payload=json.dumps(call))
        return json.load(answer["Payload"])

    answer = called(FunctionName="usual", Payload=json.dumps({"name": "f"}))
    assert answer == {"status": 200, "error": None, "payload": '{"name": "f"}'}
    answer = called(FunctionName="usual", Payload=json.dumps({"do": "fail"}))
    assert answer["error"] == "Unhandled"
    assert called(FunctionName="usual", InvocationType="Event", Payload="{}")["status"] == 202
