{{- /* A pod of a Ray cluster: dict "root" $ "name" NAME "track" TRACK "role" head, gateway or towers.
     KubeRay finds the head by the label app.kubernetes.io/name, which must stay its own there; the gateway's pods
     have that of the release, by which Services, monitors and policies find them. */ -}}
{{- define "babelclip.ray.pod" -}}
{{- $values := .root.Values -}}
{{- $track := .track -}}
{{- $isGateway := eq .role "gateway" -}}
{{- $labels := include (ternary "babelclip.pod.selector" "babelclip.ray.selector" $isGateway) . -}}
{{- /* Keys and collections are the gateway's; Gaudi's towers keep what they have compiled. */ -}}
{{- $keeps := or $isGateway (and (eq .role "towers") (eq $track.device.kind "hpu")) -}}
{{- $scales := and (eq .role "head") $track.autoscaling.enabled -}}
metadata:
  labels:
    {{- $labels | nindent 4 }}
    {{- if $isGateway }}
    babelclip.io/ray: gateway
    {{- end }}
    {{- with $values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # The command is the one below, with that of KubeRay in it.
    ray.io/overwrite-container-cmd: "true"
    {{- if and $isGateway $values.gateway.config }}
    checksum/config: {{ sha256sum $values.gateway.config }}
    {{- end }}
    {{- with $track.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "babelclip.pod.identity" (dict "root" .root "autoscaler" $scales) | nindent 2 }}
  {{- if eq .role "towers" }}
  {{- include "babelclip.pod.placement" (dict "root" .root "track" $track) }}
  {{- end }}
  {{- if ne .role "head" }}
  {{- include "babelclip.pod.spread" (dict "root" .root "labels" $labels) }}
  {{- end }}
  {{- with include "babelclip.models.init" (dict "track" $track "values" $values) }}
  initContainers:
    {{- . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ get (dict "head" "ray-head" "gateway" "babelclip" "towers" "ray-worker") .role }}
      image: {{ include "babelclip.image" $track.image | quote }}
      imagePullPolicy: {{ $track.image.pullPolicy }}
      args:
        {{- if $isGateway }}
        - python
        - /opt/babelclip/scripts/ray_gateway.py
        - --store=/models
        - --run-dir=/run/babelclip
        {{- if $values.gateway.config }}
        - --gateway-config=/etc/babelclip/gateway.toml
        {{- end }}
        {{- else }}
        - bash
        - -c
        - 'ulimit -n 65536; eval "exec $KUBERAY_GEN_RAY_START_CMD"'
        {{- end }}
      env:
        {{- if $isGateway }}
        {{- include "babelclip.environment" (dict "root" .root "track" $track) | nindent 8 }}
        {{- else }}
        {{- include "babelclip.environment.device" $track | nindent 8 }}
        {{- end }}
        {{- include "babelclip.ray.settings" . | nindent 8 }}
        {{- with $track.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $track.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if $isGateway }}
      {{- include "babelclip.gateway.serving" .root | nindent 6 }}
      {{- else }}
      {{- include "babelclip.ray.serving" . | nindent 6 }}
      {{- end }}
      resources:
        {{- if eq .role "towers" }}
        {{- include "babelclip.resources" $track | nindent 8 }}
        {{- else }}
        {{- toYaml (get $values.ray .role).resources | nindent 8 }}
        {{- end }}
      securityContext:
        {{- toYaml $values.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "babelclip.models.mount" $track }}
        {{- include "babelclip.mounts" . | nindent 8 }}
        - name: ray-logs
          mountPath: /tmp/ray
        - name: shared-mem
          mountPath: /dev/shm
        {{- if $isGateway }}
        {{- include "babelclip.gateway.mounts" .root }}
        {{- end }}
  volumes:
    {{- include "babelclip.models.volume" (dict "track" $track "values" $values) }}
    {{- include "babelclip.volumes" (dict "values" $values "claim" (ternary $values.state.claim "" $keeps)) | nindent 4 }}
    - name: ray-logs
      emptyDir:
        sizeLimit: {{ $values.ray.sizeLimit }}
    - name: shared-mem
      emptyDir:
        medium: Memory
        sizeLimit: 640Mi
    {{- if $isGateway }}
    {{- include "babelclip.gateway.volumes" .root }}
    {{- end }}
{{- end -}}

{{- /* What its head or its towers are chosen by: dict "root" $ "name" NAME "role" ROLE. */ -}}
{{- define "babelclip.ray.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
babelclip.io/track: {{ .name }}
babelclip.io/ray: {{ .role }}
{{- end -}}

{{- /* What Ray finds in its environment. Archives are unpacked into TMPDIR; KubeRay expects the session below /tmp. */ -}}
{{- define "babelclip.ray.settings" -}}
- name: RAY_TMPDIR
  value: /tmp
- name: TMPDIR
  value: /run/babelclip
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
{{- end -}}

{{- /* Where a pod without a gateway is called, and how it is asked for its health. Those that KubeRay would add ask
     Ray's proxies, which are not started, by a program that the image has not. */ -}}
{{- define "babelclip.ray.serving" -}}
ports:
  {{- if eq .role "head" }}
  - name: gcs-server
    containerPort: 6379
  - name: dashboard
    containerPort: 8265
  # KubeRay wants one of this name; nobody listens there.
  - name: serve
    containerPort: 8000
  {{- end }}
  - name: metrics
    containerPort: 8080
  - name: agent
    containerPort: 52365
readinessProbe:
  httpGet:
    path: /api/healthz
    port: agent
  initialDelaySeconds: 10
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 10
livenessProbe:
  httpGet:
    path: /api/healthz
    port: agent
  initialDelaySeconds: 30
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 120
{{- end -}}

{{- /* How a node is started: dict "track" TRACK "role" ROLE. Towers take what the node has, and nothing runs elsewhere.
     A message above 100 kB lies in the shared memory, which holds 512 MiB of them. */ -}}
{{- define "babelclip.ray.start" -}}
object-store-memory: "536870912"
{{- if ne .role "towers" }}
num-cpus: "0"
num-gpus: "0"
{{- else if eq .track.device.kind "cuda" }}
num-gpus: {{ int .track.device.cards | quote }}
{{- else if eq .track.device.kind "hpu" }}
num-gpus: "0"
resources: {{ printf "'{\"HPU\": %d}'" (int .track.device.cards) | quote }}
{{- end }}
{{- end -}}

{{- /* What Ray Serve deploys, as YAML: an application for each version, and one that tells the default. */ -}}
{{- define "babelclip.ray.config" -}}
{{- $towers := .root.Values.ray.towers -}}
{{- $versions := include "babelclip.ray.versions" . | fromYamlArray -}}
{{- $applications := list -}}
{{- range $version := $versions -}}
{{- $args := dict "store" "/models" "version" $version "replicas" (int $towers.replicas) -}}
{{- if gt (int $towers.maxReplicas) 0 -}}
{{- $_ := set $args "max_replicas" (int $towers.maxReplicas) -}}
{{- end -}}
{{- range $name := list "cpus" "gpus" "hpus" -}}
{{- with get $towers $name -}}
{{- $_ := set $args $name . -}}
{{- end -}}
{{- end -}}
{{- $applications = append $applications (dict "name" (printf "babelclip-%s" $version) "route_prefix" nil "import_path" "babelclip.ray_serve.builders:version" "args" $args) -}}
{{- end -}}
{{- $default := dict "name" "babelclip" "route_prefix" nil "import_path" "babelclip.ray_serve.builders:default" "args" (dict "version" (first $versions)) -}}
proxy_location: Disabled
applications:
  {{- append $applications $default | toYaml | nindent 2 }}
{{- end -}}

{{- /* The versions of a track, the default one first, as YAML: dict "root" $ "track" TRACK. */ -}}
{{- define "babelclip.ray.versions" -}}
{{- if .track.version -}}
{{- toYaml (list .track.version) -}}
{{- else -}}
{{- toYaml .root.Values.ray.versions -}}
{{- end -}}
{{- end -}}
