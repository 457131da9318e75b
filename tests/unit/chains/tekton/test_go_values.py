import pytest

from chains.tekton.go_values import (
    canonical_duration,
    canonical_quantity,
    kubernetes_time,
    marshal,
    nano_time,
    protobuf_time,
    seconds_between,
)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1h", "1h0m0s"), ("90m", "1h30m0s"), ("3600s", "1h0m0s"), ("0", "0s"), ("1.5h", "1h30m0s"),
        ("100ms", "100ms"), ("1500ms", "1.5s"), ("1us", "1µs"), ("2ns", "2ns"), ("-1m", "-1m0s"), ("+1s", "1s"),
        ("1h0.5s", "1h0m0.5s"),
    ],
)  # fmt: skip
def test_durations_are_written_as_go_writes_them(text: str, written: str) -> None:
    assert canonical_duration(text) == written


@pytest.mark.parametrize("text", ["", "1", "h", "1d", "1h ", ".s", "999999999h", "1" * 200 + "h"])
def test_what_go_does_not_take_as_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        canonical_duration(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1000m", "1"), ("1500m", "1500m"), ("0.5", "500m"), ("1024Mi", "1Gi"), ("0.5Gi", "512Mi"), ("0", "0"),
        ("1.5Mi", "1536Ki"), ("1e3", "1e3"), ("1000", "1k"), ("100k", "100k"), ("0.5Ki", "512"), ("1n", "1n"),
        ("0.1n", "1n"), ("-5", "-5"), ("5e-3", "5e-3"), ("1.0", "1"), (" 1 ", "1"),
        ("1Ei", "1Ei"), ("2048Pi", "2Ei"), ("0.5Ei", "512Pi"), ("1E", "1E"),
    ],
)  # fmt: skip
def test_quantities_are_written_in_their_canonical_form(text: str, written: str) -> None:
    assert canonical_quantity(text) == written


@pytest.mark.parametrize("text", ["", "abc", "1KB", "1 Gi", "--1", "1e999999999", "1e101", "1" * 129])
def test_what_kubernetes_does_not_take_as_a_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        canonical_quantity(text)


def test_large_numbers_are_exact() -> None:
    assert canonical_quantity("12345678901234567890123456789") == "12345678901234567890123456789"
    assert canonical_duration("-2562047h47m16.854775808s") == "-2562047h47m16.854775808s"


def test_times_keep_their_fraction_only_where_go_keeps_it() -> None:
    text = "2026-01-02T05:04:05.1200+02:00"
    assert kubernetes_time(text) == "2026-01-02T03:04:05Z"
    assert nano_time(text) == "2026-01-02T03:04:05.12Z"
    assert protobuf_time(text) == "2026-01-02T03:04:05.120Z"
    assert protobuf_time("2026-01-02T03:04:05Z") == "2026-01-02T03:04:05Z"
    assert kubernetes_time("0001-01-01T00:00:00Z") is None
    assert seconds_between("2026-01-02T03:04:05Z", "2026-01-02T04:04:05Z") == 3600


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-02T03:04:05Z", "2026-01-02 03:04:05Z", "2026-01-02"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|month"):
        kubernetes_time(text)


def test_json_escapes_what_go_escapes() -> None:
    assert marshal({"b": "<&>\u2028", "a": "ü"}) == b'{"b":"\\u003c\\u0026\\u003e\\u2028","a":"\xc3\xbc"}'
