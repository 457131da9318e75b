"""Values with a text form of their own, as Go writes them: times, durations, quantities, JSON. Pure.

Tekton Chains puts run objects into its statements after Go has read and written them. This module writes the
same text, so that the statements are equal.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, localcontext

import orjson

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_ZERO_TIME = "0001-01-01T00:00:00"
_DURATION_PART = re.compile(r"(\d*\.?\d*)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII)
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {-9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
_DECIMAL_EXPONENT = {suffix: exponent for exponent, suffix in _DECIMAL.items()}
_THOUSAND = 1000
_LONGEST_NUMBER = 128
"""The longest quantity or duration in characters. A longer one could make parsing very slow."""
_LARGEST_EXPONENT = 100
_EXACT = Context(prec=400)
_KIBI = 1024


def parse_time(text: str) -> tuple[str, str]:
    """Return an RFC 3339 time in UTC as (``YYYY-MM-DDTHH:MM:SS``, fraction digits without trailing zeros).

    Raises :class:`ValueError` for a text that Go's RFC 3339 layout refuses.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"expected an RFC 3339 time, got {text[:64]!r}")
    day, clock, fraction, zone = match.groups()
    fraction = (fraction or "")[:9].rstrip("0")
    if zone == "Z":
        datetime.fromisoformat(f"{day}T{clock}")
        return f"{day}T{clock}", fraction
    moment = datetime.fromisoformat(f"{day}T{clock}{zone}")
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"time out of range: {text[:64]!r}") from None
    return utc.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0"), fraction


def kubernetes_time(text: str) -> str | None:
    """Return the time as ``metav1.Time`` writes it: whole seconds in UTC; None for Go's zero time."""
    seconds, fraction = parse_time(text)
    if seconds == _ZERO_TIME and not fraction:
        return None
    return seconds + "Z"


def nano_time(text: str) -> str:
    """Return the time as Go's ``time.Time`` writes it: UTC, fraction without trailing zeros."""
    seconds, fraction = parse_time(text)
    return f"{seconds}.{fraction}Z" if fraction else seconds + "Z"


def protobuf_time(text: str) -> str:
    """Return the time as protojson writes a Timestamp: UTC with 0, 3, 6 or 9 fraction digits."""
    seconds, fraction = parse_time(text)
    if not fraction:
        return seconds + "Z"
    digits = next(size for size in (3, 6, 9) if size >= len(fraction))
    return f"{seconds}.{fraction.ljust(digits, '0')}Z"


def seconds_between(start: str, end: str) -> float:
    """Return the seconds from one RFC 3339 time to another."""
    first, last = (datetime.fromisoformat(parse_time(text)[0]) for text in (start, end))
    return (last - first) / timedelta(seconds=1)


def canonical_duration(text: str) -> str:
    """Return a duration such as ``90m`` as Go's ``Duration.String`` writes it: ``1h30m0s``.

    Raises :class:`ValueError` for a text that ``time.ParseDuration`` refuses.
    """
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"duration of {len(text)} characters")
    sign, rest = ("-", text[1:]) if text.startswith("-") else ("", text.removeprefix("+"))
    if rest == "0":
        return "0s"
    total = Decimal(0)
    position = 0
    while position < len(rest):
        match = _DURATION_PART.match(rest, position)
        if match is None or match.group(1) in {"", "."}:
            break
        total += Decimal(match.group(1)) * _NANOSECONDS[match.group(2)]
        position = match.end()
    if not rest or position != len(rest):
        raise ValueError(f"expected a duration such as 1h30m, got {text[:64]!r}")
    nanoseconds = int(total)
    # int64 reaches one nanosecond further below zero than above
    if nanoseconds > (1 << 63) - (not sign):
        raise ValueError(f"duration out of range: {text[:64]!r}")
    return (sign if nanoseconds else "") + _write_duration(nanoseconds)


def _write_duration(nanoseconds: int) -> str:
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < _NANOSECONDS["s"]:
        unit = next(unit for unit in ("ms", "µs", "ns") if nanoseconds >= _NANOSECONDS[unit])
        return _trim(Decimal(nanoseconds) / _NANOSECONDS[unit]) + unit
    minutes, rest = divmod(nanoseconds, _NANOSECONDS["m"])
    seconds = _trim(Decimal(rest) / _NANOSECONDS["s"]) + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _trim(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def canonical_quantity(text: str) -> str:
    """Return a quantity such as ``1000m`` or ``0.5Gi`` as Kubernetes writes it: ``1``, ``512Mi``.

    Raises :class:`ValueError` for a text that ``resource.ParseQuantity`` refuses.
    """
    match = _QUANTITY.fullmatch(text.strip()) if len(text) <= _LONGEST_NUMBER else None
    suffix = match[2] if match is not None and match[2] else ""
    # E and Ei are units
    exponent = suffix if suffix[:1] in {"e", "E"} and suffix not in {"E", "Ei"} else "e0"
    if match is None or abs(int(exponent[1:])) > _LARGEST_EXPONENT:
        raise ValueError(f"expected a quantity such as 500m or 1Gi, got {text[:64]!r}")
    with localcontext(_EXACT):
        return _canonical(match)


def _canonical(match: re.Match[str]) -> str:
    number, suffix = Decimal(match.group(1)), match.group(2) or ""
    binary = suffix in _BINARY and suffix != ""
    if binary:
        number *= Decimal(_KIBI) ** _BINARY.index(suffix)
    elif suffix in _DECIMAL_EXPONENT:
        number = number.scaleb(_DECIMAL_EXPONENT[suffix])
    else:
        number = number.scaleb(int(suffix[1:]))
    number = _round_up_to_nano(number)
    if number == 0:
        return "0"
    if binary and abs(number) >= _KIBI and number == number.to_integral_value():
        return _write_binary(int(number))
    exponential = suffix != "" and not binary and suffix not in _DECIMAL_EXPONENT
    return _write_decimal(number, exponential=exponential)


def _round_up_to_nano(number: Decimal) -> Decimal:
    nano = number.scaleb(9)
    whole = nano.to_integral_value(rounding="ROUND_UP")
    return number if nano == whole else whole.scaleb(-9)


def _write_binary(number: int) -> str:
    power = 0
    while power < len(_BINARY) - 1 and number % _KIBI == 0:
        number //= _KIBI
        power += 1
    return f"{number}{_BINARY[power]}"


def _write_decimal(number: Decimal, *, exponential: bool) -> str:
    mantissa, exponent = int(number.scaleb(9)), -9
    while mantissa % _THOUSAND == 0 and (exponential or exponent < max(_DECIMAL)):
        mantissa //= _THOUSAND
        exponent += 3
    if exponential:
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    return f"{mantissa}{_DECIMAL[exponent]}"


def fits_int64(number: int) -> bool:
    """Return whether Go's ``int64`` can hold the number."""
    return -(1 << 63) <= number < 1 << 63


def marshal(value: object) -> bytes:
    """Return JSON bytes as ``encoding/json`` writes them: no spaces, HTML characters escaped.

    Mappings keep their order. A mapping that Go writes from a map must be sorted already.
    """
    data = orjson.dumps(value)
    for plain, escaped in _HTML:
        if plain in data:
            data = data.replace(plain, escaped)
    return data


_HTML = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)
