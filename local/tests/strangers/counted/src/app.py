import os


def handler(event, context):
    print(f"index {os.environ['APP_INDEX']}")
    # Without a line break at the end.
    print("half a line", end="", flush=True)
    return {"statusCode": int(event["body"] and 418)}
