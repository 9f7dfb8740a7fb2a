"""Whoever says something hears who else heard it: {"action":"say","data":"hello"}."""

import json
import os

import boto3

table = boto3.resource("dynamodb").Table(os.environ["TABLE"])


def handler(event, context):
    request = event["requestContext"]
    route, sender = request["routeKey"], request["connectionId"]
    if route == "$connect":
        table.put_item(Item={"connectionId": sender})
    elif route == "$disconnect":
        forget(sender)
    elif route == "say":
        endpoint = f"https://{request['domainName']}/{request['stage']}"
        say(endpoint, sender, json.loads(event["body"])["data"])
    return {"statusCode": 200}


def say(endpoint, sender, data):
    api = boto3.client("apigatewaymanagementapi", endpoint_url=endpoint)
    heard = 0
    for item in table.scan(ConsistentRead=True)["Items"]:
        other = item["connectionId"]
        if other == sender:
            continue
        try:
            api.post_to_connection(ConnectionId=other, Data=json.dumps({"data": data}))
            heard += 1
        except api.exceptions.GoneException:
            forget(other)
    api.post_to_connection(ConnectionId=sender, Data=json.dumps({"heardBy": heard}))


def forget(connection_id):
    table.delete_item(Key={"connectionId": connection_id})
