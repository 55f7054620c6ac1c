{{- /* The pod of a track: include "babelclip.pod" (dict "root" $ "name" NAME "track" TRACK). */ -}}
{{- define "babelclip.pod" -}}
{{- $values := .root.Values -}}
{{- $full := include "babelclip.fullname" .root -}}
{{- $track := .track -}}
{{- $scheme := include "babelclip.scheme" .root -}}
metadata:
  labels:
    {{- include "babelclip.labels" .root | nindent 4 }}
    babelclip.io/track: {{ .name }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: babelclip
    {{- with $values.gateway.config }}
    # A change of the file is one of the pods.
    checksum/config: {{ sha256sum . }}
    {{- end }}
    {{- with $track.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "babelclip.serviceAccountName" .root }}
  automountServiceAccountToken: false
  # The variables of a Service called babelclip-gateway would be taken for settings.
  enableServiceLinks: false
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  terminationGracePeriodSeconds: {{ int $values.terminationGracePeriodSeconds }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $track.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $track.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $track.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ toYaml . | nindent 6 | trim }}
      labelSelector:
        matchLabels:
          {{- include "babelclip.selector" $.root | nindent 10 }}
          babelclip.io/track: {{ $.name }}
    {{- end }}
  {{- end }}
  {{- with include "babelclip.models.init" (dict "track" $track "values" $values) }}
  initContainers:
    {{- . | nindent 4 }}
  {{- end }}
  containers:
    - name: babelclip
      image: {{ include "babelclip.image" $track.image | quote }}
      imagePullPolicy: {{ $track.image.pullPolicy }}
      {{- with $track.args }}
      args:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      env:
        {{- include "babelclip.environment" (dict "root" .root "track" $track) | nindent 8 }}
        {{- with $track.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $track.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: 8000
        - name: grpc
          containerPort: 8001
        {{- if $values.metrics.enabled }}
        - name: metrics
          containerPort: 8002
        {{- end }}
      # Both towers give their golden items.
      startupProbe:
        httpGet:
          path: /readyz
          port: http
          scheme: {{ $scheme }}
        {{- toYaml $values.probes.startup | nindent 8 }}
      readinessProbe:
        httpGet:
          path: /readyz
          port: http
          scheme: {{ $scheme }}
        {{- toYaml $values.probes.readiness | nindent 8 }}
      # The process answers; nothing is asked of the towers.
      livenessProbe:
        httpGet:
          path: /livez
          port: http
          scheme: {{ $scheme }}
        {{- toYaml $values.probes.liveness | nindent 8 }}
      {{- if gt (int $values.preStopSeconds) 0 }}
      lifecycle:
        preStop:
          exec:
            command: [sleep, {{ int $values.preStopSeconds | quote }}]
      {{- end }}
      resources:
        {{- include "babelclip.resources" $track | nindent 8 }}
      securityContext:
        {{- toYaml $values.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "babelclip.models.mount" $track }}
        - name: state
          mountPath: /var/lib/babelclip
        - name: run
          mountPath: /run/babelclip
        - name: tmp
          mountPath: /tmp
        {{- if $values.keys.existingSecret }}
        - name: keys
          mountPath: /run/secrets/babelclip-keys
          readOnly: true
        {{- end }}
        {{- if $values.tls.existingSecret }}
        - name: tls
          mountPath: /run/secrets/babelclip-tls
          readOnly: true
        {{- end }}
        {{- if $values.gateway.config }}
        - name: config
          mountPath: /etc/babelclip
          readOnly: true
        {{- end }}
        {{- if $values.gateway.versions }}
        - name: versions
          mountPath: /etc/babelclip-versions
          readOnly: true
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "babelclip.models.volume" (dict "track" $track "values" $values) }}
    - name: state
      {{- if $values.state.claim }}
      persistentVolumeClaim:
        claimName: {{ $values.state.claim }}
      {{- else }}
      emptyDir:
        sizeLimit: {{ $values.state.sizeLimit }}
      {{- end }}
    - name: run
      emptyDir:
        sizeLimit: {{ $values.run.sizeLimit }}
    - name: tmp
      emptyDir:
        sizeLimit: {{ $values.tmp.sizeLimit }}
    {{- with $values.keys.existingSecret }}
    - name: keys
      secret:
        secretName: {{ . }}
        # Readable by the group of the pod alone.
        defaultMode: 0440
        items:
          - key: {{ $values.keys.key }}
            path: keys.json
    {{- end }}
    {{- with $values.tls.existingSecret }}
    - name: tls
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- if $values.gateway.config }}
    - name: config
      configMap:
        name: {{ $full }}
    {{- end }}
    {{- if $values.gateway.versions }}
    - name: versions
      configMap:
        name: {{ $full }}-versions
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- /* What the gateway and the towers find in their environment: dict "root" $ "track" TRACK. */ -}}
{{- define "babelclip.environment" -}}
{{- $values := .root.Values -}}
- name: BABELCLIP_DEVICE
  value: {{ .track.device.kind }}
{{- if eq .track.device.kind "hpu" }}
- name: OMPI_MCA_btl_vader_single_copy_mechanism
  value: none
- name: PT_HPU_RECIPE_CACHE_CONFIG
  value: /var/lib/babelclip/recipes,false,1024
{{- end }}
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
