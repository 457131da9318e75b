"""What a store is asked about a run whose evidence was stored."""

from __future__ import annotations

from chains.index.ingest import RunStored
from chains.verify.search import Query
from tests.unit.chains.index.made import Held

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
TAG = "registry.example.com/shop/app:sha256-" + "1" * 64 + ".att"
RUN = RunStored(
    "uid",
    (
        (ONE, TAG),
        (ONE, f"registry.example.com/shop/app@{TWO}"),
        (TWO, f"registry.example.com/shop/other@{TWO}"),
        ("", "s3://evidence/chains/runs/x"),
    ),
)


def test_a_registry_of_one_repository_is_asked_about_what_lies_there() -> None:
    own = Query(ONE, "registry.example.com/shop/app")
    assert RUN.queries(Held(url="oci://registry.example.com/shop/app")) == [own]
    assert RUN.queries(Held(url="oci://registry.example.com/shop")) == []


def test_another_store_is_asked_about_everything_and_may_refuse() -> None:
    assert RUN.queries(Held(url="s3://evidence/chains")) == [
        Query(ONE, "registry.example.com/shop/app", is_optional=True),
        Query(TWO, "registry.example.com/shop/other", is_optional=True),
    ]
