"""The templates of the chart ``chains-admission``: the webhook and its certificates.

Its namespace is always ``chains-admission``: the webhooks leave it out by its name, and certificates name it.
"""

from __future__ import annotations

from edits import IMAGE, KEEP, PLACEMENT, Edit, Template, condition, further, image, optional

AFFINITY = """\
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 100
              podAffinityTerm:
                topologyKey: kubernetes.io/hostname
                labelSelector:
                  matchLabels:
                    app: chains-admission
            - weight: 50
              podAffinityTerm:
                topologyKey: topology.kubernetes.io/zone
                labelSelector:
                  matchLabels:
                    app: chains-admission
"""
RESOURCES = """\
          resources:
            requests:
              cpu: 100m
              memory: 128Mi
            limits:
              memory: 512Mi
"""
SWITCHES = (
    condition(
        "recheck.enabled",
        "            - name: CHAINS_RECHECK\n              value: {{ .Values.recheck.every }}\n",
        12,
    )
    + condition(
        "recheck.reports", '            - name: CHAINS_RECHECK_REPORTS\n              value: "true"\n', 12
    )
    + condition(
        "pullSecrets.namespaces", '            - name: CHAINS_PULL_SECRETS\n              value: "true"\n', 12
    )
)
TEMPLATES = (
    Template(
        "namespace.yaml",
        "admission/namespace.yaml",
        (
            Edit(
                "    pod-security.kubernetes.io/warn: restricted\n",
                "    pod-security.kubernetes.io/warn: restricted\n" + KEEP,
            ),
        ),
        {"*": ".Values.namespace.create"},
        namespace="",
    ),
    Template("server/service-account.yaml", "admission/service-account.yaml", namespace=""),
    Template("server/roles.yaml", "admission/roles.yaml", namespace=""),
    Template(
        "server/deployment.yaml",
        "admission/deployment.yaml",
        (
            Edit("  replicas: 2\n", "  replicas: {{ .Values.replicas }}\n"),
            Edit(
                "      priorityClassName: system-cluster-critical\n",
                "      priorityClassName: {{ .Values.priorityClassName }}\n",
            ),
            Edit(AFFINITY, optional("affinity", "affinity", 6) + PLACEMENT),
            IMAGE,
            Edit(
                "          args: [admission, /etc/chains-admission/policies]\n",
                "          args:\n            - admission\n"
                "            - /etc/chains-admission/policies\n            " + further("extraArgs", 12),
            ),
            Edit(
                "                  fieldPath: metadata.uid\n",
                "                  fieldPath: metadata.uid\n"
                + SWITCHES
                + "            "
                + further("extraEnv", 12),
            ),
            Edit(RESOURCES, optional("resources", "resources", 10)),
            Edit(
                "            - name: tmp\n              mountPath: /tmp\n",
                "            - name: tmp\n              mountPath: /tmp\n            "
                + further("extraVolumeMounts", 12),
            ),
            Edit("            name: chains-policies\n", "            name: {{ .Values.policies }}\n"),
            Edit(
                "            sizeLimit: 64Mi\n",
                "            sizeLimit: 64Mi\n        " + further("extraVolumes", 8),
            ),
        ),
        namespace="",
    ),
    Template("server/service.yaml", "admission/service.yaml", namespace=""),
    Template(
        "server/network-policy.yaml",
        "admission/network-policy.yaml",
        (
            Edit(
                "kubernetes.io/metadata.name: monitoring\n",
                "kubernetes.io/metadata.name: {{ .Values.networkPolicy.metricsFrom }}\n",
            ),
            Edit(
                "        - port: 8200\n",
                "        - port: 8200\n    " + further("networkPolicy.extraEgress", 4),
            ),
        ),
        {"*": ".Values.networkPolicy.enabled"},
        namespace="",
    ),
    Template("server/disruption-budget.yaml", "admission/disruption-budget.yaml", namespace=""),
    *(
        Template(
            f"certificates/{name}.yaml",
            f"admission/certificates/{name}.yaml",
            (
                image(14),
                Edit(
                    "          enableServiceLinks: false\n",
                    "          enableServiceLinks: false\n"
                    + optional("nodeSelector", "nodeSelector", 10)
                    + optional("tolerations", "tolerations", 10)
                    + optional("image.pullSecrets", "imagePullSecrets", 10),
                ),
            )
            if name == "cron-job"
            else (),
            {"*": 'eq .Values.certificates "cron-job"'},
            namespace="",
        )
        for name in ("service-account", "roles", "cron-job", "network-policy")
    ),
    *(
        Template(
            f"certificates/{name}.yaml",
            f"admission/cert-manager/{name}.yaml",
            conditions={"*": 'eq .Values.certificates "cert-manager"'},
            namespace="",
        )
        for name in ("authority", "certificate")
    ),
    Template(
        "webhooks/webhooks.yaml",
        "admission/webhooks/webhooks.yaml",
        (
            Edit(
                "  name: chains-admission\n  labels:\n    app: chains-admission\n",
                "  name: chains-admission\n  labels:\n    app: chains-admission\n"
                '  {{- if eq .Values.certificates "cert-manager" }}\n'
                "  annotations:\n    cert-manager.io/inject-ca-from: chains-admission/chains-admission\n"
                "  {{- end }}\n",
                2,
            ),
            Edit(
                "          values: [kube-system, kube-node-lease, chains-admission]\n",
                '          values: {{- include "chains.leftOut" . | nindent 12 }}\n',
                2,
            ),
            Edit(
                "      caBundle: CA_BUNDLE\n",
                '      {{- if ne .Values.certificates "cert-manager" }}\n'
                '      caBundle: {{ include "chains.authority" . }}\n'
                "      {{- end }}\n",
                2,
            ),
        ),
        {"*": ".Values.webhooks.enabled"},
        namespace="",
    ),
    Template(
        "recheck/roles.yaml",
        "overlays/admission-recheck/roles.yaml",
        conditions={"*": ".Values.recheck.enabled"},
        namespace="",
    ),
    Template(
        "recheck/reports.yaml",
        "overlays/admission-recheck-reports/roles.yaml",
        conditions={"*": ".Values.recheck.reports"},
        namespace="",
    ),
    Template(
        "pull-secrets/roles.yaml",
        "overlays/admission-pull-secrets/secrets-in-shop.yaml",
        (
            Edit("  namespace: shop\n", "  namespace: {{ $name }}\n", 2),
            Edit(
                "    resourceNames: [registry]\n",
                "    {{- with $.Values.pullSecrets.secrets }}\n"
                "    resourceNames: {{- toYaml . | nindent 6 }}\n"
                "    {{- end }}\n",
            ),
        ),
        loop=".Values.pullSecrets.namespaces",
        namespace="",
    ),
    *(
        Template(
            f"monitoring/{name}.yaml",
            f"overlays/admission-monitoring/{name}.yaml",
            conditions={"*": f".Values.monitoring.{value}"},
            namespace="",
        )
        for name, value in (
            ("service-monitor", "serviceMonitor"),
            ("alerts", "alerts"),
            ("dashboard", "dashboard"),
        )
    ),
)
