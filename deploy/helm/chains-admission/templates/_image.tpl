{{/* The image: by digest if there is one. */}}
{{- define "chains.image" -}}
{{- $tag := .Values.image.tag -}}
{{- if not .Values.image.digest -}}{{- $tag = default .Chart.AppVersion $tag -}}{{- end -}}
{{ .Values.image.repository }}{{ with $tag }}:{{ . }}{{ end }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}
