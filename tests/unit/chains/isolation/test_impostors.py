"""Containers, commands and references that look like what Tekton or the Task wrote, and are something else."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from chains.isolation.finding import Level
from chains.isolation.judgement import ContainerIsolation, Isolation, judge_isolation
from chains.tekton.snapshot import take_snapshot
from chains.tekton.surroundings import parse_surroundings
from tests.faults.hermetic import objects

Json = Any
LABEL = "taskrun/ci/build"


def good() -> tuple[Json, Json]:
    found = objects("nothing-wrong")
    return found["TaskRun"], found["Pod"]


def judged(run: Json, pod: Json) -> Isolation:
    return judge_isolation(take_snapshot(run), {LABEL: parse_surroundings(pod=pod)})


RESULTS_SIDECAR: Json = {
    "name": "sidecar-tekton-log-results",
    "image": "registry.example.com/tekton/sidecarlogresults@sha256:" + "5" * 64,
    "command": ["/ko-app/sidecarlogresults", "-results-dir", "/tekton/results", "-result-names", "digest"],
    "env": [{"name": "SIDECAR_LOG_POLLING_INTERVAL", "value": "100ms"}],
    "volumeMounts": [
        {"name": "tekton-internal-bin", "mountPath": "/tekton/bin", "readOnly": True},
        {"name": "tekton-internal-results", "mountPath": "/tekton/results", "readOnly": True},
        {"name": "tekton-internal-run-0", "mountPath": "/tekton/run/0", "readOnly": True},
    ],
}


def with_sidecar(container: Json, method: str = "sidecar-logs") -> tuple[Json, Json]:
    run, pod = good()
    run["status"]["provenance"]["featureFlags"]["resultExtractionMethod"] = method
    pod["spec"]["containers"].append(container)
    ended = copy.deepcopy(pod["status"]["containerStatuses"][0])
    pod["status"]["containerStatuses"].append(
        ended | {"name": container["name"], "imageID": container["image"], "containerID": "containerd://5"}
    )
    return run, pod


def test_the_sidecar_that_tekton_reads_results_with_is_its_own_and_does_not_count() -> None:
    found = judged(*with_sidecar(RESULTS_SIDECAR))
    sidecar = found.containers[-1]
    assert (sidecar.kind, sidecar.name, sidecar.is_counted) == ("sidecar", RESULTS_SIDECAR["name"], False)
    assert sidecar.enforced.reason.startswith(
        "a helper of tekton, with the pod's network; it runs no command"
    )
    assert (found.level, found.reason) == (Level.ENFORCED, "no network for 1 of 1 containers")


@pytest.mark.parametrize(
    "change",
    [
        {"command": ["/ko-app/sidecarlogresults2"]},
        {"command": ["sh", "/ko-app/sidecarlogresults"]},
        {"command": []},
        {"command": ["curl"], "args": ["/ko-app/sidecarlogresults"]},
        {"env": []},
        {"env": [{"name": "SIDECAR_LOG_POLLING_INTERVAL"}, {"name": "LD_PRELOAD", "value": "/tekton/results/x.so"}]},
        {"env": [{"name": "LD_PRELOAD", "value": "/tekton/results/x.so"}]},
        {"envFrom": [{"configMapRef": {"name": "x"}}]},
        {"lifecycle": {"postStart": {"exec": {"command": ["curl"]}}}},
        {"livenessProbe": {"exec": {"command": ["curl"]}}},
        {"readinessProbe": {"exec": {"command": ["curl"]}}},
        {"startupProbe": {"exec": {"command": ["curl"]}}},
        {"volumeMounts": [{"name": "data", "mountPath": "/ko-app"}]},
        {"volumeMounts": [*RESULTS_SIDECAR["volumeMounts"], {"name": "data", "mountPath": "/tekton/bin/x"}]},
        {"name": "sidecar-tekton-log-results-2"},
        {"name": "tekton-log-results"},
    ],
)  # fmt: skip
def test_a_forged_sidecar_for_results_counts_as_injected(change: Json) -> None:
    forged(*with_sidecar(RESULTS_SIDECAR | change))


@pytest.mark.parametrize("method", ["termination-message", "", "Sidecar-Logs", "sidecar-logs2"])
def test_a_sidecar_for_results_that_tekton_was_not_told_to_add_counts_as_injected(method: str) -> None:
    forged(*with_sidecar(RESULTS_SIDECAR, method))
    run, pod = with_sidecar(RESULTS_SIDECAR)
    del run["status"]["provenance"]
    forged(run, pod)


def forged(run: Json, pod: Json) -> None:
    found = judged(run, pod)
    last = found.containers[-1]
    assert (last.kind, last.is_counted, last.enforced.value) == ("injected", True, "false")
    assert last.enforced.reason.startswith(
        "the task did not ask for this container, and the entrypoint does not run in it; "
    )
    assert (last.observed.value, last.observed.reason) == ("false", "the task did not ask for this container")
    assert (found.level, found.reason) == ("partly", f"injected/{last.name}: {last.enforced.reason}")


PLACE_SCRIPTS: Json = {
    "name": "place-scripts",
    "image": "registry.example.com/tekton/shell@sha256:" + "6" * 64,
    "command": ["sh"],
    "args": [
        "-c",
        'scriptfile="/tekton/scripts/script-0-x1y2z"\ntouch ${scriptfile} && chmod +x ${scriptfile}\n'
        "cat > ${scriptfile} << '_EOF_'\nIyEvYmluL3NoCg==\n_EOF_\n"
        '/tekton/bin/entrypoint decode-script "${scriptfile}"\n',
    ],
    "volumeMounts": [{"name": "tekton-internal-scripts", "mountPath": "/tekton/scripts"}],
}
WORKING_DIRS: Json = {"name": "working-dir-initializer", "image": "x", "command": ["/ko-app/workingdirinit"]}


@pytest.mark.parametrize(
    ("container", "is_own"),
    [
        (PLACE_SCRIPTS, True),
        (PLACE_SCRIPTS | {"args": ["-c", PLACE_SCRIPTS["args"][1] * 2]}, True),
        (PLACE_SCRIPTS | {"args": ["-c", PLACE_SCRIPTS["args"][1] + "curl evil\n"]}, False),
        (PLACE_SCRIPTS | {"args": ["-c", "curl evil\n" + PLACE_SCRIPTS["args"][1]]}, False),
        (PLACE_SCRIPTS | {"args": ["-c", PLACE_SCRIPTS["args"][1].replace("Iy", "$(curl evil)")]}, False),
        (PLACE_SCRIPTS | {"args": ["-c", ""]}, False),
        (PLACE_SCRIPTS | {"args": ["-x", PLACE_SCRIPTS["args"][1]]}, False),
        (PLACE_SCRIPTS | {"args": [*PLACE_SCRIPTS["args"], "more"]}, False),
        (PLACE_SCRIPTS | {"args": []}, False),
        (PLACE_SCRIPTS | {"command": ["bash"]}, False),
        (PLACE_SCRIPTS | {"command": ["sh", "-c"]}, False),
        (PLACE_SCRIPTS | {"env": [{"name": "ENV", "value": "/x"}]}, False),
        (PLACE_SCRIPTS | {"name": "place-scripts-2"}, False),
        (WORKING_DIRS, True),
        (WORKING_DIRS | {"args": ["/workspace/a"]}, True),
        (WORKING_DIRS | {"command": ["/ko-app/workingdirinit", "x"]}, False),
        (WORKING_DIRS | {"command": ["sh"]}, False),
        (WORKING_DIRS | {"env": [{"name": "LD_PRELOAD", "value": "/x"}]}, False),
    ],
)
def test_the_other_helpers_are_known_by_what_they_run_and_not_by_their_names(
    container: Json, is_own: bool
) -> None:
    run, pod = good()
    pod["spec"]["initContainers"].append(container)
    found = judged(run, pod)
    last = found.containers[-1]
    assert (last.kind, last.is_counted) == (("init", False) if is_own else ("injected", True))
    assert found.level == (Level.ENFORCED if is_own else "partly")


PREPARE = ["/ko-app/entrypoint", "init", "/ko-app/entrypoint", "/tekton/bin/entrypoint", "step-compile"]


@pytest.mark.parametrize(
    ("command", "args"),
    [
        (PREPARE[:3], []),
        (["/ko-app/entrypoint2", *PREPARE[1:]], []),
        ([PREPARE[0], "cp", *PREPARE[2:]], []),
        ([*PREPARE[:2], "/evil", *PREPARE[3:]], []),
        ([*PREPARE[:3], "/tekton/bin/other", PREPARE[4]], []),
        (PREPARE, ["more"]),
        (["sh", *PREPARE], []),
    ],
)
def test_the_entrypoint_is_put_there_by_tektons_own_command_alone(
    command: list[str], args: list[str]
) -> None:
    run, pod = good()
    pod["spec"]["initContainers"][0] |= {"command": command, "args": args}
    found = judged(run, pod)
    step = found.containers[0]
    assert (step.enforced.value, step.enforced.reason) == (
        "unknown",
        "no init container prepare of tekton puts the entrypoint there",
    )
    assert found.containers[-1].kind == "injected"
    assert found.level == "unknown"


@pytest.mark.parametrize(
    "command",
    [
        ["/tekton/bin/entrypoint2"],
        ["/tekton/bin/../bin/entrypoint"],
        ["tekton/bin/entrypoint"],
        ["/bin/sh"],
        ["/tekton/bin/entrypoint", "-entrypoint", "curl"],
        ["/bin/sh", "/tekton/bin/entrypoint"],
        ["curl", "--", "/tekton/bin/entrypoint"],
        [],
    ],
)
def test_a_step_whose_container_runs_another_command_is_not_isolated(command: list[str]) -> None:
    run, pod = good()
    pod["spec"]["containers"][0]["command"] = command
    found = judged(run, pod)
    step = found.containers[0]
    assert step.entrypoint is not None
    assert (step.entrypoint.value, step.entrypoint.reason) == (
        "false",
        "the container does not run /tekton/bin/entrypoint",
    )
    assert step.enforced.value == "false"
    assert "the command is another one" in step.observed.reason
    assert found.level == "requested-only"


def observed(run: Json, pod: Json, container: int = 0) -> tuple[str, str]:
    found: ContainerIsolation = judged(run, pod).containers[container]
    return found.observed.value, found.observed.reason


@pytest.mark.parametrize(
    "tail",
    [
        ["-entrypoint", "curl", "--", "build", "./cmd/app"],
        ["-entrypoint", "go ", "--", "build", "./cmd/app"],
        ["-entrypoint", "/tmp/go", "--", "build", "./cmd/app"],
        ["-entrypoint", "go", "--", "install", "./cmd/app"],
        ["-entrypoint", "go", "--", "build"],
        ["-entrypoint", "go", "--", "build", "./cmd/app", "-exec", "curl"],
        ["-entrypoint", "go", "--", "build", "./cmd/app", "--"],
        ["-entrypoint", "go", "build", "./cmd/app"],
        ["--", "go", "build", "./cmd/app"],
        ["-entrypoint", "--", "build", "./cmd/app"],
        [],
    ],
)
def test_an_entrypoint_that_starts_another_command_is_told(tail: list[str]) -> None:
    run, pod = good()
    args = pod["spec"]["containers"][0]["args"]
    assert observed(run, pod) == ("true", "ran once, as the task asks")
    pod["spec"]["containers"][0]["args"] = args[: args.index("-entrypoint")] + tail
    assert observed(run, pod) == ("false", "not as the task asks: the command is another one")


@pytest.mark.parametrize(
    ("started", "rest", "same"),
    [
        ("/tekton/scripts/script-0-x1y2z", ["a"], True),
        ("/tekton/scripts/script-0-x1y2z", [], False),
        ("/tekton/scripts/script-0-x1y2z", ["a", "b"], False),
        ("/tekton/scripts/other", ["a"], False),
        ("/tmp/tekton/scripts/script-0", ["a"], False),
        ("/workspace/script-0", ["a"], False),
    ],
)
def test_a_script_runs_from_where_tekton_puts_scripts(started: str, rest: list[str], same: bool) -> None:
    run, pod = good()
    step = run["status"]["taskSpec"]["steps"][0]
    del step["command"]
    step |= {"script": "#!/bin/sh\ntrue\n", "args": ["a"]}
    args = pod["spec"]["containers"][0]["args"]
    pod["spec"]["containers"][0]["args"] = [
        *args[: args.index("-entrypoint")], "-entrypoint", started, "--", *rest,
    ]  # fmt: skip
    assert (observed(run, pod)[0] == "true") is same, observed(run, pod)


@pytest.mark.parametrize(
    ("kind", "asked", "given"),
    [
        ("secretKeyRef", {"name": "registry", "key": "token"}, {"name": "registry", "key": "admin-token"}),
        ("secretKeyRef", {"name": "registry", "key": "token"}, {"name": "others", "key": "token"}),
        ("secretKeyRef", {"name": "registry", "key": "token"}, {"name": "registry"}),
        ("configMapKeyRef", {"name": "settings", "key": "mirror"}, {"name": "settings", "key": "upstream"}),
        ("configMapKeyRef", {"name": "settings", "key": "mirror"}, {"name": "other", "key": "mirror"}),
        ("fieldRef", {"fieldPath": "metadata.name"}, {"fieldPath": "metadata.annotations['x']"}),
        ("resourceFieldRef", {"resource": "limits.cpu"}, {"resource": "limits.memory"}),
    ],
)
def test_a_variable_that_refers_to_something_else_was_changed(kind: str, asked: Json, given: Json) -> None:
    run, pod = good()
    task = run["status"]["taskSpec"]["steps"][0]
    environment = pod["spec"]["containers"][0]["env"]
    task["env"] = [{"name": "TOKEN", "valueFrom": {kind: asked}}]
    environment.append(
        {"name": "TOKEN", "valueFrom": {kind: asked | {"optional": False, "apiVersion": "v1"}}}
    )
    assert observed(run, pod) == ("true", "ran once, as the task asks")
    changed = ("false", "not as the task asks: variable TOKEN was changed")
    environment[-1]["valueFrom"] = {kind: given}
    assert observed(run, pod) == changed
    environment[-1] = {"name": "TOKEN", "value": "plain"}
    assert observed(run, pod) == changed
    other = "configMapKeyRef" if kind == "secretKeyRef" else "secretKeyRef"
    environment[-1] = {"name": "TOKEN", "valueFrom": {other: asked}}
    assert observed(run, pod) == changed
    environment.pop()
    assert observed(run, pod) == ("false", "not as the task asks: variable TOKEN was removed")


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ([{"secretRef": {"name": "a"}}], [{"secretRef": {"name": "b"}}]),
        ([{"secretRef": {"name": "a"}}], [{"configMapRef": {"name": "a"}}]),
        ([{"secretRef": {"name": "a"}}], [{"prefix": "X_", "secretRef": {"name": "a"}}]),
        ([{"secretRef": {"name": "a"}}], []),
        ([], [{"secretRef": {"name": "a"}}]),
        ([{"secretRef": {"name": "a"}}, {"configMapRef": {"name": "b"}}], [{"configMapRef": {"name": "b"}}, {"secretRef": {"name": "a"}}]),
    ],
)  # fmt: skip
def test_sources_of_variables_are_compared_in_their_order(asked: Json, given: Json) -> None:
    run, pod = good()
    run["status"]["taskSpec"]["steps"][0]["envFrom"] = asked
    container = pod["spec"]["containers"][0]
    container["envFrom"] = asked
    assert observed(run, pod) == ("true", "ran once, as the task asks")
    container["envFrom"] = given
    assert observed(run, pod) == ("false", "not as the task asks: envFrom was changed")
