"""moto's server, with what it lacks for this stack patched in: what the provider writes must be what it reads back.

The patched calls are moto's internals: requirements pin its version. A call that moto does not know answers 400, not
500: the provider would retry a 500 for minutes.
"""

import json
import os
import sys
import threading
from urllib.parse import unquote

os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")

from moto.apigatewayv2 import models as gateway
from moto.apigatewayv2 import urls
from moto.apigatewayv2.responses import ApiGatewayV2Response
from moto.awslambda.models import LambdaFunction
from moto.core.responses import BaseResponse
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
    self.logging_config = spec.get("LoggingConfig") or {}


@wrap(LambdaFunction, "get_configuration")
def function_configuration(original, self, *args, **kwargs):
    return {**original(self, *args, **kwargs), "LoggingConfig": self.logging_config}


@wrap(LambdaFunction, "update_configuration")
def function_update(original, self, updates):
    self.logging_config = updates.get("LoggingConfig", self.logging_config)
    original(self, updates)
    return self.get_configuration()


@wrap(BaseResponse, "call_action")
def call_action(original, self):
    try:
        return original(self)
    except NotImplementedError as missing:
        message = f"moto does not know this call: {missing}"
        return 400, {"x-amzn-errortype": "NotImplemented"}, json.dumps({"__type": "NotImplemented", "message": message})


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
