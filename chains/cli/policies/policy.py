"""The commands ``policy``: check policies, try them, explain them and write a first one."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from chains.assembly.stores import open_url, store_options
from chains.assembly.trust import open_public_keys
from chains.assembly.workspace import load_settings
from chains.cli.arguments import (
    FAILURE,
    FILE,
    OK,
    Argument,
    Option,
    Options,
    config,
    namespace_options,
    output,
    store,
)
from chains.cli.commands import Command, Group
from chains.cli.policies.decide import namespace_of, open_policies
from chains.cli.policies.generate import generate
from chains.cli.progress import Progress
from chains.cli.revocations import revocation_options, revocations_of
from chains.columns import table
from chains.documents.load import read_bytes, read_standard_input
from chains.errors import UsageError
from chains.loop import carry_out
from chains.policy.authoring.cases import CaseResult, all_passed, read_cases, run_case, to_junit
from chains.policy.authoring.compare import Change, compare
from chains.policy.authoring.explain import explain
from chains.policy.authoring.lint import has_errors, lint_policies
from chains.policy.authoring.starter import starting_policy
from chains.policy.document.load import load_policies
from chains.policy.document.patterns import read_image
from chains.policy.document.problem import Severity
from chains.statements.statement import SCAI
from chains.terminal import terminal_width, write_json, write_line, write_text
from chains.text import count
from chains.verify.criteria import PROVENANCE_TYPES, Criteria
from chains.verify.verdict import Verification
from chains.verify.verifier import Verifier
from storage.formats.reference import Image


def _lint(options: Options) -> int:
    """Print everything that is wrong with policies."""
    problems = lint_policies(Path(options.path), datetime.now(UTC))
    if options.output == "json":
        write_json({"path": options.path, "problems": [one.to_json() for one in problems]}, indent=True)
    else:
        for problem in problems:
            write_line(str(problem))
        errors = sum(problem.severity is Severity.ERROR for problem in problems)
        warned = count(len(problems) - errors, "warning")
        write_line(f"{options.path}: {count(errors, 'error')}, {warned}")
    return FAILURE if has_errors(problems) else OK


def _test(options: Options) -> int:
    """Judge every case and print which gave another answer than expected."""
    settings = load_settings(options.config)
    policies = open_policies(options.path, settings, options)
    cases = read_cases(Path(options.cases))
    now = datetime.now(UTC)
    open_store = partial(open_url, options=store_options(settings.config))
    progress = Progress(len(cases), "cases")

    async def run() -> list[CaseResult]:
        results = []
        for case in cases:
            results.append(await run_case(case, policies, open_store, now, settings))
            progress.advance(failed=bool(results[-1].differences))
        return results

    try:
        results = carry_out(run())
    finally:
        progress.close()
    failed = [result for result in results if result.differences]
    if options.junit:
        Path(options.junit).write_text(to_junit(results), encoding="utf-8")
    if options.output == "json":
        write_json({"passed": not failed, "results": [one.to_json() for one in results]}, indent=True)
    else:
        for result in results:
            write_line(f"{'FAILED' if result.differences else 'ok':<7} {result.case.name}")
            for difference in result.differences:
                write_line(f"        {difference}")
        write_line(f"{count(len(results), 'case')}, {len(failed)} failed")
    return OK if all_passed(results) else FAILURE


def _explain(options: Options) -> int:
    """Print which policies are for an image and what they demand."""
    image = read_image(options.image)
    policies = load_policies(Path(options.path))
    namespace = namespace_of(options)
    if options.output == "json":
        matching = [policy.name for policy in policies if policy.matches(image, namespace)]
        written = {"image": options.image, "matching": matching}
        write_json(written | {"sentences": explain(policies, image, namespace)}, indent=True)
    else:
        for line in explain(policies, image, namespace):
            write_line(line)
    return OK if any(policy.matches(image, namespace) for policy in policies) else FAILURE


def _diff(options: Options) -> int:
    """Print for which images another policy changes the answer."""
    settings = load_settings(options.config)
    old, new = (open_policies(path, settings, options) for path in (options.old, options.new))
    images = _images(options)
    urls = list(dict.fromkeys(options.store or ("oci:",)))
    progress = Progress(len(images), "images")

    async def run() -> list[Change]:
        stores = [open_url(url, store_options(settings.config)) for url in urls]
        now = datetime.now(UTC)
        changes = []
        try:
            for image in images:
                changes.append(await compare(old, new, image, stores=stores, now=now))
                progress.advance()
        finally:
            for opened in stores:
                await opened.close()
        return changes

    try:
        changes = carry_out(run())
    finally:
        progress.close()
    changed = [change for change in changes if change.is_changed]
    if options.output == "json":
        write_json({"images": [change.to_json() for change in changes]}, indent=True)
    else:
        rows = [[str(value or "") for value in _row(change)] for change in changed]
        if rows:
            write_text(table(["IMAGE", "OLD", "NEW", "REASON"], rows, terminal_width()))
        write_line(f"{count(len(changes), 'image')}, {len(changed)} changed")
    return FAILURE if any(change.is_denied_now for change in changes) else OK


def _row(change: Change) -> tuple[str, str, str, str | None]:
    told = change.to_json()
    return told["image"], told["old"], told["new"], told["reason"]


def _images(options: Options) -> list[Image]:
    words = list(options.images)
    if options.images_from:
        data = (
            read_standard_input(_MOST_LISTED)
            if options.images_from == "-"
            else read_bytes(Path(options.images_from), _MOST_LISTED)
        )
        words += data.decode("utf-8", "replace").split()
    images = [read_image(word) for word in words]
    for image in images:
        if not image.digest:
            raise UsageError(f"{image.repository} has no digest: add @sha256:HEX")
    if not images:
        raise UsageError("no images: name them, or pass --images-from FILE with one on each line")
    return images


def _init(options: Options) -> int:
    """Write a first policy from the verified evidence of an image."""
    settings = load_settings(options.config)
    image = read_image(options.image)
    if not image.digest:
        raise UsageError(f"{options.image} has no digest: add @sha256:HEX")
    if not options.key:
        raise UsageError("nobody to trust: pass --key PUB; a policy is written from verified evidence alone")
    keys = open_public_keys(options.key, settings.config)
    criteria = Criteria(keys=keys, predicate_types=(*PROVENANCE_TYPES, SCAI))
    revoked = revocations_of(options, settings.config)

    async def run() -> Verification:
        stores = [open_url(url, store_options(settings.config)) for url in options.store or ("oci:",)]
        async with Verifier(criteria, stores, revocations=revoked) as verifier:
            return await verifier.digest(image.digest, str(image.repository))

    verification = carry_out(run())
    try:
        text = starting_policy(options.name, image, verification, keys)
    except ValueError as error:
        raise UsageError(f"{options.image}: {error}: {verification.summary}") from error
    write_text(text)
    return OK


_MOST_LISTED = 64 << 20
_POLICIES = "a policy file, or a folder of policy files"


def _path(name: str = "path", metavar: str = "POLICY") -> Argument:
    return Argument(name, _POLICIES, metavar, type=FILE)


policy = Group(
    "policy",
    [
        Command("lint", _lint, [_path(), output()], text="report everything wrong with policies"),
        Command(
            "test",
            _test,
            [
                _path(),
                Argument("cases", "a folder of cases, or one file of them", "CASES", type=FILE),
                Option("--junit", "write a JUnit report here", metavar="FILE", type=FILE),
                *revocation_options(),
                config("a chains-config, for its registry settings and how runs of cases are attested"),
                output(),
            ],
            text="judge a folder of cases, and compare with the answers that they expect",
        ),
        Command(
            "explain",
            _explain,
            [
                _path(),
                Argument("image", "an image, with or without digest", "IMAGE"),
                *namespace_options(),
                output(),
            ],
            text="say which policies are for an image and what they demand",
        ),
        Command(
            "diff",
            _diff,
            [
                _path("old", "OLD"),
                _path("new", "NEW"),
                Argument("images", "images with their digests", "IMAGE", many="*"),
                Option(
                    "--images-from",
                    "a file with one image a line; - is standard input",
                    metavar="FILE",
                    type=FILE,
                ),
                store("look for evidence here (default: an image's registry)"),
                *revocation_options(),
                config("a chains-config, for its registry settings"),
                output(),
            ],
            text="say for which images a changed policy gives another answer",
        ),
        Command(
            "init",
            _init,
            [
                Argument("image", "an image with its digest, of which evidence exists", "IMAGE"),
                Option(
                    "--name", "the policy's name", default="first", metavar="NAME", twin="CHAINS_POLICY_NAME"
                ),
                Option(
                    "--key",
                    "a public key that the evidence has to be signed by",
                    twin="CHAINS_PUBLIC_KEY",
                    repeatable=True,
                    metavar="PUB",
                    type=FILE,
                ),
                store("look for evidence here (default: an image's registry)"),
                *revocation_options(),
                config("a chains-config, for its registry settings"),
            ],
            text="write a first policy from evidence that exists",
        ),
        generate,
    ],
)
