"""The rights of terraform/deploy-policy.json, taken from the deploying user group by group: the command that needs them fails
and names each of them. test_moto.py compares the whole list with the calls.

logs:PutRetentionPolicy and the rights to update a table are not taken: the provider retries them for four minutes.
"""

import json

import pytest

from conftest import ROOT, Stack

# Commands of a stack's life in order, each without the rights that it is the first to need.
LIFE = [
    ("apply", {"apigateway:POST", "dynamodb:CreateTable"}),
    # The functions, and so their roles, come after the API: the address of one of them needs its account.
    ("apply", {"iam:CreateRole", "logs:CreateLogGroup"}),
    ("apply", {"iam:PutRolePolicy"}),
    ("apply", {"lambda:CreateFunction"}),
    ("apply", {"lambda:AddPermission", "cloudwatch:PutMetricAlarm", "cloudwatch:PutDashboard"}),
    ("apply", {"cloudwatch:PutCompositeAlarm"}),
    ("plan", {"apigateway:GET", "dynamodb:DescribeTable"}),
    ("plan", {"iam:GetRole", "logs:DescribeLogGroups"}),
    ("plan", {"lambda:GetFunction"}),
    ("plan", {"cloudwatch:DescribeAlarms", "cloudwatch:GetDashboard"}),
    ("destroy", {"apigateway:DELETE", "lambda:RemovePermission", "cloudwatch:DeleteAlarms", "cloudwatch:DeleteDashboards"}),
    ("destroy", {"lambda:DeleteFunction"}),
    ("destroy", {"iam:DeleteRolePolicy"}),
    ("destroy", {"dynamodb:DeleteTable", "iam:DeleteRole", "logs:DeleteLogGroup"}),
]


@pytest.fixture(scope="module")
def stack(ministack, small_packages, tmp_path_factory):
    iam = ministack.client("iam")
    iam.create_user(UserName="lacking")
    key = iam.create_access_key(UserName="lacking")["AccessKey"]
    credentials = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    return Stack(tmp_path_factory.mktemp("lacking"), ministack, packages=small_packages, credentials=credentials, name="lacking")


def allow(stack, rights):
    """Gives the user the policy without these rights."""
    policy = json.loads((ROOT / "terraform/deploy-policy.json").read_text())
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert rights <= allowed
    for statement in policy["Statement"]:
        statement["Action"] = [action for action in statement["Action"] if action not in rights]
    iam = stack.emulator.client("iam")
    iam.put_user_policy(UserName="lacking", PolicyName="deploy", PolicyDocument=json.dumps(policy))


@pytest.mark.parametrize("command, rights", LIFE)
def test_a_right_less_is_named(stack, command, rights):
    allow(stack, rights)
    output = stack.run(command, "-input=false", *(["-auto-approve"] if command != "plan" else []), codes=(1,)).stdout
    # Terraform breaks lines.
    words = " ".join(output.replace("│", " ").split())
    unnamed = {right for right in rights if right not in words}
    assert not unnamed, f"{unnamed} in {words[words.find('Error:'):][:6000]}"


def test_the_whole_policy_suffices(stack):
    allow(stack, set())
    stack.destroy()
