{{- /* What cannot be said by the schema, because it is about several values: ends the rendering with all that is
     wrong, a sentence each. */ -}}
{{- define "babelclip.check" -}}
{{- $tracks := include "babelclip.tracks" . | fromYaml -}}
{{- $values := .Values -}}
{{- $wrong := list -}}
{{- if not (or $values.keys.existingSecret $values.state.claim) -}}
{{- $wrong = append $wrong "keys.existingSecret must name a Secret with keys.json, or state.claim a volume that has one: otherwise each replica makes a key of its own" -}}
{{- end -}}
{{- range $name, $track := $tracks -}}
{{- if ne (len $track.models) 1 -}}
{{- $wrong = append $wrong (printf "models (of the track %s) must be one of claim, image, url, inImage" $name) -}}
{{- end -}}
{{- if and $track.models.url $values.networkPolicy.enabled (not $values.networkPolicy.egress) -}}
{{- $wrong = append $wrong (printf "models.url (of the track %s) is fetched by the pod, which networkPolicy.egress must allow" $name) -}}
{{- end -}}
{{- if and (eq $track.device.kind "cpu") (gt (int $track.device.cards) 0) -}}
{{- $wrong = append $wrong (printf "device.cards (of the track %s) needs device.kind cuda or hpu" $name) -}}
{{- end -}}
{{- if and (eq $track.device.kind "cuda") (lt (int $track.device.cards) 1) -}}
{{- $wrong = append $wrong (printf "device.cards (of the track %s) must be at least 1 with device.kind cuda" $name) -}}
{{- end -}}
{{- if and (eq $values.engine "torchserve") (eq $track.device.kind "hpu") (lt (int $track.device.cards) 2) -}}
{{- $wrong = append $wrong (printf "device.cards (of the track %s) must be at least 2 with device.kind hpu: each of the two towers holds a card" $name) -}}
{{- end -}}
{{- with $track.autoscaling -}}
{{- if .enabled -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- $wrong = append $wrong (printf "autoscaling.minReplicas (of the track %s) must not be above maxReplicas" $name) -}}
{{- end -}}
{{- if and (eq .by "hpa") (lt (int .minReplicas) 1) -}}
{{- $wrong = append $wrong (printf "autoscaling.minReplicas (of the track %s) must be at least 1 by hpa; keda scales to zero" $name) -}}
{{- end -}}
{{- if and (eq .by "keda") (lt (int .minReplicas) 1) (not .keda.triggers) -}}
{{- $wrong = append $wrong (printf "autoscaling.keda.triggers (of the track %s) must name what wakes it from zero: pods that are not there measure nothing" $name) -}}
{{- end -}}
{{- if and (ne .by "ray") (not $values.metrics.enabled) -}}
{{- $wrong = append $wrong "autoscaling needs metrics.enabled" -}}
{{- end -}}
{{- if ne (eq .by "ray") (eq $values.engine "ray") -}}
{{- $wrong = append $wrong (printf "autoscaling.by (of the track %s) is ray with engine ray, whose own autoscaler knows what towers wait for, and hpa or keda with torchserve" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq $values.engine "ray" -}}
{{- $wrong = concat $wrong (include "babelclip.ray.wrong" (dict "root" . "tracks" $tracks) | fromYamlArray) -}}
{{- end -}}
{{- range $name, $_ := $values.routing.weights -}}
{{- if not (hasKey $tracks $name) -}}
{{- $wrong = append $wrong (printf "routing.weights names %s, and there is no such track" $name) -}}
{{- end -}}
{{- end -}}
{{- $versions := list -}}
{{- range $_, $track := $tracks -}}
{{- with $track.version -}}
{{- if has . $versions -}}
{{- $wrong = append $wrong (printf "version %s is that of several tracks: who asks for it could be led to one only" .) -}}
{{- end -}}
{{- $versions = append $versions . -}}
{{- end -}}
{{- end -}}
{{- $sum := 0 -}}
{{- range $_, $weight := include "babelclip.weights" . | fromYaml -}}
{{- $sum = add $sum $weight -}}
{{- end -}}
{{- if lt (int $sum) 1 -}}
{{- $wrong = append $wrong "routing.weights must give a track more than 0" -}}
{{- end -}}
{{- if and $values.gateway.versions (gt (len $tracks) 1) -}}
{{- $wrong = append $wrong "gateway.versions is for one track: with several, the version of each is the default of its own model store" -}}
{{- end -}}
{{- if and $values.collections.enabled (not $values.state.claim) -}}
{{- $wrong = append $wrong "collections.enabled needs state.claim, a volume that outlives the pods" -}}
{{- end -}}
{{- if and $values.networkPolicy.enabled (not $values.networkPolicy.egress) (or $values.tracing.endpoint $values.collections.index) -}}
{{- $wrong = append $wrong "tracing.endpoint and collections.index are asked by the pods, which networkPolicy.egress must allow" -}}
{{- end -}}
{{- if and $values.monitoring.podMonitor.enabled (not $values.metrics.enabled) -}}
{{- $wrong = append $wrong "monitoring.podMonitor needs metrics.enabled" -}}
{{- end -}}
{{- with $values.gatewayApi -}}
{{- if and .enabled (not .parentRefs) -}}
{{- $wrong = append $wrong "gatewayApi.parentRefs must name the Gateway" -}}
{{- end -}}
{{- if and .enabled .grpc.enabled (not .grpc.parentRefs) -}}
{{- if or (not .hostnames) (not .grpc.hostnames) (has true (include "babelclip.shared" (list .hostnames .grpc.hostnames) | fromYamlArray)) -}}
{{- $wrong = append $wrong "gatewayApi.hostnames and gatewayApi.grpc.hostnames must differ, or gatewayApi.grpc.parentRefs name another listener: a listener takes an HTTPRoute or a GRPCRoute of a host, not both" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if le (int $values.terminationGracePeriodSeconds) (int $values.preStopSeconds) -}}
{{- $wrong = append $wrong "terminationGracePeriodSeconds must be above preStopSeconds, which it includes" -}}
{{- end -}}
{{- with $values.ingress -}}
{{- if and .enabled (not .host) -}}
{{- $wrong = append $wrong "ingress.host must be the name that callers use" -}}
{{- end -}}
{{- if and .enabled .grpc.enabled (not .grpc.host) -}}
{{- $wrong = append $wrong "ingress.grpc.host must be the name that callers over gRPC use" -}}
{{- end -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "\n- %s" (join "\n- " (uniq $wrong))) -}}
{{- end -}}
{{- end -}}

