{{- define "pondflight.labels" -}}
app.kubernetes.io/name: pondflight
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: proxy
{{- end }}
{{- define "pondflight.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- define "pondflight.config" -}}
server:
  host: 0.0.0.0
  drain_timeout: {{ .Values.proxy.drainSeconds }}s
  allowed_hosts: ["*"]
workers:
  backend: kubernetes
  start_timeout: 60s
  instance: {{ printf "%s.%s" .Release.Namespace .Release.Name | trunc 63 | quote }}
containers:
  image: {{ include "pondflight.image" . | quote }}
  memory_limit: {{ .Values.workers.memory | quote }}
  cpu_limit: {{ .Values.workers.cpu }}
  max_per_host: {{ .Values.workers.max }}
kubernetes:
  namespace: {{ .Values.workers.namespace | quote }}
  image_pull_policy: {{ .Values.image.pullPolicy }}
  image_pull_secrets: {{ toJson .Values.image.pullSecrets }}
  priority_class: {{ .Values.workers.priorityClass | quote }}
  cpu_request: {{ .Values.workers.cpuRequest }}
  node_selector: {{ toJson .Values.workers.nodeSelector }}
  tolerations: {{ toJson .Values.workers.tolerations }}
  runtime_class: {{ .Values.workers.runtimeClass | quote }}
{{- end }}
