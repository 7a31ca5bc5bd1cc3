"""The medians of each item as text tables."""

from collections.abc import Sequence

from e2e.bench.bars import medians, shown, table
from e2e.bench.gateway.items import OVERLOAD, REQUESTS, STREAMS
from e2e.bench.gateway.judge import added_ttft
from e2e.bench.rows import Row


COLUMNS = {
    STREAMS: (
        "streams_per_second",
        "ttft_p50_ms",
        "added_ttft_p50_ms",
        "chunk_delay_p50_ms",
        "jitter_p99_ms",
        "cpu_s_per_1000_streams",
        "cpu_s_per_1000_streams_of_proxy",
        "errors",
        "foreign",
        "steal",
    ),
    OVERLOAD: (
        "streams_per_second",
        "ttft_p50_ms",
        "chunk_delay_p50_ms",
        "cpu_s_per_1000_streams",
        "rss_mb",
        "rss_mb_of_proxy",
        "errors",
        "foreign",
        "steal",
    ),
    REQUESTS: (
        "requests_per_second",
        "requests_per_cpu_second",
        "requests_per_cpu_second_of_proxy",
        "cpu_us_per_request",
        "p50_ms",
        "p99_ms",
        "rss_mb",
        "errors",
        "foreign",
        "steal",
    ),
}
TITLES = {
    STREAMS: "100 streams of 50 chunks, one each 5 ms",
    OVERLOAD: "400 streams, 80,000 chunks offered in a second",
    REQUESTS: "64 connections, 2 KB chat requests, as many as go",
}


def print_tables(rows: Sequence[Row]) -> None:
    """Print the medians of all rounds."""
    for item, columns in COLUMNS.items():
        subjects = list(dict.fromkeys(row.subject for row in rows if row.item == item))
        if subjects:
            print(f"\n{TITLES[item]}\n\n{table(('', *columns), [_line(rows, item, one, columns) for one in subjects])}")
    for item in dict.fromkeys(row.item for row in rows if row.item not in COLUMNS):
        values = medians(row.values for row in rows if row.item == item)
        print(f"\n{item}: " + ", ".join(f"{name} {shown(value)}" for name, value in values.items()))


def _line(rows: Sequence[Row], item: str, subject: str, columns: Sequence[str]) -> list[str]:
    values = medians(
        row.values | ({"added_ttft_p50_ms": added[row.round]} if row.round in added else {})
        for added in [added_ttft(rows, subject)]
        for row in rows
        if (row.item, row.subject) == (item, subject)
    )
    return [subject, *(shown(values.get(column)) for column in columns)]
