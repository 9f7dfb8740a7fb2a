"""moto's server, with what it lacks for this stack patched in: what the provider writes must be what it reads back.

The patched calls are moto's internals: requirements pin its version. A call that moto does not know answers 400, not
500: the provider would retry a 500 for minutes.
"""

import io
import json
import os
import sys
import threading
from urllib.parse import parse_qs, unquote

os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")

from moto.apigatewayv2 import models as gateway
from moto.apigatewayv2 import urls
from moto.apigatewayv2.responses import ApiGatewayV2Response
from moto.awslambda.models import LambdaFunction
from moto.budgets.responses import BudgetsResponse
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import BaseResponse, EmptyResult
from moto.dynamodb.models.table import Table
from moto.dynamodb.responses import DynamoHandler
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from waitress import serve


def wrap(owner, name):
    """Replaces owner.name by the decorated function, which gets the original first."""
    original = getattr(owner, name)

    def decorate(function):
        setattr(owner, name, lambda *args, **kwargs: function(original, *args, **kwargs))

    return decorate


def update_stage(self):
    """UpdateStage, which moto 5.2.1 does not have: without it no throttle can be changed."""
    api_id, _, name = self.path.split("/v2/apis/")[1].partition("/stages/")
    api = self.apigatewayv2_backend.get_api(api_id)
    old = api.get_stage(name)
    new = gateway.Stage(api=api, config={**old.config, **json.loads(self.body)})
    new.created = old.created
    api.stages[name] = new
    return 200, {}, json.dumps(new.to_json())


def get_route_responses(self):
    """GetRouteResponses, which the tests ask."""
    _, _, api_id, _, route_id, _ = self.path.strip("/").split("/")
    route = self.apigatewayv2_backend.get_api(api_id).get_route(route_id)
    return 200, {}, json.dumps({"items": [response.to_json() for response in route.route_responses.values()]})


def delete_route_settings(self):
    """DeleteRouteSettings, which the provider calls for each route whose settings change."""
    api_id, _, rest = self.path.split("/v2/apis/")[1].partition("/stages/")
    name, _, route_key = rest.partition("/routesettings/")
    stage = self.apigatewayv2_backend.get_api(api_id).get_stage(name)
    stage.route_settings.pop(unquote(route_key), None)
    return 204, {}, ""


def tag_stage(self):
    """TagResource and UntagResource of a stage, whose path moto does not know."""
    arn = unquote(self.path.split("/v2/tags/")[1])
    api_id, _, name = arn.split("/apis/")[1].partition("/stages/")
    stage = self.apigatewayv2_backend.get_api(api_id).get_stage(name)
    tags = dict(stage.tags or {})
    if self.method == "POST":
        tags.update(json.loads(self.body)["tags"])
    else:
        tags = {key: value for key, value in tags.items() if key not in self.querystring["tagKeys"]}
    stage.tags = stage.config["tags"] = tags
    return 201, {}, "{}"


@wrap(ApiGatewayV2Response, "tag_resource")
def tag_resource(original, self):
    return tag_stage(self) if "/stages/" in self.path else original(self)


@wrap(ApiGatewayV2Response, "untag_resource")
def untag_resource(original, self):
    return tag_stage(self) if "/stages/" in self.path else original(self)


urls.url_paths["{0}/v2/tags/(?P<resource_arn_pt1>[^/]+)/apis/(?P<resource_arn_pt2>[^/]+)/stages/(?P<resource_arn_pt3>[^/]+)$"] = (
    ApiGatewayV2Response.dispatch
)
urls.url_paths["{0}/v2/apis/(?P<api_id>[^/]+)/stages/(?P<stage_name>[^/]+)/routesettings/(?P<route_key>[^/]+)$"] = (
    ApiGatewayV2Response.dispatch
)
ApiGatewayV2Response.delete_route_settings = delete_route_settings
ApiGatewayV2Response.update_stage = update_stage
ApiGatewayV2Response.get_route_responses = get_route_responses


@wrap(gateway.Integration, "to_json")
def integration_to_json(original, self):
    """AWS leaves out what was never set; an empty map would be a difference at every plan."""
    return {key: value for key, value in original(self).items() if value not in (None, {})}


@wrap(gateway.DomainName, "to_json")
def domain_name_to_json(original, self):
    """The provider waits until each configuration is AVAILABLE."""
    domain = original(self)
    for configuration in domain.get("domainNameConfigurations") or []:
        configuration.update(
            domainNameStatus="AVAILABLE", apiGatewayDomainName="d-1.example.com", hostedZoneId="Z1", ipAddressType="ipv4"
        )
    if not domain.get("mutualTlsAuthentication"):
        domain.pop("mutualTlsAuthentication", None)
    return domain


@wrap(LambdaFunction, "__init__")
def function_init(original, self, account_id, spec, *args, **kwargs):
    original(self, account_id, spec, *args, **kwargs)
    self.kept = {key: spec[key] for key in ("LoggingConfig", "KMSKeyArn") if spec.get(key)}


@wrap(LambdaFunction, "get_configuration")
def function_configuration(original, self, *args, **kwargs):
    return {**original(self, *args, **kwargs), **self.kept}


@wrap(LambdaFunction, "update_configuration")
def function_update(original, self, updates):
    self.kept.update({key: updates[key] for key in ("LoggingConfig", "KMSKeyArn") if key in updates})
    original(self, updates)
    return self.get_configuration()


