"""ministack's server, which runs each call once.

Now and then an answer of it is lost. The provider repeats the call, and the repeated AddPermission would fail for
minutes because the statement exists. The SDK sends the same invocation id with every attempt of a call, so that a
repeated attempt gets the answer of the first.
"""

import asyncio

import ministack.app


class Once:
    def __init__(self, app):
        self.app = app
        self.answers = {}

    async def __call__(self, scope, receive, send):
        call = dict(scope.get("headers", [])).get(b"amz-sdk-invocation-id")
        if scope["type"] != "http" or call is None:
            await self.app(scope, receive, send)
            return
        if call in self.answers:
            print(f"a repeated attempt of {call.decode()} gets the first answer", flush=True)
        else:
            # A task of its own: it goes on when the client has gone.
            self.answers[call] = asyncio.create_task(self.run(scope, receive))
        answer = await asyncio.shield(self.answers[call])
        if any(event.get("status", 0) >= 500 for event in answer):
            self.answers.pop(call, None)
        for event in answer:
            await send(event)

    async def run(self, scope, receive):
        events = []

        async def keep(event):
            events.append(event)

        await self.app(scope, receive, keep)
        return events


if __name__ == "__main__":
    ministack.app.app = Once(ministack.app.app)
    ministack.app.main()
