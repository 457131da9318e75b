"""Write ``docs/configuration.md`` from the table of keys: ``python docs/generate_configuration.py``."""

from __future__ import annotations

from pathlib import Path

from chains.config.key import ConfigKey
from chains.config.keys import SECTIONS

PAGE = Path(__file__).with_name("configuration.md")
_INTRO = """# Configuration

<!-- Written by docs/generate_configuration.py from chains/config/keys.py; change it there. -->

The controller reads the ConfigMap `chains-config`; commands take the same file, or its `data` alone, with
`--config FILE`. An existing ConfigMap of Tekton Chains means here what it means there: names, defaults and
accepted values are those of Tekton Chains 0.29. Check one before you apply it:

    chains config lint FILE
    kubectl -n tekton-chains get configmap chains-config -o yaml | chains config lint -

- All values are strings: write `"true"` in quotes, or Kubernetes refuses the ConfigMap.
- True is `1`, `t`, `T`, `TRUE`, `true` or `True`, false is `0`, `f`, `F`, `FALSE`, `false` or `False`. Any
  other word keeps the default; where Tekton Chains has no such key, it is refused. `transparency.enabled`
  takes exactly the words of its row, and any other is false.
- Lists are separated by commas; white space around a word does not count. The empty list `""` disables the
  artifact, and so does the signer `none`.
- A word that is not in the list of values makes the whole configuration invalid, and all such words are told
  at once. Tekton Chains tells the first and, at its start, exits.
- An unknown key has no effect. `chains config lint` calls it an error, as it does a boolean that is ignored.
"""
_DIFFERENCES = """
## Where Tekton Chains' documentation says something else

What counts is what its code does, and so it is here:

- `signer: none` for TaskRuns or PipelineRuns does not store unsigned provenance; it stores nothing.
- `artifacts.oci.storage` takes `archivista`.
- The lists of stores for TaskRuns and images take `kafka`, though it has no store of that name: every run of
  such a configuration fails there.
- The default of `signers.x509.tuf.mirror.url` is `https://tuf-repo-cdn.sigstore.dev`.
- The providers of identity tokens are called `google-workload-identity` and `github-actions`, not `google`
  and `github`.
- `builddefinition.buildtype` counts for `slsa/v2alpha4` as for `slsa/v2alpha3`.
- The format `tekton`, which its installation file proposes in a comment, is refused.
"""


def configuration_page() -> str:
    """Return the whole page."""
    parts = [_INTRO]
    for title, keys in SECTIONS:
        parts.append(f"\n## {title}\n\n| Key | Values | Default | Meaning |\n| --- | --- | --- | --- |\n")
        parts += [f"| `{key.name}` | {_values(key)} | {_default(key)} | {_meaning(key)} |\n" for key in keys]
    return "".join([*parts, _DIFFERENCES])


def _values(key: ConfigKey) -> str:
    if key.kind == "bool":
        return "`true`, `false`"
    if key.kind == "url":
        return ", ".join(f"`{scheme}://…`" for scheme in key.schemes)
    words = ", ".join(f"`{word}`" for word in key.values)
    return f"list of {words}" if key.kind == "list" else words or key.kind


def _default(key: ConfigKey) -> str:
    return f"`{key.default}`" if key.default else ""


def _meaning(key: ConfigKey) -> str:
    if key.ours:
        return f"{key.doc} *Tekton Chains has no such key.*"
    if key.ours_values:
        words = ", ".join(f"`{word}`" for word in key.ours_values)
        return f"{key.doc} *Tekton Chains refuses {words}.*"
    return key.doc


if __name__ == "__main__":
    PAGE.write_text(configuration_page(), encoding="utf-8")
