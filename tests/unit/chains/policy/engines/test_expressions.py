"""Expressions for RE2 decide as ours do: identities, sources, what is git, patterns of images.

RE2 is asked through CEL's ``matches``, whose engine is the same library in another language.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from cel_expr_python import cel
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chains.documents.regexps import regexp_problem
from chains.errors import UsageError
from chains.policy.document.patterns import ImagePattern, read_image, wildcard_matches
from chains.policy.document.sources import SourceAllowed, git_sources
from chains.policy.engines.globs import kyverno_references, policy_controller_glob, repository_expression
from chains.policy.engines.provenance import GIT, IMAGE_AT_DIGEST, USER_AT_HOST, source_expression
from chains.policy.engines.re2 import NOTHING, UntranslatableError, translated, whole
from chains.statements.repositories import canonical
from chains.statements.statement import SLSA_V1, STATEMENT_V1, Statement
from chains.verify.criteria import NameWanted

Json = Any
_MATCHES = cel.NewEnv(variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING}).compile(
    "text.matches(pattern)"
)


def matches(pattern: str, text: str) -> bool:
    found = _MATCHES.eval(data={"text": text, "pattern": pattern})
    assert found.type() == cel.Type.BOOL, found.value()
    return bool(found.value())


IDENTITIES = [
    r"https://github\.com/shop/.*/\.github/workflows/release\.yml@refs/tags/v[0-9.]+",
    r"[^@]+@example\.com",
    r"a{,3}b",
    r"a|bc",
    r"(?:team|ops)-\d+",
    r"\w+\s?[\d_-]*",
    r"^start.*end$",
    r"[^\d]x?",
    r"\Sx\D",
    r"[a[:alpha:]]x?",
    r"a.c",
    r"x{2,3}(?P<name>y)?",
    r"café𝄞?",
    r"a\.b\+\$\^\-",
]
_NAMES = st.text(alphabet="abcxy0129.@/:-_+$^ \n[]{},é𝄞٣\u00a0", max_size=8) | st.sampled_from(
    [
        "https://github.com/shop/a/.github/workflows/release.yml@refs/tags/v1",
        "team-٣",
        "aab",
        "a{,3}b",
        "bc",
        "abc",
    ]
)


@pytest.mark.parametrize("pattern", IDENTITIES)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=_NAMES)
def test_an_identity_s_expression_matches_the_same_names_as_a_whole(pattern: str, name: str) -> None:
    wanted = NameWanted(pattern, is_regexp=True)
    try:
        written = whole(wanted)
    except UntranslatableError:
        pytest.fail("every one of these has a common meaning")
    expected = re.fullmatch(pattern, name) is not None
    assert matches(written, name) is expected


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet="ab01.*+?|()[]^$\\{}-,d", max_size=10), st.text(alphabet="ab01.\n", max_size=6))
@example("a$", "a\n")
@example("[]a]", "]")
def test_an_expression_of_any_kind_never_matches_more_than_in_the_policy(pattern: str, name: str) -> None:
    if regexp_problem(pattern) or not pattern:
        return
    try:
        written = whole(NameWanted(pattern, is_regexp=True))
    except UntranslatableError:
        return
    if matches(written, name):
        assert re.fullmatch(pattern, name) is not None


@pytest.mark.parametrize(
    "pattern", [r"\bword\b", r"(?i)name", r"(?i:name)", r"a{1001}", r"(?:a{16}){100}", r"[^\W]"]
)
def test_what_has_no_common_meaning_is_not_translated(pattern: str) -> None:
    with pytest.raises(UntranslatableError):
        translated(pattern)


def test_an_exact_name_is_matched_whatever_characters_it_has() -> None:
    name = "a.b*c?{{x}}|[d]\\e\n\u2028é𝄞"
    assert matches(whole(NameWanted(name)), name)
    assert not matches(whole(NameWanted(name)), name + "x")
    assert not matches(whole(NameWanted("a.b")), "axb")


@pytest.mark.parametrize("name", ["", "a", "\n", "\x00", "𝄞"])
def test_nothing_matches_nothing(name: str) -> None:
    assert not matches(NOTHING, name)


_URIS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["git+", "", "GIT+", " git+"]),
        st.sampled_from(["https://", "HTTPS://", "http://", "ssh://", "git://", "git@", "", "oci://"]),
        st.sampled_from(["", "user@", "user:pw@", "a@b@"]),
        st.sampled_from(["git.example.com", "GIT.example.com", "git.example.com.evil", "gitXexample.com"]),
        st.sampled_from(["", ":443", ":22", ":8443", ":"]),
        st.sampled_from(["/a/b", "a/b", "/a/b.git", "/a//b", "/a/b/c", "/a/bx", "/a/../b", "/a/b/.git"]),
        st.sampled_from(["", "/", "//", "/.git", ".git/"]),
        st.sampled_from(
            ["", "@", "@main", "@refs/tags/v1", "@refs/heads/x", "?x", "#y", "@refs/tags/v1/2", "\n"]
        ),
    ),
)
_ALLOWED = [
    SourceAllowed("git+https://git.example.com/a/b"),
    SourceAllowed("git+https://git.example.com:8443/a/b"),
    SourceAllowed("git+ssh://git.example.com/a/b", ("refs/tags/*", "main")),
    SourceAllowed("git+https://git.example.com/a/b", ("refs/**", "*")),
    SourceAllowed("git+git://git.example.com/a/b", ("refs/*/v1",)),
]


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_URIS, st.sampled_from(_ALLOWED))
@example("git+https://git.example.com/a/b\n", _ALLOWED[0])
@example(" https://git.example.com/a/b", _ALLOWED[0])
@example("https://git.example.com/a\t/b", _ALLOWED[0])
def test_a_source_s_expression_matches_exactly_the_spellings_that_are_allowed(
    uri: str, allowed: SourceAllowed
) -> None:
    source = canonical(uri)
    assert matches(source_expression(allowed), uri) is (source is not None and allowed.allows(source))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_URIS | st.text(alphabet="giths+@:./-?# \u00a0\x1c\u017fa0", max_size=12))
@example("ubuntu@sha256:" + "0" * 64)
@example("x@\u017fha1:y")
def test_what_is_git_for_us_is_git_for_every_engine(uri: str) -> None:
    statement = {"buildType": "x", "resolvedDependencies": [{"uri": uri}]}
    made = Statement(STATEMENT_V1, (), SLSA_V1, {"buildDefinition": statement})
    is_git = matches(GIT, uri) or (matches(USER_AT_HOST, uri) and not matches(IMAGE_AT_DIGEST, uri))
    if git_sources(made):
        assert is_git


@pytest.mark.parametrize(
    "uri", ["ubuntu@sha256:" + "0" * 64, "oci://registry.example.com/a@sha256:00", "pkg:oci/a"]
)
def test_an_image_is_not_git_for_an_engine(uri: str) -> None:
    assert not matches(GIT, uri)
    assert not matches(USER_AT_HOST, uri) or matches(IMAGE_AT_DIGEST, uri)


_PARTS = ["a", "b", "ab", "library", "nginx", "*", "**", "a*", "*b", "**"]
_HEADS = [
    "r.example",
    "docker.io",
    "index.docker.io",
    "*",
    "*.docker.io",
    "**",
    "localhost:5000",
    "R.example",
]
_PATTERNS = st.builds(
    lambda head, parts: "/".join([head, *parts]),
    st.sampled_from(_HEADS),
    st.lists(st.sampled_from(_PARTS), min_size=1, max_size=3),
).filter(lambda text: not _is_refused(text)) | st.just("**")
_AT = f"@sha256:{'0' * 64}"
_IMAGES = st.builds(
    lambda registry, parts: registry + "/".join(parts) + _AT,
    st.sampled_from(["", "docker.io/", "index.docker.io/", "r.example/", "localhost:5000/", "x.docker.io/"]),
    st.lists(st.sampled_from(["a", "b", "ab", "library", "nginx", "aab"]), min_size=1, max_size=4),
)


def _is_refused(text: str) -> bool:
    try:
        ImagePattern.parse(text)
    except UsageError:
        return True
    return False


def _name(image: str) -> tuple[str, str]:
    """Return registry and repository as go-containerregistry calls them."""
    repository = read_image(f"oci://{image}").repository
    return repository.registry, repository.name


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_PATTERNS, _IMAGES)
def test_a_glob_of_policy_controller_is_for_the_same_images(text: str, image: str) -> None:
    pattern = ImagePattern.parse(text)
    glob = policy_controller_glob(pattern)
    assert glob is not None
    # as its pkg/apis/glob compiles it
    compiled = glob.replace(".", r"\.").replace("**", "#").replace("*", "[^/]*").replace("#", ".*")
    reference = f"{'/'.join(_name(image))}@sha256:{'0' * 64}"
    assert matches(f"^{compiled}$", reference) is pattern.matches(read_image(f"oci://{image}"))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_PATTERNS, _IMAGES)
def test_an_expression_of_kyverno_is_for_the_same_images(text: str, image: str) -> None:
    pattern = ImagePattern.parse(text)
    assert matches(repository_expression(pattern), "/".join(_name(image))) is pattern.matches(
        read_image(f"oci://{image}")
    )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_PATTERNS, _IMAGES)
@example("docker.io/library/*", f"docker.io/library/nginx{_AT}")
@example("docker.io/library/nginx", f"nginx{_AT}")
@example("r.example/*", f"r.example/a/b{_AT}")
def test_references_of_kyverno_are_for_the_same_images_or_are_told_to_be_for_more(
    text: str, image: str
) -> None:
    pattern = ImagePattern.parse(text)
    written = kyverno_references(pattern)
    assert written is not None
    registry, slash, rest = image.partition("/")
    if not slash or ("." not in registry and ":" not in registry):
        registry, rest = "docker.io", image
    is_ours = pattern.matches(read_image(f"oci://{image}"))
    for place in (f"{registry}/{rest}", f"{registry}/{rest.removesuffix(_AT)}:tag"):
        is_named = any(
            any(wildcard_matches(name, place) for name in names)
            and not any(wildcard_matches(name, place) for name in skipped)
            for names, skipped in written.entries
        )
        assert is_named or not is_ours
        assert is_ours or not is_named or not written.is_exact
