"""The command ``policy generate``: policies of ours written for other admission engines."""

from __future__ import annotations

from datetime import UTC, datetime

from chains.assembly.workspace import load_settings
from chains.cli.arguments import FAILURE, FILE, OK, Argument, Option, Options, config
from chains.cli.commands import Command
from chains.cli.policies.decide import open_policies
from chains.errors import UsageError
from chains.policy.engines.generated import Effect, to_yaml
from chains.policy.engines.targets import TARGETS
from chains.terminal import say, write_text
from chains.text import count


def _generate(options: Options) -> int:
    """Write policies for an engine, and tell what it does not express."""
    target: str | None = getattr(options, "for")
    if not target:
        raise UsageError(f"for which engine? pass --for {' or '.join(TARGETS)}")
    policies = open_policies(options.path, load_settings(options.config))
    now = datetime.now(UTC)
    found = [TARGETS[target](policy, now) for policy in policies]
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
        config("a chains-config, for the settings of key services"),
    ],
    text="write the same policy for another admission engine",
)