{{- /* Of two lists, whether each entry of the first is in the second, as YAML. */ -}}
{{- define "babelclip.shared" -}}
{{- $found := list -}}
{{- $second := index . 1 -}}
{{- range index . 0 -}}
{{- $found = append $found (has . $second) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- /* What is wrong with the values of a RayService, as YAML: dict "root" $ "tracks" TRACKS. */ -}}
{{- define "babelclip.ray.wrong" -}}
{{- $values := .root.Values -}}
{{- $towers := $values.ray.towers -}}
{{- $wrong := list -}}
{{- range $name, $track := .tracks -}}
{{- $full := printf "%s-%s" (include "babelclip.fullname" $.root) $name -}}
{{- if gt (len $full) 47 -}}
{{- $wrong = append $wrong (printf "the name %s has more than the 47 letters that KubeRay allows a RayService: fullnameOverride or the name of the track must be shorter" $full) -}}
{{- end -}}
{{- if not (or $track.version $values.ray.versions) -}}
{{- $wrong = append $wrong (printf "ray.versions must name the versions of the model store that are served, the default one first; or the track %s its version" $name) -}}
{{- end -}}
{{- if $track.args -}}
{{- $wrong = append $wrong (printf "args (of the track %s) are options of scripts/serve, which engine ray does not run: gateway.settings and ray.towers have what there is" $name) -}}
{{- end -}}
{{- $shares := dict "cpu" "cpus" "cuda" "gpus" "hpu" "hpus" -}}
{{- if not (get $towers (get $shares $track.device.kind)) -}}
{{- $wrong = append $wrong (printf "ray.towers.%s must be more than 0 with device.kind %s (of the track %s): what needs nothing is placed anywhere" (get $shares $track.device.kind) $track.device.kind $name) -}}
{{- end -}}
{{- range $kind, $share := omit $shares "cpu" $track.device.kind -}}
{{- if get $towers $share -}}
{{- $wrong = append $wrong (printf "ray.towers.%s needs device.kind %s (of the track %s): no pod has any" $share $kind $name) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $track.device.kind "hpu") (lt (int $track.device.cards) 1) -}}
{{- $wrong = append $wrong (printf "device.cards (of the track %s) must be at least 1 with device.kind hpu" $name) -}}
{{- end -}}
{{- if and $track.autoscaling.enabled $values.networkPolicy.enabled (not $values.networkPolicy.egress) -}}
{{- $wrong = append $wrong "autoscaling by ray asks the cluster's API from the head, which networkPolicy.egress must allow" -}}
{{- end -}}
{{- end -}}
{{- if kindIs "string" $values.podDisruptionBudget.maxUnavailable -}}
{{- $wrong = append $wrong "podDisruptionBudget.maxUnavailable must be a number of pods with engine ray: Kubernetes takes no share of pods that KubeRay makes" -}}
{{- end -}}
{{- if and $towers.maxReplicas (lt (int $towers.maxReplicas) (int $towers.replicas)) -}}
{{- $wrong = append $wrong "ray.towers.maxReplicas must be 0 or not below ray.towers.replicas" -}}
{{- end -}}
{{- toYaml $wrong -}}
{{- end -}}
