"""The exit codes of all commands ``ledger`` and ``audit``: 0 ok, 1 wrong, 2 usage, 3 no evidence, 4 undecided."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from chains.audit.ledger.writer import LogWriter
from chains.cli.main import run as chains
from tests.testbed.ports import free_ports
from tests.unit.chains.audit.ledger.made import ORIGIN, Clock, four_days, sealer_of, seen

AWAY = "http://127.0.0.1:9"
KEY = ("--key", "ledger.pub")
VERIFY = ("ledger", "verify", "ledger", *KEY)
LEDGER = ("--ledger", "ledger", "--ledger-key", "ledger.pub")
EVIDENCE = ("--store", "file:evidence", *KEY)

TABLE: list[tuple[int, tuple[str, ...], str]] = [
    # ledger verify: the ledger itself
    (0, VERIFY, ""),
    (0, (*VERIFY, "--against", "copy"), ""),
    (0, (*VERIFY, "--against", "kept.checkpoint"), ""),
    (0, (*VERIFY, "--until", "2025-11-29"), ""),
    (1, ("ledger", "verify", "changed", *KEY), ""),
    (1, ("ledger", "verify", "ledger", "--key", "other.pub"), ""),
    (1, (*VERIFY, "--against", "forked"), ""),
    (1, (*VERIFY, "--against", "foreign.checkpoint"), ""),
    (1, ("ledger", "verify", "text", *KEY), "not unambiguous JSON"),
    (2, ("ledger", "verify", "ledger"), "pass --key PUB"),
    (2, ("ledger", "verify", "ledger", "--key", "nowhere.pub"), "check the path"),
    (2, ("ledger", "verify", "ledger", "--key", "text"), "convert a DER key"),
    (2, (*VERIFY, "--trusted-root", "nowhere"), "nowhere"),
    (2, (*VERIFY, "--require-log"), "need --trusted-root FILE"),
    (2, (*VERIFY, "--require-timestamp"), "need --trusted-root FILE"),
    (2, (*VERIFY, "--until", "soon"), "expected a UTC day"),
    (2, (*VERIFY, "--witness", "x"), "expected NAME+ID+KEY"),
    (2, (*VERIFY, "--cosigned", "some"), "expected a whole number"),
    (2, (*VERIFY, "--cosigned", "1"), "pass --witness VKEY"),
    (2, (*VERIFY, "--config", "nowhere"), "nowhere"),
    (2, (*VERIFY, "--against", "nowhere"), "name that of ledger.folder"),
    (2, (*VERIFY, "--against", "empty"), "name that of ledger.folder"),
    (2, (*VERIFY, "--against", "text"), "which is no log of this ledger"),
    (3, ("ledger", "verify", "nowhere", *KEY), "name that of ledger.folder"),
    (3, ("ledger", "verify", "empty", *KEY), "name that of ledger.folder"),
    (3, ("ledger", "verify", "begun", *KEY), "nothing in it is signed"),
    (4, (*VERIFY, "--until", "2025-11-30"), "not verified up to the end"),
    (4, ("ledger", "verify", "open", *KEY), ""),
    (4, (*VERIFY, "--against", "file:evidence"), ""),
    (4, (*VERIFY, "--against", f"archivista:{AWAY}"), ""),
    # something that is wrong counts more than a store that is away
    (1, ("ledger", "verify", "changed", *KEY, "--against", "file:evidence"), ""),
    # ledger show, keys and prove
    (0, ("ledger", "show", "ledger"), ""),
    (0, ("ledger", "show", "ledger", "--day", "2025-11-26"), ""),
    (1, ("ledger", "show", "changed", *KEY), ""),
    (2, ("ledger", "show", "text"), "expected the folder of a ledger"),
    (2, ("ledger", "show", "ledger", "--day", "2025-99-99"), "expected a UTC day"),
    (2, ("ledger", "show", "ledger", "--key", "nowhere"), "check the path"),
    (3, ("ledger", "show", "ledger", "--day", "2024-01-01"), "has no entry"),
    (3, ("ledger", "show", "nowhere"), "name that of ledger.folder"),
    (3, ("ledger", "show", "empty"), "name that of ledger.folder"),
    (0, ("ledger", "keys", "ledger", *KEY), ""),
    (2, ("ledger", "keys", "ledger"), "pass --key PUB once"),
    (2, ("ledger", "keys", "text", *KEY), "expected the folder of a ledger"),
    (3, ("ledger", "keys", "nowhere", *KEY), "name that of ledger.folder"),
    (0, ("ledger", "prove", "ci/build-0", "ledger"), ""),
    (1, ("ledger", "prove", "ci/build-0", "ledger", "--older", "forked.checkpoint"), "fork"),
    (2, ("ledger", "prove", "ci/build-0", "text"), "expected the folder of a ledger"),
    (2, ("ledger", "prove", "ci/build-0", "ledger", "--older", "nowhere"), "--older nowhere"),
    (2, ("ledger", "prove", "ci/build-0", "ledger", "--older", "text"), "which is no log of"),
    (3, ("ledger", "prove", "ci/unknown", "ledger"), "chains ledger show --day"),
    (3, ("ledger", "prove", "unknown", "ledger"), "name it by UID or NAMESPACE/NAME"),
    (3, ("ledger", "prove", "ci/build-0", "nowhere"), "name that of ledger.folder"),
    (3, ("ledger", "prove", "ci/build-0", "empty"), "name that of ledger.folder"),
    # audit
    (1, ("audit", *LEDGER, "--store", "file:stored", *KEY), ""),
    (4, ("audit", *LEDGER, *EVIDENCE), ""),
    (2, ("audit", *EVIDENCE), "pass --runs FILE"),
    (2, ("audit", *LEDGER, *KEY), "pass --store URL"),
    (2, ("audit", "--ledger", "ledger", *EVIDENCE), "--ledger-key PUB"),
    (2, ("audit", "--ledger", "nowhere", "--ledger-key", "ledger.pub", *EVIDENCE), "check the path"),
    (2, ("audit", "--ledger", "text", "--ledger-key", "ledger.pub", *EVIDENCE), "expected the folder of a ledger"),
    (2, ("audit", "--ledger", "ledger", "--ledger-key", "nowhere", *EVIDENCE), "check the path"),
    (2, ("audit", *LEDGER, "--store", "bad:x", *KEY), "expected one of"),
    (2, ("audit", *LEDGER, "--store", "file:evidence", "--key", "nowhere"), "check the path"),
    (2, ("audit", "--audit-log", "nowhere", *EVIDENCE), "check the path"),
    (2, ("audit", "--runs", "nowhere", *EVIDENCE), "check the path"),
    (2, ("audit", "--tekton-results", "nowhere", *EVIDENCE), "check the path"),
    (2, ("audit", "--images", "nowhere", *LEDGER, *EVIDENCE), "check the path"),
    (2, ("audit", "--policy", "nowhere", *LEDGER, *EVIDENCE), "check the path"),
    (2, ("audit", "--counters", "nowhere", *LEDGER, *EVIDENCE), "--counters"),
    (2, ("audit", *LEDGER, *EVIDENCE, "--from", "x"), "write 2026-01-02T03:04:05Z, 36h or 7d"),
    (2, ("audit", "--cluster", "--kubeconfig", "nowhere", *EVIDENCE), "nowhere"),
    (3, ("audit", "--ledger", "empty", "--ledger-key", "ledger.pub", *EVIDENCE), "name that of ledger.folder"),
    (4, ("audit", *LEDGER, "--store", f"archivista:{AWAY}", *KEY), ""),
    (4, ("audit", "--counters", f"{AWAY}/metrics", *LEDGER, *EVIDENCE), "leave the cross-check out"),
    (4, ("audit", "--audit-log", "text", *EVIDENCE), ""),
    (4, ("audit", "--runs", "text", *EVIDENCE), ""),
    (4, ("audit", "--tekton-results", "text", *EVIDENCE), ""),
    (4, ("audit", "--tekton-results", AWAY, *EVIDENCE), ""),
    # audit sample and reverify
    (2, ("audit", "sample", *LEDGER, *EVIDENCE), "pass --seed TEXT"),
    (2, ("audit", "sample", "--seed", "x", "--ledger", "text", "--ledger-key", "ledger.pub", *EVIDENCE), "expected the"),
    (2, ("audit", "sample", "--seed", "x", "--n", "none", *LEDGER, *EVIDENCE), "expected a whole number"),
    (3, ("audit", "sample", "--seed", "x", "--ledger", "empty", "--ledger-key", "ledger.pub", *EVIDENCE), "name that of"),
    (4, ("audit", "sample", "--seed", "x", *LEDGER, "--store", f"archivista:{AWAY}", *KEY), ""),
    (2, ("audit", "reverify", "--store", "bad:x", *KEY), "expected one of"),
    (2, ("audit", "reverify", "--store", "file:evidence", *KEY, "--shard", "9/2"), "expected NUMBER/TOTAL"),
    (4, ("audit", "reverify", "--store", "file:evidence", *KEY), ""),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ledgers, good and bad."""
    here = tmp_path_factory.mktemp("codes")
    sealer = sealer_of(here)
    four_days(here / "open" / "share-0-of-1", sealer)
    shutil.copytree(here / "open", here / "ledger")
    (here / "ledger" / "share-0-of-1" / "2025-11-30.jsonl").unlink()
    for name in ("copy", "changed"):
        shutil.copytree(here / "ledger", here / name)
    entries = here / "changed" / "share-0-of-1" / "2025-11-27.jsonl"
    entries.write_bytes(b"".join(entries.read_bytes().splitlines(keepends=True)[1:]))
    four_days(here / "forked" / "share-0-of-1", sealer, Clock(Clock().now.replace(minute=30)))
    writer = LogWriter(here / "begun" / "share-0-of-1", ORIGIN, Clock())
    writer.append([seen(1)])
    writer.close(ends=False)
    (here / "empty").mkdir()
    (here / "stored").mkdir()
    (here / "text").write_text("x\n")
    (here / "ledger.pub").write_bytes(sealer.signer.public_pem)
    other = sealer_of(here, "other")
    (here / "other.pub").write_bytes(other.signer.public_pem)
    for name in ("ledger", "forked"):
        shutil.copy(here / name / "share-0-of-1" / "2025-11-27.checkpoint", here / f"{name}.checkpoint")
    (here / "ledger.checkpoint").rename(here / "kept.checkpoint")
    from chains.audit.ledger.checkpoint import sign_checkpoint

    (here / "foreign.checkpoint").write_bytes(sign_checkpoint(ORIGIN, 1, bytes(32), other.signer))
    return here


@pytest.mark.parametrize(
    ("code", "words", "told"),
    TABLE,
    ids=[f"{number}-{one[1][0]}-{one[0]}" for number, one in enumerate(TABLE)],
)
def test_every_command_ends_with_the_documented_code_and_says_what_to_do(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    words: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(folder)
    (port,) = free_ports(1)  # nobody listens there
    given = [word.replace(AWAY, f"http://127.0.0.1:{port}") for word in words]
    assert (chains(given), given) == (code, given)
    assert told in capsys.readouterr().err
