{{- /* Where the model store of a track comes from, in three parts of its pod: a volume, its mount, what fills it. */ -}}
{{- define "babelclip.models.volume" -}}
{{- with .track.models.claim }}
    - name: models
      persistentVolumeClaim:
        claimName: {{ .name }}
        readOnly: true
{{- end -}}
{{- with .track.models.image }}
    - name: models
      {{- if eq (default "copy" .mount) "volume" }}
      image:
        reference: {{ .reference | quote }}
        pullPolicy: {{ default "IfNotPresent" .pullPolicy }}
      {{- else }}
      emptyDir:
        sizeLimit: {{ default "20Gi" .sizeLimit }}
      {{- end }}
{{- end -}}
{{- with .track.models.url }}
    - name: models
      emptyDir:
        sizeLimit: {{ default "20Gi" .sizeLimit }}
{{- end -}}
{{- end -}}

{{- define "babelclip.models.mount" -}}
{{- if not .models.inImage }}
        - name: models
          mountPath: /models
          readOnly: true
          {{- with .models.claim }}
          {{- with .subPath }}
          subPath: {{ . }}
          {{- end }}
          {{- end }}
          {{- with .models.image }}
          {{- if and (eq (default "copy" .mount) "volume") (ne (default "/models" .path) "/") }}
          subPath: {{ default "/models" .path | trimPrefix "/" }}
          {{- end }}
          {{- end }}
{{- end -}}
{{- end -}}

{{- define "babelclip.models.init" -}}
{{- $values := .values -}}
{{- $track := .track -}}
{{- with $track.models.image -}}
{{- if ne (default "copy" .mount) "volume" -}}
- name: models
  image: {{ .reference | quote }}
  imagePullPolicy: {{ default "IfNotPresent" .pullPolicy }}
  command: [cp, -R, {{ printf "%s/." (default "/models" .path | trimSuffix "/") | quote }}, /store/]
  resources:
    {{- include "babelclip.models.resources" . | nindent 4 }}
  securityContext:
    {{- toYaml $values.securityContext | nindent 4 }}
  volumeMounts:
    - name: models
      mountPath: /store
{{- end -}}
{{- end -}}
{{- with $track.models.url -}}
- name: models
  image: {{ include "babelclip.image" $track.image | quote }}
  imagePullPolicy: {{ $track.image.pullPolicy }}
  args:
    - python
    - /opt/babelclip/scripts/fetch_models.py
    - $(MODELS_URL)
    - --store=/models
    - --sha256={{ .sha256 }}
  env:
    - name: MODELS_URL
      {{- if .existingSecret }}
      valueFrom:
        secretKeyRef:
          name: {{ .existingSecret }}
          key: {{ default "url" .key }}
      {{- else }}
      value: {{ .address | quote }}
      {{- end }}
  resources:
    {{- include "babelclip.models.resources" . | nindent 4 }}
  securityContext:
    {{- toYaml $values.securityContext | nindent 4 }}
  volumeMounts:
    - name: models
      mountPath: /models
    - name: tmp
      mountPath: /tmp
{{- end -}}
{{- end -}}

{{- define "babelclip.models.resources" -}}
requests:
  cpu: 100m
  memory: 256Mi
limits:
  cpu: "1"
  memory: 1Gi
{{- end -}}
