"""What is touched: through base images, step images and Task bundles, in circles, by keys and by times."""

from __future__ import annotations

from pathlib import Path

import pytest

from chains.lineage.blast_radius import State
from chains.lineage.signing import Searched, Trust
from chains.lineage.wanted import (
    Kind,
    Wanted,
    commit_wanted,
    dependency_wanted,
    step_image_wanted,
    task_wanted,
)
from signers.keys.keyfile import generate_key, write_key_pair
from signers.keys.public_key import PublicKey, load_public_keys
from tests.unit.chains.lineage.made import (
    ALPINE,
    COMMIT,
    asked,
    attest,
    digest,
    distances,
    run_of,
    states,
)

OS, RUNTIME, APP = (f"registry.example.com/{name}" for name in ("base/os", "base/runtime", "shop/app"))
BUILDER, API = "registry.example.com/tools/builder", "registry.example.com/shop/api"
BUNDLE, WEB = "registry.example.com/catalog/deploy", "registry.example.com/shop/web"
LOOP_A, LOOP_B, OTHER = (f"registry.example.com/{name}" for name in ("loop/a", "loop/b", "other/alone"))
OLD_FORMAT = "registry.example.com/shop/old"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout with the evidence of ten runs; the key was rotated between them, and so was the format."""
    folder = tmp_path_factory.mktemp("lineage")
    for name in ("old", "new"):
        write_key_pair(folder / f"{name}.key", generate_key("ecdsa-p256"))
    store = f"oci-layout:{folder / 'layout'}"
    shop = "https://git.example.com/shop/app.git"
    attest(
        folder,
        store,
        run_of("os", OS, git=("https://git.example.com/base/os.git", COMMIT)),
        run_of("runtime", RUNTIME, made_from=[OS]),
        run_of("builder", BUILDER, ended="2026-11-19T00:00:00Z"),
        run_of("loop-a", LOOP_A, made_from=[LOOP_B]),
        key="old.key",
    )
    attest(
        folder,
        store,
        run_of("app", APP, made_from=[RUNTIME], git=(shop, COMMIT)),
        run_of("api", API, steps=[BUILDER]),
        run_of("bundle", BUNDLE, git=("https://git.example.com/catalog.git", "b" * 40)),
        run_of("loop-b", LOOP_B, made_from=[LOOP_A]),
        run_of("alone", OTHER, steps=["registry.example.com/mirror/busybox"], task="sign"),
        key="new.key",
    )
    attest(
        folder, store, run_of("web", WEB, bundle=BUNDLE), key="new.key", builder="https://other.example.com"
    )
    attest(
        folder,
        store,
        run_of("old", OLD_FORMAT, made_from=[APP], steps=[BUILDER]),
        key="new.key",
        form="in-toto",
    )
    return folder


@pytest.fixture(scope="module")
def layout(folder: Path) -> str:
    return f"oci-layout:{folder / 'layout'}"


def keys(folder: Path, *names: str) -> list[PublicKey]:
    return [key for name in names for key in load_public_keys(folder / f"{name}.pub")]


def test_a_chain_of_base_images_is_followed_to_its_end(layout: str) -> None:
    found = asked(Wanted(dependencies=[dependency_wanted(digest(OS))]), layout)
    assert distances(found) == {RUNTIME: 0, APP: 1, OLD_FORMAT: 2}
    assert set(states(found).values()) == {"claimed"}
    app = next(one for one in found.artifacts if one.names == (APP,))
    assert app.through == (digest(RUNTIME),)
    assert app.because == {}
    assert found.exit_code == 1


def test_an_image_that_became_a_step_image_touches_what_its_steps_made(layout: str) -> None:
    found = asked(Wanted(step_images=[step_image_wanted(digest(BUILDER))]), layout)
    assert distances(found) == {API: 0, OLD_FORMAT: 0}
    of_its_step = asked(Wanted(step_images=[step_image_wanted(f"{ALPINE}:3")]), layout)
    assert distances(of_its_step) == {
        OS: 0, RUNTIME: 0, BUILDER: 0, LOOP_A: 0, LOOP_B: 0, APP: 0, BUNDLE: 0, WEB: 0, API: 1, OLD_FORMAT: 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "word", [digest(BUNDLE), BUNDLE, f"{BUNDLE}:2", f"{BUNDLE}@{digest(BUNDLE)}", "deploy"]
)
def test_a_task_is_found_by_digest_name_and_bundle(layout: str, word: str) -> None:
    assert distances(asked(Wanted(tasks=[task_wanted(word)]), layout)) == {WEB: 0}


def test_a_task_of_the_cluster_is_found_by_its_name_alone(layout: str) -> None:
    assert distances(asked(Wanted(tasks=[task_wanted("sign")]), layout)) == {OTHER: 0}


def test_a_task_bundle_is_an_artifact_that_touches_what_it_built(layout: str) -> None:
    found = asked(Wanted(commits=[commit_wanted("b" * 40)]), layout)
    assert distances(found) == {BUNDLE: 0, WEB: 1}


def test_a_circle_ends(layout: str) -> None:
    found = asked(Wanted(dependencies=[dependency_wanted(digest(LOOP_A))]), layout)
    assert distances(found) == {LOOP_B: 0, LOOP_A: 1}
    other_way = asked(Wanted(dependencies=[dependency_wanted(f"{LOOP_B}*")]), layout)
    assert distances(other_way) == {LOOP_A: 0, LOOP_B: 1}


def test_a_commit_is_found_in_several_repositories_or_in_one(layout: str) -> None:
    everywhere = asked(Wanted(commits=[commit_wanted(COMMIT)]), layout)
    assert distances(everywhere) == {OS: 0, APP: 0, RUNTIME: 1, OLD_FORMAT: 1}
    repository = "git+https://GIT.example.com/shop/app/"
    in_one = asked(Wanted(commits=[commit_wanted(f"{repository}@{COMMIT}")]), layout)
    assert distances(in_one) == {APP: 0, OLD_FORMAT: 1}
    assert asked(Wanted(commits=[commit_wanted("c" * 40)]), layout).exit_code == 0


def test_of_a_rotated_key_only_what_it_signed_is_touched_and_what_was_made_of_that(
    folder: Path, layout: str
) -> None:
    found = asked(Wanted(Searched(keys(folder, "old"))), layout)
    assert distances(found) == {
        OS: 0, RUNTIME: 0, BUILDER: 0, LOOP_A: 0, APP: 1, API: 1, LOOP_B: 1, OLD_FORMAT: 1,
    }  # fmt: skip
    by_old = {one.names[0] for one in found.artifacts if one.state is State.VERIFIED}
    assert by_old == {OS, RUNTIME, BUILDER, LOOP_A}, "the way on is of statements that nobody verified"
    trusting = asked(Wanted(Searched(keys(folder, "old"))), layout, trust=Trust(keys(folder, "new")))
    assert set(states(trusting).values()) == {"verified"}
    assert distances(trusting) == distances(found)


def test_a_key_id_without_its_key_is_a_claim_until_the_key_is_trusted(folder: Path, layout: str) -> None:
    (new,) = keys(folder, "new")
    wanted = Wanted(Searched(keyids=[new.keyid]))
    found = asked(wanted, layout)
    assert set(states(found).values()) == {"claimed"}
    assert found.artifacts[0].because[Kind.KEY].is_claimed
    checked = asked(wanted, layout, trust=Trust([new]))
    assert {name for name, state in states(checked).items() if state == "claimed"} == {LOOP_A}, (
        "by the old key"
    )
    assert not checked.artifacts[0].because[Kind.KEY].is_claimed
    assert states(found).keys() == states(checked).keys()


def test_the_image_signatures_of_a_key_touch_their_images(folder: Path, tmp_path: Path) -> None:
    """An image of which only the signature is left is touched, too."""
    from tests.faults.verify.forge import image_signature, public
    from tests.unit.chains.lineage.made import Whole

    found = asked(Wanted(Searched([public()])), Whole(image_signature()))
    assert list(states(found).values()) == ["verified"]


def test_a_builder_is_found_in_both_versions_of_provenance(layout: str) -> None:
    found = asked(Wanted(builders=["https://other.example.com"]), layout)
    assert distances(found) == {WEB: 0}
    both = asked(Wanted(builders=["https://ci.example.com/tekton"]), layout)
    assert OLD_FORMAT in states(both)


def test_several_values_of_a_kind_mean_any_and_several_kinds_mean_all(layout: str) -> None:
    any_of = Wanted(commits=[commit_wanted(COMMIT), commit_wanted("b" * 40)])
    assert {name for name, far in distances(asked(any_of, layout)).items() if far == 0} == {OS, APP, BUNDLE}
    all_of = Wanted(commits=[commit_wanted(COMMIT)], dependencies=[dependency_wanted(digest(RUNTIME))])
    assert distances(asked(all_of, layout)) == {APP: 0, OLD_FORMAT: 1}


def test_the_same_evidence_in_two_stores_and_two_forms_is_one_statement(layout: str) -> None:
    wanted = Wanted(dependencies=[dependency_wanted(digest(OS))])
    once, twice = asked(wanted, layout), asked(wanted, layout, layout)
    assert len(once.collected.claims) == len(twice.collected.claims)
    assert twice.collected.pieces == 2 * once.collected.pieces
    assert once.collected.pieces > len(once.collected.claims)
    assert distances(once) == distances(twice)


def test_the_execution_report_tells_of_step_images_without_provenance(folder: Path) -> None:
    store = f"file:{folder / 'reports'}"
    attest(folder, store, run_of("check", steps=[BUILDER]), key="new.key")
    found = asked(Wanted(step_images=[step_image_wanted(BUILDER)]), store)
    assert states(found) == {"taskrun/ci/check": "claimed"}


def test_a_store_without_evidence_is_told_and_is_no_clean_answer(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = asked(Wanted(builders=["https://ci.example.com/tekton"]), f"file:{tmp_path / 'empty'}")
    assert (found.exit_code, found.artifacts) == (3, ())
