{{- define "mesh-registry.labels" -}}
app.kubernetes.io/name: mesh-registry
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /*
The registry's configuration file: what the chart sets by values of its own, merged over `config`.
*/ -}}
{{- define "mesh-registry.config" -}}
{{- $config := .Values.config | default dict }}
{{- $home := merge (dict "name" .Values.home.name "inCluster" true) (pick .Values.home "network") (ternary (pick .Values.home "probe") dict (not (empty .Values.home.probe))) }}
{{- $clusters := list $home }}
{{- $names := list .Values.home.name }}
{{- range .Values.members }}
{{- if has .name $names }}
{{- fail (printf "members: the cluster %q is named twice: give each a name of its own" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- $path := printf "/etc/mesh-registry/kubeconfigs/%s" .key }}
{{- $more := pick . "context" "network" "probe" }}
{{- $clusters = append $clusters (merge (dict "name" .name "kubeconfig" $path) $more) }}
{{- end }}
{{- $listen := dict "grpc" "0.0.0.0:15010" "http" "0.0.0.0:15014" }}
{{- with .Values.tls }}
{{- if .secretName }}
{{- if dig "listen" "tls" "" $config }}
{{- fail "tls.secretName and config.listen.tls: set one of them" }}
{{- end }}
{{- $files := dict "certificate" "/etc/mesh-registry/tls/tls.crt" "key" "/etc/mesh-registry/tls/tls.key" }}
{{- $listen = merge $listen (dict "tls" (merge $files (ternary (dict "clientCa" "/etc/mesh-registry/tls/ca.crt") dict .clientCa))) }}
{{- else if .clientCa }}
{{- fail "tls.clientCa needs tls.secretName: the authority is read from the key ca.crt of that Secret" }}
{{- end }}
{{- end }}
{{- $export := $config.export | default dict }}
{{- $export = ternary (dict "mode" $export) $export (kindIs "string" $export) }}
{{- if and (eq (toString $export.mode) "ServiceExport") (not .Values.serviceExports.read) }}
{{- fail "config.export.mode ServiceExport needs serviceExports.read, here and in every member: the right to list ServiceExports" }}
{{- end }}
{{- if and $export.writeConditions (not .Values.serviceExports.writeConditions) }}
{{- fail "config.export.writeConditions needs serviceExports.writeConditions, here and in every member: the right to write their status" }}
{{- end }}
{{- with .Values.snapshot }}
{{- if and .existingClaim .enabled (not .sharedClaim) (gt (int $.Values.replicas) 1) }}
{{- fail "snapshot.existingClaim with replicas above 1: a volume that one node mounts keeps the other Pods waiting for ever. Set snapshot.sharedClaim for a ReadWriteMany volume, or leave the claim out: replicas that start take over what the others know" }}
{{- end }}
{{- if and .sharedClaim (not .existingClaim) }}
{{- fail "snapshot.sharedClaim says something of a claim: name it in snapshot.existingClaim" }}
{{- end }}
{{- end }}
{{- $own := dict "clusters" $clusters "listen" $listen "serviceEntries" .Values.serviceEntries }}
{{- with .Values.remoteSecrets }}
{{- if .enabled }}
{{- $_ := set $own "remoteSecrets" (dict "inCluster" true "namespace" .namespace "allowExec" .allowExec) }}
{{- end }}
{{- end }}
{{- if .Values.snapshot.enabled }}
{{- $_ := set $own "snapshot" (dict "file" "/var/lib/mesh-registry/snapshot") }}
{{- end }}
{{- if not (hasKey $config "peers") }}
{{- $_ := set $own "peers" (list (printf "%s-peers.%s.svc:15010" .Release.Name .Release.Namespace)) }}
{{- end }}
{{- toYaml (merge $own $config) }}
{{- end }}

{{- /*
A namespace for remote secrets is made where the cluster has none of that name. `lookup` finds nothing at all where there
is no cluster to ask (helm template): then only `remoteSecrets.createNamespace` counts.
*/ -}}
{{- define "mesh-registry.makesNamespace" -}}
{{- $name := .Values.remoteSecrets.namespace }}
{{- $asked := lookup "v1" "Namespace" "" "kube-system" }}
{{- if eq $name .Release.Namespace }}
{{- else if .Values.remoteSecrets.createNamespace }}true
{{- else if and $asked (not (lookup "v1" "Namespace" "" $name)) }}true
{{- end }}
{{- end }}

{{- define "mesh-registry.selector" -}}
app.kubernetes.io/name: mesh-registry
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
