"""What Tekton makes of a Task, and every way in which a container may be something else."""

from __future__ import annotations

from typing import Any

import pytest

from chains.isolation.expected_pod import Expected, Part, entrypoint_flag, expected_containers, is_requested
from chains.isolation.expected_pod import differences as _differences
from chains.isolation.expected_pod import is_tektons_own as _is_tektons_own
from chains.tekton.container import parse_container
from chains.tekton.snapshot import RunSnapshot, take_snapshot

Json = Any
MODE = "experimental.tekton.dev/execution-mode"
ENTRYPOINT = "/tekton/bin/entrypoint"
DIGEST = "sha256:" + "1f" * 32


def differences(expected: Expected, container: Json, run: RunSnapshot) -> list[str]:
    return _differences(expected, parse_container(container), run)


def is_tektons_own(container: Json, run: RunSnapshot) -> bool:
    return _is_tektons_own(parse_container(container), run)


def run_of(status: Json = None, annotations: Json = None, spec: Json = None) -> RunSnapshot:
    metadata = {"name": "build", "namespace": "ci", "uid": "u", "annotations": annotations or {}}
    ended = {"conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}]}
    return take_snapshot(
        {
            "apiVersion": "tekton.dev/v1",
            "kind": "TaskRun",
            "metadata": metadata,
            "spec": spec or {},
            "status": ended | (status or {}),
        }
    )


def fields_of(step: Json, template: Json = None) -> Json:
    task = {"steps": [{"name": "a", **step}]} | ({"stepTemplate": template} if template else {})
    (expected,) = expected_containers(run_of({"taskSpec": task}))
    assert expected.fields is not None
    return {key: value for key, value in expected.fields.items() if key != "computeResources"}


def test_steps_come_first_and_both_are_called_as_tekton_calls_their_containers() -> None:
    task = {
        "sidecars": [{"name": "db", "image": "d"}, {"image": "e"}],
        "steps": [{"name": "a", "image": "i"}, {"image": "j"}, {"name": "b", "ref": {"name": "x"}}],
    }
    found = expected_containers(run_of({"taskSpec": task, "steps": [{"name": "other"}]}))
    assert [(one.kind, one.name, one.container) for one in found] == [
        (Part.STEP, "a", "step-a"),
        (Part.STEP, "unnamed-1", "step-unnamed-1"),
        (Part.STEP, "b", "step-b"),
        (Part.SIDECAR, "db", "sidecar-db"),
        (Part.SIDECAR, "", "sidecar"),
    ]
    assert found[0].fields is not None
    assert found[0].fields["image"] == "i"
    assert found[2].fields is None, "a step that is defined elsewhere is not recorded"
    assert found[3].fields is not None
    assert found[3].fields["image"] == "d"


def test_a_name_that_is_too_long_is_cut_and_does_not_end_in_a_sign() -> None:
    names = ["x" * 58, "x" * 59, "x" * 57 + "-y", "x" * 56 + ".-y", "aB-"]
    found = expected_containers(run_of({"taskSpec": {"steps": [{"name": name} for name in names]}}))
    assert [one.container for one in found] == [
        "step-" + "x" * 58,
        "step-" + "x" * 58,
        "step-" + "x" * 57,
        "step-" + "x" * 56,
        "step-aB",
    ]
    assert [one.name for one in found] == names


def test_a_task_of_sidecars_alone_asks_for_them_and_not_for_what_its_status_tells() -> None:
    status = {"taskSpec": {"sidecars": [{"name": "db"}]}, "steps": [{"name": "a"}]}
    assert [one.container for one in expected_containers(run_of(status))] == ["sidecar-db"]


def test_without_its_task_a_run_tells_which_containers_it_had() -> None:
    status = {
        "steps": [{"name": "a", "container": "step-a-1"}, {"name": "b"}, {}],
        "sidecars": [{"name": "db", "container": "side"}, {"name": "cache"}],
    }
    assert expected_containers(run_of(status)) == [
        Expected(Part.STEP, "a", "step-a-1", None),
        Expected(Part.STEP, "b", "step-b", None),
        Expected(Part.STEP, "", "step-", None),
        Expected(Part.SIDECAR, "db", "side", None),
        Expected(Part.SIDECAR, "cache", "sidecar-cache", None),
    ]
    assert expected_containers(run_of()) == []


def test_a_step_lies_over_the_template_of_its_task() -> None:
    template = {
        "image": "t",
        "workingDir": "/t",
        "env": [{"name": "A", "value": "t"}, {"name": "B", "value": "t"}],
        "volumeMounts": [{"name": "one", "mountPath": "/m"}, {"name": "two", "mountPath": "/n"}],
        "securityContext": {"runAsUser": 1, "capabilities": {"drop": ["ALL"], "add": ["X"]}, "seccompProfile": {"type": "A"}},
    }  # fmt: skip
    step = {
        "image": "s",
        "env": [{"name": "B", "value": "s"}, {"name": "C", "value": "s"}],
        "volumeMounts": [{"name": "three", "mountPath": "/n"}],
        "securityContext": {"runAsUser": 2, "capabilities": {"add": ["Y"]}},
    }
    assert fields_of(step, template) == {
        "name": "a",
        "image": "s",
        "workingDir": "/t",
        "env": [{"name": "A", "value": "t"}, {"name": "B", "value": "s"}, {"name": "C", "value": "s"}],
        "volumeMounts": [{"name": "one", "mountPath": "/m"}, {"name": "three", "mountPath": "/n"}],
        "securityContext": {"runAsUser": 2, "capabilities": {"drop": ["ALL"], "add": ["Y"]}, "seccompProfile": {"type": "A"}},
    }  # fmt: skip
    none = {"env": [], "volumeMounts": [], "securityContext": {}}
    assert fields_of({}) == {"name": "a", **none}
    assert fields_of({}, {"securityContext": {"privileged": True}}) == {
        "name": "a", **none, "securityContext": {"privileged": True},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("annotations", "asked"),
    [({MODE: "hermetic"}, True), ({MODE: "Hermetic"}, False), ({MODE: ""}, False), ({"mode": "hermetic"}, False), ({}, False)],
)  # fmt: skip
def test_hermetic_execution_is_asked_for_by_one_word(annotations: Json, asked: bool) -> None:
    assert is_requested(run_of(annotations=annotations)) is asked


def step_of(fields: Json, container: Json, **run: Json) -> list[str]:
    """Return how a step's container differs; both run ``go build`` unless told otherwise."""
    fields = {"image": "i", "command": ["go"], "args": ["build"]} | fields
    container = {
        "image": "i",
        "command": [ENTRYPOINT],
        "args": ["-entrypoint", "go", "--", "build"],
    } | container
    return differences(Expected(Part.STEP, "a", "step-a", fields), container, run_of(**run))


def sidecar_of(fields: Json, container: Json, **run: Json) -> list[str]:
    return differences(Expected(Part.SIDECAR, "d", "sidecar-d", fields), container, run_of(**run))


COMMAND, IMAGE, FOLDER, SECURITY = (
    f"the {what} is another one" for what in ("command", "image", "working folder", "security context")
)


@pytest.mark.parametrize(
    ("asked", "given", "same"),
    [
        ("/a", "/a", True),
        ("/a", "/b", False),
        ("", "", True),
        ("", "/a", False),
        ("/a", "", False),
        ("$(x)", "", True),
        ("$(x)", "/any/thing", True),
        ("a$(x)b", "ab", True),
        ("a$(x)b", "a-b", True),
        ("a$(x)b", "a", False),
        ("a$(x)b", "b", False),
        ("a$(x)b", "a-b-", False),
        ("a$(x)b", "-a-b", False),
        ("ab$(x)ba", "aba", False),
        ("$(x)b$(y)", "b", True),
        ("$(x)b$(y)", "abc", True),
        ("$(x)b$(y)", "ac", False),
        ("$(x)b$(y)b", "b", False),
        ("$(x)b$(y)b", "bb", True),
        ("b$(x)b$(y)", "b", False),
        ("b$(x)b$(y)", "bb", True),
        ("$(x)ab$(y)ab$(z)", "ab", False),
        ("$(x)ab$(y)ab$(z)", "aab", False),
        ("$(x)ab$(y)ab$(z)", "abab", True),
        ("$(x)ab$(y)ab$(z)", "-ab-ab-", True),
        ("$(x)a$(y)b$(z)c", "bac", False),
        ("$(x)a$(y)b$(z)c", "-a-b-c", True),
        ("a$(b", "a$(b", True),
        ("a$(b", "a-b", False),
        (")$(x)", ")y", True),
        (")$(x)", "y", False),
        ("$(x)$(y", "a$(y", True),
        ("$(x)$(y", "a", False),
        ("$x", "y", False),
    ],
)
def test_a_place_holder_stands_for_anything_and_all_else_for_itself(
    asked: str, given: str, same: bool
) -> None:
    assert step_of({"workingDir": asked}, {"workingDir": given}) == ([] if same else [FOLDER])
    assert sidecar_of({"args": ["x", asked]}, {"args": ["x", given]}) == ([] if same else [COMMAND])


def test_a_container_as_the_task_asks_differs_in_nothing() -> None:
    assert step_of({}, {}) == []
    assert step_of({"workingDir": "/w"}, {}) == [FOLDER]
    assert step_of({}, {"workingDir": "/w"}) == [FOLDER]
    unrecorded = Expected(Part.STEP, "a", "step-a", None)
    assert differences(unrecorded, {"image": "evil", "command": ["curl"]}, run_of()) == []


def test_all_that_differs_is_told_in_a_fixed_order() -> None:
    wrong = {
        "image": "j",
        "command": ["sh"],
        "workingDir": "/w",
        "env": [{"name": "A", "value": "1"}],
        "envFrom": [{"secretRef": {"name": "s"}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "securityContext": {"privileged": True},
        "startupProbe": {"exec": {}},
        "lifecycle": {"preStop": {}},
    }
    added = ["variable A was added", "envFrom was changed", "a volume was mounted at /data"]
    hooks = ["lifecycle was added", "startupProbe was added"]
    assert step_of({}, wrong) == [*added, IMAGE, COMMAND, FOLDER, SECURITY, *hooks]
    # the image of a sidecar may be the one that stops it
    assert sidecar_of({"image": "i"}, wrong) == [*added, COMMAND, FOLDER, SECURITY, *hooks]
    assert step_of({"lifecycle": {}}, {"lifecycle": {"preStop": {}}}) == ["lifecycle was added"]
    assert step_of({"lifecycle": {"preStop": {}}}, {"lifecycle": {"preStop": {}}}) == []


@pytest.mark.parametrize(
    ("fields", "given", "same"),
    [
        ({"image": "a:1"}, "a:1", True),
        ({"image": "a:1"}, f"a@{DIGEST}", False),
        ({"image": "$(params.image)"}, "anything", True),
        ({"image": "a:$(params.tag)", "command": []}, "a:2", True),
        ({"image": "a:$(params.tag)", "command": []}, "b:2", False),
        ({"command": [], "script": "true", "image": "r.example/app:1"}, "r.example/app:1", True),
        ({"command": [], "script": "true", "image": "r.example/app:1"}, f"r.example/app@{DIGEST}", False),
        ({"command": [], "image": "r.example/app:1"}, f"r.example/app@{DIGEST}", True),
        ({"command": [], "image": "r.example/app"}, f"r.example/app@{DIGEST}", True),
        ({"command": [], "image": "r.example/app:1"}, "r.example/app:1", False),
        ({"command": [], "image": "r.example/app:1"}, f"r.example/bpp@{DIGEST}", False),
        ({"command": [], "image": "r.example/app:1"}, f"evil.example/app@{DIGEST}", False),
        ({"command": [], "image": f"r.example/app@{DIGEST}"}, f"r.example/app@{DIGEST}", True),
        ({"command": [], "image": f"r.example/app@{DIGEST}"}, "r.example/app@sha256:" + "2" * 64, False),
        ({"command": [], "image": f"r.example/app@{DIGEST}"}, f"r.example/bpp@{DIGEST}", False),
        ({"command": [], "image": ""}, f"r.example/app@{DIGEST}", False),
        ({"command": [], "image": "r.example/app@sha512:" + "1f" * 64}, f"r.example/app@{DIGEST}", False),
        ({"command": [], "image": "not an image"}, f"r.example/app@{DIGEST}", False),
        ({"command": [], "image": "not an image"}, "not an image", False),
    ],
)
def test_an_image_is_the_one_that_was_written_or_the_digest_that_tekton_found_for_it(
    fields: Json, given: str, same: bool
) -> None:
    assert (IMAGE in step_of(fields, {"image": given})) is not same


@pytest.mark.parametrize(
    ("fields", "args", "same"),
    [
        ({}, ["-entrypoint", "go", "--", "build"], True),
        ({}, ["-x", "y", "-entrypoint", "go", "--", "build"], True),
        ({}, ["-entrypoint", "go", "-x", "--", "build"], True),
        ({}, ["-entrypoint", "go", "build"], False),
        ({}, ["-entrypoint", "sh", "--", "build"], False),
        ({}, ["-entrypoint", "go", "--"], False),
        ({}, ["-entrypoint", "go", "--", "--", "build"], False),
        ({}, ["--", "-entrypoint", "go", "--", "build"], False),
        ({"args": []}, ["-entrypoint", "go", "--"], True),
        ({"args": None, "command": ["go", "build"]}, ["-entrypoint", "go", "--", "build"], None),
        ({"command": ["go", "tool"]}, ["-entrypoint", "go", "--", "tool", "build"], True),
        ({"command": ["go", "tool"]}, ["-entrypoint", "go", "--", "build", "tool"], False),
        ({"command": ["go", "tool"]}, ["-entrypoint", "go", "--", "build"], False),
        ({"command": []}, ["--", "build"], True),
        ({"command": []}, ["-entrypoint", "go", "--", "build"], False),
        ({"args": ["--", "build"]}, ["-entrypoint", "go", "--", "--", "build"], True),
        ({"script": "x"}, ["-entrypoint", "/tekton/scripts/script-0-x", "--", "build"], True),
        ({"script": "x"}, ["-entrypoint", "/tekton/scripts/script-0-x", "--"], False),
        ({"script": "x"}, ["-entrypoint", "go", "--", "build"], False),
        ({"script": "x"}, ["--", "build"], False),
        ({"script": "x", "args": []}, ["-entrypoint", "/tekton/scripts/script-0-x", "--"], True),
    ],
)
def test_the_entrypoint_starts_what_the_step_says_and_passes_the_rest_on(
    fields: Json, args: list[str], same: bool | None
) -> None:
    if same is None:  # a task may leave its arguments out
        fields, same = {"command": fields["command"], "args": []}, True
    assert (COMMAND in step_of(fields, {"args": args})) is not same


def test_a_step_whose_arguments_and_command_are_not_told_runs_what_its_image_does() -> None:
    bare = Expected(Part.STEP, "a", "step-a", {"image": "r.example/app:1"})
    container = {"image": f"r.example/app@{DIGEST}", "command": [ENTRYPOINT], "args": ["-x", "--"]}
    assert differences(bare, container, run_of()) == []
    assert differences(bare, container | {"args": ["-x", "--", "evil"]}, run_of()) == [COMMAND]
    assert differences(bare, container | {"args": []}, run_of()) == [COMMAND]
    assert differences(bare, container | {"command": ["/tekton/bin/other"]}, run_of()) == [COMMAND]
    script = Expected(Part.STEP, "a", "step-a", {"image": "i", "script": "x"})
    started = ["-entrypoint", "/tekton/scripts/script-0-x", "--"]
    assert differences(script, container | {"image": "i", "args": started}, run_of()) == []


@pytest.mark.parametrize(
    ("flags", "value"),
    [
        (["-entrypoint", "go"], ["go"]),
        (["-x", "-entrypoint", "go", "-y"], ["go"]),
        (["-entrypoint"], []),
        (["-entrypoint=go"], []),
        (["--entrypoint", "go"], []),
        (["-entrypoint", "go", "--entrypoint", "curl"], []),
        (["-entrypoint", "go", "-entrypoint=curl"], []),
        (["-entrypointer", "x", "-entrypoint", "go"], ["go"]),
        (["x-entrypoint", "curl"], []),
        ([], []),
    ],
)
def test_the_value_of_the_flag_is_certain_or_none(flags: list[str], value: list[str]) -> None:
    assert list(entrypoint_flag(flags)) == value


@pytest.mark.parametrize(
    ("fields", "container", "same"),
    [
        ({}, {}, True),
        ({}, {"command": ["x"]}, False),
        ({}, {"args": ["x"]}, False),
        ({"command": ["x"]}, {"command": ["x"]}, True),
        ({"command": ["x"]}, {}, False),
        ({"command": ["x"], "args": ["y"]}, {"command": ["x"], "args": ["y"]}, True),
        ({"command": ["x"], "args": ["y"]}, {"command": ["x"], "args": ["z"]}, False),
        ({"command": ["x"], "args": ["y"]}, {"command": ["y"], "args": ["y"]}, False),
        ({"script": "s"}, {"command": ["/tekton/scripts/sidecar-script-0-x"]}, True),
        ({"script": "s"}, {"command": ["/tekton/scripts/script-0-x"]}, False),
        ({"script": "s"}, {"command": ["/tekton/scripts/sidecar-script-0-x", "more"]}, False),
        ({"script": "s"}, {"command": []}, False),
        ({"script": "s", "args": ["y"]}, {"command": ["/tekton/scripts/sidecar-script-0-x"]}, False),
    ],
)
def test_a_sidecar_runs_its_own_command_or_the_script_that_tekton_placed(
    fields: Json, container: Json, same: bool
) -> None:
    assert sidecar_of(fields, container) == ([] if same else [COMMAND])


def plain(**values: str) -> Json:
    return [{"name": name, "value": value} for name, value in values.items()]


@pytest.mark.parametrize(
    ("asked", "given", "told"),
    [
        (plain(A="1"), plain(A="1"), []),
        (plain(A="1"), plain(A="2"), ["variable A was changed"]),
        (plain(A="1"), [], ["variable A was removed"]),
        ([], plain(A="1"), ["variable A was added"]),
        (plain(A="$(params.x)"), plain(A="any"), []),
        ([{"name": "A"}], plain(A=""), []),
        (plain(A="1", B="2"), plain(B="2", A="1"), []),
        (plain(A="1", B="2"), plain(C="2", A="2"), ["variable C was added", "variable A was changed", "variable B was removed"]),
        (plain(A="1"), plain(TEKTON_HERMETIC="1", A="1"), ["variable TEKTON_HERMETIC was added"]),
        (plain(A="1"), plain(A="1", TEKTON_HERMETIC2="1"), ["variable TEKTON_HERMETIC2 was added"]),
    ],
)  # fmt: skip
def test_each_variable_is_the_one_of_the_task(asked: Json, given: Json, told: list[str]) -> None:
    assert step_of({"env": asked}, {"env": given}) == sorted(told, key=told.index)
    assert sidecar_of({"env": asked}, {"env": given}) == told


def test_what_tekton_adds_to_steps_it_adds_to_no_sidecar() -> None:
    commands, hermetic = plain(TEKTON_PLATFORM_COMMANDS="{}"), plain(TEKTON_HERMETIC="1")
    asked = {"annotations": {MODE: "hermetic"}}
    assert step_of({}, {"env": commands}) == []
    assert sidecar_of({}, {"env": commands}) == ["variable TEKTON_PLATFORM_COMMANDS was added"]
    assert step_of({"env": plain(TEKTON_PLATFORM_COMMANDS="x")}, {"env": commands}) == []
    assert step_of({}, {"env": hermetic}, **asked) == []
    assert step_of({}, {"env": plain(TEKTON_HERMETIC="0")}, **asked) == [
        "variable TEKTON_HERMETIC was changed"
    ]
    assert sidecar_of({}, {"env": hermetic}, **asked) == ["variable TEKTON_HERMETIC was added"]
    # the task may set it as well: either is as it asks
    own = {"env": plain(TEKTON_HERMETIC="0")}
    assert step_of(own, {"env": hermetic}, **asked) == []
    assert step_of(own, own, **asked) == []


def test_variables_of_the_pod_template_are_for_steps_and_may_be_missing() -> None:
    spec = {"podTemplate": {"env": plain(A="t")}}
    assert step_of({}, {"env": plain(A="t")}, spec=spec) == []
    assert step_of({}, {}, spec=spec) == []
    assert step_of({}, {"env": plain(A="x")}, spec=spec) == ["variable A was changed"]
    assert step_of({}, {"env": plain(B="t")}, spec=spec) == ["variable B was added"]
    assert sidecar_of({}, {"env": plain(A="t")}, spec=spec) == ["variable A was added"]
    both = {"env": plain(A="s")}
    assert step_of(both, {"env": plain(A="t")}, spec=spec) == []
    assert step_of(both, {"env": plain(A="s")}, spec=spec) == []
    assert step_of(both, {"env": plain(A="x")}, spec=spec) == ["variable A was changed"]
    assert step_of(both, {}, spec=spec) == ["variable A was removed"]


def refers(kind: str, **to: Json) -> Json:
    return {"env": [{"name": "A", "valueFrom": {kind: to}}]}


@pytest.mark.parametrize(
    ("kind", "field"),
    [("secretKeyRef", "name"), ("secretKeyRef", "key"), ("configMapKeyRef", "name"), ("fieldRef", "fieldPath"), ("resourceFieldRef", "resource")],
)  # fmt: skip
def test_a_reference_is_the_same_where_it_names_the_same(kind: str, field: str) -> None:
    asked = refers(kind, **{field: "x"})
    assert step_of(asked, refers(kind, **{field: "x"}, optional=False, apiVersion="v1")) == []
    assert step_of(asked, refers(kind, **{field: "y"})) == ["variable A was changed"]
    assert step_of(asked, refers(kind)) == ["variable A was changed"]
    assert step_of(asked, {"env": plain(A="")}) == ["variable A was changed"]
    valued = {"env": [{"name": "A", "value": "v", **asked["env"][0]}]}
    assert step_of(asked, valued) == ["variable A was changed"]
    assert step_of({"env": plain(A="")}, asked) == ["variable A was changed"]


@pytest.mark.parametrize(
    ("asked", "given", "same"),
    [
        ([], [], True),
        ([{"prefix": "P", "configMapRef": {"name": "c"}}], [{"prefix": "P", "configMapRef": {"name": "c", "optional": False}}], True),
        ([{"prefix": "P", "configMapRef": {"name": "c"}}], [{"configMapRef": {"name": "c"}}], False),
        ([{"configMapRef": {"name": "c"}}], [{"configMapRef": {"name": "d"}}], False),
        ([{"configMapRef": {"name": "c"}}], [{"secretRef": {"name": "c"}}], False),
        ([{"secretRef": {"name": "c"}}], [{"secretRef": {"name": "c"}}], True),
        ([{"secretRef": {"name": "c"}}], [{"secretRef": {"name": "d"}}], False),
    ],
)  # fmt: skip
def test_sources_of_variables_are_the_same_where_they_name_the_same(
    asked: Json, given: Json, same: bool
) -> None:
    told = [] if same else ["envFrom was changed"]
    assert step_of({"envFrom": asked}, {"envFrom": given}) == told


TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.mark.parametrize(
    ("name", "path", "added"),
    [
        ("tekton-internal-home", "/tekton/home", False),
        ("tekton-creds-init-home-0", "/tekton/creds", False),
        ("ws-abc", "/workspace/source", False),
        ("spiffe-workload-api", "/spiffe-workload-api", False),
        ("kube-api-access-x", TOKEN, False),
        ("kube-api-access-x", TOKEN + "/x", True),
        ("my-tekton-internal-home", "/tekton/home", True),
        ("asked", "/data", False),
        ("asked", "/data/x", True),
        ("other", "/data", True),
        ("any", "/cache/any", False),
        ("any", "/cachex", True),
    ],
)
def test_a_volume_is_tektons_or_asked_for_or_was_added(name: str, path: str, added: bool) -> None:
    asked = [
        {"name": "asked", "mountPath": "/data"},
        {"name": "$(params.v)", "mountPath": "/cache/$(params.p)"},
    ]
    given = {"volumeMounts": [{"name": name, "mountPath": path}]}
    told = [f"a volume was mounted at {path}"] if added else []
    assert step_of({"volumeMounts": asked}, given) == told
    assert sidecar_of({"volumeMounts": asked}, given) == told


def test_every_volume_that_was_added_is_told() -> None:
    mounts = [
        {"name": "a", "mountPath": "/a"},
        {"name": "ws-1", "mountPath": "/w"},
        {"name": "b", "mountPath": "/b"},
    ]
    assert step_of({}, {"volumeMounts": mounts}) == [
        "a volume was mounted at /a",
        "a volume was mounted at /b",
    ]


@pytest.mark.parametrize(
    ("asked", "given", "same"),
    [
        (None, None, True),
        (None, {}, True),
        ({}, None, True),
        ({"runAsUser": 1}, {"runAsUser": 1}, True),
        ({"runAsUser": 1}, {"runAsUser": 0}, False),
        ({"runAsUser": 1}, None, False),
        (None, {"privileged": True}, False),
    ],
)
def test_the_security_context_is_the_one_of_the_task(asked: Json, given: Json, same: bool) -> None:
    fields, container = ({"securityContext": one} if one is not None else {} for one in (asked, given))
    assert step_of(fields, container) == ([] if same else [SECURITY])


PREPARE = {
    "name": "prepare",
    "command": ["/ko-app/entrypoint", "init", "/ko-app/entrypoint", ENTRYPOINT, "step-a"],
}


@pytest.mark.parametrize(
    ("change", "own"),
    [
        ({}, True),
        ({"volumeMounts": [{"name": "tekton-internal-bin", "mountPath": "/tekton/bin"}]}, True),
        ({"volumeMounts": [{"name": "evil", "mountPath": "/ko-app"}]}, False),
        ({"volumeMounts": [{"name": "tekton-internal-bin", "mountPath": "/tekton/bin"}, {"name": "evil", "mountPath": "/ko-app"}]}, False),
        ({"env": []}, True),
        ({"env": [{"name": "A"}]}, False),
        ({"lifecycle": {"postStart": {}}}, False),
        ({"livenessProbe": {"exec": {}}}, False),
        ({"readinessProbe": {"exec": {}}}, False),
        ({"startupProbe": {"exec": {}}}, False),
        ({"envFrom": [{"secretRef": {"name": "x"}}]}, False),
        ({"command": PREPARE["command"][:4]}, True),
        ({"command": []}, False),
        ({"args": ["x"]}, False),
        ({"name": "working-dir-initializer"}, False),
        ({"name": "working-dir-initializer", "command": ["/ko-app/workingdirinit"]}, True),
        ({"name": "prepare", "command": ["/ko-app/workingdirinit"]}, False),
        ({"name": "place-scripts"}, False),
        ({"name": "other"}, False),
    ],
)  # fmt: skip
def test_a_helper_is_tektons_own_by_all_that_it_is(change: Json, own: bool) -> None:
    assert is_tektons_own(PREPARE | change, run_of()) is own


@pytest.mark.parametrize(
    ("method", "env", "command", "own"),
    [
        ("sidecar-logs", "SIDECAR_LOG_POLLING_INTERVAL", ["/ko-app/sidecarlogresults", "-x"], True),
        ("sidecar-logs", "OTHER", ["/ko-app/sidecarlogresults"], False),
        ("sidecar-logs", "SIDECAR_LOG_POLLING_INTERVAL", ["/other", "/ko-app/sidecarlogresults"], False),
        ("termination-message", "SIDECAR_LOG_POLLING_INTERVAL", ["/ko-app/sidecarlogresults"], False),
        (None, "SIDECAR_LOG_POLLING_INTERVAL", ["/ko-app/sidecarlogresults"], False),
    ],
)
def test_the_reader_of_results_is_tektons_own_where_tekton_was_told_to_add_it(
    method: str | None, env: str, command: list[str], own: bool
) -> None:
    flags = {"featureFlags": {"resultExtractionMethod": method} if method else {}}
    container = {"name": "sidecar-tekton-log-results", "command": command, "env": [{"name": env}]}
    assert is_tektons_own(container, run_of({"provenance": flags})) is own
    assert is_tektons_own(container, run_of()) is False
