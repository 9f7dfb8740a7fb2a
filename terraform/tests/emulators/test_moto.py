"""The life of a stack, told in order: made, found unchanged, changed, given a route, relieved of it, joined by a second
one, destroyed. moto keeps what the real provider sends and gives it back: what differs would differ on AWS at every plan.
"""

import json
import re
import shlex
import subprocess
import sys
import zipfile

import pytest
from botocore.loaders import Loader

from conftest import ROOT, Stack, create_a_role_and_lose_the_answer

ROUTE = 'echo = { route_key = "echo", package = "../echo.zip" }\n'
PING = 'ping        = { route_key = "ping", mock = jsonencode({ type = "pong" }) }\n'


@pytest.fixture(scope="module")
def stack(moto, small_packages, tmp_path_factory):
    return Stack(tmp_path_factory.mktemp("first"), moto, packages=small_packages, access_logs="true")


def everything(emulator, prefix=""):
    """The names of all that a stack makes, by kind."""
    resources = {
        "apis": [api["Name"] for api in emulator.client("apigatewayv2").get_apis()["Items"]],
        "functions": [function["FunctionName"] for function in emulator.client("lambda").list_functions()["Functions"]],
        "tables": emulator.client("dynamodb").list_tables()["TableNames"],
        "roles": [role["RoleName"] for role in emulator.client("iam").list_roles()["Roles"]],
        "groups": [group["logGroupName"] for group in emulator.client("logs").describe_log_groups()["logGroups"]],
        "alarms": [
            alarm["AlarmName"] for alarms in emulator.client("cloudwatch").describe_alarms().values() if isinstance(alarms, list) for alarm in alarms
        ],
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
    "edit": ("AWS_PROXY", ["$default"]),
    "delete": ("AWS_PROXY", ["$default"]),
    "react": ("AWS_PROXY", ["$default"]),
    "join": ("AWS_PROXY", ["$default"]),
    "leave": ("AWS_PROXY", ["$default"]),
    "history": ("AWS_PROXY", ["$default"]),
    "members": ("AWS_PROXY", ["$default"]),
    "presence": ("AWS_PROXY", ["$default"]),
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
    create_a_role_and_lose_the_answer(moto)


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
    assert invokers(moto, "roomchat-prod-publish") == [
        "prod/delete",
        "prod/edit",
        "prod/publish",
        "prod/react",
        "prod/sendmessage",
    ]
    assert invokers(moto, "roomchat-prod-connect") == ["prod/$connect"]
    assert stack.outputs()["websocket_url"].startswith("wss://")
    assert stack.outputs()["websocket_url"].endswith("/prod")


def test_the_documentation_counts_right(stack, moto):
    text = (ROOT / "docs/deploy.md").read_text()
    # Without the log group of the access log, which this stack has and the default has not.
    resources = [
        line for line in stack.run("state", "list").stdout.splitlines() if not line.startswith(("data.", "aws_cloudwatch_log_group.access"))
    ]
    # CloudWatch bills an alarm by its metrics: the metrics of an expression, not the expression.
    metrics = sum(
        len([query for query in alarm.get("Metrics", []) if "MetricStat" in query]) or 1
        for alarm in moto.client("cloudwatch").describe_alarms()["MetricAlarms"]
    )
    assert re.findall(r"(\d+) resources", text) == [str(len(resources))]
    assert re.findall(r"(\d+) alarm metrics", text) == [str(metrics)]


def test_the_picture_of_the_dashboard_is_that_of_the_dashboard(stack, moto, tmp_path):
    body = moto.client("cloudwatch").get_dashboard(DashboardName="roomchat-prod")["DashboardBody"]
    (tmp_path / "body.json").write_text(body)
    drawn = subprocess.run(
        [sys.executable, str(ROOT / "scripts/dashboard.py"), str(tmp_path / "body.json")], capture_output=True, text=True, check=True
    ).stdout
    picture = ROOT / "docs/dashboard.svg"
    if drawn != picture.read_text():
        (ROOT / "target/dashboard.svg").write_text(drawn)
        pytest.fail("the picture is out of date: copy target/dashboard.svg to docs/dashboard.svg", pytrace=False)


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


def test_a_restored_table_takes_the_place_of_the_old_one(stack, moto):
    """The commands of docs/deploy.md, each as it stands there."""
    old, restored = "roomchat-prod-messages", "roomchat-prod-messages-2"
    _, section = (ROOT / "docs/deploy.md").read_text().split("## Restore")
    section, _ = section.split("## Teardown")
    commands = [shlex.split(command) for command in re.findall(r"terraform -chdir=terraform ([^`\n]+)", section)]
    assert [command[0] for command in commands] == ["state", "import", "apply", "apply"]
    dynamodb = moto.client("dynamodb")
    dynamodb.restore_table_to_point_in_time(SourceTableName=old, TargetTableName=restored, UseLatestRestorableTime=True)
    stack.variables["table_names"] = re.search(r"table_names = (\{.+\})", section)[1]

    def table_of(key):
        function = moto.client("lambda").get_function(FunctionName=f"roomchat-prod-{key}")["Configuration"]
        return function["Environment"]["Variables"]["MESSAGES_TABLE"]

    tables = []
    for command in commands:
        if command[0] == "apply":
            command += ["-auto-approve", "-input=false"]
        stack.run(*command)
        tables.append((table_of("admin"), table_of("publish")))
    assert tables == [(old, old), (old, old), (restored, old), (restored, restored)]
    assert dynamodb.describe_continuous_backups(TableName=restored)["ContinuousBackupsDescription"][
        "PointInTimeRecoveryDescription"
    ]["PointInTimeRecoveryStatus"] == "ENABLED"
    assert dynamodb.describe_time_to_live(TableName=restored)["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED"
    stack.assert_no_drift()
    dynamodb.delete_table(TableName=old)


def test_a_changed_setting_arrives(stack, moto):
    with zipfile.ZipFile(stack.folder.parent / "target/lambda/roomchat-functions.zip", "w") as package:
        package.writestr("bootstrap", "#!/bin/sh\n# an upgrade\n")
    stack.variables.update(throttle_rate="5", log_retention_days="7", memory_mib="512", table_units_per_second="{ read = 7 }", tags='{ ManagedBy = "hand" }')
    stack.apply()
    client = moto.client("apigatewayv2")
    (api,) = client.get_apis()["Items"]
    (stage,) = client.get_stages(ApiId=api["ApiId"])["Items"]
    assert stage["DefaultRouteSettings"]["ThrottlingRateLimit"] == 5
    assert moto.client("lambda").get_function(FunctionName="roomchat-prod-connect")["Configuration"]["MemorySize"] == 512
    table = moto.client("dynamodb").describe_table(TableName="roomchat-prod-connections")["Table"]
    caps = {"MaxReadRequestUnits": 7, "MaxWriteRequestUnits": 4000}
    assert table["OnDemandThroughput"] == table["GlobalSecondaryIndexes"][0]["OnDemandThroughput"] == caps
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
        # It closes connections that flood.
        "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI": stack.outputs()["websocket_url"].replace("wss", "https"),
        "METRICS_STACK": "roomchat-prod",
        "ACTIONS": "block,delete,echo,edit,heads,history,join,leave,mark,marks,members,ping,presence,publish,react,sendmessage,signal,unblock",
        "LIMITS": '{"burst":50,"close_after":500,"frames_per_second":20,"per_room":200,"per_user":10,"window_seconds":5}',
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
        tmp_path,
        moto,
        packages=small_packages,
        name="talk",
        stage="dev",
        access_logs="true",
        manage_api_gateway_account="true",
        budget=json.dumps({"usd_per_month": 50, "emails": ["ops@example.com"]}),
        auth=json.dumps({"issuer": "https://issuer.example", "audience": ["chat"]}),
        custom_domain=json.dumps(domain),
        reserved_concurrency="1",
        admin_url="true",
        xray="true",
        kms_key_arn=moto.client("kms").create_key()["KeyMetadata"]["Arn"],
    )
    second.apply()
    assert second.outputs()["admin_url"].startswith("https://")
    assert second.outputs()["websocket_url"] == "wss://chat.example.com"
    records = moto.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert [record["AliasTarget"]["DNSName"] for record in records if record["Type"] == "A"] == ["d-1.example.com"]
    moderation = {action: ("AWS_PROXY", ["$default"]) for action in ("kick", "ban", "unban", "mute", "unmute")}
    assert routes(moto, "talk-dev") == {**ROUTES, **moderation}
    mine = everything(moto, "talk-dev")
    assert all(mine.values()), "every kind of resource carries the stack's name"
    assert {kind: sorted(names + mine[kind]) for kind, names in first.items()} == everything(moto)
    second.assert_no_drift()
    second.destroy()
    assert everything(moto) == first
    stack.assert_no_drift()


def test_two_stages_of_one_root(stack, moto, small_packages, tmp_path):
    """The example calls the module twice, with for_each and with a provider of its own for another region. Another API of
    the account writes logs with a role of its own, before, during and after the life of the stages."""
    account = moto.client("apigateway", "eu-central-1")
    role = "arn:aws:iam::123456789012:role/another"
    account.update_account(patchOperations=[{"op": "replace", "path": "/cloudwatchRoleArn", "value": role}])
    assert account.get_account()["cloudwatchRoleArn"] == role
    root = Stack(tmp_path, moto, packages=small_packages, root="examples/two-stages")
    # The first stack has taken the names of the roles, which have no region.
    root.edit("main.tf", "stage               = each.key", 'name = "two"\n  stage = each.key')
    root.apply()
    root.assert_no_drift()
    assert account.get_account()["cloudwatchRoleArn"] == role
    urls = root.outputs()["websocket_urls"]
    assert {stage: url.split("/")[-1] for stage, url in urls.items()} == {"dev": "dev", "prod": "prod"}
    dynamodb = moto.client("dynamodb", "eu-central-1")
    tables = {name: dynamodb.describe_table(TableName=name)["Table"] for name in dynamodb.list_tables()["TableNames"]}
    assert {name: table["DeletionProtectionEnabled"] for name, table in tables.items()} == {
        f"two-{stage}-{table}": stage == "prod" for stage in ("dev", "prod") for table in ("connections", "messages", "users")
    }
    tags = dynamodb.list_tags_of_resource(ResourceArn=tables["two-dev-messages"]["TableArn"])["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "Application": "two",
        "Stage": "dev",
        "ManagedBy": "terraform",
        "Team": "conversations",
        "CostCenter": "chat",
    }
    (board,) = [
        json.loads(moto.client("cloudwatch", "eu-central-1").get_dashboard(DashboardName=name)["DashboardBody"])
        for name in ["two-prod"]
    ]
    assert {widget["properties"]["region"] for widget in board["widgets"] if widget["type"] == "metric"} == {"eu-central-1"}
    refused = root.run("destroy", "-auto-approve", "-input=false", codes=(1,)).stdout
    assert "deletion" in refused.lower() and "two-prod-" in refused
    root.edit("main.tf", "deletion_protection = true", "deletion_protection = false")
    root.apply()
    root.destroy()
    assert not dynamodb.list_tables()["TableNames"]
    assert account.get_account()["cloudwatchRoleArn"] == role


def test_destroy_leaves_nothing(stack, moto):
    stack.destroy()
    assert not any(everything(moto).values())


# Rights that the deployment needs and the provider calls nothing for, or that moto cannot show.
WITHOUT_A_CALL = {
    # Hands the roles over to the functions and to API Gateway.
    "iam:PassRole",
    # API Gateway makes the subscription of the access log with the caller's rights.
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:UpdateLogDelivery",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    # Tags that come with CreateBudget.
    "budgets:TagResource",
    # The first API of an account, and the first domain name.
    "iam:CreateServiceLinkedRole",
    # DynamoDB and Lambda use the customer's key with the caller's rights.
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:Encrypt",
    "kms:GenerateDataKey*",
    "kms:ReEncrypt*",
    # Only where kms_key_arn changes later: a new log group gets the key when it is made.
    "logs:AssociateKmsKey",
    "logs:DisassociateKmsKey",
}


def called(emulator):
    """The IAM action of each call that any stack of this module has made, but not of those of the tests themselves."""
    operations = {
        service: [
            (
                operation["http"]["method"],
                re.compile("/?" + re.sub(r"\\\{\w+\\\+?\}", "[^/]+", re.escape(operation["http"]["requestUri"].split("?")[0].strip("/"))) + "/?"),
                name,
            )
            for name, operation in Loader().load_service_model(service, "service-2")["operations"].items()
        ]
        for service in ("lambda", "route53")
    }
    actions = set()
    for line in emulator.log.read_text().splitlines():
        if not line.startswith("call "):
            continue
        _, service, name = line.split(" ", 2)
        if service == "apigateway":
            actions.add(f"apigateway:{name.split(' ')[0]}")
        elif service in operations:
            method, path = name.split(" ")
            (name,) = [name for verb, pattern, name in operations[service] if verb == method and pattern.fullmatch(path)]
            actions.add(f"{service}:{name}")
        elif service == "budgets" and "Tag" not in name:
            actions.add("budgets:ViewBudget" if name.startswith("Describe") else "budgets:ModifyBudget")
        else:
            actions.add({"monitoring": "cloudwatch"}.get(service, service) + ":" + name)
    return actions - {"sts:GetCallerIdentity"}  # everybody may call it


def test_the_deploying_role_needs_what_the_provider_calls(stack, moto):
    """terraform/deploy-policy.json allows what this module's stacks have called, and nothing else."""
    policy = json.loads((ROOT / "terraform/deploy-policy.json").read_text())
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert allowed - WITHOUT_A_CALL == called(moto)
    assert WITHOUT_A_CALL <= allowed
