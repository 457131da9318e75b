"""What signers/ and storage/ each have to write themselves, since neither imports the other, stays equal."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

import signers.files
import storage.files
from signers.formats.bundle import MEDIA_TYPE
from signers.formats.layer_annotations import CERTIFICATE_ANNOTATION
from signers.kms.service import shown
from storage.formats.manifest_evidence import format_of
from storage.formats.manifests import CERTIFICATE_KEY
from storage.http_client.connections import Answer
from storage.record import BUNDLE_FORMAT, BUNDLE_TYPE


def test_a_bundle_and_its_layer_have_the_same_names_on_both_sides() -> None:
    assert MEDIA_TYPE == BUNDLE_TYPE
    assert format_of(MEDIA_TYPE) == BUNDLE_FORMAT
    assert CERTIFICATE_ANNOTATION == CERTIFICATE_KEY


@pytest.mark.parametrize(
    "said", ["no such key", "a\x1b[31mb", "line\nbreak", "\u202eturned", "tab\tü", "\x00"]
)
def test_what_a_service_says_is_shown_alike_on_both_sides(said: str) -> None:
    headers = CIMultiDictProxy(CIMultiDict({"Content-Type": "text/plain"}))
    answer = Answer(400, headers, said.encode(), URL("https://example.com"))
    assert answer.text.removeprefix("answered 400").strip() == shown(said)


def code_of(module: ModuleType) -> str:
    """Return the code of a module without comments and docstrings."""
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)


def test_files_that_may_be_hostile_are_read_by_the_same_code_on_both_sides() -> None:
    assert code_of(signers.files) == code_of(storage.files)
