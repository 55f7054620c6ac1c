{{- /* The name of the release's objects. Short, because a track's name is added to it. */ -}}
{{- define "babelclip.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* What the pods of the release are chosen by; those of a track have babelclip.io/track, too. */ -}}
{{- define "babelclip.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "babelclip.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "babelclip.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "babelclip.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "babelclip.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "babelclip.image" -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository .tag -}}
{{- end -}}
{{- end -}}

{{- /* A number as it was written: values are floats to Helm, and a million would be 1e+06. */ -}}
{{- define "babelclip.number" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{- /* All tracks by name, each with what it does not say itself from the values above it, as YAML.
     Of image, device and autoscaling a track may say a part; all else that it says stands for itself. */ -}}
{{- define "babelclip.tracks" -}}
{{- $common := pick .Values "image" "models" "device" "replicas" "resources" "args" "env" "envFrom" "nodeSelector" "tolerations" "affinity" "autoscaling" "podAnnotations" -}}
{{- $tracks := dict -}}
{{- range $name, $own := default (dict "main" (dict)) .Values.tracks -}}
{{- $track := deepCopy $common -}}
{{- range $key, $value := $own -}}
{{- if has $key (list "image" "device" "autoscaling") -}}
{{- $part := get $track $key -}}
{{- range $entry, $one := $value -}}
{{- $_ := set $part $entry $one -}}
{{- end -}}
{{- else -}}
{{- $_ := set $track $key $value -}}
{{- end -}}
{{- end -}}
{{- $_ := set $tracks $name $track -}}
{{- end -}}
{{- toYaml $tracks -}}
{{- end -}}

{{- /* The share of each track, by name, as YAML. */ -}}
{{- define "babelclip.weights" -}}
{{- $tracks := include "babelclip.tracks" . | fromYaml -}}
{{- $weights := dict -}}
{{- range $name, $_ := $tracks -}}
{{- $only := ternary 100 0 (eq (len $tracks) 1) -}}
{{- $_ := set $weights $name (int (ternary (get $.Values.routing.weights $name) $only (hasKey $.Values.routing.weights $name))) -}}
{{- end -}}
{{- toYaml $weights -}}
{{- end -}}

{{- /* The track that has the most of it: the first by name of several. */ -}}
{{- define "babelclip.currentTrack" -}}
{{- $current := "" -}}
{{- $most := -1 -}}
{{- range $name, $weight := include "babelclip.weights" . | fromYaml -}}
{{- if gt (int $weight) (int $most) -}}
{{- $current = $name -}}
{{- $most = $weight -}}
{{- end -}}
{{- end -}}
{{- $current -}}
{{- end -}}

{{- define "babelclip.scheme" -}}
{{- ternary "HTTPS" "HTTP" (not (empty .Values.tls.existingSecret)) -}}
{{- end -}}
