"""Runs a handler written for Lambda's Python runtimes: loads it, and speaks the Lambda Runtime API for it.

It behaves as https://github.com/aws/aws-lambda-python-runtime-interface-client does: how a handler is found, what an
error is called, and what the root logger prints.
"""

import decimal
import http.client
import importlib
import json
import logging
import os
import re
import socket
import sys
import time
import traceback
import urllib.parse

ROOT = os.environ["LAMBDA_TASK_ROOT"]
# Modules that Lambda brings.
BROUGHT = {"boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six"}


class RuntimeFault(Exception):
    """An error of the runtime, not of the function's code."""

    def __init__(self, kind, message, trace=()):
        super().__init__(message)
        self.kind = f"Runtime.{kind}"
        self.trace = list(trace)


class Context:
    """The context of an invocation."""

    def __init__(self, headers):
        self._deadline_ms = int(headers["lambda-runtime-deadline-ms"])
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers["lambda-runtime-invoked-function-arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.client_context = None
        self.identity = None

    def get_remaining_time_in_millis(self):
        return max(self._deadline_ms - int(time.time() * 1000), 0)

    def log(self, message):
        sys.stdout.write(str(message))


class Encoder(json.JSONEncoder):
    """Encodes decimals: boto3 reads numbers from a table as decimals."""

    def default(self, value):
        if isinstance(value, decimal.Decimal):
            return float(value)
        return super().default(value)


class RequestId(logging.Filter):
    """Puts the invocation's id into each record."""

    current = ""

    def filter(self, record):
        record.aws_request_id = self.current
        return True


def set_up_logging(request_id):
    """A root handler with Lambda's format. Its level stays WARNING until the function says otherwise."""
    handler = logging.StreamHandler(sys.stdout)
    line = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s"
    formatter = logging.Formatter(line, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(request_id)
    logging.getLogger().addHandler(handler)


def load(name):
    """The function that `folder/module.function` names."""
    module_name, dot, function = name.rpartition(".")
    if not dot:
        raise RuntimeFault("MalformedHandlerName", f"Bad handler '{name}': not enough values to unpack (expected 2, got 1)")
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise RuntimeFault("BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        message = f"Unable to import module '{module_name}': {error}{hint(error)}"
        raise RuntimeFault("ImportModuleError", message, trace_of(error)) from error
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        raise RuntimeFault("UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}", trace) from error
    try:
        return getattr(module, function)
    except AttributeError:
        raise RuntimeFault("HandlerNotFound", f"Handler '{function}' missing on module '{module_name}'") from None


def hint(error):
    """Names a module that Lambda brings and this machine lacks."""
    name = (getattr(error, "name", None) or "").split(".")[0]
    if name not in BROUGHT:
        return ""
    return f". Lambda brings it; here {sys.executable} has to: start the gateway where python3 is one of a venv with {name}"


def trace_of(error):
    """The traceback as text, without this file's frames and importlib's."""
    own = (__file__, os.path.dirname(importlib.__file__), "<frozen importlib")
    frames = traceback.extract_tb(error.__traceback__)
    return traceback.format_list([frame for frame in frames if not frame.filename.startswith(own)])


def describe(error, request_id=""):
    """An error in the form of Lambda's own runtimes; it is printed, too."""
    fault = isinstance(error, RuntimeFault)
    kind = error.kind if fault else type(error).__name__
    trace = error.trace if fault else trace_of(error)
    print(f"[ERROR] {kind}: {error}")
    if trace:
        print("Traceback (most recent call last):\n" + "".join(trace).rstrip("\n"))
    return {"errorType": kind, "errorMessage": str(error), "requestId": request_id, "stackTrace": trace}


class RuntimeApi:
    """One connection to the Runtime API."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address)

    def call(self, method, path, body=None, headers=None):
        self.connection.request(method, f"/2018-06-01/runtime/{path}", body, headers or {})
        response = self.connection.getresponse()
        return response.headers, response.read()

    def post_error(self, path, error):
        headers = {"Lambda-Runtime-Function-Error-Type": re.sub(r"[^\x20-\x7e]", "?", error["errorType"])}
        self.call("POST", path, json.dumps(error).encode(), headers)


def answer_to(handler, event, context):
    """The handler's answer as JSON."""
    result = handler(json.loads(event), context)
    try:
        return json.dumps(result, cls=Encoder).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RuntimeFault("MarshalError", f"Unable to marshal response: {error}") from error


def flush():
    """Prints what has no line break yet."""
    sys.stdout.flush()
    sys.stderr.flush()


def stay_here():
    """Calls stay on this machine when code has built the host of the API's address by itself."""
    gateway = urllib.parse.urlsplit(os.environ.get("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", ""))
    own = re.compile(r"local\d{5}\.execute-api\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)", re.IGNORECASE)
    original = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        if gateway.hostname and isinstance(name, str) and own.fullmatch(name):
            host, port = gateway.hostname, gateway.port
        return original(host, port, *args, **kwargs)

    socket.getaddrinfo = getaddrinfo


def main():
    # The process may be ended at any moment: nothing that was printed may wait in a buffer.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
    sys.path[0] = ROOT
    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    request_id = RequestId()
    set_up_logging(request_id)
    stay_here()
    try:
        handler = load(os.environ["_HANDLER"])
    except Exception as error:
        api.post_error("init/error", describe(error))
        sys.exit(1)
    while True:
        headers, event = api.call("GET", "invocation/next")
        context = Context(headers)
        request_id.current = context.aws_request_id
        os.environ["_X_AMZN_TRACE_ID"] = headers["lambda-runtime-trace-id"] or ""
        try:
            answer = answer_to(handler, event, context)
        except Exception as error:
            flush()
            api.post_error(f"invocation/{context.aws_request_id}/error", describe(error, context.aws_request_id))
        else:
            flush()
            api.call("POST", f"invocation/{context.aws_request_id}/response", answer, {"Content-Type": "application/json"})


main()
