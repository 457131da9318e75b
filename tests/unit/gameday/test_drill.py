"""The parts of a game day that need no cluster: its limit, its state file, its options, its policies."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from drill.errors import InterruptedGameError, NotFoundError, OutOfLimitError, UsageError
from drill.evidence import UNDECIDED
from drill.journal import Journal
from drill.kubectl import Kubectl
from drill.limit import Limit, Touch
from drill.main import main
from drill.options import checked, parse, variable_of
from drill.play import Fate, Played, Verdict
from drill.policies import addresses_of, narrowed, selects
from drill.report import exit_code, to_json, to_text
from drill.runs import task_run
from drill.scenarios import SCENARIOS
from drill.scenarios.secrets import with_key
from drill.signals import held, listen
from drill.text import safe

from tests.unit.test_deploy import manifest

Json = Any
ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "runbooks" / "gamedays.md"
IMAGE = "registry.example.com/team/app@sha256:" + "ab" * 32
OTHER = "10.1.2.3"


def test_only_what_is_in_the_limit_is_written_and_kubectl_is_not_even_called(tmp_path: Path) -> None:
    called = tmp_path / "called"
    program = tmp_path / "kubectl"
    program.write_text(f"#!/bin/sh\necho \"$@\" >> {called}; cat >> {called}; echo '{{}}'\n")
    program.chmod(0o755)
    limit = Limit([
        Touch("delete", "pod", "tekton-chains", "tekton-chains-controller-0"),
        Touch("create", "taskrun", "runs", "gameday-1-*"),
    ])  # fmt: skip
    kubectl = Kubectl([str(program)], limit)
    for kind, namespace, name in (
        ("pod", "tekton-chains", "tekton-chains-controller-1"),
        ("pod", "other", "tekton-chains-controller-0"),
        ("secret", "tekton-chains", "tekton-chains-controller-0"),
        ("namespace", "", "tekton-chains"),
        ("pod", "tekton-chains", ""),
    ):
        with pytest.raises(OutOfLimitError, match=f"refused: delete {kind} "):
            kubectl.delete(kind, name, namespace=namespace)
    for verb, name, namespace in (
        ("create", "mine", "runs"),
        ("create", "gameday-1-0", "ci"),
        ("replace", "gameday-1-0", "runs"),
    ):
        with pytest.raises(OutOfLimitError):
            getattr(kubectl, verb)({"kind": "TaskRun", "metadata": {"name": name, "namespace": namespace}})
    assert not called.exists()
    kubectl.delete("pod", "tekton-chains-controller-0", namespace="tekton-chains", at_once=True)
    kubectl.create({"kind": "TaskRun", "metadata": {"name": "gameday-1-0", "namespace": "runs"}})
    assert "delete pod tekton-chains-controller-0 -n tekton-chains" in called.read_text()


def test_the_state_file_is_there_before_anything_is_done_and_says_everything(tmp_path: Path) -> None:
    path, limit = tmp_path / "state.json", Limit([Touch("delete", "namespace", "", "runs", "ours")])
    journal = Journal.begin(path, ["kubectl", "--context", "prod"], limit)
    with pytest.raises(UsageError, match="another game day"):
        Journal.begin(path, ["kubectl"], Limit())
    journal.add({"do": "delete", "kind": "namespace", "namespace": "", "name": "runs"})
    found = Journal.load(path)
    assert (found.words, found.steps, found.limit.touches) == (journal.words, journal.steps, limit.touches)
    journal.drop(journal.steps[-1])
    assert Journal.load(path).steps == []
    journal.end()
    with pytest.raises(UsageError, match="nothing to undo"):
        Journal.load(path)
    for text in ("", "[]", '{"version": 2}', '{"version": 1}'):
        path.write_text(text)
        with pytest.raises(UsageError, match=r"state\.json"):
            Journal.load(path)


def test_a_signal_ends_a_game_day_and_one_during_the_undoing_waits_for_its_end() -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    undone = []
    try:
        listen()
        with pytest.raises(InterruptedGameError, match="SIGTERM"):
            signal.raise_signal(signal.SIGTERM)

        def undo() -> None:
            with held():
                signal.raise_signal(signal.SIGINT)
                undone.append(True)

        with pytest.raises(InterruptedGameError, match="SIGINT"):
            undo()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert undone == [True]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--only", "stop,fire"], "unknown scenario 'fire'"),
        (["--image", "registry.example.com/app:latest"], "--image: expected"),
        (["--cut-with", "true"], "give both or none"),
        (["--most-runs", "36"], "37 runs are needed, and --most-runs allows 36"),
        (["--runs", "0"], "--runs must be 1 or more"),
        (["--output", "yaml"], "expected text or json"),
        (["--new-key", "nowhere.pem"], "nowhere.pem is no file"),
        (["--address", "fire=a:1"], "expected SCENARIO=HOST:PORT"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_asked(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words, "--kubectl", "/nowhere"]) == 2
    assert told in capsys.readouterr().err


def test_every_option_has_an_environment_variable_that_it_overrides() -> None:
    environment = {
        "GAMEDAY_ONLY": "stop",
        "GAMEDAY_RUNS": "7",
        "GAMEDAY_DRY_RUN": "true",
        "GAMEDAY_YES": "no",
    }
    options = checked(
        parse(["run", "--runs", "2", "--address", "api=[::1]:6443", "--", "--key", "k"], environment)
    )
    assert (options.only, options.runs, options.dry_run, options.yes) == (("stop",), 2, True, False)
    assert options.addresses == {"api": ("::1", 6443)}
    assert options.audit == ("--key", "k")
    assert variable_of("--most-runs") == "GAMEDAY_MOST_RUNS"


def test_nobody_is_asked_without_a_terminal_and_no_cluster_is_an_answer(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", "--kubectl", "/nowhere/kubectl"]) == 4
    assert "cannot run /nowhere/kubectl" in capsys.readouterr().err
    assert main(["undo", "--state", str(tmp_path / "none")]) == 2
    assert main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(SCENARIOS)


def test_the_shipped_policy_without_an_address_still_allows_everything_else() -> None:
    policy = manifest("NetworkPolicy")
    found = narrowed(policy, [OTHER], "registry.example.com")
    names, rest = found["spec"]["egress"]
    assert names == policy["spec"]["egress"][0]
    assert rest["ports"] == policy["spec"]["egress"][1]["ports"]
    assert rest["to"] == [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": [f"{OTHER}/32"]}},
        {"ipBlock": {"cidr": "::/0"}},
        {"namespaceSelector": {}},
    ]
    assert "to" not in policy["spec"]["egress"][1], "the policy itself is not changed"
    in_cluster = narrowed(policy, [OTHER], "registry.tools.svc")["spec"]["egress"][1]["to"]
    assert {"namespaceSelector": {}} not in in_cluster


def test_a_rule_for_the_address_alone_goes_and_what_leaves_it_out_already_keeps_that() -> None:
    def rule(cidr: str, *left_out: str) -> Json:
        block = {"cidr": cidr, **({"except": list(left_out)} if left_out else {})}
        return {"to": [{"ipBlock": block}]}

    rules = [rule(f"{OTHER}/32"), rule("10.0.0.0/8", "10.9.0.0/16"), rule("192.0.2.0/24"), rule("fd00::/8")]
    found = narrowed({"spec": {"egress": rules}}, [OTHER, "fd00::1"], "h")["spec"]["egress"]
    assert found == [
        rule("10.0.0.0/8", "10.9.0.0/16", f"{OTHER}/32"),
        rule("192.0.2.0/24"),
        rule("fd00::/8", "fd00::1/128"),
    ]


def test_a_selector_selects_as_kubernetes_does() -> None:
    labels = {"app": "a", "tier": "x"}
    assert selects({}, labels)
    assert selects({"matchLabels": {"app": "a"}}, labels)
    assert not selects({"matchLabels": {"app": "b"}}, labels)
    for operator, values, is_selected in (
        ("In", ["x"], True), ("In", ["y"], False), ("NotIn", ["x"], False), ("NotIn", ["y"], True),
        ("Exists", [], True), ("DoesNotExist", [], False),
    ):  # fmt: skip
        expression = {"key": "tier", "operator": operator, "values": values}
        assert selects({"matchExpressions": [expression]}, labels) is is_selected
    absent = [("In", False), ("NotIn", True), ("Exists", False), ("DoesNotExist", True)]
    for operator, is_selected in absent:
        assert (
            selects({"matchExpressions": [{"key": "zone", "operator": operator, "values": ["x"]}]}, labels)
            is is_selected
        )


def test_an_address_stays_itself() -> None:
    assert addresses_of("127.0.0.1") == ["127.0.0.1"]


def fate(state: str, when: str = "after") -> Fate:
    return Fate("gameday-1-stop-0", "uid", when, "true", state, "words")


def test_the_exit_code_says_the_worst_and_a_named_scenario_has_to_apply() -> None:
    kept = Played("stop", "b", Verdict.NOTHING_LOST)
    lost = Played("kill", "b", Verdict.LOST, fates=[fate("missing")])
    unclear = Played("kms", "b", Verdict.UNDECIDED)
    absent = Played("log", "b", Verdict.NOT_APPLICABLE)
    assert exit_code([kept], ()) == exit_code([kept, absent], ()) == exit_code([kept, absent], ("stop",)) == 0
    assert exit_code([kept, lost, unclear], ()) == 1
    assert exit_code([kept, unclear], ()) == exit_code([kept, absent], ("log",)) == 4


def test_a_state_that_decides_nothing_is_no_loss_and_no_evidence() -> None:
    played = Played(
        "stop",
        "b",
        fates=[fate("evidenced"), fate("unknown"), *map(fate, ("failed", "missing", "unattestable", "open"))],
    )
    assert [each.state for each in played.lost] == ["failed", "missing", "unattestable", "open"]
    assert "unknown" in UNDECIDED


def test_text_of_the_cluster_cannot_command_a_terminal() -> None:
    played = Played(
        "stop", "b", Verdict.LOST, fates=[Fate("n", "u", "never", "", "missing", "\x1b[2Jgone\u202e")]
    )
    told = safe(to_text(played))
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert "lost: 1" in told
    assert json.loads(to_json([played], 1, ""))["scenarios"][0]["lost"][0]["state"] == "missing"


def test_a_run_names_the_image_that_exists_and_without_one_nothing() -> None:
    run = task_run("runs", "n", "1", "python:3", IMAGE, 2)
    given = {each["name"]: each["value"] for each in run["spec"]["params"]}
    repository, _, digest = IMAGE.partition("@")
    assert given == {"seconds": "2", "IMAGE_URL": repository, "IMAGE_DIGEST": digest}
    assert [each["name"] for each in run["spec"]["taskSpec"]["results"]] == ["IMAGE_URL", "IMAGE_DIGEST"]
    assert task_run("runs", "n", "1", "python:3", "", 2)["spec"]["taskSpec"]["results"] == []


def test_the_keys_of_an_audit_can_be_replaced_by_one() -> None:
    options = ["--key", "a", "--store", "oci:", "--key=b"]
    assert with_key(options, Path("c")) == ["--store", "oci:", "--key", "c"]


def test_a_missing_object_is_told_from_other_trouble(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\necho 'Error from server (NotFound): pods \"a\" not found' >&2; exit 1\n")
    program.chmod(0o755)
    kubectl = Kubectl([str(program)], Limit())
    with pytest.raises(NotFoundError):
        kubectl.get("pods", "a")
    assert not kubectl.has("pods", "a")


def test_every_scenario_has_its_section_on_the_page() -> None:
    text = PAGE.read_text()
    for name in SCENARIOS:
        assert f"| `{name}` |" in text, name


def test_every_option_is_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text()
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    shown = capsys.readouterr().out
    options = {
        word.strip("[],") for word in shown.split() if word.strip("[],").startswith("--") and len(word) > 4
    }
    assert len(options) > 20
    for option in options - {"--help"}:
        assert f"`{option}" in text, option
