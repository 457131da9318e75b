"""The templates of the chart ``chains-web``: the evidence browser and its API."""

from __future__ import annotations

from edits import IMAGE, KEEP, NAMESPACE, PLACEMENT, Edit, Template, further, optional

PLACE = "chains-web"
AFFINITY = """\
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 100
              podAffinityTerm:
                topologyKey: kubernetes.io/hostname
                labelSelector:
                  matchLabels:
                    app: chains-web
"""
RESOURCES = """\
          resources:
            requests:
              cpu: 100m
              memory: 192Mi
            limits:
              memory: 768Mi
"""
ACCESS = """\
    oidc:
      issuer: https://login.example.com
      clientId: chains-web
      clientSecretFile: /etc/chains-web/secrets/client-secret
      url: https://chains.example.com
    sessionKeyFile: /etc/chains-web/secrets/session-key
    grants:
      - groups: [auditors]
        namespaces: "*"
      - groups: [shop-developers]
        namespaces: [shop]
"""
TEMPLATES = (
    Template(
        "namespace.yaml",
        "web/namespace.yaml",
        (
            Edit("  name: chains-web\n", f"  name: {NAMESPACE}\n"),
            Edit(
                "    pod-security.kubernetes.io/warn: restricted\n",
                "    pod-security.kubernetes.io/warn: restricted\n" + KEEP,
            ),
        ),
        {"*": ".Values.namespace.create"},
        namespace=PLACE,
    ),
    Template("service-account.yaml", "web/service-account.yaml", namespace=PLACE),
    Template(
        "access.yaml",
        "web/access.yaml",
        (
            Edit(
                "  access.yaml: |\n" + ACCESS,
                "  access.yaml: |\n    {{- toYaml .Values.access | nindent 4 }}\n",
            ),
        ),
        {"*": "not .Values.existingAccess"},
        namespace=PLACE,
    ),
    Template(
        "deployment.yaml",
        "web/deployment.yaml",
        (
            Edit("  replicas: 2\n", "  replicas: {{ .Values.replicas }}\n"),
            Edit(AFFINITY, optional("affinity", "affinity", 6) + PLACEMENT),
            IMAGE,
            Edit(
                "            - --key=/etc/chains-web/keys/signing.pub\n",
                "            {{- range .Values.keys }}\n"
                "            - --key=/etc/chains-web/keys/{{ . }}\n"
                "            {{- end }}\n            " + further("extraArgs", 12),
            ),
            Edit(
                "value: postgresql://chains-web@postgres.chains-index.svc/chains",
                "value: {{ .Values.index }}",
            ),
            Edit(
                "                  key: password\n",
                "                  key: password\n            " + further("extraEnv", 12),
            ),
            Edit(RESOURCES, optional("resources", "resources", 10)),
            Edit(
                "            - name: tmp\n              mountPath: /tmp\n",
                "            - name: tmp\n              mountPath: /tmp\n            "
                + further("extraVolumeMounts", 12),
            ),
            Edit(
                "            name: chains-web-access\n",
                '            name: {{ default "chains-web-access" .Values.existingAccess }}\n',
            ),
            Edit(
                "            sizeLimit: 64Mi\n",
                "            sizeLimit: 64Mi\n        " + further("extraVolumes", 8),
            ),
        ),
        namespace=PLACE,
    ),
    Template("service.yaml", "web/service.yaml", namespace=PLACE),
    Template(
        "network-policy.yaml",
        "web/network-policy.yaml",
        (
            Edit(
                "kubernetes.io/metadata.name: ingress\n",
                "kubernetes.io/metadata.name: {{ .Values.networkPolicy.pagesFrom }}\n",
            ),
            Edit(
                "kubernetes.io/metadata.name: monitoring\n",
                "kubernetes.io/metadata.name: {{ .Values.networkPolicy.metricsFrom }}\n",
            ),
            Edit(
                "        - port: 5432\n",
                "        - port: 5432\n    " + further("networkPolicy.extraEgress", 4),
            ),
        ),
        {"*": ".Values.networkPolicy.enabled"},
        namespace=PLACE,
    ),
    Template("disruption-budget.yaml", "web/disruption-budget.yaml", namespace=PLACE),
    *(
        Template(
            f"{name}.yaml",
            f"overlays/web-monitoring/{name}.yaml",
            conditions={"*": f".Values.monitoring.{value}"},
            namespace=PLACE,
        )
        for name, value in (
            ("service-monitor", "serviceMonitor"),
            ("alerts", "alerts"),
            ("dashboard", "dashboard"),
        )
    ),
)
