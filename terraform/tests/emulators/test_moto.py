"""The life of a stack, told in order: made, found unchanged, changed, given a route, relieved of it, joined by a second
one, destroyed. moto keeps what the real provider sends and gives it back: what differs would differ on AWS at every plan.
"""

import json
import re
import zipfile

import pytest
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session

from conftest import ROOT, Stack

ROUTE = 'echo = { route_key = "echo", package = "../echo.zip" }\n'
PING = 'ping        = { route_key = "ping", mock = jsonencode({ type = "pong" }) }\n'


@pytest.fixture(scope="module")
def stack(moto, small_packages, tmp_path_factory):
    return Stack(tmp_path_factory.mktemp("first"), moto, packages=small_packages)


def everything(emulator, prefix=""):
    """The names of all that a stack makes, by kind."""
    resources = {
        "apis": [api["Name"] for api in emulator.client("apigatewayv2").get_apis()["Items"]],
        "functions": [function["FunctionName"] for function in emulator.client("lambda").list_functions()["Functions"]],
        "tables": emulator.client("dynamodb").list_tables()["TableNames"],
        "roles": [role["RoleName"] for role in emulator.client("iam").list_roles()["Roles"]],
        "groups": [group["logGroupName"] for group in emulator.client("logs").describe_log_groups()["logGroups"]],
        "alarms": [alarm["AlarmName"] for alarm in emulator.client("cloudwatch").describe_alarms()["MetricAlarms"]],
        "dashboards": [board["DashboardName"] for board in emulator.client("cloudwatch").list_dashboards()["DashboardEntries"]],
    }
    return {kind: sorted(name for name in names if prefix in name) for kind, names in resources.items()}


def routes(emulator, name="roomchat-prod"):
    """Route key → (target integration's type, has a route response) of the API of this name."""
    client = emulator.client("apigatewayv2")
    (api,) = [api["ApiId"] for api in client.get_apis()["Items"] if api["Name"] == name]
    integrations = {item["IntegrationId"]: item["IntegrationType"] for item in client.get_integrations(ApiId=api)["Items"]}
    return {
        route["RouteKey"]: (
            integrations[route["Target"].removeprefix("integrations/")],
            [response["RouteResponseKey"] for response in client.get_route_responses(ApiId=api, RouteId=route["RouteId"])["Items"]],
        )
        for route in client.get_routes(ApiId=api)["Items"]
    }


def invokers(emulator, function):
    """The routes that may invoke the function."""
    policy = json.loads(emulator.client("lambda").get_policy(FunctionName=function)["Policy"])
    return sorted(
        statement["Condition"]["ArnLike"]["AWS:SourceArn"].split("/", 1)[1] for statement in policy["Statement"]
    )


ROUTES = {
    "$connect": ("AWS_PROXY", []),
    "$disconnect": ("AWS_PROXY", []),
    "publish": ("AWS_PROXY", ["$default"]),
    "sendmessage": ("AWS_PROXY", ["$default"]),
    "join": ("AWS_PROXY", ["$default"]),
    "leave": ("AWS_PROXY", ["$default"]),
    "history": ("AWS_PROXY", ["$default"]),
    "members": ("AWS_PROXY", ["$default"]),
    "signal": ("AWS_PROXY", []),
    "heads": ("AWS_PROXY", ["$default"]),
    "mark": ("AWS_PROXY", ["$default"]),
    "marks": ("AWS_PROXY", ["$default"]),
    "block": ("AWS_PROXY", ["$default"]),
    "unblock": ("AWS_PROXY", ["$default"]),
    "ping": ("MOCK", ["$default"]),
    "$default": ("AWS_PROXY", ["$default"]),
}


def test_a_call_whose_answer_is_lost_counts_once(moto):
    """The SDKs repeat such a call, and moto by itself would answer that the role exists."""
    iam = moto.client("iam")
    lost = []

    def lose_the_first_answer(request, **_):
        if not lost:
            lost.append(URLLib3Session().send(request))
            raise ConnectionClosedError(endpoint_url=request.url)

    iam.meta.events.register("before-send.iam.CreateRole", lose_the_first_answer)
    role = iam.create_role(RoleName="once", AssumeRolePolicyDocument="{}")["Role"]
    assert [answer.status_code for answer in lost] == [200]
    assert role["RoleId"] in lost[0].text
    assert role["RoleName"] in everything(moto)["roles"]
    iam.delete_role(RoleName="once")


def test_a_missing_package_is_told_before_anything_is_made(stack, moto):
    package = stack.folder.parent / "target/lambda/roomchat-functions.zip"
    package.rename(package.with_suffix(".away"))
    plan = stack.run("plan", "-input=false", codes=(1,)).stdout
    package.with_suffix(".away").rename(package)
    # Terraform breaks lines.
    assert "roomchat-functions.zip is missing: run scripts/build.sh first." in " ".join(plan.split())


def test_apply(stack, moto):
    stack.apply()
    assert routes(moto) == ROUTES
    assert invokers(moto, "roomchat-prod-publish") == ["prod/publish", "prod/sendmessage"]
    assert invokers(moto, "roomchat-prod-connect") == ["prod/$connect"]
    assert stack.outputs()["websocket_url"].startswith("wss://")
    assert stack.outputs()["websocket_url"].endswith("/prod")


