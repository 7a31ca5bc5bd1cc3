import math
import string

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Gauge as PrometheusGauge
from prometheus_client.parser import text_string_to_metric_families

from gptoss_runtime.exposition import Sample, label_values, read_samples, total
from gptoss_runtime.server.telemetry import Numbers, in_flight, numbers_of


VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.2e+01
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 99.0
vllm:kv_cache_usage_perc{engine="0"} NaN
vllm:request_success_total{engine="0",finished_reason="stop"} 5.0
vllm:request_success_total{engine="1",finished_reason="stop"} 6.0
vllm:request_success_total{engine="0",finished_reason="length"} 1.0
vllm:request_success_created{engine="0",finished_reason="length"} 1.7e+09
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1"} 7.0
vllm:time_to_first_token_seconds_count{engine="0"} 12.0
vllm:time_to_first_token_seconds_sum{engine="0"} 1.5
"""


def test_reads_what_the_state_document_needs_summed_over_engines() -> None:
    assert numbers_of(VLLM) == Numbers(
        counters={
            "requests_finished": 12.0,
            "requests_finished_stop": 11.0,
            "requests_finished_length": 1.0,
            "first_tokens": 12.0,
            "first_token_seconds": 1.5,
        },
        gauges={"requests_running": 5.0, "requests_waiting": 12.0},
    )


def test_pitfall_28_a_name_is_never_taken_for_a_longer_one_and_all_engines_are_summed() -> None:
    text = """\
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 40.0
vllm:num_requests_waiting_by_reason{engine="0",reason="deferred"} 50.0
vllm:num_requests_waiting{engine="0"} 3.0
vllm:num_requests_waiting{engine="1"} 4.0
vllm:num_requests_waiting_seconds_count 60.0
vllm:num_requests_running{engine="0"} 1.0
"""
    found = numbers_of(text).gauges
    assert (found["requests_waiting"], found["requests_running"]) == (7.0, 1.0)
    alone = "\n".join(line for line in text.split("\n") if not line.startswith("vllm:num_requests_waiting{"))
    assert "requests_waiting" not in numbers_of(alone).gauges, "unknown, not zero and not another's value"


def test_nothing_is_known_of_an_empty_exposition() -> None:
    assert numbers_of("") == Numbers()


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    for value in ("NaN", "+Inf", "-Inf"):
        samples = read_samples(f'a{{engine="0"}} 1\na{{engine="1"}} {value}\n', {"a"})
        assert total(samples, "a") is None
        assert total(samples, "a", engine="0") == 1


def test_reads_labels_with_braces_commas_quotes_and_time_stamps() -> None:
    line = 'a{x="}, \\"y\\" \\\\",z="1\\n2",} 3 1700000000000\n'
    assert read_samples(line, {"a"}) == (Sample("a", {"x": '}, "y" \\', "z": "1\n2"}, 3.0),)


def test_leaves_out_lines_that_cannot_be_read() -> None:
    assert read_samples('a\na{x="1"\na{x=1} 2\na nonsense\na 1_0\na{x="1"} 4\n', {"a"}) == (
        Sample("a", {"x": "1"}, 4.0),
    )


@given(st.text())
def test_reads_any_text_without_an_error(text: str) -> None:
    read_samples(text, {"a"})
    read_samples("a" + text, {"a"})


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "ab", "a_total", "b"]), st.text(), st.floats()),
        max_size=8,
        unique_by=lambda series: series[:2],
    )
)
def test_agrees_with_the_reference_parser(series: list[tuple[str, str, float]]) -> None:
    registry = CollectorRegistry()
    gauges = {name: PrometheusGauge(name, "help", ["label"], registry=registry) for name in {s[0] for s in series}}
    for name, label, value in series:
        gauges[name].labels(label).set(value)
    text = generate_latest(registry).decode()
    expected = [
        (sample.name, dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "a"
    ]
    found = [(sample.name, sample.labels, sample.value) for sample in read_samples(text, {"a"})]
    assert [(n, labels) for n, labels, _ in found] == [(n, labels) for n, labels, _ in expected]
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for (*_, a), (*_, b) in zip(found, expected, strict=True))


@given(st.dictionaries(st.text(string.ascii_letters, min_size=1), st.integers(0, 100)))
def test_the_sum_over_label_values_is_the_whole(values: dict[str, int]) -> None:
    text = "".join(f'a{{l="{label}"}} {value}\n' for label, value in values.items())
    samples = read_samples(text, {"a"})
    assert sum(total(samples, "a", l=label) or 0 for label in label_values(samples, "a", "l")) == sum(values.values())


def test_requests_in_flight_are_the_larger_of_two_counts_without_our_own() -> None:
    engine = Numbers(gauges={"requests_running": 2.0, "requests_waiting": 3.0})
    assert in_flight(None, Numbers(), 0) is None
    assert in_flight(None, engine, 0) == 5
    assert in_flight(7, engine, 1) == 7
    assert in_flight(0, engine, 1) == 4
    assert in_flight(0, Numbers(gauges={"requests_running": 0.0}), 1) == 0
    assert in_flight(2, Numbers(), 1) == 2
