import json

import words


def handler(event, context):
    return {"statusCode": 200, "body": json.dumps({"layer": words.GREETING})}
