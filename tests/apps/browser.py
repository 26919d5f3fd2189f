"""A page for a real browser: it talks over a WebSocket and reports how it went."""

import json
from typing import Any

reports: list[dict[str, Any]] = []

PAGE = """\
<!doctype html><title>talk</title>
<script>
const talk = new WebSocket(`ws://${location.host}/talk`, ["other", "echo"]);
talk.binaryType = "arraybuffer";
const said = {}, wanted = "grüße ".repeat(5000);
talk.onopen = () => {
  said.protocol = talk.protocol;
  said.extensions = talk.extensions;
  talk.send(wanted);
};
talk.onmessage = event => {
  if (typeof event.data === "string") {
    said.text = event.data === wanted;
    talk.send(new Uint8Array([0, 1, 254, 255]));
  } else {
    said.bytes = Array.from(new Uint8Array(event.data));
    talk.send("leave");
  }
};
talk.onclose = async event => {
  said.close = [event.code, event.reason, event.wasClean];
  await fetch("/report", {method: "POST", body: JSON.stringify(said)});
};
</script>
"""


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await talk(receive, send)
    elif scope["type"] == "http":
        await answer(scope, receive, send)
    else:
        raise NotImplementedError


async def talk(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept", "subprotocol": "echo"})
    while (event := await receive())["type"] == "websocket.receive":
        if event.get("text") == "leave":
            await send({"type": "websocket.close", "code": 4000, "reason": "as you wish"})
            return
        echo = {key: event[key] for key in ("text", "bytes") if event.get(key) is not None}
        await send({"type": "websocket.send", **echo})


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    body, kind = PAGE.encode(), b"text/html; charset=utf-8"
    if scope["path"] == "/report":
        data = b""
        while True:
            event = await receive()
            data += event.get("body", b"")
            if not event.get("more_body"):
                break
        reports.append(json.loads(data))
    if scope["path"] != "/":
        body, kind = json.dumps(reports).encode(), b"application/json"
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
