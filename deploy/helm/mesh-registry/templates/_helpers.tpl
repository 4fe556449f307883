{{- define "mesh-registry.labels" -}}
app.kubernetes.io/name: mesh-registry
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "mesh-registry.selector" -}}
app.kubernetes.io/name: mesh-registry
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
