"""``python3 dev.py release prepare|build|verify``."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from chains import ChainsError
from chains.terminal import say, take_over, write_line
from deploy.release.artifacts import Artifact, build_artifacts, sha256_of
from deploy.release.attest import Attestor, store
from deploy.release.bill import Bill
from deploy.release.bills import bill_of
from deploy.release.cyclonedx_bill import to_cyclonedx
from deploy.release.errors import ReleaseError
from deploy.release.folder import (
    ATTESTATIONS,
    BILLS,
    CHANGES,
    KEY,
    TEMPLATE,
    bill_path,
    bundle_path,
    write_list,
    write_policy,
    write_sums,
)
from deploy.release.inventory import Lock
from deploy.release.source import Source, prepare, read_source, section
from deploy.release.spdx_bill import to_spdx
from deploy.release.statements import PREDICATES, Build, bill_statement, provenance
from deploy.release.verify import verify
from signers import SignerError

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage."""
    take_over()
    options = _parser().parse_args(arguments)
    try:
        code: int = options.work(options)
    except (ReleaseError, ChainsError, SignerError) as error:
        say(f"error: {error}")
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "dev.py release", description="Make and verify a release (docs/release.md)."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("prepare", help="write the version into every file, and date the changes")
    one.add_argument("--version", required=True, metavar="X.Y.Z")
    one.add_argument("--date", default=f"{datetime.now(UTC):%Y-%m-%d}", metavar="YYYY-MM-DD")
    one.add_argument(
        "--home", default="", metavar="URL", help="the public home of the repository, for [project.urls]"
    )
    one.set_defaults(work=_prepare)
    one = commands.add_parser(
        "build", help="build, describe, sign and verify every artifact of the tagged commit"
    )
    one.add_argument("--version", required=True, metavar="X.Y.Z")
    one.add_argument("--out", required=True, type=Path, metavar="DIR", help="a folder that does not exist")
    one.add_argument(
        "--key", default="", metavar="REF", help="the key: a file, or the reference of a key service"
    )
    one.add_argument("--password-file", default="", metavar="FILE")
    one.add_argument("--config", default="", metavar="FILE", help="a chains-config, for logs and timestamps")
    one.add_argument(
        "--image", default="", metavar="NAME@sha256:HEX", help="the pushed image, for release.yaml"
    )
    one.add_argument("--source", default="", metavar="URL", help="the repository, in place of [project.urls]")
    one.add_argument(
        "--policy", type=Path, default=TEMPLATE, metavar="FILE", help="default: deploy/release/policy.yaml"
    )
    one.set_defaults(work=_build)
    one = commands.add_parser("verify", help="verify the folder of a release")
    one.add_argument("folder", type=Path, metavar="DIR")
    one.add_argument(
        "--key", required=True, type=Path, metavar="PUB", help="the public keys to trust, not from DIR"
    )
    one.add_argument("--version", default="", metavar="X.Y.Z", help="demand this version")
    one.add_argument("--commit", default="", metavar="HEX", help="demand this commit")
    one.add_argument(
        "--policy", type=Path, default=TEMPLATE, metavar="FILE", help="default: deploy/release/policy.yaml"
    )
    one.set_defaults(work=_verify)
    return parser


def _prepare(options: argparse.Namespace) -> int:
    for name in prepare(ROOT, options.version, options.date, options.home):
        write_line(f"changed {name}")
    tag = f"v{options.version}"
    write_line(f"next: read the changes, commit them, and git tag -s {tag} -m {tag}")
    return 0


def _build(options: argparse.Namespace) -> int:
    source = read_source(ROOT, options.version, options.source)
    attestor = Attestor(options.key, options.config, options.password_file)
    try:
        options.out.mkdir(parents=True)
    except FileExistsError as error:
        raise ReleaseError(f"{options.out} is there already: name a new folder") from error
    try:
        build_release(ROOT, source, options.out, attestor, options.policy, options.image)
    except BaseException:
        # a part of a release must not be taken for one
        shutil.rmtree(options.out)
        raise
    finally:
        attestor.close()
    return 0


def _verify(options: argparse.Namespace) -> int:
    found = verify(
        options.folder, options.key, options.policy, version=options.version, commit=options.commit
    )
    for one in found:
        write_line(f"VERIFIED {one.name} {one.digest}")
    return 0


def build_release(
    root: Path, source: Source, out: Path, attestor: Attestor, policy: Path, image: str = ""
) -> None:
    """Build everything into ``out``, and verify it as a user would."""
    started = datetime.now(UTC)
    lock = Lock(root / "uv.lock")
    artifacts = build_artifacts(root, source, out, image)
    bills = [bill_of(one, source, lock, image) for one in artifacts]
    for one in artifacts:
        say(f"built {one.name} twice, equal: {one.digest}")
    for folder in (BILLS, ATTESTATIONS):
        (out / folder).mkdir()
    build = Build(
        source, str(uuid4()), started, datetime.now(UTC), lock.named("hatchling"), sha256_of(root / "uv.lock")
    )
    _attest(artifacts, bills, build, out, attestor)
    (out / KEY).write_bytes(attestor.public_pem())
    (out / CHANGES).write_text(section(root / "CHANGELOG.md", source.version) + "\n", encoding="utf-8")
    write_list(out, source, artifacts)
    write_policy(out, source, policy)
    write_sums(out)
    verified = verify(out, out / KEY, policy, version=source.version, commit=source.commit)
    for one in verified:
        write_line(f"VERIFIED {one.name} {one.digest}")


def _attest(
    artifacts: Sequence[Artifact], bills: Sequence[Bill], build: Build, out: Path, attestor: Attestor
) -> None:
    records = []
    for artifact, bill in zip(artifacts, bills, strict=True):
        documents = {"cyclonedx": to_cyclonedx(bill), "spdx": to_spdx(bill)}
        named = []
        for word, text in documents.items():
            path = bill_path(artifact, {"cyclonedx": "cdx"}.get(word, word))
            (out / path).write_text(text, encoding="utf-8")
            named.append((path, sha256_of(out / path)))
        statements = {"provenance": provenance(artifact, build, named)}
        statements |= {
            word: bill_statement(artifact, PREDICATES[word], text) for word, text in documents.items()
        }
        for word, statement in statements.items():
            record = attestor.sign(statement, artifact, build.source)
            (out / bundle_path(artifact, word)).write_bytes(record.bundle)
            records.append(record)
        say(f"attested {artifact.name} as {attestor.identity}")
    store(records, out)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
