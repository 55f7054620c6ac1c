{{- /* The pod of a track: include "babelclip.pod" (dict "root" $ "name" NAME "track" TRACK). */ -}}
{{- define "babelclip.pod" -}}
{{- $values := .root.Values -}}
{{- $track := .track -}}
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
  {{- include "babelclip.pod.identity" (dict "root" .root "autoscaler" false) | nindent 2 }}
  {{- include "babelclip.pod.placement" (dict "root" .root "track" $track) }}
  {{- include "babelclip.pod.spread" (dict "root" .root "labels" (include "babelclip.pod.selector" .)) }}
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
      {{- include "babelclip.gateway.serving" .root | nindent 6 }}
      resources:
        {{- include "babelclip.resources" $track | nindent 8 }}
      securityContext:
        {{- toYaml $values.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "babelclip.models.mount" $track }}
        {{- include "babelclip.mounts" . | nindent 8 }}
        {{- include "babelclip.gateway.mounts" .root }}
  volumes:
    {{- include "babelclip.models.volume" (dict "track" $track "values" $values) }}
    {{- include "babelclip.volumes" (dict "values" $values "claim" $values.state.claim) | nindent 4 }}
    {{- include "babelclip.gateway.volumes" .root }}
{{- end -}}

