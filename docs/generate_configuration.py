"""Write ``docs/configuration.md`` from the table of keys: ``python docs/generate_configuration.py``."""

from __future__ import annotations

from pathlib import Path

from chains.config.key import ConfigKey, Kind
from chains.config.keys import SECTIONS

PAGE = Path(__file__).with_name("configuration.md")
_INTRO = """# Configuration

<!-- Written by docs/generate_configuration.py from chains/config/keys.py; change it there. -->

This page lists every key of `chains-config`, for operators. The controller reads the ConfigMap
`chains-config`; commands take the same file, or only its `data`, with `--config FILE`. An existing
ConfigMap of Tekton Chains has the same meaning here: names, defaults and accepted values are those of
Tekton Chains 0.29. Check a file before you apply it:

    chains config lint FILE
    kubectl -n tekton-chains get configmap chains-config -o yaml | chains config lint -

- **Strings.** All values are strings: write `"true"` in quotes, otherwise Kubernetes refuses the ConfigMap.
- **Booleans.** True is `1`, `t`, `T`, `TRUE`, `true` or `True`; false is `0`, `f`, `F`, `FALSE`, `false` or
  `False`. For a key of Tekton Chains, any other word keeps the default; for a key of ours, it is refused.
  `transparency.enabled` accepts exactly the words in its row, and any other word is false.
- **Lists** are separated by commas; white space around a word is ignored. The empty list `""` disables the
  artifact, and so does the signer `none`.
- **Invalid values.** A word that is not among the listed values makes the whole configuration invalid. All
  invalid words are reported together. Tekton Chains reports only the first one, and exits if that happens
  at its start.
- **Unknown keys** have no effect. `chains config lint` reports them as errors, as it does ignored booleans.
"""
_DIFFERENCES = """
## Differences from Tekton Chains' documentation

Tekton Chains' code and its documentation disagree about these points. Here they are as in the code:

- `signer: none` for TaskRuns or PipelineRuns does not store unsigned provenance; it stores nothing.
- `artifacts.oci.storage` accepts `archivista`.
- The lists of stores for TaskRuns and images accept `kafka`, although Chains has no store of that name: in
  Chains, every run with such a configuration fails.
- The default of `signers.x509.tuf.mirror.url` is `https://tuf-repo-cdn.sigstore.dev`.
- The providers of identity tokens are called `google-workload-identity` and `github-actions`, not `google`
  and `github`.
- `builddefinition.buildtype` applies to `slsa/v2alpha4` as well as to `slsa/v2alpha3`.
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
    if key.kind == Kind.BOOL:
        return "`true`, `false`"
    if key.kind == Kind.URL:
        return ", ".join(f"`{scheme}://…`" for scheme in key.schemes)
    words = ", ".join(f"`{word}`" for word in key.values)
    return f"list of {words}" if key.kind == Kind.LIST else words or key.kind


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
