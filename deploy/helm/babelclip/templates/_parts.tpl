{{- /* Who a pod is: dict "root" $ "autoscaler" whether KubeRay puts an autoscaler into it. */ -}}
{{- define "babelclip.pod.identity" -}}
{{- $values := .root.Values -}}
{{- if .autoscaler -}}
# KubeRay gives it an account that may change its cluster, and the autoscaler asks with that.
automountServiceAccountToken: true
{{- else -}}
serviceAccountName: {{ include "babelclip.serviceAccountName" .root }}
automountServiceAccountToken: false
{{- end }}
# The variables of a Service called babelclip-gateway would be taken for settings.
enableServiceLinks: false
securityContext:
  {{- toYaml $values.podSecurityContext | nindent 2 }}
terminationGracePeriodSeconds: {{ int $values.terminationGracePeriodSeconds }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- /* Which nodes take it: dict "root" $ "track" TRACK. */ -}}
{{- define "babelclip.pod.placement" -}}
  {{- with .root.Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .track.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .track.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .track.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- /* How pods with these labels are spread over nodes: dict "root" $ "labels" YAML. */ -}}
{{- define "babelclip.pod.spread" -}}
  {{- with .root.Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ toYaml . | nindent 6 | trim }}
      labelSelector:
        matchLabels:
          {{- $.labels | nindent 10 }}
    {{- end }}
  {{- end }}
{{- end -}}

{{- /* What the pods that callers meet are chosen by, of a track: dict "root" $ "name" NAME. */ -}}
{{- define "babelclip.pod.selector" -}}
{{ include "babelclip.selector" .root }}
babelclip.io/track: {{ .name }}
{{- end -}}

{{- /* Where the gateway is called, how it is asked for its health, and what it is given at its end: root. */ -}}
{{- define "babelclip.gateway.serving" -}}
{{- $scheme := include "babelclip.scheme" . -}}
ports:
  - name: http
    containerPort: 8000
  - name: grpc
    containerPort: 8001
  {{- if .Values.metrics.enabled }}
  - name: metrics
    containerPort: 8002
  {{- end }}
# Both towers give their golden items.
startupProbe:
  httpGet:
    path: /readyz
    port: http
    scheme: {{ $scheme }}
  {{- toYaml .Values.probes.startup | nindent 2 }}
readinessProbe:
  httpGet:
    path: /readyz
    port: http
    scheme: {{ $scheme }}
  {{- toYaml .Values.probes.readiness | nindent 2 }}
# The process answers; nothing is asked of the towers.
livenessProbe:
  httpGet:
    path: /livez
    port: http
    scheme: {{ $scheme }}
  {{- toYaml .Values.probes.liveness | nindent 2 }}
{{- if gt (int .Values.preStopSeconds) 0 }}
lifecycle:
  preStop:
    exec:
      command: [sleep, {{ int .Values.preStopSeconds | quote }}]
{{- end }}
{{- end -}}

{{- /* Places of the container that are written to. */ -}}
{{- define "babelclip.mounts" -}}
- name: state
  mountPath: /var/lib/babelclip
- name: run
  mountPath: /run/babelclip
- name: tmp
  mountPath: /tmp
{{- end -}}

{{- /* dict "values" .Values "claim" CLAIM, the one of the state, "" for an empty folder. */ -}}
{{- define "babelclip.volumes" -}}
- name: state
  {{- if .claim }}
  persistentVolumeClaim:
    claimName: {{ .claim }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .values.state.sizeLimit }}
  {{- end }}
- name: run
  emptyDir:
    sizeLimit: {{ .values.run.sizeLimit }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .values.tmp.sizeLimit }}
{{- end -}}

{{- /* What the gateway reads, and what its owner adds: root. */ -}}
{{- define "babelclip.gateway.mounts" -}}
        {{- if .Values.keys.existingSecret }}
        - name: keys
          mountPath: /run/secrets/babelclip-keys
          readOnly: true
        {{- end }}
        {{- if .Values.tls.existingSecret }}
        - name: tls
          mountPath: /run/secrets/babelclip-tls
          readOnly: true
        {{- end }}
        {{- if .Values.gateway.config }}
        - name: config
          mountPath: /etc/babelclip
          readOnly: true
        {{- end }}
        {{- if .Values.gateway.versions }}
        - name: versions
          mountPath: /etc/babelclip-versions
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end -}}

{{- define "babelclip.gateway.volumes" -}}
    {{- with $.Values.keys.existingSecret }}
    - name: keys
      secret:
        secretName: {{ . }}
        # Readable by the group of the pod alone.
        defaultMode: 0440
        items:
          - key: {{ $.Values.keys.key }}
            path: keys.json
    {{- end }}
    {{- with $.Values.tls.existingSecret }}
    - name: tls
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- if $.Values.gateway.config }}
    - name: config
      configMap:
        name: {{ include "babelclip.fullname" $ }}
    {{- end }}
    {{- if $.Values.gateway.versions }}
    - name: versions
      configMap:
        name: {{ include "babelclip.fullname" $ }}-versions
    {{- end }}
    {{- with $.Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

