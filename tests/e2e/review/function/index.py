"""The same review as index.mjs."""

import json
import os
import time


def handler(event, context):
    text = json.dumps(event["data"])
    if "spam" in text:
        return {"decision": "deny", "reason": "no advertising"}
    if "darn" in text:
        return {"decision": "replace", "data": json.loads(text.replace("darn", "****"))}
    if "crash" in text:
        os._exit(1)
    if "throw" in text:
        raise ValueError(f"cannot read {text}")
    if "lie" in text:
        return {"decision": "maybe"}
    if "huge" in text:
        return {"decision": "replace", "data": "x" * 140_000}
    if "surrogate" in text:
        return {"decision": "replace", "data": "\ud800"}
    if "sleep" in text:
        time.sleep(25)
    return {"decision": "allow"}
