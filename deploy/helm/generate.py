"""Write the charts' templates from the manifests of ``deploy/``: ``python deploy/helm/generate.py``.

The manifests are the source. A template is the text of one of them, with each place that a value decides
replaced. A replacement whose old text is not in the manifest, or not as often as expected, stops the program.
What has no manifest (``_*.tpl``, ``chains-config.yaml``, ``tests/``, ``NOTES.txt``) is written by hand. The
charts' versions and the tables of their READMEs are written, too. See
``docs/decisions/0063-a-chart-made-from-the-manifests.md``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import admission_templates
import controller_templates
import web_templates
from edits import IMAGE_NAME, NAMESPACE, VERSION, Edit, StaleError, Template

HERE = Path(__file__).parent
DEPLOY = HERE.parent
TABLE = ("<!-- values: begin -->", "<!-- values: end -->")
SHARED = HERE / "provenance-chains" / "templates" / "_image.tpl"
"""A template that every chart has."""
CHARTS: Mapping[str, tuple[Template, ...]] = {
    "provenance-chains": controller_templates.TEMPLATES,
    "chains-admission": admission_templates.TEMPLATES,
    "chains-web": web_templates.TEMPLATES,
}


def project_version() -> str:
    """Return the version of the project, without an import of it."""
    text = (DEPLOY.parent / "chains/__init__.py").read_text()
    return re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0]


def render(template: Template) -> str:
    """Return the text of a template. Raises :class:`StaleError`."""
    text = (DEPLOY / template.source).read_text()
    # what is a template for Prometheus must not be one for Helm
    text = re.sub(r"\{\{", '{{ "{{" }}', text)
    version = project_version()
    for place in (f"{IMAGE_NAME}:", "version: v"):
        text = text.replace(f"{place}{version}\n", f"{place}{VERSION}\n")
    for edit in (*template.edits, *_in_namespace(template, text)):
        found = text.count(edit.old)
        if found != edit.times:
            raise StaleError(f"{template.source}: expected {edit.times} times, found {found}: {edit.old!r}")
        text = text.replace(edit.old, edit.new)
    documents = text.strip("\n").split("\n---\n")
    if template.conditions:
        documents = [_if(document, template.conditions) for document in documents]
    body = "\n---\n".join(documents)
    if template.loop:
        body = f"{{{{- range $name := {template.loop} }}}}\n---\n{body}\n{{{{- end }}}}"
        body = body.replace(NAMESPACE, "{{ $.Release.Namespace }}")
    return f"{{{{- /* made from deploy/{template.source} by deploy/helm/generate.py */}}}}\n{body}\n"


def _in_namespace(template: Template, text: str) -> Sequence[Edit]:
    """Return the edit that puts objects into the namespace of the release."""
    old = f"namespace: {template.namespace}\n"
    times = text.count(old) if template.namespace else 0
    return [Edit(old, f"namespace: {NAMESPACE}\n", times)] if times else []


def _if(document: str, conditions: Mapping[str, str]) -> str:
    kind = re.search(r"^kind: (\w+)$", document, re.MULTILINE)
    condition = conditions.get(kind[1] if kind else "", conditions.get("*"))
    return f"{{{{- if {condition} }}}}\n{document}\n{{{{- end }}}}" if condition else document


def table(values: str) -> str:
    """Return the table of values: every value with a comment that begins with ``--``, and its default."""
    rows = ["| value | default | what it is |", "|---|---|---|"]
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in values.splitlines():
        depth = len(line) - len(line.lstrip())
        if line.lstrip().startswith("#"):
            comment.append(line.strip("# "))
            continue
        if found := re.match(r'\s*([\w."/-]+):(.*)$', line):
            path = [*(each for each in path if each[0] < depth), (depth, found[1])]
            if comment and comment[0].startswith("-- "):
                name, default = ".".join(each for _, each in path), found[2].strip()
                what = " ".join(comment).removeprefix("-- ").replace("|", "\\|")
                rows.append(f"| `{name}` | {f'`{default}`' if default else 'see `values.yaml`'} | {what} |")
        comment = []
    return "\n".join(rows)


def readme(text: str, values: str) -> str:
    """Return a chart's README with a new table."""
    before, _, rest = text.partition(TABLE[0])
    _, _, after = rest.partition(TABLE[1])
    return f"{before}{TABLE[0]}\n{table(values)}\n{TABLE[1]}{after}"


def described(text: str) -> str:
    """Return a Chart.yaml with the version of the project."""
    return re.sub(r"^(version|appVersion): .*$", rf"\1: {project_version()}", text, flags=re.MULTILINE)


def files() -> dict[Path, str]:
    """Return every generated file of the charts with its text."""
    made = {}
    for name, templates in CHARTS.items():
        chart = HERE / name
        made |= {chart / "templates" / template.name: render(template) for template in templates}
        made[chart / "templates" / SHARED.name] = SHARED.read_text()
        values = (chart / "values.yaml").read_text()
        made[chart / "README.md"] = readme((chart / "README.md").read_text(), values)
        made[chart / "Chart.yaml"] = described((chart / "Chart.yaml").read_text())
    return made


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    sys.stdout.write(f"{len(files())} files written\n")
