"""Asks admission engines, by their own programs, whether a policy lets an image in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.testbed.commands import Command, CommandError


@dataclass(frozen=True, slots=True)
class Decision:
    """What an engine decided."""

    admitted: bool
    reason: str
    """What the engine printed."""


@dataclass(frozen=True, slots=True)
class PolicyTester:
    """sigstore's policy-controller through its policy-tester."""

    command: Command

    def admit(
        self, policy: str, image: str, *, trust_root: str = "", env: Mapping[str, str] | None = None
    ) -> Decision:
        """Decide about ``image`` (``host/repository@digest``) by the ClusterImagePolicy ``policy`` (YAML).

        ``trust_root`` is a TrustRoot (YAML) that the policy may refer to. Raises :class:`CommandError` when
        the policy is not valid.
        """
        path = _write(self.command.home / "policy.yaml", policy)
        args: tuple[str | Path, ...] = ("-policy", path, "-image", image, "-log-level", "error")
        if trust_root:
            args += ("-trustroot", _write(self.command.home / "trust_root.yaml", trust_root))
        done = self.command(*args, env=env, check=False)
        if done.returncode == 0:
            return Decision(True, done.stdout)
        try:
            errors = json.loads(done.stdout)["errors"]
        except (ValueError, KeyError) as exc:
            raise CommandError(f"policy-tester decided nothing\n{done.stdout}{done.stderr}") from exc
        return Decision(False, "\n".join(errors))


@dataclass(frozen=True, slots=True)
class Kyverno:
    """Kyverno through its command line."""

    command: Command

    def admit(self, policy: str, image: str, *, env: Mapping[str, str] | None = None) -> Decision:
        """Decide about a pod with ``image`` by one policy (YAML) of any of Kyverno's kinds.

        Raises :class:`CommandError` when no rule of the policy decided about the pod.
        """
        container = {"name": "app", "image": image}
        metadata = {"name": "app", "namespace": "default"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
        policy_file = _write(self.command.home / "policy.yaml", policy)
        pod_file = _write(self.command.home / "pod.yaml", json.dumps(pod))
        args = (
            "apply",
            policy_file,
            "--resource",
            pod_file,
            "--registry",
            "--detailed-results",
            "--remove-color",
        )
        done = self.command(*args, env=env, check=False)
        counts = {what: int(number) for what, number in re.findall(r"(pass|fail|error): (\d+)", done.stdout)}
        if counts.get("error", 1) or not counts["pass"] + counts["fail"]:
            raise CommandError(f"kyverno decided nothing\n{done.stdout}{done.stderr}")
        return Decision(not counts["fail"] and done.returncode == 0, done.stdout)

    def admit_all(
        self,
        policies: str,
        images: Mapping[str, str],
        *,
        namespace: str = "default",
        env: Mapping[str, str] | None = None,
    ) -> dict[str, Decision]:
        """Decide about a pod for each of the named images, by policies (YAML) of any of Kyverno's kinds.

        A rule that ends with an error denies, as the webhook does with ``failurePolicy: Fail``; a pod that no
        rule is for is admitted. Raises :class:`CommandError` when no rule decided about any pod.
        """
        home = self.command.home
        policy_file, pods_file = _write(home / "policy.yaml", policies), home / "pods.json"
        names = dict(enumerate(images))
        pods = [
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"pod-{number}", "namespace": namespace},
                "spec": {"containers": [{"name": "app", "image": images[name]}]},
            }
            for number, name in names.items()
        ]
        _write(pods_file, "\n---\n".join(map(json.dumps, pods)))
        args = ("apply", policy_file, "--resource", pods_file, "--registry", "--policy-report")
        done = self.command(*args, env=env, check=False)
        _, found, report = done.stdout.partition("apiVersion: ")
        if not found:
            raise CommandError(f"kyverno decided nothing\n{done.stdout}{done.stderr}")
        results: dict[str, list[dict[str, str]]] = {}
        for one in yaml.safe_load(found + report)["results"] or ():
            results.setdefault(one["resources"][0]["name"], []).append(one)
        if not results:
            raise CommandError(f"kyverno decided nothing\n{done.stdout}{done.stderr}")
        return {name: _decision(results.get(f"pod-{number}", [])) for number, name in names.items()}


def _decision(results: list[dict[str, str]]) -> Decision:
    """Return the decision of all rules about one pod; without any, nothing denies."""
    told = "\n".join(f"{one['result']}: {one.get('message', '')}" for one in results)
    return Decision(all(one["result"] in {"pass", "skip"} for one in results), told)


@dataclass(frozen=True, slots=True)
class Review:
    """What Gatekeeper's webhook answers: who is told what, by the enforcement action of the constraint."""

    allowed: bool
    denials: tuple[str, ...]
    warnings: tuple[str, ...]
    dryrun: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gatekeeper:
    """Gatekeeper's constraint framework, with providers of external data."""

    command: Command

    def review(
        self,
        objects: str,
        reviews: Sequence[Mapping[str, Any]],
        *,
        cache_seconds: int = 0,
        client: tuple[Path, Path] | None = None,
    ) -> list[Review]:
        """Answer reviews, one after the other, by the Providers, templates and constraints of ``objects`` (YAML).

        A review has ``request`` (an AdmissionRequest) and ``namespace`` (the Namespace). Answers of providers
        are kept for ``cache_seconds``. ``client`` has the certificate and key that are shown to them. Raises :class:`CommandError` for objects that Gatekeeper does not accept.
        """
        path = _write(self.command.home / "objects.yaml", objects)
        lines = "".join(f"{json.dumps(review)}\n" for review in reviews)
        shown = ("-client-cert", client[0], "-client-key", client[1]) if client else ()
        done = self.command("-cache", str(cache_seconds), *shown, path, text=lines, seconds=200)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        wrong = [answer["error"] for answer in answers if answer["error"]]
        if wrong or len(answers) != len(reviews):
            raise CommandError(f"gatekeeper decided nothing: {wrong}\n{done.stdout}{done.stderr}")
        return [
            Review(answer["allowed"], *(tuple(answer[name]) for name in ("denials", "warnings", "dryrun")))
            for answer in answers
        ]


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
