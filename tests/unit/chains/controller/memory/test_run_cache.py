import pytest

from chains.controller.memory import run_cache
from chains.controller.memory.run_cache import RunCache
from chains.tekton.runs import Job


def job(name: str) -> Job:
    return Job("TaskRun", "ns", name, f"uid-{name}")


def raw(name: str, version: str = "1") -> dict[str, object]:
    return {"metadata": {"name": name, "resourceVersion": version, "managedFields": ["x" * 1000]}, "spec": {}}


def test_a_body_is_taken_once_the_latest_and_without_what_nobody_reads() -> None:
    kept = RunCache()
    kept.keep(job("a"), raw("a", "1"))
    kept.keep(job("a"), raw("a", "2"))
    assert kept.take(job("a")) == {"metadata": {"name": "a", "resourceVersion": "2"}, "spec": {}}
    assert kept.take(job("a")) is None
    assert kept.kept_bytes == 0


def test_what_has_waited_long_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = RunCache()
    kept.keep(job("a"), raw("a"))
    monkeypatch.setattr(run_cache, "LONGEST", -1.0)
    assert kept.take(job("a")) is None
    assert kept.kept_bytes == 0


def test_the_bytes_are_bounded_and_what_was_there_first_stays() -> None:
    kept = RunCache(max_bytes=500)
    for number in range(100):
        kept.keep(job(str(number)), raw(str(number)))
    assert 0 < kept.kept_bytes <= 500
    assert kept.take(job("0")) is not None
    assert kept.take(job("99")) is None


def test_what_the_watch_brings_after_a_write_of_ours_is_not_believed_for_twenty_seconds() -> None:
    now = 100.0
    kept = RunCache(clock=lambda: now)
    kept.keep(job("a"), raw("a"))
    kept.outdate(job("a"))
    assert kept.take(job("a")) is None
    kept.keep(job("a"), raw("a"))
    assert kept.take(job("a")) is None
    now += 15.0
    kept.outdate(job("a"))
    now += 19.9
    kept.keep(job("a"), raw("a"))
    assert kept.take(job("a")) is None, "twenty seconds from the last write"
    now += 0.2
    kept.keep(job("a"), raw("a"))
    assert kept.take(job("a")) is not None
