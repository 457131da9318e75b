from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from storage.errors import StoreRejected, StoreUnavailable
from storage.formats.reference import Repository
from storage.oci.docker_config import Credential, DockerCredentials, matching_entries

SECRET = "s3cr3t-pässword"


def auth(user: str, password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def keychain(folder: Path, config: Any, *, timeout: float = 30, **environ: str) -> DockerCredentials:
    folder.mkdir(exist_ok=True)
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text)
    return DockerCredentials({"DOCKER_CONFIG": str(folder), "HOME": "/nowhere"} | environ, timeout)


def lookup(
    chain: DockerCredentials, registry: str = "registry.example", name: str = "team/app"
) -> Credential:
    return asyncio.run(chain.lookup(Repository(registry, name)))


def helper(folder: Path, name: str, script: str) -> str:
    """Install a credential helper and return a PATH with it."""
    folder.mkdir(exist_ok=True)
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return f"{folder}:{os.environ['PATH']}"


def test_user_and_password_are_decoded(tmp_path: Path) -> None:
    found = lookup(keychain(tmp_path, {"auths": {"registry.example": auth("robot")}}))
    assert (found.username, found.password) == ("robot", SECRET)
    assert base64.b64decode(found.basic.removeprefix("Basic ")).decode() == f"robot:{SECRET}"
    assert "registry.example" in found.source
    assert str(tmp_path) in found.source


def test_plain_fields_and_tokens_are_taken(tmp_path: Path) -> None:
    entries = {
        "a.example": {"username": "robot", "password": SECRET},
        "b.example": {"identitytoken": "IDENTITY"},
        "c.example": {"registrytoken": "REGISTRY"},
        "d.example": auth("robot", "has:colon"),
        "e.example": auth("robot", "padded\0\0"),
    }
    chain = keychain(tmp_path, {"auths": entries})
    assert lookup(chain, "a.example").password == SECRET
    assert lookup(chain, "b.example").identity_token == "IDENTITY"
    assert lookup(chain, "c.example").registry_token == "REGISTRY"
    assert lookup(chain, "d.example").password == "has:colon"
    assert lookup(chain, "e.example").password == "padded"


def test_the_longest_key_that_names_the_repository_wins(tmp_path: Path) -> None:
    keys = ["registry.example", "registry.example/team", "registry.example/team/app", "registry.example/te"]
    chain = keychain(tmp_path, {"auths": {key: auth(key.rpartition("/")[2]) for key in keys}})
    assert lookup(chain, name="team/app").username == "app"
    assert lookup(chain, name="team/app/deep").username == "app"
    assert lookup(chain, name="team/other").username == "team"
    assert lookup(chain, name="teams/app").username == "registry.example"
    assert lookup(chain, "registry.example:5000").basic == ""
    assert lookup(chain, "other.example").basic == ""


@pytest.mark.parametrize(
    "key",
    [
        "https://index.docker.io/v1/",
        "https://index.docker.io/v2/",
        "index.docker.io",
        "docker.io",
        "docker.io/library",
        "http://docker.io",
    ],
)
def test_docker_hub_has_many_spellings(tmp_path: Path, key: str) -> None:
    chain = keychain(tmp_path, {"auths": {key: auth("robot")}})
    assert lookup(chain, "index.docker.io", "library/busybox").username == "robot"


def test_without_a_configuration_access_is_anonymous(tmp_path: Path) -> None:
    found = lookup(DockerCredentials({"HOME": str(tmp_path)}))
    assert found.basic == ""
    assert "no docker config.json" in found.source


