{{/* What the values say of chains-config: a mapping of texts. */}}
{{- define "chains.config.wanted" -}}
{{- $wanted := deepCopy .Values.config.data -}}
{{- if .Values.ledger.enabled -}}
{{- $_ := set $wanted "ledger.folder" "/var/lib/chains-ledger" -}}
{{- $_ := set $wanted "ledger.origin" (required "ledger.origin: a ledger needs a name, as chains.example.com/prod" .Values.ledger.origin) -}}
{{- $_ := set $wanted "ledger.signer" "/etc/ledger-key/ledger.pem" -}}
{{- end -}}
{{- toYaml $wanted -}}
{{- end }}

{{/* The annotation that has what the chart wrote last. */}}
{{- define "chains.config.annotation" -}}provenance.chains/written-by-chart{{- end }}

{{/*
What chains-config becomes. Of every key there are three values: what the chart wrote last (the annotation), what
is in the cluster, and what the values say. A key that is in the cluster as the chart wrote it follows the values.
A key that was changed, added or removed in the cluster stays as it is there. With config.keepLiveChanges=false the
values win, and only keys that the chart never wrote stay. Without a cluster (helm template), and without such an
object, it is what the values say.
*/}}
{{- define "chains.config.data" -}}
{{- $wanted := include "chains.config.wanted" . | fromYaml -}}
{{- $found := lookup "v1" "ConfigMap" .Release.Namespace "chains-config" -}}
{{- $text := dig "metadata" "annotations" (include "chains.config.annotation" .) "" $found -}}
{{- $result := dict -}}
{{- if $text -}}
{{- $last := fromJson $text -}}
{{- $live := default dict $found.data -}}
{{- $keep := .Values.config.keepLiveChanges -}}
{{- range $key, $value := $live -}}
{{- $ours := hasKey $last $key -}}
{{- if or (not $ours) (and $keep (ne $value (get $last $key))) -}}{{- $_ := set $result $key $value -}}{{- end -}}
{{- end -}}
{{- range $key, $value := $wanted -}}
{{- $removed := and (hasKey $last $key) (not (hasKey $live $key)) -}}
{{- if not (and $keep (or $removed (hasKey $result $key))) -}}{{- $_ := set $result $key $value -}}{{- end -}}
{{- end -}}
{{- else -}}
{{- $result = $wanted -}}
{{- end -}}
{{- toYaml $result -}}
{{- end }}

{{/* The keys of chains-config where the cluster's value is kept against the chart's, sorted, or nothing. */}}
{{- define "chains.config.kept" -}}
{{- $wanted := include "chains.config.wanted" . | fromYaml -}}
{{- $result := include "chains.config.data" . | fromYaml -}}
{{- $kept := list -}}
{{- range $key, $value := $wanted -}}
{{- if ne (get $result $key) $value -}}{{- $kept = append $kept $key -}}{{- end -}}
{{- end -}}
{{- join ", " ($kept | sortAlpha) -}}
{{- end }}
