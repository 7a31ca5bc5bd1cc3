"""What Prometheus reads."""

import json
import math
from collections.abc import Iterable

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gptoss_runtime.activator.haproxy.servers import BackendStat, Replicas, ServerStat, ServerStatus
from gptoss_runtime.activator.records.histogram import WAIT_BOUNDS_MS
from gptoss_runtime.activator.records.line import Line
from gptoss_runtime.activator.records.record import Usual, records_of
from gptoss_runtime.activator.records.telemetry import MOST_TENANTS, NOTHING_HELD, OTHER, Held, Telemetry
from gptoss_runtime.gateway_contract import Usage
from tests.activator.lines import a_line, a_refusal


USAGE = Usage(id="39388ef6", tenant="team-a", prompt_tokens=12, generation_tokens=101)


def observe(telemetry: Telemetry, lines: Iterable[Line], usage: Usage | None = None) -> None:
    """Count some requests, with the same tokens for each."""
    records = records_of(lines, Usual())
    telemetry.observe(records)
    for record in records if usage else ():
        assert usage
        record.tokens_in, record.tokens_out = usage.prompt_tokens, usage.generation_tokens
        telemetry.observe_tokens(record)


def samples(telemetry: Telemetry) -> dict[str, float]:
    """Return the values by name and labels, as `name{label="value"}` in the labels' order."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(telemetry.registry).decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name.removeprefix('gptoss_gateway_')}{{{labels}}}"] = sample.value
    return found


def test_requests_are_counted_by_tenant_and_code() -> None:
    telemetry = Telemetry()
    observe(telemetry, [a_line()], USAGE)
    observe(telemetry, [a_line(total_ms=99), a_refusal()])
    found = samples(telemetry)
    of_team = '{code="200",tenant="team-a"}'
    assert found[f"queue_seconds_count{of_team}"] == 2
    assert found[f"queue_seconds_sum{of_team}"] == 0.08
    assert found['queue_seconds_bucket{code="200",le="0.025",tenant="team-a"}'] == 0
    assert found['queue_seconds_bucket{code="200",le="0.05",tenant="team-a"}'] == 2
    assert found['time_to_first_token_seconds_bucket{code="200",le="0.1",tenant="team-a"}'] == 2
    assert found['time_per_output_token_seconds_bucket{code="200",le="0.01",tenant="team-a"}'] == 1
    assert found[f"time_per_output_token_seconds_count{of_team}"] == 1
    assert found['request_seconds_bucket{code="200",le="2.5",tenant="team-a"}'] == 2
    assert found['requests_total{code="200",ended="completed",tenant="team-a"}'] == 2
    assert found['requests_total{code="401",ended="refused",tenant=""}'] == 1
    assert 'queue_seconds_count{code="401",tenant=""}' not in found
    assert found['tokens_total{direction="prompt",tenant="team-a"}'] == 12
    assert found['tokens_total{direction="generation",tenant="team-a"}'] == 101
    assert found["retries_total{}"] == 4


def test_bounds_are_plain_numbers() -> None:
    telemetry = Telemetry()
    observe(telemetry, [a_line()], USAGE)
    bounds = {name.split('le="')[1].split('"')[0] for name in samples(telemetry) if "_bucket" in name}
    assert all(len(bound) <= 6 for bound in bounds), bounds


def test_tenants_beyond_the_first_thousand_are_one() -> None:
    telemetry = Telemetry()
    observe(telemetry, (a_line(tenant=f"t{number}") for number in range(MOST_TENANTS + 5)), USAGE)
    found = samples(telemetry)
    assert found[f'requests_total{{code="200",ended="completed",tenant="{OTHER}"}}'] == 5
    assert found[f'tokens_total{{direction="generation",tenant="{OTHER}"}}'] == 505
    assert len(telemetry.series) == MOST_TENANTS + 1


def test_the_replicas_of_now_and_what_is_held() -> None:
    telemetry = Telemetry()
    up = ServerStat(
        name="replica1", address="10.0.0.7", status=ServerStatus.UP, slots=8, running=5, queued=0, weight=100
    )
    down = ServerStat(
        name="replica2", address="10.0.0.8", status=ServerStatus.DRAIN, slots=None, running=1, queued=0, weight=0
    )
    telemetry.now(
        Replicas(backend=BackendStat(running=6, queued=3), servers=(up, down)),
        Held(now=2, total=9, oldest_seconds=1.0),
    )
    found = samples(telemetry)
    assert found['in_flight{replica="10.0.0.7"}'] == 5
    assert found['replica_up{replica="10.0.0.7"}'] == 1
    assert found['replica_up{replica="10.0.0.8"}'] == 0
    assert found['replica_slots{replica="10.0.0.7"}'] == 8
    assert 'replica_slots{replica="10.0.0.8"}' not in found
    assert (found["queued{}"], found["held{}"], found["held_requests_total{}"]) == (3, 2, 9)

    # HAProxy does not answer: nothing is claimed.
    telemetry.now(None, NOTHING_HELD)
    assert "queued{}" not in samples(telemetry)


def test_the_time_to_the_first_token_is_summed_over_tenants_and_not_over_errors() -> None:
    telemetry = Telemetry()
    assert telemetry.ttft_ms() == {}
    observe(telemetry, [a_line(), a_line(tenant="team-b"), a_line(queue_ms=700_000)])
    observe(telemetry, [a_line(status=502, ended="SH"), a_refusal(), a_line(replica="unix")])
    found = telemetry.ttft_ms()
    assert {bound: count for bound, count in found.items() if count} == {"100": 2, "inf": 1}
    assert [float(bound) for bound in found] == [*WAIT_BOUNDS_MS, math.inf]
