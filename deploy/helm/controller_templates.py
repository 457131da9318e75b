"""The templates of the chart ``provenance-chains``: the controller."""

from __future__ import annotations

from dataclasses import replace

from edits import IMAGE, KEEP, NAMESPACE, PLACEMENT, VERSION, Edit, Template, further, optional

SPREAD = """\
      topologySpreadConstraints:
        - topologyKey: kubernetes.io/hostname
          maxSkew: 1
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              app: tekton-chains-controller
        - topologyKey: topology.kubernetes.io/zone
          maxSkew: 1
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              app: tekton-chains-controller
"""
RESOURCES = """\
          resources:
            requests:
              cpu: 100m
              memory: 128Mi
            limits:
              memory: 512Mi
"""
LEASES = "".join(f"      - tekton-chains-controller-share-{number}\n" for number in range(5))


CONTROLLER = (
    Template(
        "controller/namespace.yaml",
        "base/namespace.yaml",
        (
            Edit("  name: tekton-chains\n", f"  name: {NAMESPACE}\n"),
            Edit(
                "    pod-security.kubernetes.io/warn: restricted\n",
                "    pod-security.kubernetes.io/warn: restricted\n" + KEEP,
            ),
        ),
        {"*": ".Values.namespace.create"},
    ),
    Template(
        "controller/service-account.yaml",
        "base/service-account.yaml",
        (
            Edit(
                "    app: tekton-chains-controller\n",
                "    app: tekton-chains-controller\n"
                + optional("serviceAccount.annotations", "annotations", 2),
            ),
        ),
    ),
    Template(
        "controller/roles.yaml",
        "base/roles.yaml",
        (
            Edit(
                LEASES,
                "      {{- range $share, $_ := until (max 5 (int .Values.replicas) | int) }}\n"
                "      - tekton-chains-controller-share-{{ $share }}\n"
                "      {{- end }}\n",
            ),
        ),
        {"ClusterRole": "not .Values.namespaces"},
    ),
    Template(
        "controller/role-bindings.yaml",
        "base/role-bindings.yaml",
        conditions={"ClusterRoleBinding": "not .Values.namespaces"},
    ),
    Template(
        "controller/chains-info.yaml",
        "base/chains-info.yaml",
        (Edit(f"version: v{VERSION}", 'version: {{ printf "v%s" .Chart.AppVersion }}'),),
    ),
    Template(
        "controller/stateful-set.yaml",
        "base/stateful-set.yaml",
        (
            Edit("  replicas: 2\n", "  replicas: {{ .Values.replicas }}\n"),
            Edit('value: "2"', "value: {{ .Values.replicas | quote }}"),
            Edit(
                "        app.kubernetes.io/part-of: tekton-chains\n      annotations:\n"
                "        kubectl.kubernetes.io/default-container: controller\n",
                "        app.kubernetes.io/part-of: tekton-chains\n"
                "        {{- with .Values.podLabels }}{{- toYaml . | nindent 8 }}{{- end }}\n"
                "      annotations:\n"
                "        kubectl.kubernetes.io/default-container: controller\n"
                "        {{- with .Values.podAnnotations }}{{- toYaml . | nindent 8 }}{{- end }}\n",
            ),
            Edit(
                SPREAD,
                optional("topologySpreadConstraints", "topologySpreadConstraints", 6)
                + PLACEMENT
                + optional("affinity", "affinity", 6)
                + "      {{- with .Values.priorityClassName }}\n"
                + "      priorityClassName: {{ . }}\n      {{- end }}\n",
            ),
            IMAGE,
            Edit("args: [controller]", 'args: {{- include "chains.arguments" . | nindent 12 }}'),
            Edit(
                "              value: /etc/registry-credentials\n",
                "              value: /etc/registry-credentials\n            "
                + further("extraEnv", 12)
                + optional("extraEnvFrom", "envFrom", 10),
            ),
            Edit(RESOURCES, optional("resources", "resources", 10)),
            Edit(
                "            - name: tmp\n              mountPath: /tmp\n",
                "            - name: tmp\n              mountPath: /tmp\n"
                "            {{- if .Values.ledger.enabled }}\n"
                "            - name: ledger\n              mountPath: /var/lib/chains-ledger\n"
                "            - name: ledger-key\n              mountPath: /etc/ledger-key\n"
                "              readOnly: true\n"
                "            {{- end }}\n            " + further("extraVolumeMounts", 12),
            ),
            Edit("secretName: signing-secrets", "secretName: {{ .Values.secrets.signing }}"),
            Edit("secretName: registry-credentials", "secretName: {{ .Values.secrets.registry }}"),
            Edit(
                "            sizeLimit: 64Mi\n",
                "            sizeLimit: 64Mi\n"
                "        {{- if .Values.ledger.enabled }}\n"
                "        - name: ledger\n          persistentVolumeClaim:\n"
                "            claimName: chains-ledger\n"
                "        - name: ledger-key\n          secret:\n"
                "            secretName: {{ .Values.secrets.ledger }}\n"
                "            defaultMode: 0440\n"
                "        {{- end }}\n        " + further("extraVolumes", 8),
            ),
        ),
    ),
    Template("controller/service.yaml", "base/service.yaml"),
    Template(
        "controller/network-policy.yaml",
        "base/network-policy.yaml",
        (
            Edit(
                "kubernetes.io/metadata.name: monitoring",
                "kubernetes.io/metadata.name: {{ .Values.networkPolicy.metricsFrom }}",
            ),
            Edit(
                "        - port: 8200\n",
                "        - port: 8200\n    " + further("networkPolicy.extraEgress", 4),
            ),
        ),
        {"*": ".Values.networkPolicy.enabled"},
    ),
    Template("controller/disruption-budget.yaml", "base/disruption-budget.yaml"),
    Template(
        "controller/admission-policy.yaml",
        "base/admission-policy.yaml",
        (
            Edit(
                "request.userInfo.username != 'system:serviceaccount:tekton-chains:tekton-chains-controller'",
                "request.userInfo.username != 'system:serviceaccount:"
                + NAMESPACE
                + ":tekton-chains-controller'",
            ),
        ),
        {"*": ".Values.protectMarks"},
    ),
)
CHOSEN_NAMESPACES = (
    Template(
        "namespaces/runs.yaml",
        "overlays/namespaced/runs-in-ci.yaml",
        (Edit("namespace: ci\n", "namespace: {{ $name }}\n", 2), Edit("../../base/roles.yaml", "roles.yaml")),
        loop=".Values.namespaces",
    ),
    Template(
        "namespaces/credentials.yaml",
        "overlays/tenant-credentials/credentials-in-ci.yaml",
        (
            Edit("namespace: ci\n", "namespace: {{ $name }}\n", 2),
            Edit(
                "    resources: [secrets]\n    verbs: [get]\n",
                "    resources: [secrets]\n"
                "    {{- with $.Values.tenantCredentials.secrets }}\n"
                "    resourceNames: {{- toYaml . | nindent 6 }}\n"
                "    {{- end }}\n"
                "    verbs: [get]\n",
            ),
        ),
        loop=".Values.tenantCredentials.namespaces",
    ),
)
OTHERS = (
    Template(
        "controller/ledger-claim.yaml",
        "overlays/ledger/claim.yaml",
        (
            Edit(
                "accessModes: [ReadWriteMany]",
                "accessModes: {{- toYaml .Values.ledger.accessModes | nindent 4 }}",
            ),
            Edit(
                "      storage: 10Gi\n",
                "      storage: {{ .Values.ledger.size }}\n"
                "  {{- with .Values.ledger.storageClass }}\n"
                "  storageClassName: {{ . }}\n"
                "  {{- end }}\n",
            ),
            Edit(
                "    app: tekton-chains-controller\n",
                "    app: tekton-chains-controller\n" + KEEP,
            ),
        ),
        {"*": ".Values.ledger.enabled"},
    ),
    Template(
        "controller/hold.yaml",
        "overlays/hold-at-creation/hold.yaml",
        (
            Edit(
                """\
  # A controller with --namespace releases no run elsewhere, so runs elsewhere must not be held:
  # matchResources:
  #   namespaceSelector:
  #     matchExpressions:
  #       - key: kubernetes.io/metadata.name
  #         operator: In
  #         values: [ci]
""",
                """\
  {{- with .Values.namespaces }}
  # a controller with --namespace releases no run elsewhere
  matchResources:
    namespaceSelector:
      matchExpressions:
        - key: kubernetes.io/metadata.name
          operator: In
          values: {{- toYaml . | nindent 12 }}
  {{- end }}
""",
            ),
        ),
        {"*": ".Values.holdAtCreation"},
    ),
    Template(
        "monitoring/service-monitor.yaml",
        "overlays/monitoring/service-monitor.yaml",
        conditions={"*": ".Values.monitoring.serviceMonitor"},
    ),
    Template(
        "monitoring/alerts.yaml",
        "overlays/monitoring/alerts.yaml",
        conditions={"*": ".Values.monitoring.alerts"},
    ),
    Template(
        "monitoring/dashboard.yaml",
        "overlays/monitoring/dashboard.yaml",
        conditions={"*": ".Values.monitoring.dashboard"},
    ),
)
LOG = "    # which runs were released\n    helm.sh/hook-output-log-policy: hook-succeeded,hook-failed\n"
HOOK = Edit(
    "    app: tekton-chains-uninstall\n    app.kubernetes.io/part-of: tekton-chains\n",
    "    app: tekton-chains-uninstall\n    app.kubernetes.io/part-of: tekton-chains\n"
    "  annotations:\n"
    "    helm.sh/hook: post-delete\n"
    "    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded\n",
)
UNINSTALLATION = (
    Template(
        "uninstall/service-account.yaml",
        "uninstall/service-account.yaml",
        (HOOK,),
        {"*": ".Values.uninstall.releaseRuns"},
    ),
    Template(
        "uninstall/roles.yaml",
        "uninstall/roles.yaml",
        (
            replace(HOOK, times=2),
            Edit("kind: ClusterRoleBinding\n", 'kind: {{ ternary "Role" "ClusterRole" $some }}Binding\n'),
            Edit("kind: ClusterRole\n", 'kind: {{ ternary "Role" "ClusterRole" $some }}\n', 2),
            Edit(
                "metadata:\n  name: tekton-chains-uninstall\n",
                "metadata:\n  name: tekton-chains-uninstall\n"
                "  {{- if $some }}\n  namespace: {{ $name }}\n  {{- end }}\n",
                2,
            ),
        ),
        {"*": "$.Values.uninstall.releaseRuns"},
        # one ClusterRole, or a Role in each namespace
        loop='default (list "") .Values.namespaces }}{{- $some := not (empty $name)',
    ),
    Template(
        "uninstall/job.yaml",
        "uninstall/job.yaml",
        (
            Edit(HOOK.old, HOOK.new + '    helm.sh/hook-weight: "1"\n' + LOG),
            Edit(
                "      enableServiceLinks: false\n",
                "      enableServiceLinks: false\n" + PLACEMENT,
            ),
            IMAGE,
            Edit(
                "args: [finalizers, release]",
                "args: [finalizers, release"
                '{{ with .Values.namespaces }}, "--namespace={{ join "," . }}"{{ end }}]',
            ),
        ),
        {"*": ".Values.uninstall.releaseRuns"},
    ),
)
TEMPLATES = (*CONTROLLER, *CHOSEN_NAMESPACES, *OTHERS, *UNINSTALLATION)
