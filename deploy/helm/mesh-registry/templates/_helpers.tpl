{{- define "mesh-registry.labels" -}}
app.kubernetes.io/name: mesh-registry
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* The registry's configuration file. */ -}}
{{- define "mesh-registry.config" -}}
{{- $clusters := list (dict "name" .Values.home.name "inCluster" true "network" .Values.home.network) }}
{{- range .Values.members }}
{{- $path := printf "/etc/mesh-registry/kubeconfigs/%s" .key }}
{{- $clusters = append $clusters (dict "name" .name "kubeconfig" $path "network" (default "" .network)) }}
{{- end }}
{{- $listen := dict "grpc" "0.0.0.0:15010" "http" "0.0.0.0:15014" }}
{{- $own := dict "clusters" $clusters "listen" $listen "serviceEntries" .Values.serviceEntries }}
{{- with .Values.remoteSecrets }}
{{- if .enabled }}
{{- $_ := set $own "remoteSecrets" (dict "inCluster" true "namespace" .namespace "allowExec" .allowExec) }}
{{- end }}
{{- end }}
{{- if .Values.snapshot.enabled }}
{{- $_ := set $own "snapshot" (dict "file" "/var/lib/mesh-registry/snapshot") }}
{{- end }}
{{- toYaml (merge $own .Values.config) }}
{{- end }}

{{- define "mesh-registry.selector" -}}
app.kubernetes.io/name: mesh-registry
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
