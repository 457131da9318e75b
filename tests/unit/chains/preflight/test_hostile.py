"""Manifests that are odd or hostile: read within bounds, told, and never taken for images that pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.preflight import check
from chains.preflight import inventory as inventories
from chains.preflight.answer import State
from chains.preflight.inventory import MOST_PROBLEMS, Inventory, from_files
from chains.preflight.report import exit_code
from chains.tekton.workloads import LONGEST_IMAGE, POD_SPECS, items_of, uses_of
from tests.faults.verify.forge import DIGEST, IMAGE
from tests.unit.chains.policy.made import REF, document
from tests.unit.chains.preflight.made import OTHER_REF, checked, inventory_of, workload

Json = Any
ODD: list[Json] = [None, 0, 1.5, True, "x", [], ["x"], [None], {"a": 1}]


def read(folder: Path, text: str, name: str = "odd.yaml") -> Inventory:
    (folder / name).write_text(text)
    found = Inventory()
    from_files([str(folder / name)], found)
    return found


@pytest.mark.parametrize("odd", [one for one in ODD if one is not None], ids=repr)
@pytest.mark.parametrize("kind", sorted(POD_SPECS))
def test_a_pod_specification_of_a_wrong_kind_is_told_at_every_level(kind: str, odd: Json) -> None:
    path = POD_SPECS[kind]
    for length in range(1, len(path) + 1):
        item = workload(kind, REF)
        place = item
        for key in path[: length - 1]:
            place = place[key]
        place[path[length - 1]] = odd
        found = inventory_of(item)
        assert found.uses == []
        # an object without containers: the API server refuses it, and it runs no image
        is_empty = odd == {"a": 1}
        assert found.problems == (
            [] if is_empty else [f"{kind}/shop/web: the pod's specification is no object"]
        )


@pytest.mark.parametrize("group", ["containers", "initContainers", "ephemeralContainers", "volumes"])
@pytest.mark.parametrize("odd", [one for one in ODD if one not in (None, [])], ids=repr)
def test_a_list_of_a_wrong_kind_is_told(group: str, odd: Json) -> None:
    item = workload("Pod")
    item["spec"] = {group: odd}
    found = inventory_of(item)
    assert not found.uses
    assert found.problems == [f"Pod/shop/web: {group}: expected a list of objects"]
    assert exit_code([], found) == 4


@pytest.mark.parametrize("image", [None, "", 5, [], {}, True])
def test_a_container_without_an_image_is_told(image: Json) -> None:
    found = inventory_of(workload("Deployment", image))
    assert found.uses == []
    is_text = image in (None, "")
    told = "container c0 has no image" if is_text else "containers: the image of c0 is no text"
    assert found.problems == [f"Deployment/shop/web: {told}"]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("x", "the pod's status is no object"),
        ({"containerStatuses": "x"}, "containerStatuses: expected a list of objects"),
        ({"initContainerStatuses": [1]}, "initContainerStatuses: expected a list of objects"),
        (
            {"containerStatuses": [{"name": "a", "imageID": 5}]},
            "containerStatuses: the imageID of a is no text",
        ),
    ],
)
def test_a_status_of_a_wrong_kind_is_told(status: Json, told: str) -> None:
    item = workload("Pod", REF)
    item["status"] = status
    found = inventory_of(item)
    assert len(found.uses) == 1
    assert found.problems == [f"Pod/shop/web: {told}"]


def test_odd_metadata_hides_no_image() -> None:
    for odd in ODD:
        assert len(inventory_of({**workload("Pod", REF), "metadata": odd}).uses) == 1
        assert len(inventory_of({**workload("Pod", REF), "metadata": {"name": odd, "labels": odd}}).uses) == 1


@pytest.mark.parametrize(
    "image",
    [
        f"{IMAGE}:{'1' * 500}",
        f"{IMAGE}:\u202egnp.1",
        f"{IMAGE}@sha256:{'f' * 63}",
        f"{IMAGE}@{DIGEST}{DIGEST}",
        "registry.example.com/team/\u0430pp:1",
        f"{IMAGE}:1 ",
        "a" * LONGEST_IMAGE,
        "@",
        ":",
        "\ud800",
    ],
    ids=[
        "tag of 500",
        "bidirectional",
        "short digest",
        "long digest",
        "cyrillic",
        "space",
        "long",
        "at",
        "colon",
        "surrogate",
    ],
)
def test_an_image_that_no_registry_can_have_is_never_a_pass(image: str) -> None:
    (check,) = checked(inventory_of(workload("Pod", image)))
    assert check.state is State.UNDECIDED
    assert len(check.told) < 3000


def test_an_image_longer_than_any_reference_is_told_and_not_kept() -> None:
    found = inventory_of(workload("Pod", "a" * (LONGEST_IMAGE + 1)))
    assert found.uses == []
    assert found.problems == [
        f"Pod/shop/web: the image of container c0 has {LONGEST_IMAGE + 1} characters, expected at most 1024"
    ]


def test_names_longer_than_kubernetes_allows_are_cut() -> None:
    (use,) = uses_of(workload("Pod", REF, name="n" * 100_000, namespace="s" * 100_000))
    assert len(use.name) < 600


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &a [x, x]\nb: *a\n", "yaml aliases are refused"),
        ("[" * 5000, "levels of nesting"),
        ("{a: " * 300, "levels of nesting"),
        ("--- {a: 1}\n" * 100_000, "values of YAML"),
        ("- a\n" * 300_000, "values of YAML"),
        ("kind: Pod\nkind: ConfigMap\n", "key 'kind' comes twice"),
        ("kind: !!python/object:os.system Pod\n", "tag"),
        ("kind: {{ .Values.kind }}\n", "not YAML"),
        ("kind: Pod\n\x00", "not YAML"),
    ],
    ids=["alias", "lists", "mappings", "documents", "values", "twice", "tag", "template", "null character"],
)
def test_hostile_yaml_is_bounded_and_told(text: str, told: str, tmp_path: Path) -> None:
    found = read(tmp_path, text)
    assert not found.uses
    assert told in found.problems[0]
    assert exit_code([], found) == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "levels"),
        ('{"kind": "Pod", "kind": "ConfigMap"}', "comes twice"),
        ('{"a": [' + "1," * 500_000 + "1]}", "at most 400000 are read"),
    ],
    ids=["deep", "twice", "many"],
)
def test_hostile_json_is_bounded_and_told(text: str, told: str, tmp_path: Path) -> None:
    found = read(tmp_path, text, "odd.json")
    assert not found.uses
    assert told in found.problems[0]


def test_a_file_that_is_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventories, "LARGEST", 1 << 20)
    found = read(tmp_path, "# " + "x" * (1 << 20))
    assert "larger than 1 MiB" in found.problems[0]


def test_many_problems_are_told_up_to_a_number() -> None:
    found = inventory_of(*(workload("Pod", None, name=f"p{at}") for at in range(MOST_PROBLEMS + 50)))
    assert len(found.problems) == MOST_PROBLEMS + 1
    assert "further problems" in found.problems[-1]


def test_more_uses_than_the_limit_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventories, "MOST_USES", 3)
    found = inventory_of(*(workload("Pod", REF, name=f"p{at}") for at in range(5)))
    assert len(found.uses) == 3
    assert found.problems == ["more than 3 places name an image: look at fewer files or namespaces"]


@pytest.mark.parametrize("text", ["hello", "7", "'kind: Pod'"])
def test_a_document_that_is_no_object_is_told_beside_good_ones(tmp_path: Path, text: str) -> None:
    (tmp_path / "pods.yaml").write_text(f"{json.dumps(workload('Pod', REF))}\n---\n{text}\n---\n---\n")
    inventory = Inventory()
    from_files([str(tmp_path)], inventory)
    assert [use.image for use in inventory.uses] == [REF]
    assert inventory.problems == [f"{tmp_path / 'pods.yaml'}: a document in it is no object"]


def test_an_image_that_only_a_node_knows_is_undecided_where_it_is_asked_for() -> None:
    own = f"sha256:{'a' * 64}"
    (check,) = checked(inventory_of(workload("Pod", own)))
    assert (check.state, check.explanation) == (
        State.UNDECIDED,
        "it names an image that a node has, which no registry can look up",
    )
    running = workload("Pod", REF) | {"status": {"containerStatuses": [{"name": "c0", "imageID": own}]}}
    inventory = inventory_of(running)
    found = {check.image: check.state for check in checked(inventory)}
    assert found == {REF: State.PASS, own: State.SKIP}


def test_a_path_without_any_object_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.json").write_text(json.dumps(document()))
    Path("rendered").mkdir()
    Path("values.yaml").write_text("replicas: 2\n")
    for path in ("rendered", "values.yaml"):
        assert chains(["preflight", "policy.json", path, "--store", "oci-layout:none"]) == 4
        assert f"{path}: holds no objects of Kubernetes, so nothing was looked at" in capsys.readouterr().err
    Path("rendered/map.yaml").write_text("kind: ConfigMap\nmetadata: {name: a}\n")
    assert chains(["preflight", "policy.json", "rendered", "--store", "oci-layout:none"]) == 0


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pod.json").write_text(json.dumps(workload("Pod", REF)))

    def refused(folder: Path, suffixes: Json, unreadable: Json) -> list[Path]:
        unreadable(PermissionError(13, "Permission denied", str(folder / "secret")))
        return [folder / "pod.json"]

    monkeypatch.setattr(inventories, "files_below", refused)
    found = Inventory()
    from_files([str(tmp_path)], found)
    assert found.problems == [f"{tmp_path / 'secret'}: Permission denied"]


@pytest.mark.parametrize("items", [None, "x", {"a": 1}, 5])
def test_a_list_whose_items_are_no_list_is_told(items: Json, tmp_path: Path) -> None:
    for kind in ("List", "PodList"):
        found = read(tmp_path, json.dumps({"kind": kind, "items": items}), "list.json")
        assert found.problems == [f"{tmp_path / 'list.json'}: the items of a {kind} are no list"]


@pytest.mark.parametrize("item", [None, "x", 5])
def test_an_item_of_a_list_that_is_no_object_is_told(item: Json, tmp_path: Path) -> None:
    found = read(tmp_path, json.dumps({"kind": "List", "items": [item, workload("Pod", REF)]}), "list.json")
    assert len(found.uses) == 1
    assert found.problems == ["an item of a list is no object"]


def test_the_kind_of_a_custom_resource_may_end_in_list() -> None:
    found = inventory_of(*items_of({"kind": "AllowList", "metadata": {"name": "a"}}))
    assert (found.objects, found.problems) == (1, [])


def test_bidirectional_text_is_shown_and_not_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.json").write_text(json.dumps(document()))
    Path("pod.json").write_text(json.dumps(workload("Pod", f"{IMAGE}:\u202eevil\x1b[2J", name="\u2066x")))
    for form in ("text", "json", "junit", "sarif"):
        code = chains(
            ["preflight", "policy.json", "pod.json", "--store", "oci-layout:none", "--output", form]
        )
        assert code == 4
        assert not {"\u202e", "\u2066", "\x1b"} & set(capsys.readouterr().out)


def test_a_fault_about_one_image_leaves_it_undecided_and_the_others_are_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = check.answers

    async def faulty(policies: Json, image: Json, *more: Json, **named: Json) -> Json:
        if image.digest != DIGEST:
            raise RecursionError("too deep")
        return await ask(policies, image, *more, **named)

    monkeypatch.setattr(check, "answers", faulty)
    good, odd = checked(inventory_of(workload("Pod", REF, OTHER_REF)))
    if good.digest != DIGEST:
        good, odd = odd, good
    assert (good.state, odd.state) == (State.PASS, State.UNDECIDED)
    assert odd.explanation == "unexpected RecursionError: too deep; please report it"
