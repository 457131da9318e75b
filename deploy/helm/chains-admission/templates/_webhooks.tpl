{{/* Namespaces that the webhooks are never asked about, a list. */}}
{{- define "chains.leftOut" -}}
{{- $names := list "kube-system" "kube-node-lease" "chains-admission" -}}
{{- if eq .Values.certificates "cert-manager" -}}{{- $names = append $names "cert-manager" -}}{{- end -}}
{{- toYaml (concat $names .Values.webhooks.leaveOut) -}}
{{- end }}

{{/*
The CA of the webhooks: the given one; or that in the cluster, which the CronJob renews; or for the first time that of
its Secret.
*/}}
{{- define "chains.authority" -}}
{{- $given := .Values.webhooks.caBundle -}}
{{- if not $given -}}
{{- $live := lookup "admissionregistration.k8s.io/v1" "ValidatingWebhookConfiguration" "" "chains-admission" -}}
{{- range (default (list) $live.webhooks) -}}{{- $given = default "" .clientConfig.caBundle -}}{{- end -}}
{{- end -}}
{{- if not $given -}}
{{- $given = dig "data" "tls.crt" "" (lookup "v1" "Secret" .Release.Namespace "chains-admission-ca") -}}
{{- end -}}
{{- required "webhooks.caBundle: there is no Secret chains-admission-ca with a CA yet; install without webhooks first" $given -}}
{{- end }}
