"""Load from inside the cluster, bounded in count and time: runs in a pod that has Python and nothing else.

    python3 - completions URL MODEL REQUESTS SECONDS     one after the other, each on a connection of its own
    python3 - streams URL MODEL STREAMS TOKENS           all at once, each with TOKENS tokens

Prints one JSON document.
"""

import http.client
import json
import sys
import threading
import time
import urllib.parse


REQUEST_SECONDS = 120


def connection(url: str) -> http.client.HTTPConnection:
    parts = urllib.parse.urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=REQUEST_SECONDS)


def post(url: str, body: dict[str, object]) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    link = connection(url)
    path = urllib.parse.urlsplit(url).path
    link.request("POST", f"{path}/completions", json.dumps(body), {"content-type": "application/json"})
    return link, link.getresponse()


def completions(url: str, model: str, requests: int, seconds: float) -> dict[str, object]:
    errors: list[str] = []
    answered, slowest = 0, 0.0
    deadline = time.monotonic() + seconds
    while answered + len(errors) < requests and time.monotonic() < deadline:
        began = time.monotonic()
        try:
            link, response = post(url, {"model": model, "prompt": "Hello", "max_tokens": 4})
            text = response.read().decode()
            link.close()
            if response.status == http.client.OK:
                answered += 1
            else:
                errors.append(f"{response.status} {text[:200]}")
        except OSError as error:
            errors.append(repr(error))
        slowest = max(slowest, time.monotonic() - began)
    return {"answered": answered, "errors": errors, "slowest_seconds": round(slowest, 2)}


def one_stream(url: str, model: str, tokens: int, results: list[str]) -> None:
    finish = "no end"
    try:
        body = {"model": model, "prompt": "Hello", "max_tokens": tokens, "min_tokens": tokens, "stream": True}
        link, response = post(url, body)
        for line in response:
            text = line.decode().strip()
            if text.startswith("data: {"):
                event = json.loads(text.removeprefix("data: "))
                if "error" in event:
                    finish = f"error: {event['error']}"
                elif event["choices"][0].get("finish_reason"):
                    finish = event["choices"][0]["finish_reason"]
        link.close()
    except (OSError, http.client.HTTPException) as error:
        finish = repr(error)
    results.append(finish)


def streams(url: str, model: str, count: int, tokens: int) -> dict[str, object]:
    results: list[str] = []
    threads = [threading.Thread(target=one_stream, args=(url, model, tokens, results)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(REQUEST_SECONDS)
    return {"finished": sorted(results)}


def main() -> None:
    kind, url, model, count, bound = sys.argv[1:6]
    if kind == "streams":
        result = streams(url, model, int(count), int(bound))
    else:
        result = completions(url, model, int(count), float(bound))
    print(json.dumps(result))


main()
