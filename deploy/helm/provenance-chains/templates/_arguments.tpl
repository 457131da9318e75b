{{/* Arguments of the container, a list. */}}
{{- define "chains.arguments" -}}
{{- $arguments := list "controller" -}}
{{- with .Values.namespaces -}}{{- $arguments = append $arguments (printf "--namespace=%s" (join "," .)) -}}{{- end -}}
{{- toYaml (concat $arguments .Values.extraArgs) -}}
{{- end }}
