"""Request lines and headers."""

from tests.gateway.corpus.case import CHAT, JSON, cases, post


def _line(line: bytes) -> bytes:
    return post(line=line)


def _to(target: bytes, method: bytes = b"POST") -> bytes:
    return _line(method + b" " + target + b" HTTP/1.1")


LINES = cases(
    "line",
    {
        "empty method": _line(b" " + CHAT + b" HTTP/1.1"),
        "no method": _line(CHAT + b" HTTP/1.1"),
        "method with a slash": _to(CHAT, b"PO/ST"),
        "method with a colon": _to(CHAT, b"POST:"),
        "method with NUL": _to(CHAT, b"POST\x00"),
        "method with a high byte": _to(CHAT, b"POS\xd4"),
        "method of 20 KB": _to(CHAT, b"P" * 20_000),
        "space before the method": _to(CHAT, b" POST"),
        "only a method": _line(b"POST"),
        "a word too much": _line(b"POST " + CHAT + b" HTTP/1.1 now"),
        "space in the target": _line(b"POST /v1/chat /completions HTTP/1.1"),
        "HTTP/0.9": b"GET /v1/models\r\n\r\n",
        "HTTP/0.9 POST": _line(b"POST " + CHAT),
        "HTTP/1": _line(b"POST " + CHAT + b" HTTP/1"),
        "HTTP/1.": _line(b"POST " + CHAT + b" HTTP/1."),
        "HTTP/.1": _line(b"POST " + CHAT + b" HTTP/.1"),
        "HTTP/1.10": _line(b"POST " + CHAT + b" HTTP/1.10"),
        "HTTP/11.1": _line(b"POST " + CHAT + b" HTTP/11.1"),
        "HTTP/-1.1": _line(b"POST " + CHAT + b" HTTP/-1.1"),
        "HTTP/1,1": _line(b"POST " + CHAT + b" HTTP/1,1"),
        "HTTP/1.1 with NUL": _line(b"POST " + CHAT + b" HTTP/1.1\x00"),
        "http/1.1 in small letters": _line(b"POST " + CHAT + b" http/1.1"),
        "HTTPS/1.1": _line(b"POST " + CHAT + b" HTTPS/1.1"),
        "RTSP/1.0": _line(b"POST " + CHAT + b" RTSP/1.0"),
        "ICAP": _line(b"POST " + CHAT + b" ICAP/1.0"),
        "bare CR at its end": post().replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r", 1),
        "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(range(128)),
        "an SSH hello": b"SSH-2.0-OpenSSH_9.9\r\n",
        "a PROXY header": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + post(),
        "a PROXY header in binary": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12) + post(),
        "random bytes": bytes(range(255, 0, -1)) * 8,
        "JSON alone": JSON,
        "SMTP": b"HELO gateway\r\nMAIL FROM:<a@b>\r\n",
        "Redis": b"*1\r\n$4\r\nPING\r\n",
    },
)

TARGETS = cases(
    "target",
    {
        "NUL": _to(CHAT + b"\x00"),
        "control byte": _to(CHAT + b"?\x01"),
        "tab": _to(CHAT + b"?\ta"),
        "DEL": _to(CHAT + b"?\x7f"),
        "high byte": _to(CHAT + b"?\xff"),
        "UTF-8": _to(CHAT + "?ü".encode()),
        "fragment": _to(CHAT + b"#part"),
        "fragment in a query": _to(CHAT + b"?a#b"),
        "20 KB": _to(CHAT + b"?" + b"a" * 20_000),
        "100 KB": _to(CHAT + b"?" + b"a" * 100_000),
        "relative": _to(b"v1/chat/completions"),
        "absolute with another host": _to(b"http://elsewhere" + CHAT),
        "absolute without a host": _to(b"http://" + CHAT),
        "authority with POST": _to(b"gateway:8080"),
        "CONNECT with a path": _to(CHAT, b"CONNECT"),
        "CONNECT to somewhere": b"CONNECT 10.0.0.1:443 HTTP/1.1\r\nhost: 10.0.0.1:443\r\n\r\n",
        "asterisk with POST": _to(b"*"),
    },
)
TARGETS += cases(
    "target",
    {
        name: _to(target)
        for name, target in {
            "root": b"/",
            "slash at the end": CHAT + b"/",
            "two slashes": b"/" + CHAT,
            "two slashes inside": b"/v1//chat/completions",
            "dots": b"/v1/x/../chat/completions",
            "dots out": b"/../../etc/passwd",
            "dot": b"/v1/./chat/completions",
            "encoded slash": b"/v1/chat%2fcompletions",
            "encoded dots": b"/v1/%2e%2e/v1/chat/completions",
            "encoded letter": b"/v1/chat/completion%73",
            "encoded NUL": CHAT + b"%00",
            "bad percent": CHAT + b"%zz",
            "semicolon": CHAT + b";x=y",
            "backslashes": b"\\v1\\chat\\completions".replace(b"\\", b"/\\", 1),
            "capitals": b"/V1/CHAT/COMPLETIONS",
            "suffix": CHAT + b".json",
            "vLLM's tokenizer": b"/tokenize",
            "vLLM's pause": b"/pause",
            "vLLM's sleep": b"/sleep?level=1",
            "vLLM's adapters": b"/v1/load_lora_adapter",
            "vLLM's metrics": b"/metrics",
            "vLLM's documents": b"/openapi.json",
            "vLLM's calls": b"/collective_rpc",
            "vLLM's embeddings": b"/v1/embeddings",
            "the activator's word": b"/leave",
            "HAProxy's statistics": b"/haproxy?stats",
        }.items()
    },
    code="unknown_url",
)

