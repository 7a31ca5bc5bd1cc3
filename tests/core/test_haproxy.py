import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from e2e.gateway.program import haproxy_command
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.observation import Owner
from gptoss_operator.core.render.haproxy.files import LONG_FILE, MAIN_FILE, ORDERS_FILE, gateway_files
from gptoss_operator.core.render.haproxy.log import EXPRESSIONS
from gptoss_operator.core.render.haproxy.places import IN_POD, Places
from gptoss_runtime.gateway_contract import GatewayOrders, Map
from gptoss_runtime.gateway_log import LogField


OWNER = Owner(name="chat", namespace="demo", uid="u", generation=1)


def rendered(places: Places = IN_POD, **spec: object) -> dict[str, str]:
    parsed = GptOssSpec.model_validate({"model": {"name": "gpt-oss-20b"}, **spec})
    return gateway_files(OWNER, parsed, 3, "cluster.local", places)


def with_tiers(**tier: object) -> str:
    keys = {"secretName": "keys", "tiers": [{"name": "default", **tier}]}
    return rendered(routing={"apiKeys": keys})[MAIN_FILE]


def test_each_field_of_the_log_has_an_expression() -> None:
    assert set(EXPRESSIONS) == set(LogField)


def test_only_the_limits_that_some_tier_has_cost_something() -> None:
    none = with_tiers()
    assert not any(f"/{name}" in none for name in (Map.RATES, Map.CONCURRENCY, Map.BLOCKED, Map.PRIORITIES))
    assert "track-sc0" not in none
    assert f"/{Map.RATES}" in with_tiers(requestsPerSecond=1)
    assert f"/{Map.CONCURRENCY}" in with_tiers(concurrentRequests=1)
    assert f"/{Map.BLOCKED}" in with_tiers(tokensPerMinute=1)
    assert f"/{Map.PRIORITIES}" in with_tiers(priority="High")


def test_without_keys_nothing_asks_for_one() -> None:
    text = rendered()[MAIN_FILE]

    assert "authorization" not in text
    assert "401" not in text


def test_a_detour_is_there_only_for_the_cache_or_the_filter() -> None:
    assert "backend detour" not in "".join(rendered().values())
    assert all("backend detour" in rendered(routing={"cache": {}})[name] for name in (MAIN_FILE, LONG_FILE))


def test_names_that_could_break_the_file_are_left_out() -> None:
    hostile = 'x" } or TRUE'
    arguments = ["--lora-modules", f"{hostile}=/adapters/x", "summaries=/adapters/summaries"]

    files = rendered(engine={"extraArgs": arguments})

    assert "summaries" in files[MAIN_FILE]
    assert hostile not in files[MAIN_FILE]
    assert hostile not in files[LONG_FILE]
    assert GatewayOrders.decode(files[ORDERS_FILE]).model_names == ("openai/gpt-oss-20b", "summaries")


TIERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["default", "gold", "bulk"])},
        optional={
            "priority": st.sampled_from(["High", "Normal", "Low"]),
            "requestsPerSecond": st.integers(1, 100_000),
            "concurrentRequests": st.integers(1, 100_000),
            "tokensPerMinute": st.integers(1, 10**12),
        },
    ),
    max_size=3,
    unique_by=lambda tier: tier["name"],
)
ROUTINGS = st.fixed_dictionaries(
    {"strategy": st.sampled_from(["RoundRobin", "LeastLoaded", "PrefixAffinity"])},
    optional={
        "prefixAffinity": st.fixed_dictionaries(
            {"prefixBytes": st.integers(16, 8192), "maxLoadPercent": st.integers(101, 1000)}
        ),
        "queue": st.fixed_dictionaries(
            {"maxRequests": st.integers(1, 100_000), "maxWaitSeconds": st.integers(1, 3600)}
        ),
        "apiKeys": st.fixed_dictionaries({"secretName": st.just("keys"), "tiers": TIERS}),
        "limits": st.fixed_dictionaries(
            {"maxBodyBytes": st.integers(1024, 16_000_000)},
            optional={"maxTokens": st.integers(1, 10**9), "maxChoices": st.integers(1, 128)},
        ),
        "cache": st.just({}),
        "contentFilter": st.just({"url": "http://guard/v1", "model": "guard", "policy": "be % good \\ 'always' \"x\""}),
        "requestTimeoutSeconds": st.integers(1, 86_400),
        "gateway": st.fixed_dictionaries({"threads": st.integers(1, 2)}),
    },
)


@settings(max_examples=40)
@given(ROUTINGS, st.booleans())
def test_haproxy_accepts_what_is_rendered(routing: dict[str, Any], in_cluster: bool) -> None:  # noqa: FBT001 - drawn
    with TemporaryDirectory() as name:
        directory = Path(name)
        places = Places(run=name, config=name, tls=name, replicas=() if in_cluster else ("127.0.0.1",))
        for file, text in rendered(places, routing=routing).items():
            (directory / file).write_text(text)
        for table in Map:
            (directory / table).write_text("")
        for file in (MAIN_FILE, LONG_FILE):
            checked = subprocess.run(
                [*haproxy_command(), "-c", "-f", str(directory / file)], capture_output=True, text=True, check=False
            )
            assert checked.returncode == 0, checked.stderr
            assert "[WARNING]" not in checked.stderr
