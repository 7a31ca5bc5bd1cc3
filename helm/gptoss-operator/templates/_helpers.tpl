{{- define "gptoss.name" -}}
{{- $long := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{ $long | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "gptoss.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gptoss.labels" -}}
{{ include "gptoss.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "gptoss.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "gptoss.name" .) }}
{{- end }}

{{/* What the operator does in the namespaces that it serves: the verbs it uses, and no other. */}}
{{- define "gptoss.rules" -}}
- apiGroups: [gptoss.dev]
  resources: [gptossdeployments]
  verbs: [list, watch]
- apiGroups: [gptoss.dev]
  resources: [gptossdeployments/status]
  verbs: [patch]
# Owner references block the owner's deletion; OpenShift asks for this where they do.
- apiGroups: [gptoss.dev]
  resources: [gptossdeployments/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets, deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
# What fills a cache claim, and the claim.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  # patch: an annotation, which makes the kubelet bring a gateway its new API keys, or a replica its share of the
  # requests, at once.
  verbs: [list, watch, delete, patch]
{{- if .Values.rbac.watchSecrets }}
# By metadata only.
- apiGroups: [""]
  resources: [secrets]
  verbs: [list, watch]
{{- end }}
# For those who ask for an InferencePool, where the cluster knows it.
- apiGroups: [inference.networking.k8s.io]
  resources: [inferencepools]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