METHODS = cases(
    "method",
    {
        name: _to(CHAT, name.encode())
        for name in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "Post", "POSTS", "PROPFIND", "X")
    },
    code="method_not_allowed",
)
METHODS += cases(
    "method",
    {
        "GET of a POST path": b"GET " + CHAT + b" HTTP/1.1\r\nhost: gateway\r\n\r\n",
        "POST of models": _to(b"/v1/models"),
    },
    code="method_not_allowed",
)

HEADERS = cases(
    "header",
    {
        "space before the colon": post(JSON, b"x-a : b"),
        "tab before the colon": post(JSON, b"x-a\t: b"),
        "space in the name": post(JSON, b"x a: b"),
        "no colon": post(JSON, b"x-a"),
        "no name": post(JSON, b": b"),
        "NUL in the name": post(JSON, b"x\x00a: b"),
        "control byte in the name": post(JSON, b"x\x01a: b"),
        "high byte in the name": post(JSON, b"x\xe4: b"),
        "UTF-8 in the name": post(JSON, "ü: b".encode()),
        "parentheses in the name": post(JSON, b"x(a): b"),
        "comma in the name": post(JSON, b"x,a: b"),
        "quote in the name": post(JSON, b'x"a: b'),
        "slash in the name": post(JSON, b"x/a: b"),
        "brackets in the name": post(JSON, b"x[a]: b"),
        "braces in the name": post(JSON, b"{x}: b"),
        "at in the name": post(JSON, b"x@a: b"),
        "NUL in the value": post(JSON, b"x-a: b\x00c"),
        "bare CR in the value": post(JSON, b"x-a: b\rc"),
        "bare CR before a second header": post(JSON, b"x-a: b\rx-gptoss-tenant: root"),
        "bare CR before a request": post(JSON, b"x-a: b\r\rGET / HTTP/1.1"),
        "first line begins with a space": post().replace(b"host", b" host", 1),
        "first line begins with a tab": post().replace(b"host", b"\thost", 1),
        "a line of spaces": post(JSON, b"   :"),
        "two hosts": post(JSON, b"host: elsewhere"),
        "host with a path": post().replace(b"host: gateway", b"host: gateway/x", 1),
        "host with a user": post().replace(b"host: gateway", b"host: user@gateway", 1),
        "host with a space": post().replace(b"host: gateway", b"host: gate way", 1),
        "upgrade to a websocket without a key": post(JSON, b"connection: upgrade", b"upgrade: websocket"),
        "CR CR LF": post().replace(b"host: gateway\r\n", b"host: gateway\r\r\n", 1),
        "LF CR": post().replace(b"host: gateway\r\n", b"host: gateway\n\r", 1),
        "a bare CR for the empty line": post().replace(b"\r\n\r\n", b"\r\n\rX", 1),
    },
)

FLOODS = cases(
    "flood",
    {
        "200 headers": post(JSON, *(b"x-%d: y" % number for number in range(200))),
        "5000 headers": post(JSON, *(b"x-%d: y" % number for number in range(5000))),
        "200 times the same header": post(JSON, *[b"x: y"] * 200),
        "200 empty headers": post(JSON, *[b"x:"] * 200),
        "a header of 20 KB": post(JSON, b"x: " + b"y" * 20_000),
        "a header of 1 MB": post(JSON, b"x: " + b"y" * 1_000_000),
        "a name of 20 KB": post(JSON, b"x" * 20_000 + b": y"),
        "cookies of 20 KB": post(JSON, b"cookie: " + b"a=b; " * 4_000),
        "100 headers of 200 bytes": post(JSON, *(b"x-%d: " % number + b"y" * 200 for number in range(100))),
        "a folded header of 20 KB": post(JSON, b"x: y" + b"\r\n y" * 6_000),
        "a megabyte of CRLF": b"\r\n" * 500_000 + b"X\r\n\r\n",
        "a megabyte of nothing": b"\x00" * 1_000_000,
        "a megabyte without a line": b"A" * 1_000_000,
    },
)

HEADS = (*LINES, *TARGETS, *METHODS, *HEADERS, *FLOODS)