@wrap(DynamoHandler, "create_table")
def create_table(original, self):
    answer = original(self)
    table = self.dynamodb_backend.get_table(self.body["TableName"])
    table.caps = {index["IndexName"]: index.get("OnDemandThroughput") for index in self.body.get("GlobalSecondaryIndexes", [])}
    table.caps[None] = self.body.get("OnDemandThroughput")
    return answer


@wrap(DynamoHandler, "update_table")
def update_table(original, self):
    # A table that was restored has none.
    caps = vars(self.dynamodb_backend.get_table(self.body["TableName"])).setdefault("caps", {})
    for update in self.body.get("GlobalSecondaryIndexUpdates", []):
        caps[update["Update"]["IndexName"]] = update["Update"]["OnDemandThroughput"]
    if "OnDemandThroughput" in self.body:
        caps[None] = self.body["OnDemandThroughput"]
    return original(self)


@wrap(Table, "describe")
def describe_table(original, self, base_key="TableDescription"):
    """moto forgets the caps on the throughput of tables and indexes."""
    result = original(self, base_key)
    caps = getattr(self, "caps", {})
    for name, description in [(None, result[base_key])] + [
        (index["IndexName"], index) for index in result[base_key]["GlobalSecondaryIndexes"]
    ]:
        if caps.get(name):
            description["OnDemandThroughput"] = caps[name]
    return result


def describe_subscribers_for_notification(self):
    budget = self.backend.budgets[self._get_param("AccountId")][self._get_param("BudgetName")]
    wanted = self._get_param("Notification")
    keys = ("NotificationType", "Threshold", "ComparisonOperator")
    (subscribers,) = [
        notification.subscribers
        for notification in budget.notifications
        if all(notification.details[key] == wanted[key] for key in keys)
    ]
    return json.dumps({"Subscribers": subscribers})


BudgetsResponse.describe_subscribers_for_notification = describe_subscribers_for_notification
BudgetsResponse.list_tags_for_resource = lambda self: json.dumps({"ResourceTags": BUDGET_TAGS.get(self._get_param("ResourceARN"), [])})
BUDGET_TAGS = {}


@wrap(BudgetsResponse, "create_budget")
def create_budget(original, self):
    name = self._get_param("Budget")["BudgetName"]
    BUDGET_TAGS[f"arn:aws:budgets::{self._get_param('AccountId')}:budget/{name}"] = self._get_param("ResourceTags", [])
    return original(self)


def put_composite_alarm(self):
    alarm = self.cloudwatch_backend.put_metric_alarm(
        name=self._get_param("AlarmName"),
        namespace=None,
        metric_name=None,
        comparison_operator=None,
        evaluation_periods=None,
        period=None,
        threshold=None,
        statistic=None,
        description=self._get_param("AlarmDescription"),
        dimensions=[],
        alarm_actions=self._get_param("AlarmActions", []),
        ok_actions=self._get_param("OKActions", []),
        rule=self._get_param("AlarmRule"),
        tags=self._get_param("Tags", []),
    )
    alarm.alarm_rule = alarm.rule
    return EmptyResult()


CloudWatchResponse.put_composite_alarm = put_composite_alarm


@wrap(BaseResponse, "call_action")
def call_action(original, self):
    try:
        return original(self)
    except NotImplementedError as missing:
        message = f"moto does not know this call: {missing}"
        return 400, {"x-amzn-errortype": "NotImplemented"}, json.dumps({"__type": "NotImplemented", "message": message})


def record(environ):
    """Writes a call of the provider to the log. The tests compare them with the policy of the deploying role."""
    if "Terraform" not in environ.get("HTTP_USER_AGENT", ""):
        return
    service = environ["HTTP_AUTHORIZATION"].split("Credential=")[1].split("/")[3]
    name = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    if not name and environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        (name,) = parse_qs(body.decode())["Action"]
    print("call", service, name or f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}", flush=True)


class Once:
    """Runs one call at a time, and each call once.

    moto's state has no locks: a call that reads it while another changes it fails with a 500, perhaps after it has made
    its resource. The provider repeats a call whose answer was a 500 or was lost, and the repeated CreateRole would fail
    because the role exists. The SDK sends the same invocation id with every attempt of a call, so that a repeated
    attempt gets the answer of the first.
    """

    def __init__(self, app):
        self.app = app
        self.lock = threading.Lock()
        self.answers = {}

    def __call__(self, environ, start_response):
        call = environ.get("HTTP_AMZ_SDK_INVOCATION_ID")
        with self.lock:
            answer = self.answers.get(call)
            if answer is None:
                record(environ)
                answer = self.run(environ)
                if call and not answer[0].startswith("5"):
                    self.answers[call] = answer
            else:
                print(f"attempt {environ.get('HTTP_AMZ_SDK_REQUEST')} of {call} gets the first answer", flush=True)
        status, headers, body = answer
        start_response(status, headers)
        return [body]

    def run(self, environ):
        head = []
        chunks = self.app(environ, lambda status, headers, _=None: head.extend((status, headers)))
        try:
            body = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        return *head, body


if __name__ == "__main__":
    # Not moto's own server: under load it drops connections.
    serve(Once(DomainDispatcherApplication(create_backend_app)), host="127.0.0.1", port=int(sys.argv[1]), threads=16)
