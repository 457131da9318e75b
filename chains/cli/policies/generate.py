"""The command ``policy generate``: policies of ours written for other admission engines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from chains.assembly.revocations import NO_MEMORY
from chains.assembly.workspace import load_settings
from chains.cli.arguments import FAILURE, FILE, OK, Argument, Option, Options, config
from chains.cli.commands import Command
from chains.documents.load import read_bytes
from chains.errors import UsageError
from chains.policy.engines import gatekeeper
from chains.policy.engines.generated import Effect, Generated, to_yaml
from chains.policy.engines.targets import TARGETS
from chains.policy.loaded import Policy
from chains.policy.opened import OpenedPolicy
from chains.terminal import say, write_text
from chains.text import count


def _generate(options: Options) -> int:
    """Write policies for an engine, and tell what it does not express."""
    target: str | None = getattr(options, "for")
    if not target:
        raise UsageError(f"for which engine? pass --for {' or '.join(TARGETS)}")
    generate_one = _generator(target, options)
    config_of = load_settings(options.config).config
    # nothing is judged here, so no version of a revocation list is remembered
    policies = Policy.load(options.path, config=config_of, revocations_state=NO_MEMORY).documents
    now = datetime.now(UTC)
    found = [generate_one(policy, now) for policy in policies]
    for one in found:
        for limit in one.limits:
            say(f"policy {one.policy.name}: {limit}")
    unequal = [one for one in found if not one.is_equal]
    if unequal and options.strict:
        lost = sum(limit.effect is not Effect.SETUP for one in unequal for limit in one.limits)
        say(f"error: {target} does not express {count(lost, 'part')} of the policy: nothing is written")
        return FAILURE
    write_text(to_yaml(found, target).rstrip("\n"))
    return OK


def _generator(target: str, options: Options) -> Callable[[OpenedPolicy, datetime], Generated]:
    if target != "gatekeeper":
        return TARGETS[target]
    ca = read_bytes(Path(options.provider_ca)) if options.provider_ca else b""
    return partial(gatekeeper.generate, provider=gatekeeper.ProviderAt(options.provider_url, ca))


generate = Command(
    "generate",
    _generate,
    [
        Argument("path", "a policy file, or a folder of policy files", "POLICY", type=FILE),
        Option("--for", "the engine to write for", twin="CHAINS_POLICY_TARGET", choices=tuple(TARGETS)),
        Option(
            "--strict",
            "fail, and write nothing, if the engine does not express everything",
            twin="CHAINS_POLICY_STRICT",
            flag=True,
        ),
        Option(
            "--provider-url",
            "for gatekeeper: where chains admission answers it",
            twin="CHAINS_PROVIDER_URL",
            default=gatekeeper.DEFAULT_URL,
        ),
        Option(
            "--provider-ca",
            "for gatekeeper: the PEM file of the CA of that server",
            twin="CHAINS_PROVIDER_CA",
            type=FILE,
        ),
        config("a chains-config, for the settings of key services"),
    ],
    text="write the same policy for another admission engine",
)
