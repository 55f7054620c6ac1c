{{- /* What the gateway and the towers find in their environment: dict "root" $ "track" TRACK. */ -}}
{{- define "babelclip.environment" -}}
{{- $values := .root.Values -}}
{{ include "babelclip.environment.device" .track }}
{{- if $values.metrics.enabled }}
- name: BABELCLIP_GATEWAY_METRICS_HOST
  value: 0.0.0.0
{{- end }}
{{- if $values.keys.existingSecret }}
- name: BABELCLIP_GATEWAY_KEYS_FILE
  value: /run/secrets/babelclip-keys/keys.json
{{- end }}
{{- if $values.tls.existingSecret }}
- name: BABELCLIP_GATEWAY_TLS_CERTIFICATE
  value: /run/secrets/babelclip-tls/tls.crt
- name: BABELCLIP_GATEWAY_TLS_KEY
  value: /run/secrets/babelclip-tls/tls.key
{{- end }}
{{- if $values.gateway.versions }}
- name: BABELCLIP_GATEWAY_VERSIONS_FILE
  value: /etc/babelclip-versions/versions.json
{{- else if or (not $values.state.claim) (gt (len $values.tracks) 1) }}
# Replicas would each have a file of their own, and tracks one file for several versions.
- name: BABELCLIP_GATEWAY_VERSIONS_FILE
  value: ""
{{- end }}
{{- if $values.collections.enabled }}
{{- with $values.collections.index }}
- name: BABELCLIP_GATEWAY_COLLECTIONS_INDEX
  value: {{ . | quote }}
{{- end }}
{{- else }}
- name: BABELCLIP_GATEWAY_COLLECTIONS
  value: ""
{{- end }}
{{- range $name, $value := $values.gateway.settings }}
- name: BABELCLIP_GATEWAY_{{ upper $name }}
  value: {{ if kindIs "slice" $value }}{{ join "," $value | quote }}{{ else }}{{ include "babelclip.number" $value | quote }}{{ end }}
{{- end }}
{{- with $values.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: OTEL_SERVICE_NAME
  value: {{ include "babelclip.fullname" $.root }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.pod.name=$(POD_NAME),k8s.namespace.name={{ $.root.Release.Namespace }}
{{- end }}
{{- end -}}

{{- /* What the towers of a track are told of what they compute on. */ -}}
{{- define "babelclip.environment.device" -}}
- name: BABELCLIP_DEVICE
  value: {{ .device.kind }}
{{- if eq .device.kind "hpu" }}
- name: OMPI_MCA_btl_vader_single_copy_mechanism
  value: none
- name: PT_HPU_RECIPE_CACHE_CONFIG
  value: /var/lib/babelclip/recipes,false,1024
{{- end }}
{{- end -}}

{{- /* Those of a track, and its cards among them. */ -}}
{{- define "babelclip.resources" -}}
{{- $resources := deepCopy .resources -}}
{{- if gt (int .device.cards) 0 -}}
{{- $name := default (ternary "habana.ai/gaudi" "nvidia.com/gpu" (eq .device.kind "hpu")) .device.resource -}}
{{- $limits := default dict $resources.limits -}}
{{- $_ := set $limits $name (int .device.cards) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}
