"""What the credentials of a pod show is told to nobody without them, and they are used only where they are needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from chains.admission import answers as module
from chains.admission.answers import NEGATIVE_SECONDS, PRIVATE_SECONDS, Answers
from chains.admission.judge import TAG_SECONDS, Judge, Tags
from chains.admission.policies import PolicySet
from chains.admission.ruling import Ruling
from chains.assembly.pull_secrets import Pulled, PullKeychain
from chains.errors import UsageError
from chains.policy.document.patterns import read_image
from chains.policy.verdict import Decision
from chains.tekton.workloads import Puller
from storage.base import Store, StoreOptions
from storage.errors import StoreRejected, StoreUnavailable
from storage.formats.reference import Repository
from storage.oci.docker_config import Credential, DockerCredentials
from storage.oci.store import RegistryStore
from storage.oci.tokens import Keychain
from storage.record import Findings
from tests.faults.verify.forge import DIGEST, NOW, Shelf, form_b
from tests.unit.chains.admission.made import REF, document
from tests.unit.chains.policy.made import opened, tekton

Json = Any
READ = read_image(REF)
ALICE, BOB, NOBODY = (Puller(name, ("pull",)) for name in ("alice", "bob", "nobody"))
SEEN, EMPTY = Findings((form_b(tekton()),), ()), Findings((), ())
REFUSED, AWAY = StoreRejected("the registry answered 401"), StoreUnavailable("the registry answered 503")


class Secrets:
    """The pull secrets of two people; they say whose each is."""

    def __init__(self, own: Keychain | None = None) -> None:
        self.asked: list[str] = []
        self._own = own or DockerCredentials({})

    async def find(self, puller: Puller, repository: Repository) -> Pulled | None:
        self.asked.append(puller.namespace)
        if puller is NOBODY:
            return None
        keychain = PullKeychain(repository, [Credential("pull secret 1", puller.namespace, "x")], self._own)
        return Pulled(f"identity of {puller.namespace}", keychain)


class Shown(RegistryStore):
    """A registry that shows each person what it is told to, and everybody else what ``""`` has."""

    def __init__(self, shows: dict[str, Findings | Exception], whose: str = "") -> None:
        super().__init__("oci:", StoreOptions())
        self.shows, self.whose, self.asked = shows, whose, list[str]()
        self.wait: Callable[[], Awaitable[object]] | None = None

    def sibling(self, keychain: Keychain) -> RegistryStore:
        assert isinstance(keychain, PullKeychain)
        twin = Shown(self.shows, keychain._credentials[0].username)
        twin.asked, twin.wait = self.asked, self.wait
        return twin

    async def find(self, digest: str, reference: str = "") -> Findings:
        self.asked.append(self.whose)
        if self.wait is not None:
            await self.wait()
        found = self.shows[self.whose]
        if isinstance(found, Exception):
            raise found
        return found


class Asked:
    def __init__(self, shows: dict[str, Findings | Exception], policy: Json = None) -> None:
        self.store, self.secrets, self.seconds = Shown(shows), Secrets(), 0.0
        self.policies = PolicySet.of(opened(policy or document()))
        stores: list[Store] = [self.store]
        self.answers = Answers(stores, self.secrets, clock=lambda: self.seconds, now=lambda: NOW)  # type: ignore[arg-type]

    async def ask(self, puller: Puller | None, image: Any = READ) -> Ruling:
        return await self.answers.ask(self.policies, self.policies.policies, image, puller)

    def verdicts(self, *pullers: Puller | None) -> list[str]:
        async def run() -> list[str]:
            return [(await self.ask(one)).verdict for one in pullers]

        return asyncio.run(run())


def test_an_image_that_the_servers_own_credentials_show_needs_no_secret_and_is_one_answer_for_all() -> None:
    asked = Asked({"": SEEN})
    assert asked.verdicts(ALICE, BOB, None) == ["VERIFIED"] * 3
    assert (asked.store.asked, asked.secrets.asked) == ([""], [])


@pytest.mark.parametrize("hidden", [REFUSED, EMPTY], ids=["refused", "empty"])
def test_what_one_persons_credentials_show_is_told_to_nobody_else(hidden: Findings | Exception) -> None:
    asked = Asked({"": hidden, "alice": SEEN, "bob": hidden})
    without = "NOT_FOUND" if hidden is EMPTY else "INDETERMINATE"
    assert asked.verdicts(ALICE, BOB, NOBODY, None) == ["VERIFIED", without, without, without]
    # again, from what is kept
    assert asked.verdicts(None, NOBODY, BOB, ALICE) == [without, without, without, "VERIFIED"]
    assert asked.store.asked.count("alice") == asked.store.asked.count("bob") == 1


def test_requests_at_the_same_time_share_the_work_of_their_own_credentials_alone() -> None:
    asked = Asked({"": REFUSED, "alice": SEEN, "bob": REFUSED})

    async def run() -> list[str]:
        release = asyncio.Event()
        asked.store.wait = release.wait
        waiting = [asyncio.create_task(asked.ask(one)) for one in (ALICE, BOB) * 20]
        await asyncio.sleep(0)
        release.set()
        return [one.verdict for one in await asyncio.gather(*waiting)]

    assert asyncio.run(run()) == ["VERIFIED", "INDETERMINATE"] * 20
    assert sorted(asked.store.asked) == ["", "alice", "bob"]


def test_a_private_image_is_asked_for_with_the_credentials_that_showed_it_first() -> None:
    asked = Asked({"": REFUSED, "alice": SEEN}, document(cacheSeconds=7))
    asked.verdicts(ALICE)
    assert asked.store.asked == ["", "alice"]
    asked.seconds = 8
    assert asked.verdicts(ALICE) == ["VERIFIED"]
    assert asked.store.asked == ["", "alice", "alice"]
    # what was private may be public by now
    asked.store.shows[""] = SEEN
    asked.seconds = 9 + PRIVATE_SECONDS
    assert asked.verdicts(ALICE) == ["VERIFIED"]
    assert asked.store.asked == ["", "alice", "alice", ""]


def test_where_the_credentials_of_a_pod_show_less_the_servers_own_count() -> None:
    asked = Asked({"": REFUSED, "alice": SEEN, "bob": EMPTY})
    assert asked.verdicts(ALICE) == ["VERIFIED"]
    asked.store.shows[""] = SEEN
    asked.seconds = NEGATIVE_SECONDS
    assert asked.verdicts(BOB, NOBODY) == ["VERIFIED", "VERIFIED"]


def test_evidence_that_does_not_pass_is_not_looked_for_with_other_credentials() -> None:
    asked = Asked({"": SEEN, "alice": SEEN}, document(require={"level": 3}))
    assert asked.verdicts(ALICE) == ["FAILED"]
    assert asked.secrets.asked == []


def test_where_evidence_is_in_no_registry_no_secret_is_read() -> None:
    asked = Asked({"": EMPTY})
    asked.answers = Answers([Shelf()], asked.secrets, now=lambda: NOW)  # type: ignore[arg-type]
    assert asked.verdicts(ALICE) == ["NOT_FOUND"]
    assert asked.secrets.asked == []


def test_a_registry_that_is_away_is_not_asked_again_with_other_credentials() -> None:
    asked = Asked({"": AWAY, "alice": SEEN})
    assert asked.verdicts(ALICE) == ["INDETERMINATE"]
    assert asked.secrets.asked == []


def test_a_credential_that_makes_the_registry_fail_does_not_turn_a_refusal_into_away() -> None:
    """Else whoever owns a namespace could choose ``unavailable: warn`` for an image without evidence."""
    lenient = document(unavailable="warn")
    for hidden, reason in ((REFUSED, "store_rejected"), (EMPTY, "no_evidence")):
        asked = Asked({"": hidden, "alice": AWAY}, lenient)

        async def run(asked: Asked = asked) -> list[Ruling]:
            first = await asked.ask(ALICE)
            asked.answers._private[READ.repository] = True
            asked.seconds += NEGATIVE_SECONDS
            return [first, await asked.ask(ALICE)]

        for found in asyncio.run(run()):
            assert (found.decision, found.reason) == (Decision.DENY, reason)


def test_owners_of_many_credentials_displace_no_answer_of_the_servers_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_PULLED", 10)
    asked = Asked({"": EMPTY, "alice": SEEN})

    async def run() -> None:
        for at in range(70):
            await asked.ask(ALICE if at >= 20 else None, replace(READ, digest=f"sha256:{at:064x}"))

    asyncio.run(run())
    # the first one of hers was looked at with the server's own credentials, too
    assert asked.answers.kept == 20 + 1 + 10


class Resolver:
    """A registry with tags that only some see; it remembers who asked."""

    def __init__(self, shows: dict[str, str | Exception], whose: str = "") -> None:
        self.shows, self.whose, self.asked = shows, whose, list[str]()

    def with_keychain(self, keychain: Keychain) -> Resolver:
        assert isinstance(keychain, PullKeychain)
        twin = Resolver(self.shows, keychain._credentials[0].username)
        twin.asked = self.asked
        return twin

    async def resolve(self, reference: str) -> str:
        self.asked.append(self.whose)
        found = self.shows[self.whose]
        if isinstance(found, Exception):
            raise found
        return found


def resolved(
    shows: dict[str, str | Exception], pullers: Sequence[Puller | None], times: Sequence[float] = ()
) -> tuple[list[str | type[Exception]], list[str], list[str]]:
    """Resolve one tag for each puller, and say who asked the registry and whose secrets were looked for."""
    resolver, secrets, clock = Resolver(shows), Secrets(), [0.0]
    tags = Tags(resolver, secrets, resolver.with_keychain, clock=lambda: clock[0])  # type: ignore[arg-type]

    async def run() -> list[str | type[Exception]]:
        found: list[str | type[Exception]] = []
        for at, puller in enumerate(pullers):
            clock[0] = times[at] if times else 0.0
            try:
                found.append(await tags.resolve("registry.example.com/team/app:1", puller))
            except (StoreRejected, StoreUnavailable, UsageError) as error:
                found.append(type(error))
        return found

    return asyncio.run(run()), resolver.asked, secrets.asked


@pytest.mark.parametrize("hidden", [REFUSED, UsageError("no tag")], ids=["refused", "absent"])
def test_a_tag_that_one_person_sees_is_resolved_for_nobody_else(hidden: Exception) -> None:
    shows: dict[str, str | Exception] = {"": hidden, "alice": DIGEST, "bob": hidden}
    found, asked, _ = resolved(shows, [ALICE, BOB, NOBODY, None, ALICE])
    assert found == [DIGEST, type(hidden), type(hidden), type(hidden), DIGEST]
    assert asked.count("alice") == 1


def test_a_tag_that_everybody_sees_needs_no_secret() -> None:
    assert resolved({"": DIGEST}, [ALICE, BOB]) == ([DIGEST] * 2, [""], [])


def test_a_private_tag_is_asked_for_with_the_credentials_that_showed_it_first() -> None:
    shows: dict[str, str | Exception] = {"": REFUSED, "alice": DIGEST}
    found, asked, _ = resolved(shows, [ALICE, ALICE], [0, TAG_SECONDS + 1])
    assert (found, asked) == ([DIGEST] * 2, ["", "alice", "alice"])


def test_a_tag_is_away_only_by_the_servers_own_credentials() -> None:
    assert resolved({"": REFUSED, "alice": AWAY}, [ALICE])[0] == [StoreRejected]
    found, _, secrets = resolved({"": AWAY, "alice": DIGEST}, [ALICE])
    assert (found, secrets) == ([StoreUnavailable], [])


def test_secrets_that_are_not_read_in_time_leave_the_image_undecided_and_the_tag_as_it_is() -> None:
    class Silent(Secrets):
        async def find(self, puller: Puller, repository: Repository) -> Pulled | None:
            await asyncio.Event().wait()
            return None

    asked, secrets = Asked({"": REFUSED}), Silent()
    asked.answers._secrets = secrets  # type: ignore[assignment]
    resolver = Resolver({"": REFUSED})
    tags = Tags(resolver, secrets, resolver.with_keychain)  # type: ignore[arg-type]
    judge = Judge(asked.answers, tags)

    async def run() -> list[Ruling]:
        deadline = asyncio.get_running_loop().time() + 0.05
        rules = [
            judge.rule(
                asked.policies, text, "container c", None, is_pod=False, deadline=deadline, puller=ALICE
            )
            for text in (REF, REF.partition("@")[0] + ":1")
        ]
        return [one.ruling for one in await asyncio.gather(*rules)]

    found = asyncio.run(run())
    assert [(one.decision, one.verdict) for one in found] == [(Decision.DENY, "INDETERMINATE")] * 2
    assert found[0].actual.endswith("the evidence was not found in time")
    assert found[1].actual == "the registry did not answer in time"