def test_the_home_folder_and_podmans_files_are_read_too(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(
        json.dumps({"auths": {"registry.example": auth("home")}})
    )
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {"registry.example": auth("podman")}}))
    assert lookup(DockerCredentials({"HOME": str(tmp_path)})).username == "home"
    podman = {"HOME": "/nowhere", "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    assert lookup(DockerCredentials(podman)).username == "podman"


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    chain = keychain(tmp_path, {"auths": {"registry.example": auth("first")}})
    assert lookup(chain).username == "first"
    keychain(tmp_path, {"auths": {"registry.example": auth("the-second")}})
    assert lookup(chain).username == "the-second"


@pytest.mark.parametrize(
    "config",
    [
        f'{{"auths": {{"registry.example": {{"password": "{SECRET}" }} ',
        "[]",
        '{"auths": [1]}',
        '{"auths": {"registry.example": "x"}}',
        '{"auths": {"registry.example": {"auth": "%%%"}}}',
        '{"auths": {"registry.example": {"auth": "bm9jb2xvbg=="}}}',
        '{"credHelpers": {"registry.example": "../evil"}}',
        '{"credsStore": "absent-helper"}',
    ],
)
def test_a_configuration_that_cannot_be_used_is_named_without_its_secrets(
    tmp_path: Path, config: str
) -> None:
    with pytest.raises(StoreRejected, match=r"config\.json") as caught:
        lookup(keychain(tmp_path, config))
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__


def test_an_unreadable_configuration_is_named(tmp_path: Path) -> None:
    chain = DockerCredentials({"DOCKER_CONFIG": str(tmp_path)})
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(StoreRejected, match="is not JSON"):
        lookup(chain)


def test_a_helper_is_asked_with_the_server_on_its_input(tmp_path: Path) -> None:
    path = helper(
        tmp_path / "bin",
        "test",
        f'read server; echo "{{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"$server\\",\\"Secret\\":\\"{SECRET}\\"}}"',
    )
    config = {"credHelpers": {"registry.example/team": "test"}, "auths": {"registry.example": auth("file")}}
    found = lookup(keychain(tmp_path, config, PATH=path))
    assert (found.username, found.password) == ("registry.example/team", SECRET)
    assert "docker-credential-test" in found.source


def test_a_helper_is_asked_once_for_all_repositories_of_a_registry(tmp_path: Path) -> None:
    path = helper(
        tmp_path / "bin",
        "test",
        f'echo x >> {tmp_path}/asked; echo "{{\\"Username\\":\\"u\\",\\"Secret\\":\\"s\\"}}"',
    )
    chain = keychain(tmp_path, {"credsStore": "test"}, PATH=path)

    async def work() -> None:
        names = [Repository("registry.example", f"app{number}") for number in range(5)]
        await asyncio.gather(*(chain.lookup(name) for name in names))
        await asyncio.gather(*(chain.lookup(name) for name in names))

    asyncio.run(work())
    assert (tmp_path / "asked").read_text() == "x\n"


def test_the_store_is_asked_for_docker_hub_by_its_old_name(tmp_path: Path) -> None:
    path = helper(
        tmp_path / "bin", "all", 'read server; echo "{\\"Username\\":\\"$server\\",\\"Secret\\":\\"x\\"}"'
    )
    chain = keychain(tmp_path, {"credsStore": "all"}, PATH=path)
    assert lookup(chain, "index.docker.io").username == "https://index.docker.io/v1/"
    assert lookup(chain, "registry.example").username == "registry.example"


def test_a_helper_may_give_an_identity_token(tmp_path: Path) -> None:
    path = helper(
        tmp_path / "bin", "test", 'echo "{\\"Username\\":\\"<token>\\",\\"Secret\\":\\"IDENTITY\\"}"'
    )
    found = lookup(keychain(tmp_path, {"credsStore": "test"}, PATH=path))
    assert (found.identity_token, found.basic) == ("IDENTITY", "")


def test_a_helper_that_has_nothing_leaves_it_to_the_file(tmp_path: Path) -> None:
    path = helper(tmp_path / "bin", "test", 'echo "credentials not found in native keychain"; exit 1')
    config = {"credsStore": "test", "auths": {"registry.example": auth("file")}}
    assert lookup(keychain(tmp_path, config, PATH=path)).username == "file"


def test_a_helper_that_fails_is_named_and_its_output_is_not(tmp_path: Path) -> None:
    path = helper(tmp_path / "bin", "test", f'echo "{SECRET}"; exit 3')
    with pytest.raises(StoreRejected, match=r"docker-credential-test.* ended with code 3") as caught:
        lookup(keychain(tmp_path, {"credsStore": "test"}, PATH=path))
    assert SECRET not in str(caught.value)


def test_a_helper_that_talks_nonsense_is_named(tmp_path: Path) -> None:
    path = helper(tmp_path / "bin", "test", f"echo {SECRET}")
    with pytest.raises(StoreRejected, match="printed no JSON") as caught:
        lookup(keychain(tmp_path, {"credsStore": "test"}, PATH=path))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("script", ["exec yes", "cat > /dev/null; yes | head -c 65537"])
def test_a_helper_that_says_too_much_is_not_listened_to(tmp_path: Path, script: str) -> None:
    path = helper(tmp_path / "bin", "test", script)
    with pytest.raises(StoreRejected, match=r"docker-credential-test .* printed more than 65536 bytes"):
        lookup(keychain(tmp_path, {"credsStore": "test"}, PATH=path))


def test_a_helper_that_hangs_is_ended(tmp_path: Path) -> None:
    path = helper(tmp_path / "bin", "test", "exec sleep 60")
    chain = keychain(tmp_path, {"credsStore": "test"}, timeout=0.2, PATH=path)
    with pytest.raises(StoreUnavailable, match=r"no answer in 0\.2 s"):
        lookup(chain)


def test_a_helper_that_ends_but_leaves_its_output_to_another_process_is_not_waited_for(
    tmp_path: Path,
) -> None:
    pid = tmp_path / "pid"
    path = helper(tmp_path / "bin", "test", f"sleep 600 & echo $! > {pid}; exit 0")
    chain = keychain(tmp_path, {"credsStore": "test"}, timeout=0.5, PATH=path)
    try:
        with pytest.raises(StoreUnavailable, match=r"no answer in 0\.5 s"):
            lookup(chain)
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_secrets_are_not_in_the_representation() -> None:
    made = Credential("somewhere", "robot", SECRET, "IDENTITY", "REGISTRY")
    for secret in (SECRET, "IDENTITY", "REGISTRY"):
        assert secret not in repr(made)


@pytest.mark.parametrize(
    ("registry", "name", "keys", "users"),
    [
        ("registry.example", "team/app", ["registry.example"], ["registry.example"]),
        ("registry.example", "team/app", ["https://registry.example/v1/", "other.example"], ["https://registry.example/v1/"]),
        ("registry.example", "team/app", ["registry.example/v2/"], ["registry.example/v2/"]),
        (
            "registry.example", "team/app",
            ["registry.example", "registry.example/team/app", "registry.example/team", "registry.example/teams"],
            ["registry.example/team/app", "registry.example/team", "registry.example"],
        ),
        ("registry.example", "team/app", ["registry.example:443", "example", "registry.example/te"], []),
        ("registry.example:5000", "app", ["registry.example", "registry.example:5000"], ["registry.example:5000"]),
        ("1.ecr.eu.example", "app", ["*.ecr.*.example", "*.example", "*"], ["*.ecr.*.example"]),
        ("1.ecr.example", "team/app", ["*.ecr.example/team", "*.ecr.example/other"], ["*.ecr.example/team"]),
        ("Registry.example", "app", ["registry.EXAMPLE"], ["registry.EXAMPLE"]),
        (
            "index.docker.io", "library/busybox", ["docker.io", "https://index.docker.io/v1/", "registry-1.docker.io", "index.docker.io/v1/"],
            ["registry-1.docker.io", "index.docker.io/v1/", "https://index.docker.io/v1/", "docker.io"],
        ),
        ("index.docker.io", "team/app", ["docker.io/team", "docker.io/library", "docker.com"], ["docker.io/team"]),
    ],
)  # fmt: skip
def test_every_entry_of_a_secret_that_matches_is_found_the_closest_first(
    registry: str, name: str, keys: list[str], users: list[str]
) -> None:
    auths = {key: {"username": key, "password": SECRET} for key in keys}
    found = matching_entries(auths, Repository(registry, name), "secret s")
    assert [each.username for each in found] == users
    assert [each.source for each in found] == [f"the entry {user!r} of secret s" for user in users]


@pytest.mark.parametrize("way", ["plain", "globs", "matching"])
def test_a_secret_of_thousands_of_entries_is_looked_at_and_tried_in_part(way: str) -> None:
    keys = {
        "plain": [f"r{n}.example" for n in range(5000)],
        "globs": [f"r[e{n}]*.example" for n in range(5000)],
        "matching": [f"registry.example/a{'/a' * n}" for n in range(50)],
    }[way]
    auths = {"registry.example": auth("first"), **{key: auth("more") for key in keys}}
    found = matching_entries(auths, Repository("registry.example", "a" + "/a" * 60), "secret s")
    usable = [each.username for each in found if not each.unusable]
    told = [each.unusable for each in found if each.unusable]
    assert (usable, told) == {
        "plain": (["first"], ["only 1000 of 5001 entries are read"]),
        "globs": (["first", *["more"] * 9], [
            "only 101 of 5001 entries are read",
            f"only 10 of 101 entries for registry.example/{'a' + '/a' * 60} are tried",
        ]),
        "matching": (["more"] * 10, [f"only 10 of 51 entries for registry.example/{'a' + '/a' * 60} are tried"]),
    }[way]  # fmt: skip


def test_a_glob_longer_than_any_host_names_nobody() -> None:
    assert matching_entries({"*" * 1001: auth("x")}, Repository("localhost", "a"), "secret s") == []
    assert len(matching_entries({"*" * 1000: auth("x")}, Repository("localhost", "a"), "secret s")) == 1


def test_a_key_of_any_length_is_told_cut() -> None:
    key = "registry.example/" + "a" * 100_000
    (found,) = matching_entries({key: {}}, Repository("registry.example", "a" * 100_000), "secret s")
    assert found.source == f"the entry {key[:100]!r} of secret s"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ([], "is not a JSON object"),
        ({}, "has no user and password"),
        ({"username": "robot"}, "has no user and password"),
        ({"auth": "%%%"}, "its auth is not base64 of user:password"),
        ({"auth": base64.b64encode(SECRET.encode()).decode()}, "its auth is not base64 of user:password"),
    ],
)
def test_an_entry_that_cannot_be_used_is_told_and_hides_its_content(entry: Any, reason: str) -> None:
    (found,) = matching_entries(
        {"registry.example": entry}, Repository("registry.example", "app"), "secret s"
    )
    assert found == Credential("the entry 'registry.example' of secret s", unusable=reason)


