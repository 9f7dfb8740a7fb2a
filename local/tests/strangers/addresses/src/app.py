import json
import os
import urllib.request


def handler(event, context):
    """Posts to the sender by every address it was given."""
    connection = event["requestContext"]["connectionId"]
    for name in sorted(os.environ):
        if name.startswith("APP_"):
            address = os.environ[name]
            if "://" not in address:
                address = f"https://{address}/live"
            url = f"{address.replace('wss:', 'https:').rstrip('/')}/@connections/{connection}"
            request = urllib.request.Request(url, data=json.dumps({"by": name}).encode(), method="POST")
            urllib.request.urlopen(request)
    return {"statusCode": 200}
