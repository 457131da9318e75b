"""Generated runs: odd ones on purpose, in the shape of ``kubectl get -o json``."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.owners import owned

Json = Any

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
NAMES = st.sampled_from(["build", "test", "clone", "unnamed-0", "deploy", "ünïcode", "a<b>&c", ""])
HEX = st.sampled_from([c * 64 for c in "0123456789abcdef"])
SHORT_HEX = st.sampled_from(["a" * 40, "b" * 40, "0123456789" * 4])
DIGESTS = st.one_of(
    HEX.map("sha256:".__add__),
    SHORT_HEX.map("sha1:".__add__),
    HEX.map(lambda value: "sha512:" + value * 2),
    st.sampled_from(
        ["", "sha256:xyz", "sha256:" + "A" * 64, "md5:abc", "sha256", "sha1:" + "g" * 40, "a:b:c"]
    ),
    TEXT,
)
IMAGES = st.sampled_from(
    [
        "registry.example.com/team/app", "registry.example.com/team/app:v1", "alpine", "team/app", "localhost/x",
        "localhost:5000/team/app", "docker.io/library/alpine", "oci://registry.example.com/app", "UPPER/case",
        "registry.example.com:5000/team/app:v1", "x", "", "pkg:maven/org.example/thing@1.0", "a b", "ghcr.io/ü",
    ]
)  # fmt: skip
TIMES = st.sampled_from(
    [
        "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5Z", "2026-01-02T05:04:05+02:00", "1999-12-31T23:59:59Z",
        "2026-01-02T03:04:05.123456789Z", "0001-01-01T00:00:00Z",
    ]
)  # fmt: skip
IMAGE_IDS = st.one_of(
    st.tuples(
        st.sampled_from(["", "docker-pullable://"]),
        st.sampled_from(["registry.example.com/step", "docker.io/library/alpine", "quay.io/x/y:tag"]),
        HEX,
    ).map(lambda parts: f"{parts[0]}{parts[1]}@sha256:{parts[2]}"),
    st.sampled_from(["", "sha256:" + "a" * 64, "a@b@c", "x@sha256", "x@sha256:a:b", "just-a-name"]),
)
GOOD_IMAGE_IDS = st.tuples(st.sampled_from(["registry.example.com/step", "quay.io/x/y"]), HEX).map(
    lambda parts: f"{parts[0]}@sha256:{parts[1]}"
)
VALUES = st.one_of(
    TEXT,
    st.lists(TEXT, max_size=3),
    st.dictionaries(TEXT, TEXT, max_size=3),
    st.sampled_from(
        [5, True, 1.5, [1, 2], {"a": 1}, {"a": {"b": "c"}}, ["a", None], "$(tasks.clone.results.sha)"]
    ),
)
MARKERS = st.sampled_from(["", "app-", "my_", "ü"])


@st.composite
def _pair(draw: st.DrawFn, uri: str, digest: str, uris: st.SearchStrategy[str]) -> list[Json]:
    marker = draw(MARKERS)
    pair = [
        {"name": marker + uri, "type": "string", "value": draw(st.one_of(uris, VALUES))},
        {"name": marker + digest, "type": "string", "value": draw(st.one_of(DIGESTS, DIGESTS, VALUES))},
    ]
    return draw(st.sampled_from([pair, pair[::-1], pair[:1], pair[1:], pair]))


_OBJECT = st.fixed_dictionaries(
    {},
    optional={
        "uri": st.one_of(IMAGES, TEXT),
        "digest": DIGESTS,
        "isBuildArtifact": st.sampled_from(["true", "false", "True", ""]),
    },
)


@st.composite
def _objects(draw: st.DrawFn) -> list[Json]:
    suffix = draw(st.sampled_from(["ARTIFACT_OUTPUTS", "ARTIFACT_INPUTS"]))
    return [{"name": draw(MARKERS) + suffix, "type": "object", "value": draw(st.one_of(_OBJECT, VALUES))}]


@st.composite
def _image_list(draw: st.DrawFn) -> list[Json]:
    items = draw(st.lists(st.tuples(IMAGES, DIGESTS).map("@".join), max_size=3))
    value = draw(st.sampled_from([",", "\n", " ,\n", ", "])).join(items)
    return [{"name": "IMAGES", "type": "string", "value": draw(st.sampled_from([value, [value], value]))}]


_GIT = st.tuples(
    st.sampled_from(["CHAINS-GIT_URL", "CHAINS-GIT_COMMIT"]), st.one_of(TEXT, SHORT_HEX, VALUES)
).map(lambda pair: [{"name": pair[0], "type": "string", "value": pair[1]}])
_PLAIN = st.tuples(TEXT, VALUES).map(lambda pair: [{"name": pair[0], "type": "string", "value": pair[1]}])
RESULTS = st.lists(
    st.one_of(
        _pair("IMAGE_URL", "IMAGE_DIGEST", IMAGES),
        _pair("ARTIFACT_URI", "ARTIFACT_DIGEST", st.one_of(IMAGES, TEXT)),
        _objects(), _image_list(), _GIT, _PLAIN,
    ),
    max_size=4,
).map(lambda groups: [result for group in groups for result in group])  # fmt: skip
PARAMS = st.lists(
    st.tuples(st.sampled_from(["CHAINS-GIT_URL", "CHAINS-GIT_COMMIT", "revision", "ü"]), VALUES).map(
        lambda pair: {"name": pair[0], "value": pair[1]}
    ),
    max_size=4,
)
PARAM_SPECS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["CHAINS-GIT_URL", "CHAINS-GIT_COMMIT", "revision", "x"])},
        optional={
            "type": st.sampled_from(["string", "array", "object"]),
            "default": VALUES,
            "description": TEXT,
            "enum": st.lists(TEXT, max_size=2),
            "properties": st.dictionaries(TEXT, st.just({"type": "string"}), max_size=2),
        },
    ),
    max_size=4,
)
REF_SOURCES = st.fixed_dictionaries(
    {},
    optional={
        "uri": st.sampled_from(
            ["git+https://git.example.com/catalog.git", "", "oci://registry.example.com/task"]
        ),
        "digest": st.dictionaries(st.sampled_from(["sha1", "sha256"]), st.one_of(SHORT_HEX, HEX), max_size=2),
        "entryPoint": TEXT,
    },
)
PROVENANCES = st.fixed_dictionaries(
    {},
    optional={
        "refSource": REF_SOURCES,
        "featureFlags": st.fixed_dictionaries(
            {},
            optional={
                "enableAPIFields": st.sampled_from(["alpha", "stable", ""]),
                "awaitSidecarReadiness": st.booleans(),
                "maxResultSize": st.integers(0, 5000),
            },
        ),
    },
)
STEP_PROVENANCES = st.sampled_from(
    [
        {},
        {"featureFlags": {"enableStepActions": True}},
        {"refSource": {"uri": "git+https://git.example.com/actions.git", "digest": {"sha1": "c" * 40}}},
        {"refSource": {"uri": "git+https://git.example.com/actions.git", "entryPoint": "a.yaml"}},
    ]
)
ENVIRONMENT = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["A", "TEKTON_HERMETIC"])},
        optional={
            "value": st.one_of(TEXT, st.just("$(tasks.build.results.image.url)")),
            "valueFrom": st.sampled_from(
                [
                    {"secretKeyRef": {"name": "$(tasks.test.results.secret)", "key": "k"}},
                    {
                        "configMapKeyRef": {
                            "name": "c",
                            "key": "$(tasks.clone.results.key[0])",
                            "optional": True,
                        }
                    },
                    {"resourceFieldRef": {"resource": "limits.cpu"}},
                    {"fieldRef": {"fieldPath": "metadata.name"}},
                ]
            ),
        },
    ),
    max_size=2,
)
QUANTITIES = st.sampled_from(
    [
        "1000m",
        "1",
        "0.5",
        "1500m",
        "1Gi",
        "1024Mi",
        "0.5Gi",
        "1e3",
        "100k",
        "0",
        "1.5Mi",
        "12E",
        "1n",
        "5e-3",
        2,
    ]
)
STEPS = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES,
        "image": st.one_of(IMAGES, st.just("$(tasks.clone.results.image)")),
        "script": st.one_of(TEXT, st.just("#!/bin/sh\necho '<&>' $(tasks.test.results.out)\n")),
        "command": st.lists(TEXT, max_size=2),
        "args": st.one_of(st.none(), st.lists(TEXT, max_size=3)),
        "env": ENVIRONMENT,
        "timeout": st.sampled_from(["1h", "90m", "1m30s", "0s", "1.5h", "100ms"]),
        "computeResources": st.fixed_dictionaries(
            {},
            optional={"limits": st.dictionaries(st.sampled_from(["cpu", "memory"]), QUANTITIES, max_size=2)},
        ),
        "ref": st.fixed_dictionaries({}, optional={"name": TEXT, "resolver": st.sampled_from(["git", ""])}),
        "params": PARAMS,
        "onError": st.sampled_from(["continue", "stopAndFail"]),
        "securityContext": st.fixed_dictionaries(
            {}, optional={"runAsUser": st.integers(0, 2**31), "privileged": st.booleans()}
        ),
        "volumeMounts": st.just([{"name": "v", "mountPath": "/v"}]),
        "madeUpField": st.just({"a": 1}),
    },
)
TASK_SPECS = st.fixed_dictionaries(
    {},
    optional={
        "steps": st.lists(STEPS, max_size=3),
        "params": PARAM_SPECS,
        "description": TEXT,
        "sidecars": st.lists(
            st.fixed_dictionaries(
                {"name": NAMES},
                optional={
                    "image": IMAGES,
                    "script": TEXT,
                    "readinessProbe": st.just({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 5}),
                },
            ),
            max_size=1,
        ),
        "results": st.lists(
            st.fixed_dictionaries({"name": TEXT}, optional={"value": VALUES, "type": st.just("string")}),
            max_size=2,
        ),
        "volumes": st.lists(
            st.sampled_from(
                [
                    {"name": "e", "emptyDir": {}},
                    {"name": "e", "emptyDir": {"sizeLimit": "1024Mi"}},
                    {"name": "s", "secret": {"secretName": "s", "defaultMode": 420}},
                    {
                        "name": "d",
                        "downwardAPI": {"items": [{"path": "p", "resourceFieldRef": {"resource": "r"}}]},
                    },
                ]
            ),
            max_size=2,
        ),
        "stepTemplate": st.fixed_dictionaries({}, optional={"image": IMAGES, "env": ENVIRONMENT}),
        "workspaces": st.just([{"name": "source", "optional": True}]),
    },
)
LABELS = st.dictionaries(
    st.sampled_from(["app", "chains.tekton.dev/reproducible", "tekton.dev/task"]),
    st.sampled_from(["true", "x", ""]),
    min_size=1,
    max_size=3,
)
ANNOTATIONS = st.dictionaries(
    st.sampled_from(
        ["note", "kubectl.kubernetes.io/last-applied-configuration", "pipeline.tekton.dev/release"]
    ),
    TEXT,
    min_size=1,
    max_size=3,
)
CONDITIONS = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("Succeeded"), "status": st.sampled_from(["True", "False", "Unknown"])},
        optional={"reason": TEXT, "message": TEXT, "lastTransitionTime": TIMES},
    ),
    max_size=2,
)


def _metadata(name: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {"name": name, "namespace": st.just("ns")},
        optional={
            "uid": st.uuids().map(str),
            "labels": LABELS,
            "annotations": ANNOTATIONS,
            "creationTimestamp": TIMES,
            "ownerReferences": st.just(
                [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u", "controller": True}]
            ),
        },
    )


def _step_states(image_ids: st.SearchStrategy[str]) -> st.SearchStrategy[list[Json]]:
    return st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "name": NAMES,
                "container": TEXT,
                "imageID": image_ids,
                "results": RESULTS,
                "provenance": STEP_PROVENANCES,
                "terminated": st.just(
                    {
                        "exitCode": 0,
                        "startedAt": "2026-01-02T03:04:05Z",
                        "reason": "Completed",
                        "finishedAt": None,
                    }
                ),
                "terminationReason": TEXT,
            },
        ),
        max_size=3,
    )


def task_run_status(image_ids: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {},
        optional={
            "conditions": CONDITIONS,
            "startTime": TIMES,
            "completionTime": TIMES,
            "podName": TEXT,
            "steps": _step_states(image_ids),
            "sidecars": st.lists(
                st.fixed_dictionaries({"name": NAMES}, optional={"imageID": image_ids, "container": TEXT}),
                max_size=1,
            ),
            "results": RESULTS,
            "taskSpec": TASK_SPECS,
            "provenance": PROVENANCES,
            "retriesStatus": st.just([{"podName": "earlier", "conditions": []}]),
            "notInTheSchema": st.just(1),
        },
    )


REFERENCES = st.fixed_dictionaries(
    {},
    optional={
        "name": TEXT,
        "kind": st.sampled_from(["Task", "ClusterTask"]),
        "resolver": st.sampled_from(["git", "hub", "Cluster", "cluster", ""]),
        "params": PARAMS,
    },
)
RUN_SPECS = st.fixed_dictionaries(
    {},
    optional={
        "params": PARAMS,
        "serviceAccountName": TEXT,
        "taskRef": REFERENCES,
        "taskSpec": TASK_SPECS,
        "timeout": st.sampled_from(["1h", "3600s", "0"]),
        "retries": st.integers(0, 3),
        "workspaces": st.just(
            [{"name": "w", "emptyDir": {}}, {"name": "p", "persistentVolumeClaim": {"claimName": "c"}}]
        ),
        "podTemplate": st.just(
            {
                "securityContext": {"runAsNonRoot": True, "fsGroup": 65532},
                "tolerations": [{"key": "k"}],
                "nodeSelector": {"b": "2", "a": "1"},
            }
        ),
        "computeResources": st.just({"requests": {"cpu": "500m"}}),
        "stepSpecs": st.just([{"name": "s", "computeResources": {"limits": {"memory": "2048Ki"}}}]),
        "unknownSpecField": st.just("dropped"),
    },
)


def task_runs(
    name: st.SearchStrategy[str] = st.sampled_from(["run-1", "ünï", "a"]),  # noqa: B008
    image_ids: st.SearchStrategy[str] = IMAGE_IDS,
) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {"apiVersion": st.just("tekton.dev/v1"), "kind": st.just("TaskRun"), "metadata": _metadata(name)},
        optional={"spec": RUN_SPECS, "status": task_run_status(image_ids)},
    )


PIPELINE_TASKS = st.fixed_dictionaries(
    {"name": st.sampled_from(["clone", "build", "test", "notify"])},
    optional={
        "taskRef": REFERENCES,
        "runAfter": st.lists(st.sampled_from(["clone", "build"]), max_size=2),
        "params": PARAMS,
        "when": st.just([{"input": "$(tasks.clone.results.changed)", "operator": "in", "values": ["$(tasks.x.results.y.z)", "a"]}, {"cel": "'$(finally.q.results.r)' == ''"}]),
        "matrix": st.just({"params": [{"name": "p", "value": ["$(tasks.m.results.list[*])"]}], "include": [{"name": "i", "params": [{"name": "q", "value": "$(tasks.n.results.v)"}]}]}),
        "taskSpec": TASK_SPECS,
        "retries": st.integers(0, 2),
        "onError": st.just("continue"),
    },
)  # fmt: skip
PIPELINE_SPECS = st.fixed_dictionaries(
    {},
    optional={
        "params": PARAM_SPECS,
        "tasks": st.lists(PIPELINE_TASKS, max_size=3, unique_by=lambda task: task["name"]),
        "finally": st.lists(PIPELINE_TASKS, max_size=2, unique_by=lambda task: task["name"]),
        "results": st.just([{"name": "r", "value": "$(tasks.build.results.r)"}]),
        "workspaces": st.just([{"name": "w"}]),
    },
)


@st.composite
def pipeline_runs(draw: st.DrawFn) -> tuple[Json, list[Json]]:
    """Return a PipelineRun and its children, in the order of its child references."""
    image_ids = draw(st.sampled_from([IMAGE_IDS, GOOD_IMAGE_IDS, GOOD_IMAGE_IDS, GOOD_IMAGE_IDS]))
    run = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"uid": str(draw(st.uuids())), **draw(_metadata(st.just("pipeline-run")))},
    }
    if draw(st.booleans()):
        run["spec"] = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "params": PARAMS,
                    "pipelineRef": REFERENCES,
                    "pipelineSpec": PIPELINE_SPECS,
                    "taskRunTemplate": st.fixed_dictionaries({}, optional={"serviceAccountName": TEXT}),
                    "timeouts": st.just({"pipeline": "1h0m", "tasks": "30m"}),
                    "taskRunSpecs": st.just([{"pipelineTaskName": "build", "serviceAccountName": "b", "metadata": {"labels": {"l": "v"}}}]),
                },
            )
        )  # fmt: skip
    children = []
    for index in range(draw(st.integers(0, 3))):
        child = draw(task_runs(st.just(f"child-{index}"), image_ids))
        child["metadata"] |= {"ownerReferences": owned(run["metadata"]["uid"], "pipeline-run")}
        child["metadata"].pop("creationTimestamp", None)  # it may be after the parent's end
        status = child.setdefault("status", {})
        if draw(st.sampled_from([True, True, True, False])):
            status["completionTime"] = draw(TIMES)
            status["startTime"] = draw(TIMES)
            task = draw(st.sampled_from(["clone", "build", "test", "notify"]))
            child["metadata"].setdefault("labels", {})["tekton.dev/pipelineTask"] = task
            if draw(st.booleans()):
                steps = status.setdefault("steps", [])
                spec = status.setdefault("taskSpec", {})
                spec["steps"] = (spec.get("steps", []) + [{"name": "x"}] * 3)[: len(steps)]
        children.append(child)
    if draw(st.sampled_from([True, True, True, False])):
        run["status"] = draw(
            st.fixed_dictionaries(
                {"pipelineSpec": PIPELINE_SPECS},
                optional={
                    "conditions": CONDITIONS,
                    "startTime": TIMES,
                    "completionTime": TIMES,
                    "results": RESULTS,
                    "provenance": PROVENANCES,
                    "skippedTasks": st.just([{"name": "s", "reason": "When Expressions evaluated to false"}]),
                    "finallyStartTime": TIMES,
                },
            )
        )
    run.setdefault("status", {})["childReferences"] = [
        {
            "apiVersion": "tekton.dev/v1",
            "kind": "TaskRun",
            "name": child["metadata"]["name"],
            "pipelineTaskName": child["metadata"].get("labels", {}).get("tekton.dev/pipelineTask", "x"),
        }
        for child in children
    ]
    return run, children
