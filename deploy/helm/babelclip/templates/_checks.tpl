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
{{- if and (eq $track.device.kind "hpu") (lt (int $track.device.cards) 2) -}}
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
{{- if not $values.metrics.enabled -}}
{{- $wrong = append $wrong "autoscaling needs metrics.enabled" -}}
{{- end -}}
{{- end -}}
{{- end -}}
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