def test_the_documentation_counts_right(stack, moto):
    text = (ROOT / "docs/deploy.md").read_text()
    resources = [line for line in stack.run("state", "list").stdout.splitlines() if not line.startswith("data.")]
    # CloudWatch bills an alarm by its metrics: the metrics of an expression, not the expression.
    metrics = sum(
        len([query for query in alarm.get("Metrics", []) if "MetricStat" in query]) or 1
        for alarm in moto.client("cloudwatch").describe_alarms()["MetricAlarms"]
    )
    assert re.findall(r"(\d+) resources", text) == [str(len(resources))]
    assert re.findall(r"(\d+) alarm metrics", text) == [str(metrics)]


def test_the_stage_is_as_declared(stack, moto):
    client = moto.client("apigatewayv2")
    (api,) = client.get_apis()["Items"]
    (stage,) = client.get_stages(ApiId=api["ApiId"])["Items"]
    settings = stage["DefaultRouteSettings"]
    assert stage["AutoDeploy"] is True
    assert (settings["ThrottlingBurstLimit"], settings["ThrottlingRateLimit"]) == (500, 1000)
    assert settings["DataTraceEnabled"] is False
    assert json.loads(stage["AccessLogSettings"]["Format"])["requestId"] == "$context.requestId"


def test_the_second_plan_is_empty(stack):
    stack.assert_no_drift()


def test_a_changed_setting_arrives(stack, moto):
    stack.variables.update(throttle_rate="5", log_retention_days="7", memory_mib="512")
    stack.apply()
    client = moto.client("apigatewayv2")
    (api,) = client.get_apis()["Items"]
    (stage,) = client.get_stages(ApiId=api["ApiId"])["Items"]
    assert stage["DefaultRouteSettings"]["ThrottlingRateLimit"] == 5
    assert moto.client("lambda").get_function(FunctionName="roomchat-prod-connect")["Configuration"]["MemorySize"] == 512
    assert {group["retentionInDays"] for group in moto.client("logs").describe_log_groups()["logGroups"]} == {7}


def test_one_line_adds_a_route_with_all_it_needs(stack, moto):
    with zipfile.ZipFile(stack.folder.parent / "echo.zip", "w") as package:
        package.writestr("bootstrap", "#!/bin/sh\n")
    stack.edit("locals.tf", PING, PING + "    " + ROUTE)
    stack.apply()
    assert routes(moto) == {**ROUTES, "echo": ("AWS_PROXY", ["$default"])}
    assert invokers(moto, "roomchat-prod-echo") == ["prod/echo"]
    assert everything(moto, "echo") == {
        "apis": [],
        "functions": ["roomchat-prod-echo"],
        "tables": [],
        "roles": ["roomchat-prod-echo"],
        "groups": ["/aws/lambda/roomchat-prod-echo"],
        "alarms": ["roomchat-prod-echo-duration", "roomchat-prod-echo-errors", "roomchat-prod-echo-throttles"],
        "dashboards": [],
    }
    default = moto.client("lambda").get_function(FunctionName="roomchat-prod-default")["Configuration"]
    assert default["Environment"]["Variables"] == {
        "ACTIONS": "block,echo,heads,history,join,leave,mark,marks,members,ping,publish,sendmessage,signal,unblock",
        "LIMITS": '{"burst":50,"frames_per_second":20,"per_room":200,"per_user":10,"window_seconds":5}',
    }
    stack.assert_no_drift()


def test_a_removed_route_is_gone(stack, moto):
    stack.edit("locals.tf", "    " + ROUTE, "")
    stack.edit("locals.tf", "    " + PING, "")
    stack.apply()
    assert routes(moto) == {key: route for key, route in ROUTES.items() if key != "ping"}
    assert not any(everything(moto, "echo").values())
    # A stage without automatic deployment would still serve the removed route.
    (api,) = moto.client("apigatewayv2").get_apis()["Items"]
    (stage,) = moto.client("apigatewayv2").get_stages(ApiId=api["ApiId"])["Items"]
    assert stage["AutoDeploy"] is True and not stage.get("DeploymentId")
    stack.assert_no_drift()


def test_a_second_stack_with_a_domain_stands_beside_the_first(stack, moto, small_packages, tmp_path):
    first = everything(moto)
    zone = moto.client("route53").create_hosted_zone(Name="example.com", CallerReference="test")["HostedZone"]["Id"]
    domain = {
        "name": "chat.example.com",
        "certificate_arn": "arn:aws:acm:us-east-1:123456789012:certificate/0",
        "zone_id": zone.removeprefix("/hostedzone/"),
    }
    second = Stack(
        tmp_path, moto, packages=small_packages, name="talk", stage="dev", manage_api_gateway_account="false", custom_domain=json.dumps(domain)
    )
    second.apply()
    assert second.outputs()["websocket_url"] == "wss://chat.example.com"
    records = moto.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert [record["AliasTarget"]["DNSName"] for record in records if record["Type"] == "A"] == ["d-1.example.com"]
    assert routes(moto, "talk-dev") == ROUTES
    mine = everything(moto, "talk-dev")
    assert all(mine.values()), "every kind of resource carries the stack's name"
    assert {kind: sorted(names + mine[kind]) for kind, names in first.items()} == everything(moto)
    second.assert_no_drift()
    second.destroy()
    assert everything(moto) == first
    stack.assert_no_drift()


def test_destroy_leaves_nothing(stack, moto):
    stack.destroy()
    assert not any(everything(moto).values())
