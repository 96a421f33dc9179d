{{/* The namespace and the account are in the admission policies, which are the same for everybody. */}}
{{- define "leasehold.guard" -}}
{{- if ne .Release.Namespace "leasehold-system" -}}
{{- fail (printf "Leasehold runs in namespace leasehold-system, which its admission policies name, and not in %s: helm install %s ... --namespace leasehold-system --create-namespace" .Release.Namespace .Release.Name) -}}
{{- end -}}
{{- $lists := dict "grantable" .Values.grantable "personas.namespaces" .Values.personas.namespaces -}}
{{- range $list, $entries := $lists -}}
{{- $seen := dict -}}
{{- range $entries -}}
{{- if hasKey $seen .namespace -}}
{{- fail (printf "%s names namespace %s twice: write one entry for each namespace" $list .namespace) -}}
{{- end -}}
{{- $_ := set $seen .namespace true -}}
{{- include "leasehold.tenant" (list $list .namespace) -}}
{{- end -}}
{{- end -}}
{{- range .Values.delivery.secretNamespaces }}{{ include "leasehold.tenant" (list "delivery.secretNamespaces" .) }}{{ end -}}
{{- range .Values.restartConsumers }}{{ include "leasehold.tenant" (list "restartConsumers" .) }}{{ end -}}
{{- if and (gt (int .Values.replicas) 1) (has "--leader-election=false" .Values.pod.extraArgs) -}}
{{- fail "pod.extraArgs has --leader-election=false, and replicas is more than 1: all of them would lead" -}}
{{- end -}}
{{- end -}}

{{/* A policy refuses what would be leased there, whatever is granted here: (list "the value" "the namespace"). */}}
{{- define "leasehold.tenant" -}}
{{- if regexMatch "^(kube|leasehold)-" (index . 1) -}}
{{- fail (printf "%s names namespace %s: nothing is leased in kube-* and leasehold-* namespaces" (index . 0) (index . 1)) -}}
{{- end -}}
{{- end -}}

{{/* Of every object. No version in it: an upgrade writes only to what is different, and a write to a policy costs trust in what
was asked for around it. */}}
{{- define "leasehold.labels" -}}
app.kubernetes.io/name: leasehold
app.kubernetes.io/part-of: leasehold
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* An object as YAML with the labels of the release: (list $ object). */}}
{{- define "leasehold.object" -}}
{{- $root := index . 0 -}}
{{- $object := index . 1 -}}
{{- $labels := merge (fromYaml (include "leasehold.labels" $root)) ($object.metadata.labels | default dict) -}}
{{- $_ := set $object.metadata "labels" $labels }}
---
{{ toYaml $object }}
{{- end -}}

{{/* The objects of files/, with the labels of the release: (list $ "rbac/*.yaml" annotations). */}}
{{- define "leasehold.files" -}}
{{- $root := index . 0 -}}
{{- $pattern := printf "files/%s" (index . 1) -}}
{{- $annotations := index . 2 -}}
{{- $found := $root.Files.Glob $pattern -}}
{{- if not $found -}}
{{- fail (printf "the chart has no %s" $pattern) -}}
{{- end -}}
{{- range $path, $_ := $found -}}
{{- range $text := regexSplit "(?m)^---\\s*$" ($root.Files.Get $path) -1 -}}
{{- $object := fromYaml $text -}}
{{- if $object.kind -}}
{{- if $annotations -}}
{{- $_ := set $object.metadata "annotations" (merge (deepCopy $annotations) ($object.metadata.annotations | default dict)) -}}
{{- end -}}
{{- include "leasehold.object" (list $root $object) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "leasehold.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{/* What the values say of every pod, set in its spec: which image, from where, on which nodes: (list $ spec). */}}
{{- define "leasehold.place" -}}
{{- $root := index . 0 -}}
{{- $spec := index . 1 -}}
{{- $container := first $spec.containers -}}
{{- $_ := set $container "image" (include "leasehold.image" $root) -}}
{{- $_ := set $container "imagePullPolicy" $root.Values.image.pullPolicy -}}
{{- $secrets := list -}}
{{- range $root.Values.image.pullSecrets -}}
{{- $secrets = append $secrets (dict "name" .) -}}
{{- end -}}
{{- if $secrets -}}
{{- $_ := set $spec "imagePullSecrets" $secrets -}}
{{- end -}}
{{- range $field := list "nodeSelector" "tolerations" -}}
{{- with index $root.Values.pod $field -}}
{{- $_ := set $spec $field . -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether the API server is to stamp: "true" or nothing. Without a cluster to ask (`helm template`), Auto is what --api-versions says. */}}
{{- define "leasehold.stamping" -}}
{{- $served := .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
{{- if or (eq .Values.admission.stamping "Enabled") (and $served (eq .Values.admission.stamping "Auto")) -}}
true
{{- end -}}
{{- end -}}

{{/* Who the operator is, in a RoleBinding. */}}
{{- define "leasehold.operator" -}}
- kind: ServiceAccount
  name: leasehold
  namespace: leasehold-system
{{- end -}}

{{/* A RoleBinding, or without a namespace a ClusterRoleBinding: (dict "root" "name" "namespace" "kind" "role" "subjects"). */}}
{{- define "leasehold.binding" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (hasKey . "namespace") }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "leasehold.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind | default "ClusterRole" }}
  name: {{ .role }}
subjects:
{{ toYaml .subjects }}
{{- end -}}

{{/* Subjects as they are written in values, with the API group that RBAC wants. */}}
{{- define "leasehold.subjects" -}}
{{- range . }}
- kind: {{ .kind }}
  name: {{ .name | quote }}
  {{- if eq .kind "ServiceAccount" }}
  namespace: {{ required (printf "personas: ServiceAccount %s needs its namespace" .name) .namespace | quote }}
  {{- else }}
  {{- if .namespace }}{{ fail (printf "personas: %s %s has a namespace, which only a ServiceAccount has" .kind .name) }}{{ end }}
  apiGroup: rbac.authorization.k8s.io
  {{- end }}
{{- end }}
{{- end -}}

{{/* A kind that another operator brings, asked for and not there: said before anything is installed. Only where there is a
cluster to ask: (list $ "group/version/Kind" "the value"). */}}
{{- define "leasehold.needs" -}}
{{- $root := index . 0 -}}
{{- if and (lookup "v1" "Namespace" "" "kube-system") (not ($root.Capabilities.APIVersions.Has (index . 1))) -}}
{{- fail (printf "%s needs kind %s, which this cluster does not serve: install the Prometheus operator's custom resources first, or turn it off" (index . 2) (index . 1)) -}}
{{- end -}}
{{- end -}}
