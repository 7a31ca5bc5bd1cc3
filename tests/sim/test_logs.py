"""Logs of requests, as people have them."""

import json
from pathlib import Path

import pytest

from gptoss_operator.sim.errors import ScenarioError
from gptoss_operator.sim.logs import LogFormat, read_requests
from gptoss_operator.sim.traffic import Traffic


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "requests.log"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def gateway_line(**fields: object) -> str:
    usual: dict[str, object] = {
        "time": "2026-03-02T10:00:00.000Z",
        "method": "POST",
        "status": 200,
        "tokens_in": 10,
        "tokens_out": 20,
        "ended": "completed",
        "cache": None,
    }
    return json.dumps(usual | fields)


def test_azure_dates_have_seven_decimals_and_no_zone(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "2023-11-16 18:15:46.6805900,374,44",
        "2023-11-16 18:15:50.9951690,396,109",
    )
    log = read_requests(path)
    assert list(log.requests.rows) == [(0.0, 374, 44), (pytest.approx(4.314579), 396, 109)]
    assert (log.began_at, log.assumed) == pytest.approx((1_700_158_546.68059, 0))


def test_mooncake_counts_milliseconds(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}',
        '{"timestamp": 2500, "input_length": 70, "output_length": 5, "hash_ids": [0]}',
    )
    log = read_requests(path)
    assert (list(log.requests.rows), log.began_at) == ([(0.0, 6758, 500), (2.5, 70, 5)], None)


def test_our_gateways_log_holds_what_replicas_had_to_do(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "starting",
        gateway_line(time="2026-03-02T10:00:05.000Z", tokens_in=30, tokens_out=40),
        gateway_line(time="2026-03-02T10:00:01.500Z"),
        gateway_line(ended="refused", status=401, tokens_in=None, tokens_out=None),
        gateway_line(status=404, tokens_in=None, tokens_out=None),
        gateway_line(method="GET", tokens_in=None, tokens_out=None),
        gateway_line(cache="hit"),
        gateway_line(
            time="2026-03-02T10:00:09.000Z", status=429, ended="queue_timeout", tokens_in=None, tokens_out=None
        ),
    )
    log = read_requests(path, LogFormat.GATEWAY)
    # Later lines may be of earlier requests. One that found no place counts, with the usual size.
    assert list(log.requests.rows) == [(0.0, 10, 20), (3.5, 30, 40), (7.5, 20, 30)]
    assert (log.began_at, log.assumed) == (1_772_445_601.5, 1)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["what is this"], r"requests.log line 1 is of no log that is known: .*azure, mooncake, gateway"),
        (["TIMESTAMP,ContextTokens,GeneratedTokens"], "no request that was meant for a replica"),
        (
            ["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:15:46,12,-3"],
            "line 2: GeneratedTokens is no number of at least 0: '-3'",
        ),
        (["TIMESTAMP,ContextTokens,GeneratedTokens", "today,12,3"], "line 2: TIMESTAMP is no date: 'today'"),
        (["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:15:46,12"], "line 2: GeneratedTokens is no number"),
        (['{"timestamp": 0, "input_length": 1, "output_length": 1}', "x"], "line 2 is no JSON object"),
        (['{"timestamp": 0, "input_length": 1}'], "line 1: output_length is no number"),
        ([gateway_line(time=None)], "line 1: time is no date: None"),
        ([gateway_line(tokens_in=None, tokens_out=None)], "tokens_in and tokens_out are all null"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line_and_field(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        read_requests(written(tmp_path, *lines))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"nowhere\.csv cannot be read"):
        read_requests(tmp_path / "nowhere.csv")


def test_traffic_is_a_sequence_of_requests() -> None:
    traffic = Traffic([(0.0, 1, 2), (1.0, 3, 4), (2.0, 5, 6)])
    assert (len(traffic), traffic[1].at, traffic[-1].generation_tokens) == (3, 1.0, 6)
    assert traffic[1:] == Traffic([(1.0, 3, 4), (2.0, 5, 6)])
    assert [request.prompt_tokens for request in traffic] == [1, 3, 5]