def written(way: str, user: str = "robot?>", password: str = SECRET) -> str:
    """Return ``user:password`` in base64 as one of the programs that make docker configurations writes it."""
    plain = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {
        "plain": plain,
        "unpadded": plain.rstrip("="),
        "wrapped": "\n".join(plain[at : at + 8] for at in range(0, len(plain), 8)) + "\n",
        "windows": plain[:8] + "\r\n" + plain[8:],
        "URL-safe": base64.urlsafe_b64encode(f"{user}:{password}".encode()).decode(),
        "URL-safe, unpadded": base64.urlsafe_b64encode(f"{user}:{password}".encode()).decode().rstrip("="),
    }[way]


WAYS = ["plain", "unpadded", "wrapped", "windows", "URL-safe", "URL-safe, unpadded"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("password", [SECRET, "a", "ab", "abc", "ÿ?>~"])
def test_base64_is_read_however_it_is_written_in_files_and_secrets(
    tmp_path: Path, way: str, password: str
) -> None:
    auths = {"registry.example": {"auth": written(way, password=password)}}
    (of_secret,) = matching_entries(auths, Repository("registry.example", "team/app"), "secret s")
    for found in (lookup(keychain(tmp_path, {"auths": auths})), of_secret):
        assert (found.username, found.password) == ("robot?>", password)


@pytest.mark.parametrize("auth_value", ["a", "%%%%", base64.b64encode(b"no colon").decode()])
def test_what_is_no_base64_of_user_and_password_is_refused_unless_both_stand_beside(
    tmp_path: Path, auth_value: str
) -> None:
    with pytest.raises(StoreRejected, match="its auth is not base64 of user:password"):
        lookup(keychain(tmp_path, {"auths": {"registry.example": {"auth": auth_value}}}))
    beside = {"auth": auth_value, "username": "robot", "password": SECRET}
    assert lookup(keychain(tmp_path, {"auths": {"registry.example": beside}})).password == SECRET


HUB = ["docker.io", "index.docker.io", "registry-1.docker.io"]


@pytest.mark.parametrize("registry", HUB)
@pytest.mark.parametrize(
    "key",
    [*HUB, *(f"https://{name}/v1/" for name in HUB), "https://registry-1.docker.io/v2/", "Docker.io", "docker.io/team"],
)  # fmt: skip
def test_every_name_of_docker_hub_is_found_under_every_other_in_files_and_secrets(
    tmp_path: Path, registry: str, key: str
) -> None:
    auths = {key: auth("robot")}
    assert lookup(keychain(tmp_path, {"auths": auths}), registry).username == "robot"
    (found,) = matching_entries(auths, Repository(registry, "team/app"), "secret s")
    assert found.username == "robot"


@pytest.mark.parametrize(
    "key", ["Registry.Example", "HTTPS://registry.example/v2/", "registry.example/team/"]
)
def test_a_key_is_read_in_any_case_and_with_a_path(tmp_path: Path, key: str) -> None:
    assert lookup(keychain(tmp_path, {"auths": {key: auth("robot")}})).username == "robot"


@pytest.mark.parametrize("registry", HUB)
def test_the_store_of_credentials_is_asked_for_docker_hub_by_its_one_key(
    tmp_path: Path, registry: str
) -> None:
    script = (
        'read key; [ "$key" = https://index.docker.io/v1/ ] && echo \'{"Username":"robot","Secret":"x"}\''
    )
    path = helper(tmp_path / "bin", "store", script)
    assert lookup(keychain(tmp_path / "c", {"credsStore": "store"}, PATH=path), registry).username == "robot"


@pytest.mark.parametrize(
    "config",
    [
        {"credsStore": "gone"},
        {"credsStore": ""},
        {"credsStore": None, "credHelpers": None},
        {"credHelpers": {"registry.example": "gone"}},
        {"credHelpers": {"registry.example": ""}, "credsStore": "loud"},
        {"credHelpers": {"registry.example": "broken"}, "credsStore": "none"},
    ],
)
def test_a_helper_that_is_empty_absent_or_fails_gives_way_to_the_entries(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    helper(tmp_path / "bin", "broken", "exit 3")
    helper(tmp_path / "bin", "loud", 'echo \'{"Username":"other","Secret":"x"}\'')
    path = helper(tmp_path / "bin", "none", "echo credentials not found in native keychain; exit 1")
    entries = {"auths": {"registry.example": auth("robot")}}
    assert lookup(keychain(tmp_path / "c", config | entries, PATH=path)).username == "robot"


def test_a_helper_that_fails_gives_way_to_the_store_of_credentials(tmp_path: Path) -> None:
    helper(tmp_path / "bin", "broken", "exit 3")
    path = helper(tmp_path / "bin", "works", 'echo \'{"Username":"robot","Secret":"x"}\'')
    config = {"credHelpers": {"registry.example": "broken"}, "credsStore": "works"}
    assert lookup(keychain(tmp_path / "c", config, PATH=path)).username == "robot"


def test_a_helper_that_fails_is_told_where_nothing_else_is_there(tmp_path: Path) -> None:
    path = helper(tmp_path / "bin", "broken", "exit 3")
    for auths in ({}, {"registry.example": {}}, {"other.example": auth("robot")}):
        chain = keychain(tmp_path / "c", {"credsStore": "broken", "auths": auths}, PATH=path)
        with pytest.raises(StoreRejected, match=r"docker-credential-broken .* ended with code 3"):
            lookup(chain)


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    text = "\ufeff" + json.dumps({"auths": {"registry.example": auth("robot")}})
    assert lookup(keychain(tmp_path, text)).username == "robot"
