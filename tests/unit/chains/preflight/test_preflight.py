"""Preflight: every image that objects name, each asked once, and reports that other programs read."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.errors import InputError
from chains.preflight.answer import State
from chains.preflight.inventory import Inventory, from_files
from chains.preflight.report import exit_code, to_json
from chains.tekton.workloads import POD_SPECS, UseKind, uses_of
from tests.faults.verify.forge import DIGEST, IMAGE, Broken, Shelf, form_b, public
from tests.unit.chains.policy.made import REF, document, tekton
from tests.unit.chains.preflight.made import OTHER_REF, Tags, checked, inventory_of, workload

Json = Any


@pytest.mark.parametrize("kind", sorted(POD_SPECS))
def test_every_kind_of_workload_names_its_images(kind: str) -> None:
    (use,) = uses_of(workload(kind, REF), "web.yaml")
    assert (use.image, use.kind, use.name, use.container) == (REF, UseKind.DESIRED, f"{kind}/shop/web", "c0")
    assert use.where == "web.yaml"


def test_every_list_of_containers_and_image_volumes_are_looked_at() -> None:
    spec = {
        "containers": [{"name": "a", "image": "r.example.com/a"}],
        "initContainers": [{"name": "b", "image": "r.example.com/b"}],
        "ephemeralContainers": [{"name": "c", "image": "r.example.com/c"}],
        "volumes": [{"name": "d", "image": {"reference": "r.example.com/d"}}, {"name": "e", "emptyDir": {}}],
    }
    status = {
        "containerStatuses": [{"name": "a", "imageID": f"docker-pullable://r.example.com/a@{DIGEST}"}],
        "initContainerStatuses": [{"name": "b", "imageID": ""}],
        "ephemeralContainerStatuses": [{"name": "c", "imageID": f"r.example.com/c@{DIGEST}"}],
    }
    found = list(uses_of({"kind": "Pod", "metadata": {"name": "p"}, "spec": spec, "status": status}))
    assert [use.image for use in found if use.kind is UseKind.DESIRED] == [
        f"r.example.com/{name}" for name in ("b", "a", "c", "d")
    ]
    assert [use.image for use in found if use.kind is UseKind.RUNNING] == [
        f"r.example.com/{name}@{DIGEST}" for name in ("a", "c")
    ]


@pytest.mark.parametrize(
    ("spec", "unseen"),
    [
        (None, []),
        ([], ["the pod's specification is no object"]),
        ("x", ["the pod's specification is no object"]),
        ({"containers": None, "volumes": None}, []),
        ({"containers": {"image": "r.example.com/a"}}, ["containers: expected a list of objects"]),
        (
            {"containers": [1, {"image": 5}]},
            [
                "containers: expected a list of objects",
                "containers: the image of one without name is no text",
            ],
        ),
        ({"initContainers": [{"name": "a"}]}, ["container a has no image"]),
        (
            {"volumes": [{"name": "v", "image": "x"}, {"name": "w", "image": {"reference": ["x"]}}]},
            ["volumes: expected a list of objects", "volumes: the reference of w is no text"],
        ),
        ({"volumes": [{"name": "v", "image": {}}, {"name": "w", "image": None}]}, []),
        ({"volumes": ["x"]}, ["volumes: expected a list of objects"]),
    ],
)
def test_images_that_an_odd_object_hides_are_problems(spec: Json, unseen: list[str]) -> None:
    inventory = inventory_of({"kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    assert inventory.uses == []
    assert inventory.problems == [f"Pod/p: {problem}" for problem in unseen]


@pytest.mark.parametrize("above", [[], "x", {"template": 5}])
def test_an_odd_path_to_the_template_is_a_problem(above: Json) -> None:
    inventory = inventory_of({"kind": "Deployment", "metadata": {"name": "d"}, "spec": above})
    assert inventory.problems == ["Deployment/d: the pod's specification is no object"]


def test_an_image_passes_or_fails_with_its_reason() -> None:
    found = checked(inventory_of(workload("Deployment", REF, OTHER_REF)))
    assert [(check.image, check.state, check.reason) for check in found] == [
        (REF, State.PASS, ""),
        (OTHER_REF, State.FAIL, "subject_mismatch"),
    ]


def test_each_digest_is_asked_once() -> None:
    shelf = Shelf(form_b(tekton()))
    items = [workload("Deployment", REF, f"{IMAGE}:1", name=f"web-{at}") for at in range(50)]
    found = checked(inventory_of(*items), shelf)
    assert len(shelf.asked) == 1
    (check,) = found
    assert len(check.uses) == 100


def test_a_tag_is_resolved_once_and_not_at_all_where_no_policy_is_for_it() -> None:
    tags = Tags()
    items = inventory_of(
        workload("Pod", f"{IMAGE}:1"), workload("Job", f"{IMAGE}:1", "busybox", "registry.example.com/x:2")
    )
    found = checked(items, tags=tags)
    assert tags.asked == [f"{IMAGE}:1"]
    assert {check.image: check.state for check in found} == {
        f"{IMAGE}:1": State.PASS,
        "busybox": State.SKIP,
        "registry.example.com/x:2": State.SKIP,
    }


def test_what_cannot_be_decided_is_undecided_and_never_a_pass() -> None:
    away = checked(inventory_of(workload("Pod", REF)), Broken())
    unresolved = checked(inventory_of(workload("Pod", f"{IMAGE}:2")))
    unreadable = checked(inventory_of(workload("Pod", "registry.example.com/UPPER@x")))
    for found in (away, unresolved, unreadable):
        assert [check.state for check in found] == [State.UNDECIDED]
        assert exit_code(found, Inventory()) == 4


def test_the_digest_of_a_configuration_is_skipped_with_the_reason() -> None:
    item = workload("Pod")
    item["status"] = {"containerStatuses": [{"name": "a", "imageID": DIGEST}]}
    (check,) = checked(inventory_of(item))
    assert check.state is State.SKIP
    assert "configuration" in check.detail


def test_a_policy_for_labels_decides_where_the_labels_are_known() -> None:
    strict = document("strict", require={"level": 3})
    strict["spec"]["match"]["namespaces"] = {"matchLabels": {"env": "prod"}}
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"env": env}}}
        for name, env in (("shop", "prod"), ("lab", "dev"))
    ]
    items = [workload("Pod", REF, namespace=name) for name in ("shop", "lab", "unknown")]
    found = checked(inventory_of(*spaces, *items), policies=[document(), strict])
    assert {check.uses[0].namespace: check.state for check in found} == {
        "shop": State.FAIL,
        "lab": State.PASS,
        "unknown": State.FAIL,
    }


def test_a_policy_for_names_of_namespaces_is_compared_with_the_name_alone() -> None:
    strict = document("strict", require={"level": 3})
    strict["spec"]["match"]["namespaces"] = {"names": ["shop-*"], "matchLabels": {"env": "prod"}}
    items = [workload("Pod", REF, namespace=name) for name in ("shop-a", "lab", "")]
    found = checked(inventory_of(*items), policies=[document(), strict])
    assert {check.uses[0].namespace: check.state for check in found} == {
        "shop-a": State.FAIL,
        "lab": State.PASS,
        "": State.FAIL,
    }


def test_a_failure_counts_more_than_what_is_undecided() -> None:
    found = checked(inventory_of(workload("Pod", OTHER_REF, f"{IMAGE}:2")))
    assert exit_code(found, Inventory()) == 1
    assert exit_code([], Inventory(problems=["x"])) == 4
    assert exit_code(checked(inventory_of(workload("Pod", REF))), Inventory()) == 0


def test_json_counts_states() -> None:
    inventory = inventory_of(workload("Pod", REF, OTHER_REF, "busybox"))
    written = to_json(checked(inventory), inventory)
    assert written["counts"] == {"pass": 1, "fail": 1, "undecided": 0, "skip": 1}
    assert (written["uses"], written["exitCode"]) == (3, 1)


def test_manifests_are_read_from_files_folders_and_lists(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "one.yaml").write_text(
        f"{json.dumps(workload('Pod', REF))}\n---\n{json.dumps(workload('Job', REF))}"
    )
    (deep / "list.json").write_text(
        json.dumps({"kind": "PodList", "items": [{**workload("Pod", REF), "kind": "Pod"}]})
    )
    (deep / "broken.yaml").write_text("a: [")
    (deep / "notes.txt").write_text("x")
    inventory = Inventory()
    from_files([str(tmp_path)], inventory)
    assert len(inventory.uses) == 3
    assert len(inventory.problems) == 1
    with pytest.raises(InputError, match="no such file"):
        from_files([str(tmp_path / "missing")], Inventory())


def test_the_command_ends_with_the_code_of_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.json").write_text(json.dumps(document()))
    Path("pod.json").write_text(json.dumps(workload("Pod", "registry.example.com/elsewhere:1")))
    assert public().keyid
    assert chains(["preflight", "policy.json", "pod.json", "--store", "oci-layout:none"]) == 0
    assert "1 image of 1 use: 0 pass, 0 fail, 0 undecided, 1 skip" in capsys.readouterr().out
    assert chains(["preflight", "policy.json"]) == 2
    assert "name manifests, or pass --cluster" in capsys.readouterr().err


def test_progress_is_drawn_on_a_terminal_alone(tmp_path: Path) -> None:
    """Standard error is a terminal, then a pipe; standard output has the result and nothing else."""
    (tmp_path / "policy.json").write_text(json.dumps(document()))
    (tmp_path / "pod.json").write_text(json.dumps(workload("Pod", REF, OTHER_REF, "busybox")))
    command = [Path(sys.executable).with_name("chains"), "preflight", "policy.json", "pod.json"]
    given = {"cwd": tmp_path, "env": os.environ | {"TERM": "xterm", "CHAINS_STORE": "oci-layout:none"}}
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, **given) as process:
        os.close(theirs)
        drawn = b""
        with suppress(OSError):  # the terminal is closed
            while data := os.read(ours, 4096):
                drawn += data
        watched = process.communicate()[0]
    os.close(ours)
    piped = subprocess.run(command, capture_output=True, check=False, **given)
    assert b"3/3 images" in drawn
    assert piped.stderr == b""
    assert piped.stdout == watched
    assert b"2 undecided, 1 skip" in watched
    assert b"\x1b" not in watched
